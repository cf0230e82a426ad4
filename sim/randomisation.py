"""Domain randomisation as data: what varies, how it is distributed, for what part of the robot.

At every reset of an episode the robots are made nominal and the variations drawn for them, so
nothing compounds; one with `every` acts again and again during the episode. Inertias follow masses,
and MuJoCo's derived constants follow both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import mujoco
import numpy as np

from .robot_batch import CONTROLLER_KD, CONTROLLER_KP, VMAX, RobotBatch


class Per(Enum):
    """What one value is drawn for."""

    ROBOT = "robot"
    BODY = "body"
    JOINT = "joint"
    AXIS = "axis"


@dataclass(frozen=True)
class Uniform:
    """Uniform on [low, high]."""

    low: float
    high: float

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return rng.uniform(self.low, self.high, shape)


@dataclass(frozen=True)
class Variation:
    """One randomised quantity: `vary` writes values (k, m) into robots `ids` (k,)."""

    vary: Callable[[RobotBatch, np.ndarray, np.ndarray], None]
    distribution: Uniform
    per: Per = Per.ROBOT
    every: Uniform | None = None  # time from one draw to the next [s]; None: at each reset

    @property
    def name(self) -> str:
        return self.vary.__name__


# --- what can vary ----------------------------------------------------------------------------


def foot_friction(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Sliding friction of all feet."""
    robots.field("geom_friction")[ids[:, None], robots.foot_geoms, 0] = value


def mass_scale(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Mass and inertia of every body, times value."""
    robots.field("body_mass")[ids] *= value
    robots.field("body_inertia")[ids] *= value[:, :, None]


def payload(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Mass added to the base [kg], and its inertia in proportion."""
    base = 1
    mass = robots.field("body_mass")
    factor = 1 + value[:, 0] / mass[ids, base]
    mass[ids, base] *= factor
    robots.field("body_inertia")[ids, base] *= factor[:, None]


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
    robots.field("dof_frictionloss")[ids, 6:] = robots.model.dof_frictionloss[6:] * value


def armature(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """Rotor inertia at the joints, times value."""
    robots.field("dof_armature")[ids, 6:] = robots.model.dof_armature[6:] * value


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
    """Scale of all sensor noise; 1 is the standard deviations of robot_batch.py."""
    robots.imperfections.noise[ids] = value


def push(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
    """A shove: a sudden change of the base's velocity, in the world's axes [m/s]."""
    robots.qvel[ids, :2] += value[:, :2]


TRAINING: tuple[Variation, ...] = (
    Variation(foot_friction, Uniform(0.4, 1.1)),
    Variation(mass_scale, Uniform(0.93, 1.07), Per.BODY),
    Variation(payload, Uniform(-0.05, 0.2)),
    Variation(centre_of_mass, Uniform(-0.012, 0.012), Per.AXIS),
    Variation(motor_strength, Uniform(0.85, 1.05)),
    Variation(supply_voltage, Uniform(0.88, 1.05)),
    Variation(stiffness, Uniform(0.85, 1.15), Per.JOINT),
    Variation(damping, Uniform(0.7, 1.3), Per.JOINT),
    Variation(joint_friction, Uniform(0.4, 2.5), Per.JOINT),
    Variation(armature, Uniform(0.8, 1.25)),
    Variation(command_delay, Uniform(0.005, 0.015)),
    Variation(imu_delay, Uniform(0.0, 0.018)),
    Variation(encoder_offset, Uniform(-0.02, 0.02), Per.JOINT),
    Variation(gyro_bias, Uniform(-0.02, 0.02), Per.AXIS),
    Variation(imu_mounting, Uniform(-0.03, 0.03), Per.AXIS),
    Variation(sensor_noise, Uniform(0.0, 1.5)),
    Variation(push, Uniform(-0.3, 0.3), Per.AXIS, every=Uniform(2.0, 6.0)),
)


def randomise(
    variations: Sequence[Variation],
    robots: RobotBatch,
    ids: np.ndarray,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Draw robots `ids` (k,) anew. Returns what was drawn, each (k, m)."""
    robots.make_nominal(ids)
    drawn = {each.name: disturb(each, robots, ids, rng) for each in variations}
    if drawn:
        robots.batch.set_const(ids)
    return drawn


def disturb(
    variation: Variation, robots: RobotBatch, ids: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw one variation for robots `ids` (k,), as they are. Returns what was drawn, (k, m)."""
    value = variation.distribution.sample(rng, (len(ids), _columns(robots.model, variation.per)))
    variation.vary(robots, ids, value)
    return value


def describe(variations: Sequence[Variation]) -> list[dict[str, Any]]:
    """The variations as plain data, for a run's config."""
    return [
        {
            "what": variation.name,
            "low": variation.distribution.low,
            "high": variation.distribution.high,
            "per": variation.per.value,
            "every": [variation.every.low, variation.every.high] if variation.every else None,
        }
        for variation in variations
    ]


def _columns(model: mujoco.MjModel, per: Per) -> int:
    return {Per.ROBOT: 1, Per.BODY: model.nbody, Per.JOINT: model.nu, Per.AXIS: 3}[per]
