"""What takes its time, under a bar."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from ..deploy.log import RunLog
from ..deploy.replay import SimReplay, replay_sim
from ..models.robot import Robot
from ..sim.video import frames, write_video


def simulate(console: Console, log: RunLog, robot: Robot, seed: int = 0) -> SimReplay:
    """The logged commands in the simulation. Raises UsageError as `replay_sim` does."""
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("simulating", total=1.0)
        return replay_sim(log, robot, seed, lambda share: progress.update(bar, completed=share))


def render(console: Console, robot: Robot, time: np.ndarray, qpos: np.ndarray, path: Path) -> None:
    """Write a motion as a video. Raises UsageError and RenderError as `write_video` does.

    Args:
        console: for the bar.
        robot: which moves.
        time: rising [s]. Shape (T,).
        qpos: MuJoCo's positions at these times. Shape (T, nq).
        path: of the file to write.
    """
    states = frames(time, qpos)
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("rendering", total=len(states))
        write_video(robot, states, path, lambda: progress.advance(bar))
