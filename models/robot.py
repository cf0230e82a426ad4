"""What a robot is: robot.toml as frozen dataclasses, read by simulation and hardware alike.

SI units and radians throughout. The MJCF beside robot.toml holds the body only; everything else
comes from here. `robot_file.py` reads and checks the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

MOTOR_PROTOCOLS = ("dynamixel", "unitree")  # unitree: simulated, without a driver yet
IMU_PROTOCOLS = ("witmotion",)
PROTOCOLS = MOTOR_PROTOCOLS + IMU_PROTOCOLS


@dataclass(frozen=True)
class Bus:
    """A serial line and what is spoken on it."""

    name: str
    protocol: str  # one of PROTOCOLS
    baud_rate: int  # [baud]
    port: str  # default device, such as /dev/ttyUSB0


@dataclass(frozen=True)
class MotorModel:
    """A kind of motor, at its nominal voltage, seen at its output shaft."""

    name: str
    model_number: int  # what the device reports
    nominal_voltage: float  # [V]
    stall_torque: float  # [N·m]
    stall_current: float  # [A]
    no_load_speed: float  # [rad/s]
    stiffness_per_gain: float  # [N·m/rad] per unit of the device's position P gain, mode 5
    damping_per_gain: float  # [N·m·s/rad] per unit of the device's position D gain, mode 5

    @property
    def torque_per_ampere(self) -> float:
        """Torque constant at the output shaft [N·m/A]."""
        return self.stall_torque / self.stall_current


@dataclass(frozen=True)
class Motor:
    """The motor of one joint: joint angle = sign · (shaft angle − zero) / gear."""

    bus: str
    model: str
    id: int
    sign: int  # +1 or −1
    zero: float  # shaft angle at joint angle 0 [rad]
    gear: float  # shaft turns a joint turn, beyond the motor's own gearbox


@dataclass(frozen=True)
class Joint:
    """One actuated hinge."""

    name: str
    default: float  # standing pose, where an action of 0 points [rad]
    rest: float  # lying pose, in which the robot is switched on and off [rad]
    lower: float  # soft limit [rad]
    upper: float  # soft limit [rad]
    torque_limit: float  # [N·m]
    rate_limit: float  # of the joint target; under joint torques, of the joint [rad/s]
    kp: float  # stiffness [N·m/rad]
    kd: float  # damping [N·m·s/rad]
    armature: float  # rotor inertia seen at the joint [kg·m²]
    friction: float  # dry friction [N·m]
    motor: Motor


@dataclass(frozen=True)
class Imu:
    """The inertial sensor in the base, at the MJCF's site `imu`."""

    bus: str
    rotation: tuple[float, float, float, float]  # sensor frame to base frame, w x y z
    rate: float  # [Hz]


@dataclass(frozen=True)
class ContactSensor:
    """What feels how hard a part of a foot is pressed: the MJCF's geom `<name>_foot`."""

    name: str
    range: float  # it reads 0 up to this [N]
    noise: float  # standard deviation [N]


@dataclass(frozen=True)
class Safety:
    """What the safety monitor holds the robot to."""

    tilt_limit: float  # angle between the base's z axis and up [rad]
    start_tolerance: float  # distance from the rest pose at which a start is refused [rad]
    stand_time: float  # duration of standing up and of lying down [s]
    hold_after: float  # sample age from which the last target is held [s]
    damp_after: float  # sample age from which the robot is damped and the run ends [s]
    missed_deadlines: int  # in a row, from which the run ends
    damping: float  # joint damping while damped [N·m·s/rad]
    damp_time: float  # damped for so long before torque goes off [s]
    watchdog: float  # the devices stop by themselves after so long without a word [s]
    joint_jump: float  # change of a joint angle in a tick that no robot makes [rad]
    frozen_after: float  # identical IMU samples for so long are a fault [s]
    min_voltage: float  # [V]
    max_temperature: float  # [°C]


@dataclass(frozen=True)
class Robot:
    """A robot: buses, joints in order, sensors, control rate and safety figures."""

    name: str
    directory: Path
    model: str  # MJCF file in `directory`
    control_period: float  # [s]
    assumed: tuple[str, ...]  # keys whose values nobody has measured yet
    buses: Mapping[str, Bus]
    motor_models: Mapping[str, MotorModel]
    imu: Imu | None  # None: bolted to the ground, so that its base needs none
    contact_sensors: tuple[ContactSensor, ...]  # in the order of every vector of their forces
    joints: tuple[Joint, ...]
    safety: Safety
    toml: str = field(repr=False, compare=False)  # the text of robot.toml, as read

    @property
    def mjcf(self) -> Path:
        """The MJCF file of the body."""
        return self.directory / self.model

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Names of the joints, in the order of every joint vector."""
        return tuple(joint.name for joint in self.joints)

    @cached_property
    def default_pose(self) -> np.ndarray:
        """Standing pose [rad]. Shape (n,)."""
        return self._column("default")

    @cached_property
    def rest_pose(self) -> np.ndarray:
        """Lying pose [rad]. Shape (n,)."""
        return self._column("rest")

    @cached_property
    def lower(self) -> np.ndarray:
        """Lower soft limits [rad]. Shape (n,)."""
        return self._column("lower")

    @cached_property
    def upper(self) -> np.ndarray:
        """Upper soft limits [rad]. Shape (n,)."""
        return self._column("upper")

    @cached_property
    def torque_limit(self) -> np.ndarray:
        """Torque limits [N·m]. Shape (n,)."""
        return self._column("torque_limit")

    @cached_property
    def rate_limit(self) -> np.ndarray:
        """Limits of the joint target's rate [rad/s]. Shape (n,)."""
        return self._column("rate_limit")

    @cached_property
    def kp(self) -> np.ndarray:
        """Stiffnesses [N·m/rad]. Shape (n,)."""
        return self._column("kp")

    @cached_property
    def kd(self) -> np.ndarray:
        """Dampings [N·m·s/rad]. Shape (n,)."""
        return self._column("kd")

    @cached_property
    def armature(self) -> np.ndarray:
        """Rotor inertias seen at the joints [kg·m²]. Shape (n,)."""
        return self._column("armature")

    @cached_property
    def no_load_speed(self) -> np.ndarray:
        """What the motors do without load, seen at the joints [rad/s]. Shape (n,)."""
        motors = [(self.motor_models[joint.motor.model], joint.motor.gear) for joint in self.joints]
        return np.array([model.no_load_speed / gear for model, gear in motors])

    def _column(self, key: str) -> np.ndarray:
        column = np.array([getattr(joint, key) for joint in self.joints], dtype=np.float64)
        column.flags.writeable = False
        return column
