"""A test double driven by joint torques: a rotor at every joint, without gravity or contact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from kinematic_robot import FakeClock, KinematicRobot
from surefoot.hardware.interface import Command, Mode, Sample, require_mode
from surefoot.models.limits import Limits
from surefoot.models.robot import Robot

SUBSTEP = 0.001  # [s]
FRICTION = 0.05  # dry, of a joint that moves [N·m]


class TorqueRobot(KinematicRobot):
    """Feels the torque of the last command for as long as the clock runs on."""

    def __init__(self, robot: Robot, clock: FakeClock, load: float = 1.5) -> None:
        """`load` is the inertia of each joint, in those of its rotor."""
        super().__init__(robot, clock)
        self.joint_vel = np.zeros_like(self.joint_pos)
        self.inertia = load * robot.armature
        self.stuck = np.zeros(len(self.joint_pos), bool)  # joints that do not move
        self.pushed = np.zeros_like(self.joint_pos)  # by what nobody commanded [N·m]
        self.fastest = np.zeros_like(self.joint_pos)  # of all times [rad/s]
        self.farthest = self.joint_pos.copy()  # upwards, of all times [rad]
        self._limits = Limits.of(robot, "joint_torque")
        self._now = clock.now()

    def read(self) -> Sample:
        self._pass()
        sample = super().read()
        return replace(sample, joint_vel=np.where(self.stuck, 0.0, self.joint_vel))

    def write(self, command: Command) -> None:
        require_mode(command, "joint_torque")
        self._pass()
        super().write(command)

    def _pass(self) -> None:
        """Let the time since the last call pass for the joints."""
        last = self.commands[-1] if self.commands else Command(Mode.OFF)
        while self._now < self.clock.now() - 1e-9:
            torque = self.pushed.copy()
            if last.torque is not None:
                torque += last.torque
            elif last.mode is Mode.DAMP:
                torque -= self._limits.kd * self.joint_vel
            self.joint_vel += SUBSTEP * torque / self.inertia
            slowed = SUBSTEP * FRICTION / self.inertia
            self.joint_vel -= np.clip(self.joint_vel, -slowed, slowed)
            self.joint_vel[self.stuck] = 0.0
            self.joint_pos = self.joint_pos + SUBSTEP * self.joint_vel
            self.fastest = np.maximum(self.fastest, np.abs(self.joint_vel))
            self.farthest = np.maximum(self.farthest, self.joint_pos)
            self._now += SUBSTEP
