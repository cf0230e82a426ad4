"""Pictures of a run, with matplotlib."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")  # to a file, with or without a display
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from ..deploy.log import RunLog
from ..deploy.replay import SimReplay
from ..deploy.verdict import State
from ..hardware.truth import Truth
from ..models.limits import Reason
from ..models.robot import Robot

COMMAND, TRUE, LOGGED, SIMULATED = "#999999", "#2b6cb0", "#2b6cb0", "#dd6b20"
AXES = (("forward", "m/s"), ("left", "m/s"), ("turn", "rad/s"))
SMOOTHING = 25  # ticks: one stride of the trot


def plot_walk(robot: Robot, log: RunLog, truth: Truth, path: Path) -> None:
    """The walk at a glance: path, speeds against commands, torque, limits, loop period."""
    ticks = log.ticks
    running = ticks["state"] == State.RUN
    time = ticks["start"] - ticks["start"][0]
    true_time = truth.time - ticks["start"][0]
    figure, axes = plt.subplots(2, 3, figsize=(13, 7), layout="constrained")
    _path(axes[0, 0], truth)
    velocity = np.column_stack((truth.linear_velocity[:, :2], truth.angular_velocity[:, 2]))
    for index, ((name, unit), axis) in enumerate(zip(AXES, axes.flat[1:4], strict=True)):
        axis.plot(true_time, velocity[:, index], color=TRUE, alpha=0.25, lw=0.7)
        axis.plot(true_time, _smooth(velocity[:, index]), color=TRUE, label="true, over a stride")
        command = np.where(running, ticks["command"][:, index], np.nan)
        axis.plot(time, command, color=COMMAND, lw=2, label="command")
        axis.set(title=name, xlabel="time [s]", ylabel=unit)
    axes[0, 1].legend(loc="upper right", frameon=False)
    _limits(axes[1, 1], robot, ticks, time)
    _period(axes[1, 2], robot, ticks["start"])
    figure.savefig(path, dpi=110)
    plt.close(figure)


def plot_joints(robot: Robot, replay: SimReplay, path: Path) -> None:
    """Every joint, as logged and as simulated."""
    columns = 3
    rows = -(-len(robot.joints) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(13, 2.2 * rows), sharex=True, layout="constrained", squeeze=False
    )
    for index, (joint, axis) in enumerate(zip(robot.joints, axes.flat, strict=False)):
        axis.plot(replay.time, replay.logged[:, index], color=LOGGED, lw=1, label="log")
        axis.plot(
            replay.time, replay.simulated[:, index], color=SIMULATED, lw=1, label="simulation"
        )
        axis.set_title(joint.name, fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel("time [s]")
    for axis in axes[:, 0]:
        axis.set_ylabel("rad")
    axes[0, 0].legend(frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _path(axis: Axes, truth: Truth) -> None:
    x, y = truth.base_position[:, 0], truth.base_position[:, 1]
    axis.plot(x, y, color=TRUE)
    axis.plot(x[0], y[0], "o", color="black", ms=5)
    w, qx, qy, qz = truth.base_quaternion[::100].T
    heading = np.arctan2(2 * (w * qz + qx * qy), 1 - 2 * (qy**2 + qz**2))
    axis.quiver(
        x[::100], y[::100], np.cos(heading), np.sin(heading), color=SIMULATED, scale=18, width=0.006
    )
    axis.set(title="path and heading, every 2 s", xlabel="x [m]", ylabel="y [m]")
    axis.set_aspect("equal", adjustable="datalim")


def _limits(axis: Axes, robot: Robot, ticks: np.ndarray, time: np.ndarray) -> None:
    for reason in Reason:
        acted = (ticks["reasons"] & reason > 0).sum(1).astype(float)
        axis.plot(time, _smooth(acted), label=str(reason.name).lower())
    axis.set(
        title="targets changed by the limiter",
        xlabel="time [s]",
        ylabel=f"joints of {len(robot.joints)}",
    )
    axis.legend(frameon=False)


def _period(axis: Axes, robot: Robot, start: np.ndarray) -> None:
    period = np.diff(start) * 1e3
    axis.hist(period, bins=100, color=TRUE)
    axis.axvline(robot.control_period * 1e3, color=COMMAND, lw=2)
    axis.set_yscale("log")
    axis.set(title="loop period", xlabel="ms", ylabel="ticks")


def _smooth(values: np.ndarray) -> np.ndarray:
    """Mean over a stride. Shape (T,)."""
    weights = np.ones(SMOOTHING)
    counts = np.convolve(np.ones(len(values)), weights, "same")
    return np.convolve(values, weights, "same") / counts
