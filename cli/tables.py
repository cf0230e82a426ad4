"""The tables that the verbs print."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from ..deploy.checks import tilt
from ..deploy.log import LogSummary
from ..deploy.summary import RunSummary
from ..hardware.interface import Sample
from ..models.robot import Robot


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


def checks_table(robot: Robot, sample: Sample, torque_on: bool) -> Table:
    """What is known of a robot before a start; `torque_on` says that it was found under torque."""
    health = sample.health
    table = _facts("Checks")
    table.add_row("motors", f"{np.isfinite(sample.age).sum()} of {len(robot.joints)} answer")
    table.add_row("voltage", f"{np.nanmin(health.voltage):.1f} V at least")
    table.add_row("temperature", f"{np.nanmax(health.temperature):.0f} °C at most")
    table.add_row("tilt", f"{math.degrees(tilt(sample.gravity)):.0f}°")
    away = np.abs(sample.joint_pos - robot.rest_pose).max()
    table.add_row("from the rest pose", f"{away:.2f} rad at most")
    table.add_row("one motor read", f"{sample.bus_time * 1e3:.1f} ms on the bus")
    if torque_on:
        table.add_row("torque", "[yellow]found on; left as it is[/yellow]")
    if robot.assumed:
        table.add_row("assumed, unmeasured", ", ".join(robot.assumed))
    return table


def run_table(summary: RunSummary, logged: LogSummary) -> Table:
    """How a run went, and where its log is."""
    figures = summary.figures
    table = _facts("Run")
    if summary.fault:
        table.add_row("[red]fault[/red]", f"[red]{summary.fault.name}[/red]: {summary.cause}")
    table.add_row("in RUN", f"{summary.run_time:.1f} s")
    table.add_row("ticks", f"{figures.ticks}, {figures.missed_deadlines} deadlines missed")
    spreads = {
        "loop period": figures.period,
        "tick's work": figures.busy,
        "policy": figures.infer,
        "motor bus": figures.bus,
    }
    for name, spread in spreads.items():
        if spread:
            p50, p99, largest = (1e3 * v for v in (spread.p50, spread.p99, spread.max))
            table.add_row(name, f"p50 {p50:.2f}  p99 {p99:.2f}  max {largest:.2f} ms")
    shares = figures.reasons.items()
    acted = ", ".join(f"{name.lower()} {share.ticks}" for name, share in shares)
    table.add_row("limits acted in", f"{acted} ticks")
    table.add_row("wire errors", f"{figures.wire_errors}")
    dropped = f", {logged.dropped} dropped" if logged.dropped else ""
    table.add_row("log", f"{logged.path}: {logged.written} records{dropped}")
    if logged.error:
        table.add_row("[red]log[/red]", f"[red]{logged.error}[/red]")
    return table


def _facts(title: str) -> Table:
    return Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", show_header=False)
