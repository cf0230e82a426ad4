"""The commands that a policy is given, from the words of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from ..deploy.schedule import Schedule, read_schedule
from ..models.errors import UsageError
from ..models.task import CommandPart

MOST_BEYOND = 1.2  # times the width of the range that a policy was trained for


def schedule_of(
    command: Sequence[float], path: Path | None, parts: Sequence[CommandPart]
) -> Schedule:
    """The schedule in a file, else one command all the time, else the middle of every range.

    Raises:
        UsageError: not as many numbers as parts, or no such file; as `read_schedule` does.
    """
    if path:
        return read_schedule(path, [part.name for part in parts])
    command = command or [(part.lower + part.upper) / 2 for part in parts]
    if len(command) != len(parts):
        allowed = ", ".join(f"{part.name} [{part.unit}]" for part in parts)
        raise UsageError(
            f"--command: found {len(command)} numbers, allowed are {len(parts)}: {allowed}"
        )
    return Schedule.constant(command)


def check_commands(console: Console, parts: Sequence[CommandPart], schedule: Schedule) -> None:
    """Warn of commands beyond what the policy was trained for. Raises UsageError far beyond."""
    for part, values in zip(parts, schedule.commands.T, strict=True):
        middle, reach = (part.lower + part.upper) / 2, (part.upper - part.lower) / 2
        farthest = values[np.argmax(np.abs(values - middle))]
        found = f"{part.name}: found {farthest:g} {part.unit}"
        if abs(farthest - middle) > MOST_BEYOND * reach + 1e-9:
            lowest, highest = middle - MOST_BEYOND * reach, middle + MOST_BEYOND * reach
            raise UsageError(
                f"command {found}, allowed is {lowest:g} to {highest:g}: the policy was trained "
                f"for {part.lower:g} to {part.upper:g}"
            )
        if abs(farthest - middle) > reach + 1e-9:
            console.print(
                f"Command {found}; the policy was trained for {part.lower:g} to {part.upper:g}.",
                style="yellow",
                soft_wrap=True,
            )
