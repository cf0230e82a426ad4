"""How an operator stops a run: Ctrl-C and the signals that stand for it."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

AGAIN_AFTER = 0.3  # a second Ctrl-C within it is the first one, bouncing [s]
HUNG_AFTER = 0.5  # without a tick: whoever asks for a stop is told that none will come [s]
LAST_PRESS = 3  # of Ctrl-C: from it on, a loop that hangs may be killed by the next
ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP, signal.SIGQUIT)
# A job in the background that writes or reads would be frozen, with torque on.
FREEZING = (signal.SIGTTOU, signal.SIGTTIN)

HUNG = (
    "\nsurefoot: no control tick for {:.1f} s. If the robot does not lie down, CUT ITS POWER.\n"
    "Ctrl-C a fourth time ends the program; the motors are then left to their watchdogs.\n"
)


class StopRequest:
    r"""The first request asks the robot to lie down; a second Ctrl-C, or Ctrl-\, to yield at once.

    SIGTERM, SIGHUP and SIGTSTP (Ctrl-Z) ask, once or often: a terminal that closes sends several at
    a time, and a robot that is lying down is not dropped for it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nobody has asked yet. `clock` is the loop's [s]."""
        self.asked = False
        self.insists = False
        self.presses = 0  # of whatever kind
        self._clock = clock
        self._interrupted_at: float | None = None  # by the first Ctrl-C [s]
        self._interrupts = 0
        self._beat: float | None = None  # of the last tick [s]

    def beat(self) -> None:
        """The loop is alive: for each tick of it."""
        self._beat = self._clock()

    def press(self, number: int = signal.SIGINT, _frame: object = None) -> None:
        """Ask once more. Usable as a signal handler."""
        now = self._clock()
        self.asked = True
        self.presses += 1
        if number == signal.SIGQUIT:
            self.insists = True
        elif number == signal.SIGINT:
            self._interrupts += 1
            if self._interrupted_at is None:
                self._interrupted_at = now
            elif now - self._interrupted_at >= AGAIN_AFTER:
                self.insists = True
        if self._beat is not None and now - self._beat > HUNG_AFTER:
            _tell(HUNG.format(now - self._beat))
            if self._interrupts >= LAST_PRESS:
                signal.signal(signal.SIGINT, signal.SIG_DFL)

    @contextmanager
    def on_signals(self) -> Iterator[StopRequest]:
        """Let signals ask that would else end the process, or freeze it with torque on.

        Python runs a handler between two of its own instructions: while a library's call does not
        return, no signal is heard, and only the switch of the power is left.
        """
        handlers = dict.fromkeys(ASKING, self.press) | dict.fromkeys(FREEZING, signal.SIG_IGN)
        before = {number: signal.signal(number, act) for number, act in handlers.items()}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _tell(text: str) -> None:
    """To stderr, if it takes it: a terminal that is stopped must not stop this, too."""
    with suppress(OSError, ValueError):
        descriptor = sys.__stderr__.fileno() if sys.__stderr__ else 2
        if select.select([], [descriptor], [], 0.0)[1]:
            os.write(descriptor, text.encode())
