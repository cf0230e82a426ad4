"""What motors say of their own state: read from one a tick, as it changes slowly or is rare."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ..interface import Health
from . import xseries as x
from .bus import MotorBus
from .layout import SLOW, SLOW_DATA, SLOW_REGISTERS

TRIES = 2  # of a motor that does not answer, where there is time


class HealthReader:
    """Reads the health of m motors on one bus, one a tick, and keeps what was read last."""

    def __init__(self, bus: MotorBus, ids: Sequence[int]) -> None:
        """Nothing is known yet. `ids` are in the order of all arrays here."""
        self.health = Health.unknown(len(ids))  # its ages are whoever asks for a sample's
        self.time = np.full(len(ids), -math.inf)  # of each motor's values [s]. Shape (m,)
        self.indirect = False  # the motors' indirect addresses are set up
        self.gains: Mapping[int, bytes] | None = None  # that were sent, by ID; None if none were
        self._bus = bus
        self._ids = ids
        self._last = -1  # row that was asked last

    def read_next(self, answering: Sequence[int]) -> None:
        """Ask the next motor; `answering` are the rows of those that answer at all, rising."""
        if answering:
            behind = [row for row in answering if row > self._last]
            self._last = (behind or answering)[0]
            self._read(self._last)

    def read_alerts(self, answering: Sequence[int], alert: np.ndarray) -> None:
        """Learn at once what is wrong with motors that report an alert: all in one request.

        The alert is one bit, and the supply's error stays until a reboot: what comes on top of it
        is asked for in every tick.

        Args:
            answering: rows of the motors that answer at all.
            alert: the motor reports a hardware error. Shape (m,)
        """
        severe = self.health.error_bits & ~np.uint8(x.HardwareError.INPUT_VOLTAGE)
        unclear = [row for row in answering if alert[row] and not severe[row]]
        if not unclear:
            return
        register = x.HARDWARE_ERROR
        ids = [self._ids[row] for row in unclear]
        replies = self._bus.sync_read(ids, register.address, register.size)
        for row in unclear:
            block = replies.get(self._ids[row])
            if block is not None and len(block.data) == register.size:
                self.health.error_bits[row] = x.unpack(register, block.data)

    def read_all(self) -> None:
        """Ask all motors, one after the other."""
        for row in range(len(self._ids)):
            any(self._read(row) for _ in range(TRIES))

    def enabled(self) -> None:
        """Torque was read back as on, and watchdogs as cleared: older news is no longer true."""
        self.health.torque_on[:] = True
        self.health.watchdog_tripped[:] = False

    def _read(self, row: int) -> bool:
        """Ask one motor; whether it answered."""
        id, health = self._ids[row], self.health
        data = self._data(id)
        if data is None:
            return False
        torque, error, gains, watchdog, voltage, temperature = SLOW.unpack(data)
        # A motor that has lost power for a moment has lost its gains, too.
        as_sent = self.gains is None or gains == self.gains[id]
        health.torque_on[row] = torque == 1 and as_sent
        health.error_bits[row] = error
        health.watchdog_tripped[row] = watchdog == x.WATCHDOG_TRIPPED
        health.voltage[row] = voltage * x.VOLTAGE_UNIT
        health.temperature[row] = temperature
        self.time[row] = self._bus.clock()
        return True

    def _data(self, id: int) -> bytes | None:
        if self.indirect:
            windows = [(SLOW_DATA, SLOW.size)]
        else:
            windows = [(r.address, r.size) for r in SLOW_REGISTERS]
        data = b""
        for address, length in windows:
            block = self._bus.read(id, address, length)
            if block is None or len(block.data) != length:
                return None
            data += block.data
        return data
