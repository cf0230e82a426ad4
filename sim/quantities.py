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

from ..models.errors import UsageError
from ..models.robot import Robot
from .robot_batch import RobotBatch
from .servos import CONTROLLER_KD, CONTROLLER_KP, DELAY, MAX_DELAY, VMAX

BASE = 1  # the body

# Robots, ids (k,), values (k, m): m is 1, or as many as there are parts: `values_per`.
Vary = Callable[[RobotBatch, np.ndarray, np.ndarray], None]


def foot_friction(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Sliding friction of all feet."""
    robots.field("geom_friction")[ids[:, None], robots.foot_geoms, 0] = value


def mass_scale(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Mass and inertia of every body, times value."""
    robots.field("body_mass")[ids] *= value
    robots.field("body_inertia")[ids] *= value[:, :, None]


def payload(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Mass added to the base [kg], and its inertia in proportion."""
    _add_mass(robots, ids, BASE, value)


def held_mass(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Mass added to the last body, an arm's hand [kg], and its inertia in proportion."""
    _add_mass(robots, ids, robots.model.nbody - 1, value)


def centre_of_mass(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Offset of the base's centre of mass [m]."""
    robots.field("body_ipos")[ids, BASE] = robots.model.body_ipos[BASE] + value


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


def joint_damping(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Viscous friction of the joints, beside the servo's damping [N·m·s/rad]."""
    dofs = robots.joint_dofs
    robots.field("dof_damping")[ids, dofs] = robots.model.dof_damping[dofs] + value


def command_delay(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Delay of a target on its way to the servo, at most `MAX_DELAY` [s]."""
    robots.field("actuator_delay")[ids] = value


def imu_delay(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Age of the IMU's values when they are read, at most a control period [s]."""
    robots.sensor_errors.imu_delay[ids] = value / robots.robot.control_period


def joint_delay(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Age of the joints' angles and velocities when they are read, as of the IMU's [s]."""
    robots.sensor_errors.joint_delay[ids] = value / robots.robot.control_period


def contact_delay(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Age of the contact sensors' forces when they are read, as of the IMU's [s]."""
    robots.sensor_errors.contact_delay[ids] = value / robots.robot.control_period


def contact_gain(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """What a contact sensor says, times value."""
    robots.sensor_errors.contact_gain[ids] = value - 1


def contact_offset(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """What a contact sensor says more than its force, times its gain [N]; never less than 0."""
    robots.sensor_errors.contact_offset[ids] = value


def encoder_offset(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Encoder minus true angle [rad]."""
    robots.sensor_errors.encoder_offset[ids] = value


def gyro_bias(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Gyroscope minus true rate [rad/s]."""
    robots.sensor_errors.gyro_bias[ids] = value


def accelerometer_bias(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Accelerometer minus true specific force, which tilts the gravity found by it [m/s²]."""
    weight = float(np.linalg.norm(robots.model.opt.gravity))
    robots.sensor_errors.gravity_bias[ids] = -value / weight  # at rest it points up


def imu_mounting(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Rotation vector of the IMU against its nominal pose [rad]."""
    robots.sensor_errors.mounting[ids] = value


def sensor_noise(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Scale of all sensor noise; 1 is the standard deviations of sensors.py."""
    robots.sensor_errors.noise[ids] = value


def push(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """A sudden change of the base's horizontal velocity, in the world's axes [m/s]."""
    robots.qvel[ids, :2] += value[:, :2]


def angular_push(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """A sudden change of the base's angular velocity, in its own axes [rad/s]."""
    robots.qvel[ids, 3:6] += value


def _add_mass(robots: RobotBatch, ids: np.ndarray, body: int, value: np.ndarray) -> None:
    mass = robots.field("body_mass")
    factor = 1 + value[:, 0] / mass[ids, body]
    if (factor <= 0).any():
        lightest = factor.argmin()
        raise UsageError(
            f"randomisation: found {value[lightest, 0]:.3g} kg for {robots.model.body(body).name}, "
            f"allowed is more than -{mass[ids[lightest], body]:.3g}: its mass stays above 0"
        )
    mass[ids, body] *= factor
    robots.field("body_inertia")[ids, body] *= factor[:, None]


PUSHES = (push, angular_push)


class Per(Enum):
    """What one value is drawn for."""

    ROBOT = "robot"
    BODY = "body"
    JOINT = "joint"
    AXIS = "axis"
    SENSOR = "contact sensor"


@dataclass(frozen=True)
class Quantity:
    """What a term may be drawn from, what for, and what a robot must have for it."""

    low: float
    high: float
    per: tuple[Per, ...]
    needs: str = ""  # one of PARTS
    unit: str = "×"
    nominal: float = 0.0  # where nothing is varied
    factor: bool = False  # half is as far from nominal as twice
    recurs: bool = True  # whether it may act during an episode, too
    periods: float = math.inf  # of control: no delay is longer

    def bounds(self, robot: Robot) -> tuple[float, float]:
        """The least and the greatest value for a robot."""
        return self.low, min(self.high, self.periods * robot.control_period)


PARTS: Mapping[str, Callable[[RobotBatch], bool]] = {
    "feet": lambda robots: len(robots.foot_geoms) > 0,
    "a free base": lambda robots: robots.floating,
    "an IMU": lambda robots: robots.robot.imu is not None,
    "contact sensors": lambda robots: len(robots.robot.contact_sensors) > 0,
    "position servos": lambda robots: robots.output == "joint_target",
}
_ONE, _JOINTS, _AXES = (Per.ROBOT,), (Per.ROBOT, Per.JOINT), (Per.ROBOT, Per.AXIS)
_BODIES, _BASE, _IMU = (Per.ROBOT, Per.BODY), "a free base", "an IMU"
_SERVO = "position servos"
_SENSORS, _CONTACTS = (Per.ROBOT, Per.SENSOR), "contact sensors"


def _factor(
    per: tuple[Per, ...], needs: str = "", low: float = 1e-3, recurs: bool = True
) -> Quantity:
    return Quantity(low, 1e3, per, needs, nominal=1.0, factor=True, recurs=recurs)


def _offset(
    per: tuple[Per, ...], unit: str, needs: str = "", most: float = math.inf, recurs: bool = True
) -> Quantity:
    return Quantity(-most, most, per, needs, unit, recurs=recurs)


def _amount(
    per: tuple[Per, ...], unit: str, needs: str = "", recurs: bool = True, periods: float = math.inf
) -> Quantity:
    return Quantity(0.0, math.inf, per, needs, unit, recurs=recurs, periods=periods)


# What changes masses would compound within an episode, or leave derived constants behind.
QUANTITIES: Mapping[Vary, Quantity] = {
    foot_friction: Quantity(0.0, 10.0, _ONE, "feet", "", 0.8, factor=True),
    mass_scale: _factor(_BODIES, recurs=False),
    payload: _offset(_ONE, "kg", _BASE, recurs=False),
    held_mass: _amount(_ONE, "kg", recurs=False),
    centre_of_mass: _offset(_AXES, "m", _BASE, most=1.0, recurs=False),
    motor_strength: _factor(_JOINTS, low=0.0),
    supply_voltage: _factor(_JOINTS),
    stiffness: _factor(_JOINTS, _SERVO),
    damping: _factor(_JOINTS, _SERVO, low=0.0),
    joint_friction: _factor(_JOINTS, low=0.0),
    joint_damping: _amount(_JOINTS, "N·m·s/rad"),
    armature: _factor(_JOINTS, recurs=False),
    command_delay: Quantity(0.0, MAX_DELAY, _JOINTS, unit="s", nominal=DELAY),
    imu_delay: _amount(_ONE, "s", _IMU, periods=1.0),
    joint_delay: _amount(_ONE, "s", periods=1.0),
    contact_delay: _amount(_ONE, "s", _CONTACTS, periods=1.0),
    contact_gain: _factor(_SENSORS, _CONTACTS),
    contact_offset: _offset(_SENSORS, "N", _CONTACTS),
    encoder_offset: _offset(_JOINTS, "rad", most=math.pi),
    gyro_bias: _offset(_AXES, "rad/s", _IMU),
    accelerometer_bias: _offset(_AXES, "m/s²", _IMU),
    imu_mounting: _offset(_AXES, "rad", _IMU, most=math.pi),
    sensor_noise: _amount(_ONE, "×"),
    push: _offset(_AXES, "m/s", _BASE),
    angular_push: _offset(_AXES, "rad/s", _BASE),
}


def unit_of(name: str) -> str:
    """The unit of a quantity by its name; × for a factor, nothing where none is known."""
    return next((p.unit for vary, p in QUANTITIES.items() if vary.__name__ == name), "")
