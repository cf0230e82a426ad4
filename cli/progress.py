"""What takes its time, under a bar."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from ..deploy.log.reader import RunLog
from ..deploy.verdict import State
from ..deploy.workstation.replay import SimReplay, replay_sim
from ..models.robot import Robot
from ..sim.trials import is_goal
from ..sim.video import frames, write_video


def simulate(console: Console, log: RunLog, robot: Robot, seed: int = 0) -> SimReplay:
    """The logged commands in the simulation. Raises UsageError as `replay_sim` does."""
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("simulating", total=1.0)
        return replay_sim(log, robot, seed, lambda share: progress.update(bar, completed=share))


def render(
    console: Console,
    robot: Robot,
    log: RunLog,
    time: np.ndarray,
    qpos: np.ndarray,
    path: Path,
) -> None:
    """Write a motion as a video, with state and command in words.

    Args:
        console: for the bar.
        robot: which moves.
        log: for the words.
        time: on its ticks' clock, rising [s]. Shape (M,).
        qpos: MuJoCo's positions at these times. Shape (M, nq).
        path: of the file to write.

    Raises:
        UsageError: neither an .mp4 nor a .gif.
        RenderError: this machine cannot render.
    """
    rows = frames(time, path)
    at = np.searchsorted(log.ticks["start"], time[rows], side="right") - 1
    ticks = log.ticks[np.maximum(at, 0)]
    captions = [_caption(tick, log.command_names) for tick in ticks]
    goals = _goals(ticks, log.command_names)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("rendering", total=len(rows))
        write_video(robot, qpos[rows], path, captions, lambda: progress.advance(bar), goals=goals)


def _caption(tick: np.void, command_names: Sequence[str]) -> str:
    """What the robot is at, in one tick."""
    state = State(int(tick["state"]))
    if state is not State.RUN:
        return state.name
    parts = zip(command_names, tick["command"], strict=True)
    return "   ".join(["RUN", *(f"{name} {float(value) + 0.0:.2f}" for name, value in parts)])


def _goals(ticks: np.ndarray, command_names: Sequence[str]) -> list[np.ndarray | None]:
    """Where the policy was to bring a tip, (3,) [m]; None where it was not asked. Empty: no goals.

    The names have units behind them.
    """
    if not is_goal([name.partition(" ")[0] for name in command_names]):
        return []
    return [tick["command"] if np.isfinite(tick["action"]).any() else None for tick in ticks]
