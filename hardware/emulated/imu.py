"""An emulated WitMotion IMU: a stream of acceleration, angular velocity and quaternion packets.

As on the device, the three packets of a sample follow one another untimed, all are band-limited,
the attitude lags behind the gyro, and noise and bias come from the seed. The codec quantises.
Configuration writes are taken and change nothing: the IMU is as its setup left it.
"""

from __future__ import annotations

import numpy as np

from ...models.errors import RobotFileError
from ...models.rotation import multiply, rotation_matrix
from ..dynamixel.protocol import BITS_PER_BYTE
from ..plant import PlantState
from ..witmotion import protocol as witmotion
from .motor_bus import Reply

BANDWIDTH_TIME = 0.0016  # time constant of gyro and accelerometer: 98 Hz [s]
ATTITUDE_LAG = 0.005  # time constant of the attitude filter [s]
GYRO_NOISE, GYRO_BIAS = 0.01, 0.005  # standard deviations [rad/s]
ACCELERATION_NOISE, ACCELERATION_BIAS = 0.03, 0.05  # standard deviations [m/s²]
ATTITUDE_NOISE, ATTITUDE_BIAS = 0.0005, 0.004  # standard deviations about each axis [rad]
PACKETS = 3  # a sample


class EmulatedImu:
    """The IMU in the base."""

    def __init__(
        self,
        rotation: tuple[float, float, float, float],
        rate: float,
        baud_rate: int,
        rng: np.random.Generator,
    ):
        """`rotation` takes the sensor frame to the base frame, w x y z; `rate` [Hz].

        Raises:
            RobotFileError: the samples do not fit through the line.
        """
        most = baud_rate / (BITS_PER_BYTE * PACKETS * witmotion.SIZE)
        if rate > most:
            raise RobotFileError(
                f"imu.rate: found {rate:g}, allowed is <= {most:.0f} at {baud_rate}"
            )
        self.rate, self.baud_rate = rate, baud_rate
        self._rotation = np.array(rotation)
        self._to_sensor = rotation_matrix(self._rotation).T
        self._rng = rng
        self._gyro_bias = GYRO_BIAS * rng.standard_normal(3)
        self._acceleration_bias = ACCELERATION_BIAS * rng.standard_normal(3)
        self._attitude_bias = ATTITUDE_BIAS * rng.standard_normal(3)
        self._gyro = self._acceleration = np.zeros(3)
        self._attitude: np.ndarray | None = None
        self._samples = 0

    def step(self, timestep: float, state: PlantState) -> list[Reply]:
        """Follow the plant by `timestep` [s]; the packets of a sample whenever one is taken."""
        if self._attitude is None:
            self._gyro, self._acceleration = state.angular_velocity, state.specific_force
            self._attitude = state.base_quaternion
        fast = min(1.0, timestep / BANDWIDTH_TIME)
        self._gyro = self._gyro + fast * (state.angular_velocity - self._gyro)
        self._acceleration = self._acceleration + fast * (state.specific_force - self._acceleration)
        true = state.base_quaternion
        if true @ self._attitude < 0:  # the same attitude, on the near side of the sphere
            true = -true
        slow = min(1.0, timestep / ATTITUDE_LAG)
        attitude = self._attitude + slow * (true - self._attitude)
        self._attitude = attitude / np.linalg.norm(attitude)
        if state.time * self.rate < self._samples + 1:
            return []
        self._samples += 1
        return self._sample(state.time)

    def _sample(self, now: float) -> list[Reply]:
        noise = self._rng.standard_normal((3, 3))
        gyro = self._to_sensor @ self._gyro + self._gyro_bias + GYRO_NOISE * noise[0]
        acceleration = self._to_sensor @ self._acceleration
        acceleration += self._acceleration_bias + ACCELERATION_NOISE * noise[1]
        assert self._attitude is not None  # step has set it
        tilt = np.concatenate([[1.0], (self._attitude_bias + ATTITUDE_NOISE * noise[2]) / 2])
        attitude = multiply(multiply(self._attitude, self._rotation), tilt / np.linalg.norm(tilt))
        packets = (
            witmotion.encode_acceleration(acceleration.tolist()),
            witmotion.encode_angular_velocity(gyro.tolist()),
            witmotion.encode_quaternion(attitude.tolist()),
        )
        spent = BITS_PER_BYTE * witmotion.SIZE / self.baud_rate
        return [(now + (k + 1) * spent, packet) for k, packet in enumerate(packets)]
