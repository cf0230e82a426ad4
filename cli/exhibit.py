"""What a demo needs to know of a task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from ..deploy.log.reader import RunLog
from ..hardware.truth import Truth
from ..models.robot import Robot

SCHEDULE_FILE, TRUTH_FILE, JOINTS_PLOT = "schedule.csv", "truth.csv", "joints.png"


@dataclass(frozen=True)
class Judgement:
    """What a robot did, by the emulator's truth."""

    good: bool
    words: str  # what was asked of it, and what came of that: half a line
    table: Table
    figures: dict[str, Any]  # the same as plain data


@dataclass(frozen=True)
class Exhibit:
    """A policy that does its task in a demo, and who judges that."""

    task: str  # as one says "to walk"
    done: str  # as one says "it walked"
    policy: Path
    robot: str  # as `load_robot` takes it
    schedule: str  # of commands, as CSV
    seconds: float  # how long the policy runs
    out: Path  # folder of all files
    judge: Callable[[Robot, RunLog, Truth, float], Judgement]  # the last are the seconds
    plot: Callable[[Robot, RunLog, Truth, Path], None]

    @property
    def log_file(self) -> str:
        return f"{self.task}.mcap"

    @property
    def plot_file(self) -> str:
        return f"{self.task}.png"

    def video_file(self, gif: bool) -> str:
        return f"{self.task}.{'gif' if gif else 'mp4'}"

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all that a demo leaves in its folder."""
        own = (self.log_file, self.plot_file, self.video_file(False), self.video_file(True))
        return (SCHEDULE_FILE, TRUTH_FILE, JOINTS_PLOT, *own)
