"""Serial ports: the one object that holds a pyserial port, and what a driver needs of one."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import serial
from serial.tools import list_ports

from ..models.errors import DeviceError
from ..models.robot import Bus

CHUNK = 4096  # [bytes]
WRITE_TIMEOUT = 0.2  # a port that takes nothing for so long is broken [s]

Clock = Callable[[], float]  # [s]


class Transport(Protocol):
    """A stream of bytes to and from one bus. `SerialPort` is one; tests have others."""

    name: str  # for messages
    baud_rate: int  # [baud]

    def write(self, data: bytes) -> None:
        """Send all of `data`. Raises DeviceError where the port is gone."""
        ...

    def read(self, deadline: float) -> bytes:
        """Bytes at hand, else the first to come by `deadline` on the clock [s], else none.

        A deadline in the past never waits. Raises DeviceError where the port is gone.
        """
        ...

    def close(self) -> None:
        """Release the port; again is harmless."""
        ...


def drop_input(transport: Transport) -> int:
    """Drop the bytes at hand, which belong to no request. Returns their number."""
    dropped = 0
    # A babbling device must not hold the loop here.
    while dropped < 4 * CHUNK and (chunk := transport.read(0.0)):
        dropped += len(chunk)
    return dropped


def drain(transport: Transport, clock: Clock, silence: float, limit: float) -> int:
    """Drop bytes until none came for `silence` [s], at most for `limit` [s]. Returns how many."""
    end = clock() + limit
    dropped = 0
    while (now := clock()) < end and (chunk := transport.read(min(now + silence, end))):
        dropped += len(chunk)
    return dropped


class SerialPort:
    """A serial device or a pseudo-terminal of a POSIX system, held exclusively.

    A driver with a latency knob (FTDI on Linux) is set to its lowest; others have none. The lock
    keeps out whoever asks for it too; a process that does not ask gets in all the same.
    """

    def __init__(self, path: str, baud_rate: int, clock: Clock = time.monotonic) -> None:
        """Open `path`. Raises DeviceError where it is missing, busy, or not allowed."""
        self.name = path
        self.baud_rate = baud_rate
        self._clock = clock
        try:
            self._serial = serial.Serial(
                path, baud_rate, timeout=0, write_timeout=WRITE_TIMEOUT, exclusive=True
            )
        except (OSError, ValueError) as error:  # SerialException is an OSError
            raise DeviceError(_why_not(path, baud_rate, error)) from None
        low_latency = getattr(self._serial, "set_low_latency_mode", None)
        if low_latency is not None:
            # A pseudo-terminal raises, and so may an adapter without the knob.
            with contextlib.suppress(OSError, ValueError):
                low_latency(True)

    def write(self, data: bytes) -> None:
        """See `Transport.write`."""
        try:
            self._serial.write(data)
        except OSError as error:
            raise self._gone(error) from None

    def read(self, deadline: float) -> bytes:
        """See `Transport.read`."""
        try:
            descriptor = self._serial.fileno()
            wait = max(0.0, deadline - self._clock())
            ready, _, _ = select.select([descriptor], [], [], wait)
            if not ready:
                return b""
            chunk = os.read(descriptor, CHUNK)
        except BlockingIOError:
            return b""
        except (OSError, ValueError) as error:
            raise self._gone(error) from None
        if not chunk and _hung_up(descriptor):
            raise self._gone("end of file")
        return chunk  # none, too, where another process has read what was there

    def close(self) -> None:
        """See `Transport.close`."""
        self._serial.close()

    def _gone(self, reason: object) -> DeviceError:
        return DeviceError(f"port {self.name}: the device is gone (unplugged?): {reason}")


def _hung_up(descriptor: int) -> bool:
    """Whether a device has gone, which poll(2) tells whatever it is asked for."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return bool(poll.poll(0))


def open_port(bus: Bus, ports: Mapping[str, str], clock: Clock) -> SerialPort:
    """The port of a bus: the one of `ports`, else robot.toml's own. Raises as `SerialPort` does."""
    return SerialPort(ports.get(bus.name, bus.port), bus.baud_rate, clock)


def available_ports() -> list[str]:
    """Paths of the serial ports of this machine."""
    return sorted(port.device for port in list_ports.comports())


def _why_not(path: str, baud_rate: int, error: OSError | ValueError) -> str:
    code = getattr(error, "errno", None)
    if code in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        present = ", ".join(available_ports()) or "none"
        return f"port {path}: there is no such device; ports present: {present}"
    if code in (errno.EBUSY, errno.EAGAIN) or "exclusively lock" in str(error):
        return f"port {path}: in use by another process, end it first"
    if code in (errno.EACCES, errno.EPERM):
        return f"port {path}: no permission to open it, join the group that owns it (often dialout)"
    return f"port {path}: cannot be opened as a serial port at {baud_rate} baud: {error}"
