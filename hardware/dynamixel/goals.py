"""Goals and gains of the motors on one bus, as the bytes that they are told.

In mode 5 a goal is a position under a current that caps it, and the device's gains are the joint's
stiffness and damping. In mode 0 a goal is a current alone, and there are no gains.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...models.limits import Output
from ...models.robot import Joint, Safety
from .layout import GAINS, GOAL, TORQUE_GOAL
from .units import MotorUnits

Bytes = dict[int, bytes]  # by ID


class Goals:
    """Of m motors; arrays have shape (m,)."""

    def __init__(
        self, joints: Sequence[Joint], safety: Safety, units: MotorUnits, output: Output
    ) -> None:
        """Raises DeviceError where a gain is beyond what the device takes."""
        self.current_limit = np.zeros(len(joints), np.int64)  # of the devices, once it is read
        self._ids = [joint.motor.id for joint in joints]
        self._units = units
        self._gains: dict[bool, Bytes] = {}
        if output == "joint_target":
            damping = [safety.damping] * len(joints)
            self._gains[False] = self._pack_gains([j.kp for j in joints], [j.kd for j in joints])
            self._gains[True] = self._pack_gains([0.0] * len(joints), damping)

    def gains(self, damped: bool) -> Bytes:
        """The joints' own, or damping alone."""
        return self._gains[damped]

    def targets(self, target: np.ndarray, torque_cap: np.ndarray) -> Bytes:
        """Joint targets [rad] under torque caps [N·m]."""
        position = self._units.goal_position(target)
        current = self._units.goal_current(torque_cap, self.current_limit)
        rows = zip(self._ids, current.tolist(), position.tolist(), strict=True)
        return {id: GOAL.pack(c, p) for id, c, p in rows}

    def torques(self, torque: np.ndarray) -> Bytes:
        """Joint torques [N·m]."""
        current = self._units.signed_current(torque, self.current_limit)
        return {id: TORQUE_GOAL.pack(c) for id, c in zip(self._ids, current.tolist(), strict=True)}

    def _pack_gains(self, kp: list[float], kd: list[float]) -> Bytes:
        gains = self._units.position_gains(kp, kd)
        return {id: GAINS.pack(d, 0, p) for id, (p, d) in zip(self._ids, gains, strict=True)}
