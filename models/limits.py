"""What a robot may be asked to do: the pure limiter of joint targets.

The safety monitor enforces it and the simulator trains with it, so a policy meets on the robot
what it has met before. Batched: every array has shape (..., n).

The servo's law is torque = kp (target − joint_pos) − kd joint_vel, so a bound on the torque at
the sample is a window of targets around the measured position. Between samples only the device's
own cap holds the torque.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

import numpy as np

from .errors import require_finite
from .robot import Robot


class Reason(IntFlag):
    """Why a joint target was changed; the reasons of a joint add up."""

    RATE = 1
    TORQUE = 2
    POSITION = 4


@dataclass(frozen=True)
class Limits:
    """Bounds of every joint. Arrays of shape (n,)."""

    lower: np.ndarray  # [rad]
    upper: np.ndarray  # [rad]
    torque: np.ndarray  # [N·m]
    step: np.ndarray  # change of the target from one tick to the next [rad]
    kp: np.ndarray  # [N·m/rad]
    kd: np.ndarray  # [N·m·s/rad]

    @classmethod
    def of(cls, robot: Robot) -> Limits:
        """The limits that robot.toml sets."""
        step = robot.rate_limit * robot.control_period
        return cls(robot.lower, robot.upper, robot.torque_limit, step, robot.kp, robot.kd)


def limit_target(
    limits: Limits,
    target: np.ndarray,
    previous_target: np.ndarray,
    joint_pos: np.ndarray,
    joint_vel: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The joint target [rad] nearest to `target` that the limits allow, and why it differs.

    Windows are applied from the least to the most important — rate, torque, position — so where
    they are disjoint (a shoved joint) position wins over torque, and torque over rate; where they
    meet, the result satisfies all three.

    Args:
        limits: bounds of every joint.
        target: wanted joint target [rad]. Shape (..., n).
        previous_target: target of the tick before, as limited [rad]. Shape (..., n).
        joint_pos: measured [rad]. Shape (..., n).
        joint_vel: measured [rad/s]. Shape (..., n).

    Returns:
        The limited target [rad] and the `Reason` bits, uint8. Shapes (..., n).

    Raises:
        NonFiniteError: some input is NaN or infinite. Nothing is clamped then.
    """
    require_finite(
        target=target, previous_target=previous_target, joint_pos=joint_pos, joint_vel=joint_vel
    )
    after_rate = np.clip(target, previous_target - limits.step, previous_target + limits.step)
    centre = joint_pos + limits.kd / limits.kp * joint_vel
    reach = limits.torque / limits.kp
    after_torque = np.clip(after_rate, centre - reach, centre + reach)
    limited = np.clip(after_torque, limits.lower, limits.upper)
    reasons = (
        np.where(after_rate != target, Reason.RATE, 0)
        + np.where(after_torque != after_rate, Reason.TORQUE, 0)
        + np.where(limited != after_torque, Reason.POSITION, 0)
    )
    return limited, reasons.astype(np.uint8)
