"""The stream of one WitMotion IMU: the newest values in the base frame, and how old they are."""

from __future__ import annotations

import math

import numpy as np

from ...models.errors import DeviceError
from ...models.robot import Imu
from ...models.rotation import rotation_matrix
from ..port import Clock, Transport
from .protocol import PacketType, take_packet

WANTED = (PacketType.ACCELERATION, PacketType.ANGULAR_VELOCITY, PacketType.QUATERNION)
FIRST_WAIT = 1.0  # for one packet of each wanted type [s]
MAX_CHUNKS = 16  # read in one update: a babbling device must not hold the loop


class ImuStream:
    """Reads what has come, without waiting, and keeps the newest packet of each type."""

    def __init__(self, imu: Imu, transport: Transport, clock: Clock) -> None:
        """Listen to nothing yet: `wait` does first.

        Args:
            imu: what robot.toml says of it, with its rotation, sensor frame to base frame.
            transport: of its bus, to which nothing is ever written.
            clock: [s], monotonic, the one of the transport's deadlines and of `update`.
        """
        self.transport = transport
        self.errors = 0  # refused runs of bytes so far
        self.gyro = np.full(3, np.nan)  # in the base frame [rad/s]
        self.gravity = np.full(3, np.nan)  # unit vector pointing down, in the base frame
        self.acceleration = np.full(3, np.nan)  # specific force in the base frame [m/s²]
        self._name = imu.bus
        self._rotation = rotation_matrix(imu.rotation)  # sensor to base
        self._clock = clock
        self._times = dict.fromkeys(WANTED, -math.inf)
        self._buffer = b""

    def wait(self) -> None:
        """Wait for the first packet of each type. Raises DeviceError where one does not come."""
        deadline = self._clock() + FIRST_WAIT
        while math.isinf(self.age(now := self._clock())):
            if now >= deadline:
                where = f"{self.transport.name}, {self.transport.baud_rate} baud"
                missing = [f"0x{type:02X}" for type in WANTED if math.isinf(self._times[type])]
                raise DeviceError(
                    f"IMU on bus '{self._name}' ({where}): no packets of type "
                    f"{', '.join(missing)} came within {FIRST_WAIT:g} s: check its power, cable, "
                    "baud rate and which packets it is set to send"
                )
            self._feed(self.transport.read(deadline), self._clock())

    def update(self, now: float) -> None:
        """Take in what has come by `now` [s]."""
        for _ in range(MAX_CHUNKS):
            chunk = self.transport.read(0.0)
            if not chunk:
                break
            self._feed(chunk, now)

    def age(self, now: float) -> float:
        """Of the oldest of the three streams; inf before their first [s]."""
        return now - min(self._times.values())

    def _feed(self, chunk: bytes, now: float) -> None:
        buffer = self._buffer + chunk
        while True:
            packet, buffer, refused = take_packet(buffer)
            self.errors += refused
            if packet is None:
                break
            if packet.type not in self._times:
                continue
            self._times[packet.type] = now
            if packet.type == PacketType.ANGULAR_VELOCITY:
                self.gyro = self._rotation @ np.array(packet.values)
            elif packet.type == PacketType.ACCELERATION:
                self.acceleration = self._rotation @ np.array(packet.values)
            else:
                # The world's z axis, seen from the sensor, is the last row of sensor-to-world.
                self.gravity = self._rotation @ -rotation_matrix(packet.values)[2]
        self._buffer = buffer
