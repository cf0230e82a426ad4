"""From what is wanted of the joints to the command that the limits allow, by target or by torque.

A `TargetDrive` tells the motors where to be, and they hold that by themselves. A `TorqueDrive`
tells them what to push: the loop that holds a joint is closed here, once a tick, and a joint whose
angle is not known gets no torque at all, since a push that nobody watches only accelerates.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np

from ..hardware.interface import Command, Mode, Sample
from ..models.limits import Limits, Output, limit_target, limit_torque, loop_torque
from ..models.robot import Robot


class Drive(Protocol):
    """Makes commands of targets and of a policy's output; sends none. Arrays have shape (n,)."""

    limits: Limits
    target: np.ndarray  # that the joints track, or are held at; NaN before the first [rad]

    def begin(self, sample: Sample) -> None:
        """Let the first target be where the joints are."""
        ...

    def track(
        self, target: np.ndarray, cap: np.ndarray, sample: Sample
    ) -> tuple[Command, np.ndarray]:
        """Towards a target [rad] with so much torque at most [N·m]; the command and `Reason`s."""
        ...

    def apply(self, wanted: np.ndarray | None, sample: Sample) -> tuple[Command, np.ndarray]:
        """What a policy wants, a target [rad] or a torque [N·m]; the command and `Reason`s.

        None, before it has been asked, keeps the last target.
        """
        ...

    def hold(self, sample: Sample, now: float) -> Command:
        """Keep the last target; `now` is the time on the sample's clock [s]."""
        ...


def drive_for(robot: Robot, output: Output) -> Drive:
    """The drive for a policy's output."""
    return TorqueDrive(robot) if output == "joint_torque" else TargetDrive(robot)


class TargetDrive:
    """The motors close the position loop."""

    def __init__(self, robot: Robot) -> None:
        self.limits = Limits.of(robot)
        self.target = np.full(len(robot.joints), np.nan)
        self._cap = np.zeros(len(robot.joints))

    def begin(self, sample: Sample) -> None:
        """See `Drive.begin`."""
        self.target = sample.joint_pos.copy()

    def track(
        self, target: np.ndarray, cap: np.ndarray, sample: Sample
    ) -> tuple[Command, np.ndarray]:
        """See `Drive.track`."""
        self._cap = cap
        self.target, reasons = limit_target(
            self.limits, target, self.target, sample.joint_pos, sample.joint_vel
        )
        return Command(Mode.TRACK, self.target, cap), reasons

    def apply(self, wanted: np.ndarray | None, sample: Sample) -> tuple[Command, np.ndarray]:
        """See `Drive.apply`."""
        wanted = self.target if wanted is None else wanted
        return self.track(wanted, self.limits.torque, sample)

    def hold(self, sample: Sample, now: float) -> Command:
        """See `Drive.hold`."""
        return Command(Mode.HOLD, torque_cap=self._cap)


class TorqueDrive:
    """The host closes the position loop, as stiff as its period bears (`models/limits.py`)."""

    def __init__(self, robot: Robot) -> None:
        self.limits = Limits.of(robot, "joint_torque")
        self.target = np.full(len(robot.joints), np.nan)
        self._cap = self.limits.torque
        self._oldest = robot.safety.hold_after  # reading on which a torque may be based [s]

    def begin(self, sample: Sample) -> None:
        """See `Drive.begin`."""
        self.target = sample.joint_pos.copy()

    def track(
        self, target: np.ndarray, cap: np.ndarray, sample: Sample
    ) -> tuple[Command, np.ndarray]:
        """See `Drive.track`."""
        pos, vel = sample.joint_pos, sample.joint_vel
        self._cap = cap
        self.target, on_target = limit_target(self.limits, target, self.target, pos, vel)
        torque = loop_torque(self.limits, self.target, pos, vel)
        torque, on_torque = limit_torque(replace(self.limits, torque=cap), torque, pos, vel)
        return Command(Mode.TORQUE, torque=torque, torque_cap=cap), on_target | on_torque

    def apply(self, wanted: np.ndarray | None, sample: Sample) -> tuple[Command, np.ndarray]:
        """See `Drive.apply`. Should it come to a hold, the joints are held where they are now."""
        if wanted is None:
            return self.track(self.target, self.limits.torque, sample)
        self.target, self._cap = sample.joint_pos.copy(), self.limits.torque
        torque, reasons = limit_torque(self.limits, wanted, sample.joint_pos, sample.joint_vel)
        return Command(Mode.TORQUE, torque=torque, torque_cap=self._cap), reasons

    def hold(self, sample: Sample, now: float) -> Command:
        """See `Drive.hold`. What is old or not finite is not acted upon."""
        known = sample.age + (now - sample.time) <= self._oldest
        known &= np.isfinite(sample.joint_pos) & np.isfinite(sample.joint_vel)
        pos, vel = np.where(known, sample.joint_pos, 0.0), np.where(known, sample.joint_vel, 0.0)
        limits = replace(self.limits, torque=self._cap)
        torque, _ = limit_torque(limits, loop_torque(limits, self.target, pos, vel), pos, vel)
        return Command(Mode.TORQUE, torque=np.where(known, torque, 0.0), torque_cap=self._cap)
