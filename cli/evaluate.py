"""`surefoot evaluate`: how well a policy walks in simulation."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ..deploy.controller import Controller
from ..models.errors import UsageError
from ..models.robot_file import load_robot
from ..sim.evaluate import evaluate
from .tables import evaluation_table
from .terminal import open_console

LITTLE = 0.05  # of the tracking score


@dataclass(frozen=True)
class Arguments:
    """Measure how a policy walks in simulation: does it fall, does it follow, at what effort.

    Each episode lasts 20 s, with a random velocity commanded anew every 5 s; the second after that
    is left out. Tracking score: 1 where the horizontal velocity is as commanded, falling off with
    the error, 0 after a fall. Nominal: only the floor's friction differs between episodes.
    Randomised: all that training randomises, pushes included. A robot that just stands still
    scores too, and the table says how much: a policy has to be better than that.
    """

    policy: tyro.conf.Positional[Path]
    """The policy, an .onnx file."""
    robot: str = "quadruped"
    """Name of a robot that Surefoot ships, or the path of a robot.toml."""
    episodes: int = 256
    """Episodes of 20 s under each condition."""
    seed: int = 0
    """Random seed, of commands, randomisation and noise."""
    json: bool = False
    """End with one JSON object on the last line."""


def run(arguments: Arguments) -> int:
    """Print the figures under every condition."""
    console = open_console()
    figures = measure(
        arguments.policy, arguments.robot, arguments.episodes, arguments.seed, console
    )
    show(figures, arguments.policy, console)
    if arguments.json:
        print(jsonlib.dumps(figures))
    return 0


def show(figures: Mapping[str, Mapping[str, Any]], policy: Path, console: Console) -> None:
    """The table, and a word where the policy does no more than to stand."""
    console.print(evaluation_table(figures, f"{policy}"))
    if all(f["score"] < f["standing_still"]["score"] + LITTLE for f in figures.values()):
        console.print("It follows hardly better than a robot that stands still: train longer.")


def measure(
    policy: Path, robot: str, episodes: int, seed: int, console: Console
) -> dict[str, dict[str, Any]]:
    """`sim.evaluate.evaluate` of a policy file, under a bar. Raises PolicyError and UsageError."""
    if episodes < 1:
        raise UsageError(f"--episodes: found {episodes}, allowed is 1 or more")
    controller = Controller(policy, load_robot(robot))

    def act(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        return controller.infer_batch(inputs)["action"]

    if not console.is_terminal:  # where there is no bar to see
        console.print(f"Evaluating {episodes} episodes of 20 s under each condition ...")
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("evaluating", total=1.0)
        return evaluate(
            act, episodes, seed, robot, lambda share: progress.update(bar, completed=share)
        )
