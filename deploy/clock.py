"""The time of a control loop, injected: nothing waits in a test."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """The loop's time."""

    def now(self) -> float:
        """Time, of any origin, that never runs back [s]."""
        ...

    def sleep_until(self, when: float) -> None:
        """Return at `when` [s], at once if it is past."""
        ...


class RealClock:
    """CLOCK_MONOTONIC, which the serial robot and the log use too."""

    def now(self) -> float:
        return time.monotonic()

    def sleep_until(self, when: float) -> None:
        while (left := when - self.now()) > 0:
            time.sleep(left)
