"""What N robots' sensors say: delay, noise, bias and mounting error upon the truth.

They are encoders, IMUs and contact sensors. Pure functions; the order in which they are asked
decides which noise each gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..models.robot import ContactSensor
from ..models.rotation import cross

# Standard deviations at noise scale 1.
GYRO_NOISE = 0.05  # [rad/s]
GRAVITY_NOISE = 0.01
JOINT_POS_NOISE = 0.002  # [rad]
JOINT_VEL_NOISE = 0.1  # [rad/s]


@dataclass
class SensorErrors:
    """What is wrong with each robot's sensors. Randomisation writes it. Leading shape (N,)."""

    encoder_offset: np.ndarray  # [rad]. Shape (N, n)
    gyro_bias: np.ndarray  # [rad/s]. Shape (N, 3)
    gravity_bias: np.ndarray  # of the unit vector. Shape (N, 3)
    mounting: np.ndarray  # rotation vector of the IMU against its nominal pose [rad]. Shape (N, 3)
    imu_delay: np.ndarray  # as a fraction of a control period, 0 to 1. Shape (N, 1)
    joint_delay: np.ndarray  # the same of the joints' values. Shape (N, 1)
    contact_delay: np.ndarray  # the same of the contact sensors'. Shape (N, 1)
    contact_gain: np.ndarray  # of the contact sensors, less 1. Shape (N, s)
    contact_offset: np.ndarray  # of the contact sensors [N]. Shape (N, s)
    noise: np.ndarray  # scale of all sensor noise. Shape (N, 1)

    @classmethod
    def none(cls, num_envs: int, joints: int, contacts: int) -> SensorErrors:
        """Perfect sensors, so many of each joint's and of contacts."""
        widths = (joints, 3, 3, 3, 1, 1, 1, contacts, contacts, 1)
        return cls(*(np.zeros((num_envs, width)) for width in widths))


LastTwo = tuple[np.ndarray, np.ndarray]  # now, and a control period ago. Shapes (N, k)


def measured_gravity(errors: SensorErrors, truth: LastTwo, rng: np.random.Generator) -> np.ndarray:
    """Unit vector pointing down, in the base frame. Shape (N, 3)."""
    gravity = rotate_small(errors.mounting, _delayed(errors.imu_delay, truth)) + errors.gravity_bias
    gravity = gravity + _noise(rng, errors, GRAVITY_NOISE, 3)
    return gravity / np.linalg.norm(gravity, axis=1, keepdims=True)


def measured_joints(
    errors: SensorErrors, joint_pos: LastTwo, joint_vel: LastTwo, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Angles [rad] and velocities [rad/s] from the true ones. Shapes (N, n)."""
    n = errors.encoder_offset.shape[1]
    pos, vel = (_delayed(errors.joint_delay, truth) for truth in (joint_pos, joint_vel))
    return (
        pos + errors.encoder_offset + _noise(rng, errors, JOINT_POS_NOISE, n),
        vel + _noise(rng, errors, JOINT_VEL_NOISE, n),
    )


def measured_gyro(errors: SensorErrors, truth: LastTwo, rng: np.random.Generator) -> np.ndarray:
    """Angular velocity in the base frame [rad/s]. Shape (N, 3)."""
    gyro = rotate_small(errors.mounting, _delayed(errors.imu_delay, truth))
    return gyro + errors.gyro_bias + _noise(rng, errors, GYRO_NOISE, 3)


def measured_contact(
    errors: SensorErrors,
    force: LastTwo,
    sensors: Sequence[ContactSensor],
    rng: np.random.Generator,
) -> np.ndarray:
    """Normal forces from the true ones [N], within the sensors' ranges. Shapes (N, s)."""
    deviation, most = (np.array([getattr(s, key) for s in sensors]) for key in ("noise", "range"))
    said = (1 + errors.contact_gain) * _delayed(errors.contact_delay, force) + errors.contact_offset
    return np.clip(said + _noise(rng, errors, deviation, len(sensors)), 0.0, most)


def rotate_small(rotation: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """`vector` turned by a small rotation vector [rad], to first order. Shapes (N, 3)."""
    return vector + cross(rotation, vector)


def _delayed(delay: np.ndarray, truth: LastTwo) -> np.ndarray:
    now, before = truth
    return (1 - delay) * now + delay * before


def _noise(
    rng: np.random.Generator, errors: SensorErrors, deviation: float | np.ndarray, k: int
) -> np.ndarray:
    return deviation * errors.noise * rng.standard_normal((len(errors.noise), k), dtype=np.float32)
