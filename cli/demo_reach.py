"""The demo's reach: a schedule of goals, what came of them, and a picture of that."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle
from rich import box
from rich.table import Table

from ..deploy.log.reader import RunLog
from ..deploy.workstation.judge_reach import Goal, commanded, judge_reach, tip_path
from ..hardware.truth import Truth
from ..models.robot import Robot
from ..models.robot_file import MODELS
from ..sim.reach import SUCCESS
from .exhibit import Exhibit, Judgement
from .plots import COMMAND, SIMULATED, TRUE, mark_states, panels, plot_limits, plot_period

SCHEDULE = """\
time,x,y,z
0,0.2,0,0.15
3,0.26,0.14,0.22
6,0.14,0.15,0.06
9,0.28,0,0.05
12,0.12,-0.14,0.24
15,0.25,-0.15,0.05
18,0.12,0,0.22
"""  # ahead, far left high, left low, far low, right high, far right low, near high [s, m]
DURATION = 21.0  # [s]
LEAST = 1.0  # that a goal is commanded for, or a shorter demo does not ask for it [s]
X, Y, Z = range(3)  # columns of places
COLOURS = (TRUE, SIMULATED, "#805ad5")  # of x, y and z
GOAL = "#2f855a"


def _judge(robot: Robot, log: RunLog, truth: Truth, seconds: float) -> Judgement:
    """Every goal, at its end."""
    begins = [float(line.partition(",")[0]) for line in SCHEDULE.splitlines()[1:]]
    asked = sum(begin + LEAST <= seconds for begin in begins)
    goals = judge_reach(log.ticks, truth.time, tip_path(robot, truth))[:asked]
    reached = sum(goal.reached for goal in goals)
    words = f"{reached} of {asked} goals within {SUCCESS * 1e3:.0f} mm, allowed is all of them"
    figures = {"goals": [asdict(goal) for goal in goals]}
    return Judgement(reached == asked, words, _table(goals), figures)


def _table(goals: list[Goal]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("goal x, y, z [m]")
    for words in ("from [mm]", "at its end [mm]", f"within {SUCCESS * 1e3:.0f} mm after [s]"):
        table.add_column(words, justify="right")
    for goal in goals:
        table.add_row(
            ", ".join(f"{value:.2f}" for value in goal.place),
            _figure(goal.start_distance, 1e3, ".0f"),
            _figure(goal.distance, 1e3, ".1f"),
            _figure(goal.time_to_reach, 1.0, ".2f"),
            style=None if goal.reached else "red",
        )
    return table


def _figure(value: float | None, factor: float, form: str) -> str:
    return "–" if value is None else format(value * factor, form)


def _plot(robot: Robot, log: RunLog, truth: Truth, path: Path) -> None:
    """The reach at a glance: the tip's path and coordinates, distances, limits, loop period."""
    ticks = log.ticks
    origin = ticks["start"][0]
    time = ticks["start"] - origin
    truth = truth.between(origin, ticks["start"][-1])
    tip = tip_path(robot, truth)
    places, begins, ends = commanded(ticks)
    inside = (truth.time >= begins[0]) & (truth.time <= ends[-1])
    goal = places[np.searchsorted(begins, truth.time[inside], side="right") - 1]
    true_time, running_time = truth.time - origin, truth.time[inside] - origin
    with panels(path) as axes:
        for axis, (side, up) in zip(axes[0], (("above", Y), ("the side", Z)), strict=False):
            _plot_path(axis, tip, inside, places, up)
            axis.set_title(f"path of the tip, from {side}")
        axes[0, 0].legend(frameon=False, fontsize=8)
        for index, name in enumerate("xyz"):
            axes[0, 2].plot(running_time, goal[:, index], color=COLOURS[index], lw=4, alpha=0.3)
            axes[0, 2].plot(true_time, tip[:, index], color=COLOURS[index], lw=1, label=name)
        axes[0, 2].margins(y=0.15)
        axes[0, 2].set(title="tip, and goal (wide)", ylabel="m")
        axes[0, 2].legend(loc="upper center", frameon=False, ncols=3)
        distance = np.linalg.norm(tip[inside] - goal, axis=1)
        _plot_distance(axes[1, 0], running_time, distance, begins - origin, ends - origin)
        plot_limits(axes[1, 1], ticks, time)
        for axis in (axes[0, 2], axes[1, 0], axes[1, 1]):
            mark_states(axis, ticks["state"], time)
        plot_period(axes[1, 2], robot, ticks)


def _plot_path(
    axis: Axes, tip: np.ndarray, running: np.ndarray, places: np.ndarray, up: int
) -> None:
    """Seen along y or z: x to the right, column `up` upwards. Rows of `tip` (M, 3) in RUN, (M,)."""
    axis.plot(tip[:, X], tip[:, up], color=COMMAND, lw=0.6, label="to stand and to lie")
    run = np.where(running[:, None], tip, np.nan)
    axis.plot(run[:, X], run[:, up], color=TRUE, lw=1.2, label="under the policy")
    for number, place in enumerate(places, 1):
        where = (place[X], place[up])
        axis.add_patch(Circle(where, SUCCESS, color=GOAL, alpha=0.3, lw=0))
        axis.annotate(str(number), where, ha="center", va="center", fontsize=9, weight="bold")
    if up == Z:
        axis.axhline(0.0, color=COMMAND, lw=1)  # the table
    axis.plot(0.0, 0.0, "s", color="black", ms=6, label="base")
    axis.set(xlabel="x [m]", ylabel="xyz"[up] + " [m]")
    axis.set_aspect("equal", adjustable="datalim")


def _plot_distance(
    axis: Axes, time: np.ndarray, distance: np.ndarray, begins: np.ndarray, ends: np.ndarray
) -> None:
    """Against the radius within which a goal is reached, with the goals' numbers above."""
    axis.semilogy(time, 1e3 * distance, color=TRUE)
    axis.axhline(1e3 * SUCCESS, color=GOAL, lw=1, ls="--")
    axis.text(ends[-1], 1e3 * SUCCESS, f" {SUCCESS * 100:g} cm", color=GOAL, va="bottom")
    for number, (begin, end) in enumerate(zip(begins, ends, strict=True), 1):
        axis.axvline(begin, color=COMMAND, lw=0.5)
        where = ((begin + end) / 2, 0.99)
        style = {"ha": "center", "va": "top", "fontsize": 9, "weight": "bold"}
        axis.text(*where, str(number), transform=axis.get_xaxis_transform(), **style)
    axis.set(title="distance of the tip from its goal", ylabel="mm", ylim=(0.5, 1e3))


REACH = Exhibit(
    task="reach",
    done="reached",
    policy=MODELS / "arm" / "reach.onnx",
    robot="arm",
    schedule=SCHEDULE,
    seconds=DURATION,
    out=Path("demo-reach"),
    judge=_judge,
    plot=_plot,
)
