"""How a robot walked, by the emulator's truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...hardware.truth import Truth
from ..verdict import State

AXES = ("vx", "vy", "yaw_rate")
SETTLING = 1.0  # after a new command, left out of the errors [s]
STRIDE = 25  # rows of the truth: 0.5 s
FALLEN = 1.0  # tilt [rad]


@dataclass(frozen=True)
class Walk:
    """What the robot did in RUN. None where it never came to that, or for too short a time."""

    path: float  # walked, along each stride's mean: the sway of a trot is no path [m]
    distance: float  # from the first place to the last [m]
    fell: bool  # or never came to RUN
    largest_tilt: float | None  # [rad]
    torque_rms: float | None  # of all joints [N·m]
    rmse: dict[str, float] | None  # true velocity against command, by axis [m/s, m/s, rad/s]
    mean_error: dict[str, float] | None  # likewise, with its sign


def judge_walk(ticks: np.ndarray, truth: Truth) -> Walk:
    """Judge a run.

    Args:
        ticks: of the whole run, records of `format.tick_dtype`. Shape (T,).
        truth: of the same robot, on the ticks' clock.
    """
    running = ticks[ticks["state"] == State.RUN]
    walk = truth.between(running["start"][0], running["start"][-1]) if len(running) else None
    if walk is None or not len(walk.time):
        return Walk(0.0, 0.0, True, None, None, None, None)
    position = walk.base_position[:, :2]
    strides = np.diff(position[::STRIDE], axis=0)
    errors = _errors(running, truth)
    return Walk(
        path=float(np.linalg.norm(strides, axis=1).sum()),
        distance=float(np.linalg.norm(position[-1] - position[0])),
        fell=bool((walk.tilt > FALLEN).any()),
        largest_tilt=float(walk.tilt.max()),
        torque_rms=float(np.sqrt(np.square(walk.joint_torque).mean())),
        rmse=_by_axis(np.sqrt(np.square(errors).mean(0))) if len(errors) else None,
        mean_error=_by_axis(errors.mean(0)) if len(errors) else None,
    )


def _errors(running: np.ndarray, truth: Truth) -> np.ndarray:
    """True velocity less command at each tick at which a command has settled. Shape (M, 3)."""
    start, command = running["start"], running["command"]
    rows = np.clip(np.searchsorted(truth.time, start), 0, len(truth.time) - 1)
    velocity = np.column_stack((truth.linear_velocity[rows, :2], truth.angular_velocity[rows, 2]))
    changed = np.append(True, (np.diff(command, axis=0) != 0).any(1))
    changed_at = np.maximum.accumulate(np.where(changed, start, -np.inf))
    return (velocity - command)[start - changed_at > SETTLING]


def _by_axis(values: np.ndarray) -> dict[str, float]:
    return dict(zip(AXES, values.tolist(), strict=True))
