"""What a robot may be asked to do: the pure limiters of joint targets and of joint torques.

The safety monitor enforces them and the simulator trains with them, so a policy meets on the robot
what it has met before. Batched: every array has shape (..., n).

A servo's law is torque = kp (target − joint_pos) − kd joint_vel, so a bound on the torque at the
sample is a window of targets around the measured position. Between samples only the device's own
cap holds the torque.

Under joint torques the device keeps nothing but the torque, and the host closes what loops there
are: it holds, damps and keeps off the ends of the range with the same law, once a control period.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import Literal

import numpy as np

from .errors import require_finite
from .robot import Robot

Output = Literal["joint_target", "joint_torque"]  # of a policy [rad], [N·m]

# A loop that the host closes sees its joint once a period and acts up to a period later. With these
# shares it is stable at any such delay, for every inertia from the rotor's alone upwards
# (tests/test_limits.py computes the eigenvalues).
DAMPING_SHARE = 0.5  # of rotor inertia / period, at most, is its damping
STIFFNESS_SHARE = 0.4  # of damping / period, at most, is its stiffness
# A heavier joint takes longer to stop, and may not be braked harder lest a lighter one swing. So it
# is braked earlier: as if by so many times the damping, which suits as many times the inertia.
EARLY = 3.0


class Reason(IntFlag):
    """Why a joint target or torque was changed; the reasons of a joint add up."""

    RATE = 1
    TORQUE = 2
    POSITION = 4
    VELOCITY = 8


@dataclass(frozen=True)
class Limits:
    """Bounds of every joint, and the gains of whoever closes its position loop. Shapes (n,)."""

    lower: np.ndarray  # [rad]
    upper: np.ndarray  # [rad]
    torque: np.ndarray  # [N·m]
    step: np.ndarray  # change of the target from one tick to the next [rad]
    kp: np.ndarray  # [N·m/rad]
    kd: np.ndarray  # [N·m·s/rad]
    velocity: np.ndarray  # [rad/s]

    @classmethod
    def of(cls, robot: Robot, output: Output = "joint_target") -> Limits:
        """The limits that robot.toml sets, with the servos' gains.

        Under "joint_torque" the gains are the host's: stiffness as in robot.toml and damping as
        large as can be, both as far as a loop of the control period bears them. A joint is then
        kept to `rate_limit` as its target else is, and to what its motor does without load.
        """
        kp, kd, velocity = robot.kp, robot.kd, robot.rate_limit
        if output == "joint_torque":
            kd = DAMPING_SHARE * robot.armature / robot.control_period
            kp = np.minimum(kp, STIFFNESS_SHARE * kd / robot.control_period)
            velocity = np.minimum(velocity, robot.no_load_speed)
        step = robot.rate_limit * robot.control_period
        return cls(robot.lower, robot.upper, robot.torque_limit, step, kp, kd, velocity)


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


def limit_torque(
    limits: Limits, torque: np.ndarray, joint_pos: np.ndarray, joint_vel: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The joint torque [N·m] nearest to `torque` that the limits allow, and why it differs.

    Windows are applied from the least to the most important, each within the torque limit: what
    brakes a joint that is faster than its velocity limit and stops driving it there; what fades
    towards either end of the range, brakes what comes near it fast, and repels beyond it. So
    position wins over velocity, and no torque is ever beyond its limit. A joint of up to `EARLY`
    times its rotor's inertia, pushed with all its torque, stops short of the end; a heavier one
    overshoots. There is no limit of the torque's rate: a servo's, too, may turn round in a tick.

    Args:
        limits: bounds of every joint, of `Limits.of(robot, "joint_torque")`.
        torque: wanted [N·m]. Shape (..., n).
        joint_pos: measured [rad]. Shape (..., n).
        joint_vel: measured [rad/s]. Shape (..., n).

    Returns:
        The limited torque [N·m] and the `Reason` bits, uint8. Shapes (..., n).

    Raises:
        NonFiniteError: some input is NaN or infinite. Nothing is clamped then.
    """
    require_finite(torque=torque, joint_pos=joint_pos, joint_vel=joint_vel)

    def within_cap(value: np.ndarray) -> np.ndarray:
        return np.clip(value, -limits.torque, limits.torque)

    capped = within_cap(torque)
    slowest = within_cap(limits.kd * (-limits.velocity - joint_vel))
    fastest = within_cap(limits.kd * (limits.velocity - joint_vel))
    after_velocity = np.clip(capped, slowest, fastest)
    down = within_cap(-_towards_end(limits, joint_pos - limits.lower, -joint_vel))
    up = within_cap(_towards_end(limits, limits.upper - joint_pos, joint_vel))
    limited = np.clip(after_velocity, down, up)
    reasons = (
        np.where(capped != torque, Reason.TORQUE, 0)
        + np.where(after_velocity != capped, Reason.VELOCITY, 0)
        + np.where(limited != after_velocity, Reason.POSITION, 0)
    )
    return limited, reasons.astype(np.uint8)


def _towards_end(limits: Limits, room: np.ndarray, speed: np.ndarray) -> np.ndarray:
    """The largest torque [N·m] towards an end so far away [rad], at such a speed towards it."""
    brake = np.minimum(limits.kp * room, 0.0) - limits.kd * speed
    return np.maximum(limits.kp * room - EARLY * limits.kd * speed, brake)


def loop_torque(
    limits: Limits, target: np.ndarray, joint_pos: np.ndarray, joint_vel: np.ndarray
) -> np.ndarray:
    """What the position loop asks for on the way to `target` [rad], unlimited [N·m]. (..., n)."""
    return limits.kp * (target - joint_pos) - limits.kd * joint_vel
