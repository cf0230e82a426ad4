"""The command to the policy over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..models.errors import NonFiniteError, UsageError
from ..models.limits import require_finite


@dataclass(frozen=True)
class Schedule:
    """A command for each time since RUN began: kept until the next one, or a line between the two.

    Before the first time the first command holds, after the last the last.
    """

    times: np.ndarray  # rising [s]. Shape (m,)
    commands: np.ndarray  # forward, left [m/s], turn [rad/s]. Shape (m, 3)
    linear: bool = False

    @classmethod
    def of(cls, points: Sequence[tuple[float, Sequence[float]]], linear: bool = False) -> Schedule:
        """A schedule of (time [s], command) points.

        Raises:
            UsageError: there is no point, a command has not three numbers, a number is NaN or
                infinite, or the times do not rise.
        """
        if not points:
            raise UsageError("schedule: found no command, allowed is one or more")
        for time, command in points:
            if len(command) != 3:
                raise UsageError(
                    f"schedule at {time} s: found {len(command)} numbers, "
                    "allowed are 3: forward [m/s], left [m/s], turn [rad/s]"
                )
        times = np.array([time for time, _ in points], dtype=np.float64)
        commands = np.array([command for _, command in points], dtype=np.float64)
        try:
            require_finite(time=times, command=commands)
        except NonFiniteError as error:
            raise UsageError(f"schedule: {error}") from None
        falling = np.flatnonzero(np.diff(times) <= 0)
        if falling.size:
            first, second = times[falling[0]], times[falling[0] + 1]
            raise UsageError(
                f"schedule: found {second} s after {first} s, allowed are rising times"
            )
        return cls(times, commands, linear)

    @classmethod
    def constant(cls, command: Sequence[float]) -> Schedule:
        """The same command all the time. Raises UsageError as `of` does."""
        return cls.of([(0.0, command)])

    def at(self, time: float) -> np.ndarray:
        """The command at `time` since RUN began [s]. Shape (3,)."""
        if self.linear:
            return np.array([np.interp(time, self.times, column) for column in self.commands.T])
        index = int(np.searchsorted(self.times, time, side="right")) - 1
        return self.commands[max(index, 0)].copy()
