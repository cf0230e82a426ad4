"""Joint units to device units and back, for the motors of one bus.

joint angle = sign · (shaft angle − zero) / gear, and the shaft angle is 2π/4096 of a count. After
power-up a motor knows its angle within one turn only, so whole turns are added to what it reports;
goals are given in the device's own turns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...models.errors import DeviceError
from ...models.robot import Joint, MotorModel
from .xseries import (
    COUNTS_PER_TURN,
    CURRENT_UNIT,
    MAX_GAIN,
    MAX_GOAL_POSITION,
    RADIANS_PER_COUNT,
    VELOCITY_UNIT,
)


class MotorUnits:
    """Scales of m motors. All arrays have shape (m,)."""

    def __init__(self, joints: Sequence[Joint], models: Sequence[MotorModel]) -> None:
        self._joints = joints
        self._models = models
        self.sign = np.array([joint.motor.sign for joint in joints], dtype=np.float64)
        self.zero = np.array([joint.motor.zero for joint in joints])
        self.gear = np.array([joint.motor.gear for joint in joints])
        self.middle = np.array([(joint.lower + joint.upper) / 2 for joint in joints])
        self.torque_per_ampere = self.gear * [model.torque_per_ampere for model in models]
        self.turn = 2 * math.pi / self.gear  # of the shaft, seen at the joint [rad]
        self.turns = np.zeros(len(joints), dtype=np.int64)  # added to what the device reports

    def joint_pos(self, counts: np.ndarray) -> np.ndarray:
        """Joint angles [rad] from present positions."""
        shaft = (counts + self.turns * COUNTS_PER_TURN) * RADIANS_PER_COUNT
        return self.sign * (shaft - self.zero) / self.gear

    def goal_position(self, joint_pos: np.ndarray) -> np.ndarray:
        """Goal positions from joint angles [rad], within what the device can be told at all."""
        shaft = self.sign * self.gear * joint_pos + self.zero
        counts = np.rint(shaft / RADIANS_PER_COUNT) - self.turns * COUNTS_PER_TURN
        return np.clip(counts, -MAX_GOAL_POSITION, MAX_GOAL_POSITION).astype(np.int64)

    def joint_vel(self, velocity: np.ndarray) -> np.ndarray:
        """Joint velocities [rad/s] from present velocities."""
        return self.sign * velocity * VELOCITY_UNIT / self.gear

    def joint_torque(self, current: np.ndarray) -> np.ndarray:
        """Joint torques [N·m] from present currents."""
        return self.sign * current * CURRENT_UNIT * self.torque_per_ampere

    def goal_current(self, torque_cap: np.ndarray, current_limit: np.ndarray) -> np.ndarray:
        """Goal currents that keep the torque at or below `torque_cap` [N·m], and in the limit."""
        units = np.floor(torque_cap / (self.torque_per_ampere * CURRENT_UNIT) + 1e-9)
        return np.clip(units, 0, current_limit).astype(np.int64)

    def signed_current(self, torque: np.ndarray, current_limit: np.ndarray) -> np.ndarray:
        """Goal currents that push with `torque` [N·m], or with the unit less; in the limit."""
        sign = np.where(torque < 0, -self.sign, self.sign).astype(np.int64)
        return sign * self.goal_current(np.abs(torque), current_limit)

    def find_turns(self, counts: np.ndarray) -> None:
        """Choose the turns that put each joint nearest to the middle of its range."""
        self.turns[:] = 0
        off = np.rint((self.middle - self.joint_pos(counts)) / self.turn)
        self.turns += (self.sign * off).astype(np.int64)

    def position_gains(self, kp: Sequence[float], kd: Sequence[float]) -> list[tuple[int, int]]:
        """P and D gains for joint stiffness [N·m/rad] and damping [N·m·s/rad].

        Raises:
            DeviceError: a gain is beyond what the device takes.
        """
        gains = []
        for joint, model, stiffness, damping in zip(
            self._joints, self._models, kp, kd, strict=True
        ):
            square = joint.motor.gear**2  # torque and angle are both geared
            p = round(stiffness / (square * model.stiffness_per_gain))
            d = round(damping / (square * model.damping_per_gain))
            if not (0 <= p <= MAX_GAIN and 0 <= d <= MAX_GAIN):
                raise DeviceError(
                    f"motor of {joint.name}: found P gain {p} and D gain {d} for {stiffness} "
                    f"N·m/rad and {damping} N·m·s/rad, allowed is 0 to {MAX_GAIN}"
                )
            gains.append((p, d))
        return gains
