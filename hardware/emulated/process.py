"""An emulated robot behind pseudo-terminals, in real time: one loop around the pure core.

A pseudo-terminal carries bytes at once and has no bit timing, so the core says when each reply is
due and this loop holds it back until then. It can read the baud rate that the host has set, so a
wrong one is answered with silence, as on a wire. Linux only.
"""

from __future__ import annotations

import fcntl
import gc
import math
import os
import select
import signal
import struct
import time
import tty
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from ...models.errors import UsageError
from ..truth import TruthFile
from .robot import EmulatedRobot

LATE = 0.005  # a loop that comes later than this is counted [s]
CATCH_UP = 0.05  # beyond it, time is lost rather than caught up with in a burst [s]
PRIORITY = 10  # where it may be had; a host's real-time loop stays above
PARENT_GRACE = 1.0  # still running after the parent's end, so that the truth tells what came of it
_TCGETS2 = 0x802C542A  # ioctl: struct termios2, whose last word is the output speed
_TERMIOS2 = struct.Struct("=4IB19sII")


class PseudoTerminal:
    """One serial line: the host opens `path`; the emulator reads and writes the other end."""

    def __init__(self) -> None:
        # The line's own end stays open too, so a host may close and open it again at will.
        self._master, self._line = os.openpty()
        tty.setraw(self._line)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._line)

    def fileno(self) -> int:
        return self._master

    @property
    def baud_rate(self) -> int:
        """What the host has set [baud]."""
        answer = fcntl.ioctl(self._master, _TCGETS2, bytes(_TERMIOS2.size))
        return _TERMIOS2.unpack(answer)[-1]

    def read(self) -> bytes:
        """What the host wrote; empty if nothing."""
        with suppress(BlockingIOError):
            return os.read(self._master, 65536)
        return b""

    def write(self, data: bytes) -> None:
        """Send to the host; what does not fit is lost, as bytes that nobody reads are."""
        with suppress(BlockingIOError):
            os.write(self._master, data)

    def close(self) -> None:
        os.close(self._master)
        os.close(self._line)


@dataclass
class Pace:
    """How well the loop kept real time."""

    time: float = 0.0  # that the robot lived [s]
    late: int = 0  # loops that came more than LATE late
    worst: float = 0.0  # lateness [s]
    lost: float = 0.0  # that the robot's clock fell behind [s]


class Emulator:
    """The emulated robot in real time. Make it, tell the host the `ports`, run it, close it.

    From the beginning it takes SIGINT and SIGTERM as the wish to end: main thread only.
    """

    def __init__(
        self, robot: EmulatedRobot, truth: Path | None = None, parent_pid: int | None = None
    ):
        """With `parent_pid` it also ends, shortly after that process has.

        Raises:
            UsageError: the truth file cannot be written, or there is no such process.
        """
        self.robot = robot
        self._stop_at = math.inf  # on CLOCK_MONOTONIC [s]
        self._stack = ExitStack()
        self._parent = None if parent_pid is None else _open_process(parent_pid)
        if self._parent is not None:
            self._stack.callback(os.close, self._parent)
        self._truth = None if truth is None else TruthFile(truth, robot.description.joint_names)
        if self._truth is not None:
            self._stack.callback(self._truth.close)
        self._terminals = {name: PseudoTerminal() for name in robot.description.buses}
        for terminal in self._terminals.values():
            self._stack.callback(terminal.close)
        for signum in (signal.SIGINT, signal.SIGTERM):
            self._stack.callback(signal.signal, signum, signal.signal(signum, self._tell))

    @property
    def ports(self) -> dict[str, str]:
        """The device that stands for each bus."""
        return {name: terminal.path for name, terminal in self._terminals.items()}

    def run(self) -> Pace:
        """Emulate until SIGINT or SIGTERM, or until shortly after the parent's end."""
        pace = Pace()
        with suppress(PermissionError):  # real devices don't wait for their turn
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(PRIORITY))
        gc.collect()
        gc.freeze()  # what exists now will not be searched again in the middle of a reply
        origin = time.monotonic()
        while (now := time.monotonic()) < self._stop_at:
            behind = now - origin - self.robot.time
            if behind > LATE:
                pace.late += 1
                pace.worst = max(pace.worst, behind)
            if behind > CATCH_UP:
                pace.lost += behind - CATCH_UP
                origin += behind - CATCH_UP
            self._turn(now - origin, origin)
            self._wait(origin)
        pace.time = self.robot.time
        return pace

    def close(self) -> None:
        """Close the ports and the truth file, give the signals back."""
        self._stack.close()

    def _turn(self, now: float, origin: float) -> None:
        """Hear the host, live up to `now`, answer what is due."""
        for name, terminal in self._terminals.items():
            # Heard before time moves on: bytes that waited in a late loop still feed the watchdogs.
            if data := terminal.read():
                self.robot.feed(name, data, now, terminal.baud_rate)
        self.robot.advance(now)
        for name, terminal in self._terminals.items():
            if data := self.robot.take(name, now, terminal.baud_rate):
                terminal.write(data)
        if self._truth is not None:
            robot = self.robot
            self._truth.record(robot.time, origin, robot.state, robot.joint_torque)

    def _wait(self, origin: float) -> None:
        """Sleep until something is due or the host writes; look after the parent."""
        timeout = origin + self.robot.next_due() - time.monotonic()
        select.select(list(self._terminals.values()), [], [], max(0.0, timeout))
        if self._parent is not None and self._stop_at == math.inf:
            ended, _, _ = select.select([self._parent], [], [], 0.0)
            if ended:
                self._stop_at = time.monotonic() + PARENT_GRACE

    def _tell(self, signum: int, frame: object) -> None:
        self._stop_at = 0.0


def _open_process(pid: int) -> int:
    """A file descriptor that becomes readable when the process ends, however it ends."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        raise UsageError(f"--parent-pid {pid}: there is no such process") from None
