"""What can vary of N robots: each function writes drawn values into some of them.

Robots are made nominal before they are drawn anew, so that factors do not compound. Inertias follow
masses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np

from .robot_batch import RobotBatch
from .servos import CONTROLLER_KD, CONTROLLER_KP, MAX_DELAY, VMAX

Vary = Callable[[RobotBatch, np.ndarray, np.ndarray], None]  # robots, ids (k,), values (k, m)


def foot_friction(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Sliding friction of all feet."""
    robots.field("geom_friction")[ids[:, None], robots.foot_geoms, 0] = value


def mass_scale(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Mass and inertia of every body, times value."""
    robots.field("body_mass")[ids] *= value
    robots.field("body_inertia")[ids] *= value[:, :, None]


def payload(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Mass added to the base [kg], and its inertia in proportion."""
    _add_mass(robots, ids, 1, value)


def held_mass(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Mass added to the last body, an arm's hand [kg], and its inertia in proportion."""
    _add_mass(robots, ids, robots.model.nbody - 1, value)


def centre_of_mass(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Offset of the base's centre of mass [m]."""
    base = 1
    robots.field("body_ipos")[ids, base] = robots.model.body_ipos[base] + value


def motor_strength(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Torque cap, times value."""
    robots.field("actuator_forcerange")[ids] = robots.model.actuator_forcerange * value[:, :, None]


def supply_voltage(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Supply voltage, times value: the torque-speed line moves with it."""
    nominal = robots.model.actuator_gainprm[:, VMAX]
    robots.field("actuator_gainprm")[ids, :, VMAX] = nominal * value


def stiffness(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Servo stiffness kp, times value."""
    nominal = robots.model.actuator_gainprm[:, CONTROLLER_KP]
    robots.field("actuator_gainprm")[ids, :, CONTROLLER_KP] = nominal * value


def damping(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Servo damping kd, times value."""
    nominal = robots.model.actuator_gainprm[:, CONTROLLER_KD]
    robots.field("actuator_gainprm")[ids, :, CONTROLLER_KD] = nominal * value


def joint_friction(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Dry friction of the joints, times value."""
    dofs = robots.joint_dofs
    robots.field("dof_frictionloss")[ids, dofs] = robots.model.dof_frictionloss[dofs] * value


def armature(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Rotor inertia at the joints, times value."""
    dofs = robots.joint_dofs
    robots.field("dof_armature")[ids, dofs] = robots.model.dof_armature[dofs] * value


def command_delay(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Delay of a target on its way to the servo, at most `MAX_DELAY` [s]."""
    robots.field("actuator_delay")[ids] = value


def imu_delay(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Age of the IMU's values when they are read, at most a control period [s]."""
    robots.imperfections.imu_delay[ids] = value / robots.robot.control_period


def encoder_offset(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Encoder minus true angle [rad]."""
    robots.imperfections.encoder_offset[ids] = value


def gyro_bias(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Gyroscope minus true rate [rad/s]."""
    robots.imperfections.gyro_bias[ids] = value


def imu_mounting(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Rotation vector of the IMU against its nominal pose [rad]."""
    robots.imperfections.mounting[ids] = value


def sensor_noise(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Scale of all sensor noise; 1 is the standard deviations of sensors.py."""
    robots.imperfections.noise[ids] = value


def push(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """A shove: a sudden change of the base's velocity, in the world's axes [m/s]."""
    robots.qvel[ids, :2] += value[:, :2]


def _add_mass(robots: RobotBatch, ids: np.ndarray, body: int, value: np.ndarray) -> None:
    mass = robots.field("body_mass")
    factor = 1 + value[:, 0] / mass[ids, body]
    mass[ids, body] *= factor
    robots.field("body_inertia")[ids, body] *= factor[:, None]


class Per(Enum):
    """What one value is drawn for."""

    ROBOT = "robot"
    BODY = "body"
    JOINT = "joint"
    AXIS = "axis"


@dataclass(frozen=True)
class Possible:
    """What a term may be drawn from, what for, and what a robot must have for it."""

    low: float
    high: float
    per: tuple[Per, ...]
    needs: str = ""  # one of PARTS


PARTS: Mapping[str, Callable[[RobotBatch], bool]] = {
    "feet": lambda robots: len(robots.foot_geoms) > 0,
    "a free base": lambda robots: robots.floating,
    "an IMU": lambda robots: robots.robot.imu is not None,
    "position servos": lambda robots: robots.output == "joint_target",
}
_ONE, _JOINTS, _AXES = (Per.ROBOT,), (Per.ROBOT, Per.JOINT), (Per.ROBOT, Per.AXIS)
_FACTOR = (1e-3, 1e3)
POSSIBLE: Mapping[Vary, Possible] = {
    foot_friction: Possible(0.0, 10.0, _ONE, "feet"),
    mass_scale: Possible(*_FACTOR, (Per.ROBOT, Per.BODY)),
    payload: Possible(-math.inf, math.inf, _ONE, "a free base"),
    held_mass: Possible(0.0, math.inf, _ONE),
    centre_of_mass: Possible(-1.0, 1.0, _AXES, "a free base"),
    motor_strength: Possible(0.0, math.inf, _JOINTS),
    supply_voltage: Possible(*_FACTOR, _JOINTS),
    stiffness: Possible(*_FACTOR, _JOINTS, "position servos"),
    damping: Possible(0.0, math.inf, _JOINTS, "position servos"),
    joint_friction: Possible(0.0, math.inf, _JOINTS),
    armature: Possible(*_FACTOR, _JOINTS),
    command_delay: Possible(0.0, MAX_DELAY, _JOINTS),
    imu_delay: Possible(0.0, math.inf, _ONE, "an IMU"),
    encoder_offset: Possible(-math.pi, math.pi, _JOINTS),
    gyro_bias: Possible(-math.inf, math.inf, _AXES, "an IMU"),
    imu_mounting: Possible(-math.pi, math.pi, _AXES, "an IMU"),
    sensor_noise: Possible(0.0, math.inf, _ONE),
    push: Possible(-math.inf, math.inf, _AXES, "a free base"),
}
