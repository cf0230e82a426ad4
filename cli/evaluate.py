"""`surefoot evaluate`: how well a policy does its task in simulation."""

from __future__ import annotations

import csv
import json as jsonlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ..models.errors import UsageError
from ..sim.evaluate import MOST_EPISODES, Result, evaluate
from ..sim.terrain import KINDS, LEVELS
from .tables import evaluation_table, terrain_table
from .terminal import open_console, require_file
from .trained import TrainedPolicy, open_policy

LITTLE = 0.05  # of a score or a share of successes
TILES = len(KINDS) * LEVELS  # of which each episode on terrain begins on the next
NEARER = 0.9  # of the distance at the start: what is more is hardly less


@dataclass(frozen=True)
class Arguments:
    """Measure a policy in simulation: does it fall, does it follow, at what effort.

    Conditions:
    - nominal: only the friction of the feet differs between episodes
    - pushes: nominal, and shoved every 2 to 4 s, a quadruped by up to 0.5 m/s
    - randomised: all that training randomises
    - beyond: the same, in wider ranges
    - terrain, on request: ground that is not level

    Measures, in full in docs/evaluation.md:
    - a walk lasts 20 s, with a velocity commanded anew every 5 s
    - tracking score: 1 where the velocity is as commanded, 0 after a fall
    - standing still: what a robot gets that does nothing; a policy has to be better
    """

    policy: tyro.conf.Positional[Path]
    """The policy, an .onnx file, or the folder of a run that holds its policy.onnx."""
    robot: str | None = None
    """Robot: quadruped, go1, biped, arm, or the path of a robot.toml; by default the shipped
    robot that the policy names."""
    episodes: int = 256
    """Episodes under each condition."""
    seed: int = 0
    """Random seed, of commands, randomisation and noise. The same seed gives the same figures."""
    report: Path | None = None
    """Write an .html file that holds all of it: figures, plots, a video, and the learning curves
    where the policy lies in its run's folder."""
    values: Path | None = None
    """Write every episode's values as a .csv file."""
    terrain: bool = False
    """Also measure a walk on ground that is not level, as is done without this where a policy was
    trained there: every kind of it at every level."""
    json: bool = False
    """End with one JSON object on the last line."""


def run(arguments: Arguments) -> int:
    """Print the figures under every condition, and write what else is asked for."""
    console = open_console()
    for path, flag, ending in (
        (arguments.report, "--report", ".html"),
        (arguments.values, "--values", ".csv"),
    ):
        if path:
            require_file(path, flag, (ending,))
    policy = open_policy(arguments.policy, arguments.robot)
    terrain = arguments.terrain or policy.terrain
    results = _results(policy, arguments.episodes, arguments.seed, terrain, console)
    figures = {name: result.figures for name, result in results.items()}
    show(figures, arguments.policy, console)
    if arguments.values:
        write_values(results, arguments.values)
        console.print(f"Values: {arguments.values}", soft_wrap=True)
    if arguments.report:
        from .evaluation_report import write_report

        write_report(policy, results, arguments.seed, arguments.report, console)
        console.print(f"Report: {arguments.report}", soft_wrap=True)
    if arguments.json:
        print(jsonlib.dumps(figures, allow_nan=False))
    return 0


def measure(
    policy: Path, robot: str | None, episodes: int, seed: int, console: Console
) -> dict[str, dict[str, Any]]:
    """The figures of a policy file under every condition, under a bar.

    Raises:
        PolicyError, UsageError: as `open_policy` and `evaluate`.
    """
    opened = open_policy(policy, robot)
    results = _results(opened, episodes, seed, opened.terrain, console)
    return {name: result.figures for name, result in results.items()}


def show(figures: Mapping[str, Mapping[str, Any]], policy: Path, console: Console) -> None:
    """The table, and a word where the policy is not worth using yet."""
    console.print(evaluation_table(figures, f"{policy}"))
    if "terrain" in figures:
        console.print(terrain_table(figures["terrain"]))
        if (episodes := figures["terrain"]["episodes"]) < TILES:
            console.print(
                f"These are {episodes} of {TILES} tiles, the easiest: give --episodes {TILES} or "
                "more to begin on each kind at each level.",
                style="yellow",
                soft_wrap=True,
            )
    if words := shortcoming(figures):
        console.print(words, style="yellow", soft_wrap=True)


def shortcoming(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """In words, what a policy cannot do yet; empty where it can."""
    name, first = next(iter(figures.items()))
    found, still = list(figures.values()), first["standing_still"]
    measure = "score" if "score" in first else "success"
    if first["survival"] < 0.5:
        return f"It falls in {1 - first['survival']:.0%} of the {name} episodes: train longer."
    if any(each[measure] >= still[measure] + LITTLE for each in found):
        return ""
    if measure == "score":
        return "It follows commands hardly better than a robot that stands still: train longer."
    far, start = first["distance"], still["distance"]
    if far is None or far > NEARER * start:
        return "It comes hardly nearer to its goals than where it begins: train longer."
    return (
        f"It comes nearer to its goals, {far:.3f} m of {start:.3f} m are left, but seldom within "
        "2 cm: train longer."
    )


def write_values(results: Mapping[str, Result], path: Path) -> None:
    """A row for each episode: its condition and number, what was measured, what was drawn for it.

    A cell is empty where there is nothing, or where the condition does not vary the quantity.
    """
    tables = {name: _columns(result) for name, result in results.items()}
    names = dict.fromkeys(column for table in tables.values() for column in table)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["condition", "episode", *names])
        writer.writeheader()
        for condition, table in tables.items():
            for episode, row in enumerate(zip(*(v.tolist() for v in table.values()), strict=True)):
                cells = {name: x for name, x in zip(table, row, strict=True) if x == x}  # no NaN
                writer.writerow({"condition": condition, "episode": episode, **cells})


def _columns(result: Result) -> dict[str, np.ndarray]:
    grounds = {f"ground_{name}": labels for name, labels in result.grounds.items()}
    return {**result.measures.values(), **grounds, **result.drawn}


def _results(
    policy: TrainedPolicy, episodes: int, seed: int, terrain: bool, console: Console
) -> dict[str, Result]:
    if not 1 <= episodes <= MOST_EPISODES:
        raise UsageError(f"--episodes: found {episodes}, allowed is 1 to {MOST_EPISODES}")
    if seed < 0:
        raise UsageError(f"--seed: found {seed}, allowed is 0 or more")
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    seen = console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=not seen) as progress:
        bar = progress.add_task("evaluating", total=1.0)
        told = -1.0

        def tell(share: float) -> None:
            nonlocal told
            progress.update(bar, completed=share)
            if not seen and share >= told + 0.1:  # into a file, a line for each tenth
                if told < 0:  # by now nothing can refuse any more
                    console.print(f"Evaluating {episodes} episodes under each condition ...")
                else:
                    console.print(f"{share:4.0%}")
                told = share

        return evaluate(
            policy.act,
            policy.commands,
            policy.robot,
            policy.output,
            episodes,
            seed,
            tell,
            terrain,
        )
