"""Tables that more than one verb prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table


def evaluation_table(evaluation: Mapping[str, Mapping[str, Any]], title: str) -> Table:
    """The figures of `sim.evaluate.evaluate`, a column for each condition."""
    rows = {
        "episodes of 20 s": lambda f: f"{f['episodes']}",
        "survival": lambda f: f"{f['survival']:.1%}",
        "tracking score": lambda f: f"{f['score']:.3f}",
        "vx error, RMS [m/s]": lambda f: f"{f['rmse']['vx']:.3f}",
        "vy error, RMS [m/s]": lambda f: f"{f['rmse']['vy']:.3f}",
        "yaw rate error, RMS [rad/s]": lambda f: f"{f['rmse']['yaw_rate']:.3f}",
        "torque, RMS [N·m]": lambda f: f"{f['torque']:.2f}",
        "action change, RMS": lambda f: f"{f['action_change']:.2f}",
    }
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("")
    for condition in evaluation:
        table.add_column(condition, justify="right")
    for name, show in rows.items():
        table.add_row(name, *(show(figures) for figures in evaluation.values()))
    return table
