"""A run under way, for a person: in a thread of its own, so that no terminal can stop a robot."""

from __future__ import annotations

import math
import threading
from collections import deque
from contextlib import suppress

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ..deploy.checks import SLOW_STALE, tilt, who
from ..deploy.verdict import State, Verdict
from ..hardware.interface import Sample
from ..models.robot import Robot

REFRESH = 0.25  # [s]
MESSAGES = 50  # that wait for a terminal to take them; the oldest are dropped, the log has them all
PATIENCE = 1.0  # for the terminal to take the last of it [s]


class Display:
    """Shows what `show` and `say` hand over, from entering to leaving it.

    Neither ever waits or fails: a terminal that is stopped, closed or gone is not the loop's
    business. What it has no room for is dropped.
    """

    def __init__(self, console: Console, robot: Robot, total: float, dry_run: bool) -> None:
        """Shows nothing yet.

        Args:
            console: nobody else writes to it meanwhile.
            robot: gives joint names and control period.
            total: how long the run may be expected to take [s].
            dry_run: show sensors and would-be targets instead of a bar.
        """
        self._console, self._robot, self._total, self._dry_run = console, robot, total, dry_run
        self._messages: deque[str] = deque(maxlen=MESSAGES)
        self._latest: tuple[int, Sample, Verdict] | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="display", daemon=True)

    def __enter__(self) -> Display:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(PATIENCE)

    def say(self, text: str) -> None:
        """A line that stays."""
        self._messages.append(text)  # a deque takes it without a lock

    def show(self, tick: int, _run_time: float, sample: Sample, verdict: Verdict) -> None:
        """Take the newest tick, for the loop."""
        self._latest = tick, sample, verdict
        if verdict.message:
            self._messages.append(verdict.message)

    # --- in the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        with suppress(Exception, SystemExit):  # the terminal is gone, the robot is not
            self._show_table() if self._dry_run else self._show_bar()

    def _show_bar(self) -> None:
        columns = (TextColumn("{task.description:8}"), BarColumn(), TimeRemainingColumn())
        with Progress(
            *columns,
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ) as progress:
            bar = progress.add_task("", total=self._total)
            while not self._over.wait(REFRESH):
                self._print_messages()
                if self._latest:
                    tick, _, verdict = self._latest
                    done = min(tick * self._robot.control_period, self._total)
                    name = State(verdict.state).name.lower()
                    progress.update(bar, description=name, completed=done, refresh=True)
        self._print_messages()

    def _show_table(self) -> None:
        with Live(
            console=self._console,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        ) as live:
            over = False
            while not over:
                over = self._over.wait(REFRESH)
                self._print_messages()
                if self._latest:
                    live.update(rehearsal_table(self._robot, *self._latest[1:]), refresh=True)
        if not self._console.is_terminal:
            self._console.print()

    def _print_messages(self) -> None:
        while self._messages:
            self._console.print(Text(f"  {self._messages.popleft()}"))


def rehearsal_table(robot: Robot, sample: Sample, verdict: Verdict) -> Table:
    """What a dry run sees, and what it would do: a joint target, or a torque, for each joint."""
    on = sample.health.torque_on | ~(sample.health.age <= SLOW_STALE)
    torque = f"TORQUE MAY BE ON: {who(robot.joint_names, on)}" if on.any() else "torque is off"
    torques = bool(np.isfinite(verdict.limited_torque).any())
    would = verdict.limited_torque if torques else verdict.limited_target
    table = Table(
        title=_gravity(sample) if robot.imu else None,
        caption=f"{torque}; the last column is what a run would command from here",
        caption_style="bold red" if on.any() else None,
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("joint", no_wrap=True)
    for name in ("rad", "°", "rad/s", "torque, N·m" if torques else "target, rad"):
        table.add_column(name, justify="right")
    rows = zip(robot.joint_names, sample.joint_pos, sample.joint_vel, would, strict=True)
    for name, angle, velocity, target in rows:
        table.add_row(
            name,
            f"{angle:+.3f}",
            f"{math.degrees(angle):+.0f}",
            f"{velocity:+.2f}",
            f"{target:+.3f}" if np.isfinite(target) else "none",
        )
    return table


def _gravity(sample: Sample) -> str:
    x, y, z = sample.gravity
    return (
        f"gravity {x:+.2f} {y:+.2f} {z:+.2f} in the base (x forward, y left, z up), "
        f"tilt {math.degrees(tilt(sample.gravity)):.0f}°"
    )
