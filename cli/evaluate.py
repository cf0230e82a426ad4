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


@dataclass(frozen=True)
class Arguments:
    """Measure a policy by the protocol of sim/evaluate.py: survival, tracking, torque."""

    policy: tyro.conf.Positional[Path]
    """The policy, an .onnx file."""
    robot: str = "quadruped"
    """Name of a robot that Surefoot ships, or the path of a robot.toml."""
    episodes: int = 256
    """Episodes of 20 s under each condition."""
    seed: int = 0
    """Of commands, randomisation and noise."""
    json: bool = False
    """End with one JSON object on the last line."""


def run(arguments: Arguments) -> int:
    """Print the figures under every condition."""
    console = Console()
    figures = measure(
        arguments.policy, arguments.robot, arguments.episodes, arguments.seed, console
    )
    console.print(evaluation_table(figures, f"{arguments.policy}"))
    if arguments.json:
        print(jsonlib.dumps(figures))
    return 0


def measure(
    policy: Path, robot: str, episodes: int, seed: int, console: Console
) -> dict[str, dict[str, Any]]:
    """Evaluate a policy file with a progress bar. Raises PolicyError and UsageError."""
    if episodes < 1:
        raise UsageError(f"--episodes: found {episodes}, allowed is 1 or more")
    controller = Controller(policy, load_robot(robot))

    def act(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        return controller.infer_batch(inputs)["action"]

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("evaluating", total=1.0)
        return evaluate(
            act, episodes, seed, robot, lambda share: progress.update(bar, completed=share)
        )
