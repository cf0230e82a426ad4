"""The tables that the verbs print."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from ..deploy.checks import tilt
from ..deploy.log.summary import RunSummary
from ..deploy.log.writer import LogSummary
from ..hardware.interface import Sample
from ..models.robot import Robot

if TYPE_CHECKING:  # it needs torch, which a robot's computer has not
    from ..control.health import Check


def _interval(ends: Sequence[float]) -> str:
    return "–".join(f"{end:.3f}".removeprefix("0") for end in ends)


def _percentages(ends: Sequence[float]) -> str:
    return "–".join(f"{100 * end:.1f}".removesuffix(".0") for end in ends)


MANY = 6  # columns: with more, they move together
Show = Callable[[Any], str]

# What an evaluation may have measured: its name, where the figures have it, how it is shown.
EVALUATION_ROWS: tuple[tuple[str, str, Show], ...] = (
    ("episodes", "episodes", "{:d}".format),
    ("survival", "survival", "{:.1%}".format),
    ("  its 95 % interval", "survival_interval", _percentages),
    ("tracking score, 0–1", "score", "{:.3f}".format),
    ("  interquartile mean", "interquartile.score", lambda three: f"{three[0]:.3f}"),
    ("  its 95 % interval", "interquartile.score", lambda three: _interval(three[1:])),
    ("error, RMS: vx [m/s]", "rmse.vx", "{:.3f}".format),
    ("  vy [m/s]", "rmse.vy", "{:.3f}".format),
    ("  turn [rad/s]", "rmse.yaw_rate", "{:.3f}".format),
    ("success: within 2 cm", "success", "{:.1%}".format),
    ("  its 95 % interval", "success_interval", _percentages),
    ("final distance [m]", "distance", "{:.3f}".format),
    ("  interquartile mean", "interquartile.distance", lambda three: f"{three[0]:.3f}"),
    ("  its 95 % interval", "interquartile.distance", lambda three: _interval(three[1:])),
    ("time to reach [s]", "time_to_reach", "{:.2f}".format),
    ("disturbances", "disturbances", "{:d}".format),
    ("  recovered in 2 s", "recovery", "{:.1%}".format),
    ("  its 95 % interval", "recovery_interval", _percentages),
    ("cost of transport", "cost_of_transport", "{:.2f}".format),
    ("torque, RMS [N·m]", "torque", "{:.2f}".format),
    ("torque at its limit", "torque_saturation", "{:.2%}".format),
    ("action change, RMS", "action_change", "{:.2f}".format),
    ("action jerk, RMS", "action_jerk", "{:.2f}".format),
)


def evaluation_rows(evaluation: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """The figures as words: a first row of names, then one for each measure that there is.

    The last column is for comparison: a robot that stands still under the same commands.
    """
    conditions = [_flat(figures) for figures in evaluation.values()]
    still = conditions[0]  # the same under every condition
    rows = [["", *evaluation, "standing still"]]
    for name, key, shown in EVALUATION_ROWS:
        if any(key in figures for figures in conditions):
            cells = [figures.get(key) for figures in conditions]
            compared = still.get(f"standing_still.{key.removeprefix('rmse.')}")
            last = "" if compared is None else shown(compared)
            rows.append([name, *("-" if c is None else shown(c) for c in cells), last])
    return rows


def terrain_rows(figures: Mapping[str, Any]) -> list[list[str]]:
    """What came of each kind of ground and of each level, as words; a first row of names."""
    rows = [["begun on", "episodes", "survival", "score"]]
    groups = {"": {"all": figures}, **{name: figures[name] for name in ("by_kind", "by_level")}}
    for group, labels in groups.items():
        for label, found in labels.items():
            name = f"level {label}" if group == "by_level" else label.replace("_", " ")
            shown = (f"{found['survival']:.1%}", f"{found['score']:.3f}")
            rows.append([name, str(found["episodes"]), *shown])
    return rows


def terrain_table(figures: Mapping[str, Any]) -> Table:
    """The figures of the condition terrain, a row for each kind and each level."""
    return _table(terrain_rows(figures), "On terrain")


def evaluation_table(evaluation: Mapping[str, Mapping[str, Any]], title: str) -> Table:
    """The figures of an evaluation, a column for each condition."""
    names, *rows = evaluation_rows(evaluation)
    last = names[-1].replace(" ", "\n") if len(names) > MANY else names[-1]
    return _table([[*names[:-1], last], *rows], title)


def _table(rows: Sequence[Sequence[str]], title: str) -> Table:
    """Words, the names in the first row, as a table; the first column to the left."""
    names, *rows = rows
    table = Table(title=Text(title), box=box.SIMPLE_HEAD, title_justify="left")
    # So that it fits a terminal of 80 columns.
    apart = 0 if len(names) > MANY else 1
    table.padding, table.pad_edge, table.show_edge = (0, 0, 0, apart), False, False
    for index, name in enumerate(names):
        table.add_column(name, justify="right" if index else "left", no_wrap=not index)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _flat(figures: Mapping[str, Any], stem: str = "") -> dict[str, Any]:
    """Nested figures by their joined names, as in `rmse.vx`."""
    flat = {}
    for name, value in figures.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{stem}{name}.")
        else:
            flat[stem + name] = value
    return flat


def health_panel(checks: Sequence[Check]) -> Group:
    """A training's figures beside their healthy ranges, and advice for those that are outside."""
    table = Table(title="Is it learning?", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("")
    table.add_column("last tenth", justify="right")
    table.add_column("healthy")
    advice = [Text("All within their healthy ranges.", "green")]
    if any(check.advice for check in checks):
        advice = [
            Text.assemble((f"{check.figure}: ", "bold yellow"), check.advice)
            for check in checks
            if check.advice
        ]
    for check in checks:
        style = "yellow" if check.advice else ""
        table.add_row(
            Text(check.figure), f"{check.value:.3g}", _span(check.low, check.high), style=style
        )
    return Group(table, *advice, Text())


def _span(low: float, high: float) -> str:
    """A range in words; nothing where it has no bound."""
    if math.isinf(low):
        return "" if math.isinf(high) else f"≤ {high:.3g}"
    return f"≥ {low:.3g}" if math.isinf(high) else f"{low:.3g} to {high:.3g}"


def checks_table(robot: Robot, sample: Sample) -> Table:
    """What is known of a robot before a start."""
    health = sample.health
    table = _facts("Checks")
    table.add_row("motors", f"{np.isfinite(sample.age).sum()} of {len(robot.joints)} answer")
    table.add_row("voltage", f"{np.nanmin(health.voltage):.1f} V at least")
    table.add_row("temperature", f"{np.nanmax(health.temperature):.0f} °C at most")
    if robot.imu:
        table.add_row("tilt", f"{math.degrees(tilt(sample.gravity)):.0f}°")
    away = np.abs(sample.joint_pos - robot.rest_pose).max()
    table.add_row("from the rest pose", f"{away:.2f} rad at most")
    table.add_row("one read of all motors", f"{sample.bus_time * 1e3:.1f} ms on the bus")
    if robot.imu and np.isfinite(sample.imu_rate):
        table.add_row("imu", f"{sample.imu_rate:.0f} Hz, of {robot.imu.rate:.0f} Hz")
    if sample.health.torque_on.any():
        table.add_row("torque", Text("found on; left as it is", "yellow"))
    if robot.assumed:
        table.add_row("assumed, unmeasured", ", ".join(robot.assumed))
    return table


def run_table(summary: RunSummary, logged: LogSummary) -> Table:
    """How a run went, and where its log is."""
    figures = summary.figures
    table = _facts("Run")
    if summary.fault:
        cause = Text(f"{summary.fault.name}: {summary.cause}", "red")
        table.add_row(Text("fault", "red"), cause)
    if summary.stopped:
        table.add_row("stopped by", summary.stopped)
    table.add_row("in RUN", f"{summary.run_time:.1f} s")
    if figures.holds:
        held = figures.states["HOLD"].seconds
        table.add_row("held", f"{figures.holds} times, {held:.2f} s in all")
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
    table.add_row("log", Text(f"{logged.path}: {logged.written} records{dropped}"))
    if logged.error:
        table.add_row(Text("log", "red"), Text(logged.error, "red"))
    return table


def torque_warning(joints: Sequence[str]) -> Text:
    """One line for a person who stands by the robot."""
    return Text(f"TORQUE MAY STILL BE ON: {', '.join(joints)}. Cut the power.", "bold red")


def _facts(title: str) -> Table:
    return Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", show_header=False)
