"""Pictures of a run, with matplotlib."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")  # to a file, with or without a display
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from ..deploy.verdict import State
from ..deploy.workstation.replay import SimReplay
from ..hardware.interface import Mode
from ..models.limits import Reason
from ..models.robot import Robot

COMMAND, TRUE, SIMULATED, LOGGED = "#777777", "#2b6cb0", "#dd6b20", "#90bde8"
COLOURS = {Reason.RATE: "#2b6cb0", Reason.TORQUE: "#dd6b20", Reason.POSITION: "#2f855a"}
ROOM = 0.08  # of the time axis, that the name of a state takes
STATES = {State.STAND: "stand", State.RUN: "run", State.LIE: "lie"}
SMOOTHING = 25  # ticks: 0.5 s, one stride of the trot
WINDOW = 3.0  # of the joints, close up [s]
DPI = 110


@contextmanager
def panels(path: Path) -> Iterator[Any]:
    """Two rows of three axes, written as a picture once they are filled. Array of shape (2, 3)."""
    figure, axes = plt.subplots(2, 3, figsize=(13, 7), layout="constrained")
    yield axes
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def plot_joints(robot: Robot, replay: SimReplay, path: Path) -> None:
    """Every joint, as logged and as simulated, where these two differ most.

    Where nothing was under torque there is nothing to simulate: then the whole log alone.
    """
    compared = bool(replay.moving.any())
    columns = 3
    rows = -(-len(robot.joints) // columns)
    figure = plt.figure(figsize=(13, 2.1 * (rows + compared)), layout="constrained")
    grid = figure.add_gridspec(rows + compared, columns)
    joints = [figure.add_subplot(grid[divmod(i, columns)]) for i in range(len(robot.joints))]
    window = _window(replay) if compared else slice(None)
    time = replay.time[window]
    for index, (joint, axis) in enumerate(zip(robot.joints, joints, strict=True)):
        wide = {"color": LOGGED, "lw": 4} if compared else {"color": TRUE, "lw": 1}
        axis.plot(time, replay.logged[window, index], label="log", **wide)
        if compared:
            simulated = replay.simulated[window, index]
            axis.plot(time, simulated, color=SIMULATED, lw=1.2, label="simulation")
        axis.set_title(joint.name, fontsize=9)
        axis.margins(x=0)
        if index % columns == 0:
            axis.set_ylabel("rad")
        if index + columns < len(joints):
            axis.tick_params(labelbottom=False)
        else:
            axis.set_xlabel("time [s]")
    joints[0].legend(loc="upper right", fontsize=8)
    if compared:
        _difference(figure.add_subplot(grid[rows, :]), replay, time)
        figure.suptitle(f"The {WINDOW:.0f} s in which simulation and log differ most", fontsize=11)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def _window(replay: SimReplay) -> slice:
    """The ticks of `WINDOW` in which the joints under torque differ most."""
    squared = np.square(replay.simulated - replay.logged).mean(1) * replay.moving
    ticks = int(np.searchsorted(replay.time, replay.time[0] + WINDOW))
    sums = np.convolve(squared, np.ones(min(ticks, len(squared))), "valid")
    first = int(np.argmax(sums))
    return slice(first, first + ticks)


def _difference(axis: Axes, replay: SimReplay, window: np.ndarray) -> None:
    """Simulation less log over the whole run, and where the close-up is from."""
    difference = np.where(replay.moving[:, None], np.abs(replay.simulated - replay.logged), np.nan)
    axis.axvspan(window[0], window[-1], color="#f2e3d5", lw=0, label="shown above")
    axis.plot(replay.time, difference.max(1), color=SIMULATED, lw=0.8, label="worst joint")
    root_mean_square = np.sqrt(np.square(difference).mean(1))
    axis.plot(replay.time, root_mean_square, color=TRUE, lw=1.2, label="RMS of all joints")
    axis.set(title="how far they part, under torque", xlabel="time [s]", ylabel="rad")
    axis.set_ylim(bottom=0)
    axis.margins(x=0)
    axis.legend(loc="upper right", fontsize=8, ncols=3)


def plot_limits(axis: Axes, ticks: np.ndarray, time: np.ndarray) -> None:
    """How many of the joint targets each limit changed; the limits that never did stay out."""
    acted = {reason: (ticks["reasons"] & reason.value) != 0 for reason in Reason}
    never = [str(reason.name).lower() for reason, where in acted.items() if not where.any()]
    for reason, where in acted.items():
        if where.any():
            share = 100 * smooth(where.mean(1))
            axis.plot(time, share, color=COLOURS.get(reason), label=str(reason.name).lower())
    if never:
        axis.plot([], [], " ", label=f"never: {', '.join(never)}")
    axis.set(title="joint targets changed by a limit", ylabel="%")
    axis.margins(y=0.35)  # for the legend
    axis.set_ylim(bottom=0)
    axis.legend(loc="upper right", frameon=False)


def _spans(states: np.ndarray, time: np.ndarray) -> list[tuple[int, float, float]]:
    """Each state passed through, with its first moment and that of the next."""
    starts = np.flatnonzero(np.append(True, states[1:] != states[:-1]))
    ends = np.append(time[starts[1:]], time[-1])
    return list(zip(states[starts].tolist(), time[starts], ends, strict=True))


def mark_states(axis: Axes, states: np.ndarray, time: np.ndarray) -> None:
    """The same time axis for every panel, grey but for RUN, with the states' names above it."""
    for state, start, end in _spans(states, time):
        if state != State.RUN:
            axis.axvspan(start, end, color="#f0f0f0", lw=0, zorder=0)
    # A short hold parts no name in two, and names stand where there is room for them.
    index = np.where(states == State.HOLD, 0, np.arange(len(states)))
    for state, start, end in _spans(states[np.maximum.accumulate(index)], time):
        if state in STATES and end - start > ROOM * (time[-1] - time[0]):
            where = ((start + end) / 2, 0.01)
            name = STATES[State(int(state))]
            style = {"ha": "center", "va": "bottom", "fontsize": 7, "color": COMMAND}
            axis.text(*where, name, transform=axis.get_xaxis_transform(), **style)
    axis.set_xlim(time[0], time[-1])
    axis.set_xlabel("time [s]")


def plot_period(axis: Axes, robot: Robot, ticks: np.ndarray) -> None:
    """Without the tick that enables torque, as in every figure of a run."""
    wanted = robot.control_period * 1e3
    enables = np.diff((ticks["mode"] != Mode.OFF).astype(int), prepend=0) > 0
    period = np.diff(ticks["start"])[~enables[:-1]] * 1e3
    least, most = min(period.min(), wanted - 5), max(period.max(), wanted + 5)
    width = max((most - least) / 80, 0.5)
    # A bin lies around the wanted period, not to its left and right.
    edges = wanted + width * (np.arange(-((wanted - least) // width) - 1, 81) - 0.5)
    axis.axvline(wanted, color=COMMAND, lw=1, ls="--", label=f"wanted, {wanted:g} ms", zorder=0)
    axis.hist(period, bins=edges[edges < most + 1.5 * width], color=TRUE, label="measured")
    axis.set_yscale("log")
    axis.set_ylim(bottom=0.7)  # so that a single tick is seen
    axis.set(title="loop period", xlabel="ms", ylabel="ticks")
    axis.legend(frameon=False)


def smooth(values: np.ndarray) -> np.ndarray:
    """Mean over `SMOOTHING` ticks. Shape (T,)."""
    weights = np.ones(SMOOTHING)
    counts = np.convolve(np.ones(len(values)), weights, "same")
    return np.convolve(values, weights, "same") / counts
