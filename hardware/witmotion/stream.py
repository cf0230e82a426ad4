"""The stream of one WitMotion IMU: the newest values in the base frame, and how old they are."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np

from ...models.errors import DeviceError
from ...models.robot import Imu
from ...models.rotation import rotation_matrix
from ..port import Clock, Transport, drop_input
from .protocol import PacketType, take_packet

WANTED = (PacketType.ACCELERATION, PacketType.ANGULAR_VELOCITY, PacketType.QUATERNION)
FIRST_WAIT = 1.0  # for one packet of each wanted type [s]
RATE_WINDOW = 1.0  # over which the rate of packets is measured [s]
RATE_KNOWN = 0.25  # of it, from which the rate is told [s]
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
        self.rate = math.nan  # of the slowest of the three streams; nan until it is known [Hz]
        self._name = imu.bus
        self._rotation = rotation_matrix(imu.rotation)  # sensor to base
        self._clock = clock
        self._times = dict.fromkeys(WANTED, -math.inf)
        self._gone = False  # the port, as the last poll has found
        self._buffer = b""
        self._counts = dict.fromkeys(WANTED, 0)  # packets so far
        self._marks = deque([(clock(), (0,) * len(WANTED))])  # counts at times past

    def restart(self) -> None:
        """Drop what waits in the port, and measure ages and rate from now on."""
        drop_input(self.transport)
        self._buffer, self.rate = b"", math.nan
        self._times = dict.fromkeys(WANTED, -math.inf)
        self._marks.clear()
        self._marks.append((self._clock(), tuple(self._counts.values())))

    def listen(self) -> None:
        """Listen until the rate is known, or for `FIRST_WAIT` where packets do not come."""
        deadline = self._clock() + FIRST_WAIT
        while math.isnan(self.rate) and self._clock() < deadline:
            self._feed(self.transport.read(deadline), self._clock())
            self._measure_rate(self._clock())

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
        self._measure_rate(now)

    def poll(self, now: float) -> tuple[str, ...]:
        """`update`; a note where the port has gone since the last time, which the age tells, too.

        That is no error: all motors answer, and the robot can lie down.
        """
        had_gone, self._gone = self._gone, False
        try:
            self.update(now)
        except DeviceError as error:
            self._gone = True
            return () if had_gone else (f"imu: {error}",)
        return ()

    def values(self, now: float) -> dict[str, Any]:
        """What a sample has of it, by the names of its fields."""
        return {
            "gyro": self.gyro.copy(),
            "gravity": self.gravity.copy(),
            "acceleration": self.acceleration.copy(),
            "imu_age": self.age(now),
            "imu_rate": self.rate,
        }

    def age(self, now: float) -> float:
        """Age of the oldest of the three streams; inf before their first [s]."""
        return now - min(self._times.values())

    def _measure_rate(self, now: float) -> None:
        """From the newest counts that are a whole window old, or from the first."""
        marks, counts = self._marks, tuple(self._counts.values())
        while len(marks) > 1 and marks[1][0] <= now - RATE_WINDOW:
            marks.popleft()
        since, before = marks[0]
        if now - since >= RATE_KNOWN:
            came = min(count - old for count, old in zip(counts, before, strict=True))
            self.rate = came / (now - since)
        marks.append((now, counts))

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
            self._counts[packet.type] += 1
            if packet.type == PacketType.ANGULAR_VELOCITY:
                self.gyro = self._rotation @ np.array(packet.values)
            elif packet.type == PacketType.ACCELERATION:
                self.acceleration = self._rotation @ np.array(packet.values)
            else:
                # The world's z axis, seen from the sensor, is the last row of sensor-to-world.
                self.gravity = self._rotation @ -rotation_matrix(packet.values)[2]
        self._buffer = buffer
