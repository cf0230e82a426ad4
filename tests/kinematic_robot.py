"""Test doubles: a clock that nobody waits for, and a robot without physics whose joints obey."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from surefoot.hardware.interface import NO_IMU, Command, Health, Mode, Sample, require_shape
from surefoot.models.errors import DeviceError
from surefoot.models.robot import Robot


@dataclass
class FakeClock:
    """Time that passes by sleeping, or by being told to."""

    time: float = 100.0

    def now(self) -> float:
        return self.time

    def sleep_until(self, when: float) -> None:
        self.time = max(self.time, when)

    def pass_by(self, seconds: float) -> None:
        self.time += seconds


class KinematicRobot:
    """Follows each target at once; remembers what it was told; lies when `spoil` says so."""

    def __init__(self, robot: Robot, clock: FakeClock) -> None:
        n = len(robot.joints)
        self.clock = clock
        self.joint_pos = robot.rest_pose.copy()
        self.health = Health(
            voltage=np.full(n, 12.0),
            temperature=np.full(n, 35.0),
            error_bits=np.zeros(n, np.uint8),
            watchdog_tripped=np.zeros(n, bool),
            age=np.zeros(n),
            torque_on=np.zeros(n, bool),
        )
        self.imu_rate = robot.imu.rate if robot.imu else np.nan
        self.has_imu = robot.imu is not None
        self.found_torque_on = False
        self.torque_left_on: tuple[str, ...] = ()
        self.commands: list[Command] = []
        self.reads = 0
        self.refreshes = 0
        self.enabling_time = 0.0  # of the first command that is not OFF [s]
        self.spoil: Callable[[Sample], Sample] = lambda sample: sample
        self.unplugged = False  # the port is gone
        self.refuses = False  # to be written to

    def read(self) -> Sample:
        if self.unplugged:
            raise DeviceError("/dev/ttyFAKE: the port is gone (unplugged?)")
        self.reads += 1
        n = len(self.joint_pos)
        powered = bool(self.modes) and self.modes[-1] is not Mode.OFF
        sample = Sample(
            time=self.clock.now(),
            joint_pos=self.joint_pos.copy(),
            joint_vel=np.zeros(n),
            joint_torque=np.zeros(n),
            age=np.full(n, 0.001),
            alert=np.zeros(n, bool),
            encoder_jump=np.zeros(n, bool),
            gyro=np.zeros(3),
            gravity=np.array([0.0, 0.0, -1.0]),
            acceleration=np.array([0.0, 0.0, 9.81 + 0.005 * (self.reads % 2)]),
            imu_age=0.004,
            imu_rate=self.imu_rate,
            health=replace(self.health, torque_on=np.full(n, powered)),
        )
        return self.spoil(sample if self.has_imu else replace(sample, **NO_IMU))

    def write(self, command: Command) -> None:
        if self.unplugged or self.refuses:
            raise DeviceError("/dev/ttyFAKE: the port is gone (unplugged?)")
        require_shape(command, len(self.joint_pos))
        if command.mode is not Mode.OFF and not self.modes:
            self.clock.pass_by(self.enabling_time)
        self.commands.append(command)
        if command.mode is Mode.TRACK:
            assert command.target is not None
            self.joint_pos = command.target.copy()

    def refresh(self) -> None:
        self.refreshes += 1

    def close(self) -> None:
        pass

    @property
    def modes(self) -> list[Mode]:
        return [command.mode for command in self.commands]


def silence(sample: Sample, joints: list[int], age: float) -> Sample:
    """`sample` with these motors not heard of for `age` [s]."""
    ages = sample.age.copy()
    ages[joints] = age
    return replace(sample, age=ages)
