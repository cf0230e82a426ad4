"""The demo's walk: a schedule of velocities, what came of them, and a picture of that."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from rich import box
from rich.table import Table

from ..deploy.log.reader import RunLog
from ..deploy.verdict import State
from ..deploy.workstation.judge_walk import AXES, Walk, judge_walk
from ..hardware.truth import Truth
from ..models.robot import Robot
from ..models.robot_file import MODELS
from .exhibit import Exhibit, Judgement
from .plots import (
    COMMAND,
    SIMULATED,
    TRUE,
    mark_states,
    panels,
    plot_limits,
    plot_period,
    smooth,
)

SCHEDULE = """\
time,vx,vy,yaw_rate
0,0,0,0
1,0.45,0,0
9,0,0.25,0
13,0.2,0,0.8
19,0,0,0
"""  # stand, forward, sideways, turn, stop [s, m/s, m/s, rad/s]
DURATION = 20.0  # [s]
ENOUGH = 3.0  # of path [m]
PANELS = (("forward", "m/s"), ("left", "m/s"), ("turn", "rad/s"))


def _judge(_robot: Robot, log: RunLog, truth: Truth, seconds: float) -> Judgement:
    """Far enough, and without a fall."""
    walk = judge_walk(log.ticks, truth)
    enough = ENOUGH * min(1.0, seconds / DURATION)
    words = f"{walk.path:.2f} m of path, allowed is {enough:.1f} m or more, no fall"
    good = walk.path >= enough and not walk.fell
    return Judgement(good, words, _table(walk), asdict(walk))


def _table(walk: Walk) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_header=False)
    table.add_row("path walked", f"{walk.path:.2f} m")
    if walk.rmse and walk.mean_error:
        for axis, unit in zip(AXES, ("m/s", "m/s", "rad/s"), strict=True):
            rmse, mean = walk.rmse[axis], walk.mean_error[axis]
            table.add_row(f"{axis} error", f"RMS {rmse:.3f}, mean {mean:+.3f} {unit}")
    if walk.largest_tilt is not None:
        table.add_row("largest tilt", f"{math.degrees(walk.largest_tilt):.1f}°")
        table.add_row("torque, RMS", f"{walk.torque_rms:.2f} N·m")
    return table


def _plot(robot: Robot, log: RunLog, truth: Truth, path: Path) -> None:
    """The walk at a glance: path, speeds against commands, limits, loop period."""
    ticks = log.ticks
    running = ticks["state"] == State.RUN
    time = ticks["start"] - ticks["start"][0]
    truth = truth.between(ticks["start"][0], ticks["start"][-1])
    true_time = truth.time - ticks["start"][0]
    velocity = np.column_stack((truth.linear_velocity[:, :2], truth.angular_velocity[:, 2]))
    with panels(path) as axes:
        _plot_path(axes[0, 0], truth)
        for index, ((name, unit), axis) in enumerate(zip(PANELS, axes.flat[1:4], strict=True)):
            axis.plot(true_time, velocity[:, index], color=TRUE, alpha=0.25, lw=0.7)
            command = np.where(running, ticks["command"][:, index], np.nan)
            axis.plot(time, command, color=COMMAND, lw=3, label="command")
            true = smooth(velocity[:, index])
            axis.plot(true_time, true, color=TRUE, label="true, over a stride")
            axis.set(title=name, ylabel=unit)
        axes[0, 1].legend(loc="upper right", frameon=False)
        plot_limits(axes[1, 1], ticks, time)
        for axis in axes.flat[1:5]:
            mark_states(axis, ticks["state"], time)
        plot_period(axes[1, 2], robot, ticks)


def _plot_path(axis: Axes, truth: Truth) -> None:
    x, y = truth.base_position[:, 0], truth.base_position[:, 1]
    axis.plot(x, y, color=TRUE)
    axis.plot(x[0], y[0], "o", color="black", ms=6, label="start")
    w, qx, qy, qz = truth.base_quaternion[::100].T
    heading = np.arctan2(2 * (w * qz + qx * qy), 1 - 2 * (qy**2 + qz**2))
    axis.quiver(
        x[::100],
        y[::100],
        np.cos(heading),
        np.sin(heading),
        color=SIMULATED,
        scale=18,
        width=0.006,
        zorder=3,
        label="heading, every 2 s",
    )
    axis.set(title="path", xlabel="x [m]", ylabel="y [m]")
    axis.set_aspect("equal", adjustable="datalim")
    axis.legend(frameon=False)


WALK = Exhibit(
    task="walk",
    done="walked",
    policy=MODELS / "quadruped" / "walk.onnx",
    robot="quadruped",
    schedule=SCHEDULE,
    seconds=DURATION,
    out=Path("demo"),
    judge=_judge,
    plot=_plot,
)
