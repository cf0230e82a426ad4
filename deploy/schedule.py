"""The command to the policy over time."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..models.errors import NonFiniteError, UsageError, require_finite


@dataclass(frozen=True)
class Schedule:
    """A command for each time since RUN began, kept until the next one.

    Before the first time the first command holds. Raises UsageError where a number is NaN or
    infinite, or the times do not rise: a schedule that exists is one that may be run.
    """

    times: np.ndarray  # rising [s]. Shape (m,)
    commands: np.ndarray  # to the policy, in its units. Shape (m, c)

    def __post_init__(self) -> None:
        try:
            require_finite(time=self.times, command=self.commands)
        except NonFiniteError as error:
            raise UsageError(f"schedule: {error}") from None
        falling = np.flatnonzero(np.diff(self.times) <= 0)
        if falling.size:
            first, second = self.times[falling[0]], self.times[falling[0] + 1]
            raise UsageError(
                f"schedule: found {second} s after {first} s, allowed are rising times"
            )

    @classmethod
    def of(cls, points: Sequence[tuple[float, Sequence[float]]]) -> Schedule:
        """A schedule of (time [s], command) points.

        Raises:
            UsageError: there is no point, a command has not as many numbers as the first, or it
                is no schedule.
        """
        if not points:
            raise UsageError("schedule: found no command")
        width = len(points[0][1])
        for time, command in points:
            if len(command) != width:
                raise UsageError(
                    f"schedule at {time} s: found {len(command)} numbers, allowed are {width}, "
                    "as at its beginning"
                )
        times = np.array([time for time, _ in points], dtype=np.float64)
        commands = np.array([command for _, command in points], dtype=np.float64)
        return cls(times, commands)

    @classmethod
    def constant(cls, command: Sequence[float]) -> Schedule:
        """The same command all the time. Raises UsageError as `of` does."""
        return cls.of([(0.0, command)])

    def at(self, time: float) -> np.ndarray:
        """The command at `time` since RUN began [s]. Shape (c,)."""
        index = int(np.searchsorted(self.times, time, side="right")) - 1
        return self.commands[max(index, 0)].copy()


def read_schedule(path: Path, names: Sequence[str]) -> Schedule:
    """A schedule from a CSV file with the columns time [s] and the command's `names`, in order.

    Raises:
        UsageError: there is no such file, it is no such table, or no schedule.
    """
    if not path.is_file():
        raise UsageError(f"schedule: there is no file '{path}'")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not a text file, allowed is a CSV file") from None
    header, *rows = [row for row in csv.reader(lines) if row] or [[]]
    columns = ["time", *names]
    if [name.strip() for name in header] != columns:
        raise UsageError(
            f"{path}: found the columns {','.join(header)}, allowed is {','.join(columns)}"
        )
    points = []
    for line, row in enumerate(rows, start=2):
        try:
            time, *command = (float(value) for value in row)
        except ValueError:
            found, wanted = ",".join(row), f"{len(columns)} numbers"
            raise UsageError(f"{path}, line {line}: found {found}, allowed: {wanted}") from None
        if len(command) != len(names):
            raise UsageError(
                f"{path}, line {line}: found {len(command)} numbers after the time, allowed are "
                f"{len(names)}: {', '.join(names)}"
            )
        points.append((time, command))
    return Schedule.of(points)
