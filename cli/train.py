"""`surefoot train`: from nothing to a policy, its figures and its file."""

from __future__ import annotations

import json as jsonlib
import math
import subprocess
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from tyro.constructors import PrimitiveConstructorSpec

from ..control import checkpoint
from ..control.ppo import PPOConfig
from ..control.train import CHECKPOINT, train
from ..deploy.export import add_evaluation
from ..deploy.log_format import POLICY_FILE
from ..models.errors import UsageError
from ..sim.randomisation import TRAINING, describe
from ..sim.walk import WalkEnv
from .evaluate import measure
from .export import export_run
from .tables import evaluation_table
from .terminal import command, open_console, require_folder, shown
from .watch import Watch, shown_steps

DEFAULT_MINUTES = 4.0


def _count(words: list[str]) -> int:
    """A whole number, as it is written or as 1e6."""
    try:
        number = float(words[0])
        if number == int(number):
            return int(number)
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"found {words[0]}, allowed is a whole number, as 1000000 or 1e6")


Count = Annotated[  # tyro alone knows no 1e6
    int | None,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=_count,
        is_instance=lambda value: value is None or isinstance(value, int),
        str_from_instance=lambda number: [str(number)],
    ),
]


@dataclass(frozen=True)
class Arguments:
    """Learn a policy in simulation; ends with policy.onnx and its evaluation.

    Ctrl-C saves what has been learned; --resume goes on from there.
    """

    task: Annotated[Literal["walk"], tyro.conf.Positional]
    """What to learn."""
    robot: str = "quadruped"
    """Name of a robot that Surefoot ships, or the path of a robot.toml."""
    minutes: float | None = None
    """Budget of training time [min]; 4 if neither this nor --steps is given."""
    steps: Count = None
    """Budget of environment steps, as 4000000 or 4e6; with both, the first one spent ends it."""
    seed: int = 0
    """Of everything random. The same seed and steps give the same policy."""
    run: Path | None = None
    """The run's folder; a new one under runs/ if not given."""
    resume: bool = False
    """Go on from the checkpoint in --run, with the budget counted from its start."""
    episodes: int = 256
    """Episodes of the evaluation at the end, under each condition; 0 leaves it out."""
    json: bool = False
    """End with one JSON object on the last line."""
    ppo: Annotated[PPOConfig, tyro.conf.arg(name="")] = field(default_factory=PPOConfig)


def run(arguments: Arguments) -> int:
    """Train, export, evaluate."""
    console = open_console()
    if arguments.resume and arguments.run is None:
        raise UsageError("--resume: found no --run, give the folder of a run")
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = arguments.run or Path("runs") / f"{arguments.task}-{stamp}"
    minutes = arguments.minutes
    if minutes is None and arguments.steps is None:
        minutes = DEFAULT_MINUTES
    _require_possible(arguments, folder)
    env = WalkEnv(arguments.ppo.num_envs, arguments.robot)
    about = {
        "task": arguments.task,
        "robot": arguments.robot,
        "randomisation": describe(TRAINING),
        "commit": _commit(),
    }
    watch = Watch(console, f"Training in {folder}: tensorboard --logdir {folder}")
    try:
        with watch.live, watch.interrupts():
            trained = train(
                env,
                arguments.ppo,
                folder,
                minutes=minutes,
                steps=arguments.steps,
                seed=arguments.seed,
                resume=arguments.resume,
                on_update=watch.update,
                about=about,
            )
    except KeyboardInterrupt:
        _tell_how_to_go_on(console, arguments, folder)
        raise
    if not watch.began:
        spent = f"{shown_steps(trained.steps)} steps in {trained.elapsed / 60:.1f} min"
        words = f"Nothing trained: the run has had {spent}. Give a larger --minutes or --steps."
        console.print(words, style="yellow", soft_wrap=True)
    if trained.resumed_exactly is False:
        console.print("The environments do not expose their state: their episodes restarted.")
    policy = folder / POLICY_FILE
    export_run(folder, policy)
    result = {
        "run": str(folder),
        "policy": str(policy),
        "steps": trained.steps,
        "seconds": round(trained.elapsed, 1),
    }
    if arguments.episodes:
        figures = measure(policy, arguments.robot, arguments.episodes, arguments.seed, console)
        add_evaluation(policy, figures)
        console.print(evaluation_table(figures, f"{policy}"))
        result["evaluation"] = figures
    robot = "" if arguments.robot == "quadruped" else f" --robot {arguments.robot}"
    for line in (
        f"{shown_steps(trained.steps)} steps in {trained.elapsed:.0f} s. Next:",
        f"  {command()} deploy {shown(policy)}{robot} --emulated --command 0.2 0 0",
        f"  tensorboard --logdir {folder}",
    ):
        console.print(line, soft_wrap=True)
    if arguments.json:
        print(jsonlib.dumps(result))
    return 0


def _require_possible(arguments: Arguments, folder: Path) -> None:
    """Raise UsageError for figures that nothing can be learned with."""
    if arguments.minutes is not None and not 0 < arguments.minutes < math.inf:
        raise UsageError(f"--minutes: found {arguments.minutes}, allowed is a number > 0")
    if arguments.episodes < 0:
        raise UsageError(f"--episodes: found {arguments.episodes}, allowed is 0 or more")
    counts = {"steps": 1 if arguments.steps is None else arguments.steps}
    names = ("num_envs", "horizon", "epochs", "minibatches")
    counts.update({name: getattr(arguments.ppo, name) for name in names})
    for name, count in counts.items():
        if count < 1:
            raise UsageError(f"--{name.replace('_', '-')}: found {count}, allowed is 1 or more")
    require_folder(folder, "--run")
    if arguments.resume:
        checkpoint.load(folder / CHECKPOINT)  # or it says what is wrong, before anything begins
    elif (folder / CHECKPOINT).exists():
        raise UsageError(f"{folder}: found a run, allowed is a new folder, or --resume")


def _tell_how_to_go_on(console: Console, arguments: Arguments, folder: Path) -> None:
    if not (folder / CHECKPOINT).exists():
        return  # stopped before anything was learned
    own, usual = arguments, Arguments(task=arguments.task)
    given = [(name, getattr(own, name)) for name in ("robot", "minutes", "steps", "seed")]
    given = [(name, value) for name, value in given if value != getattr(usual, name)]
    for entry in fields(PPOConfig):
        value = getattr(own.ppo, entry.name)
        if value != getattr(usual.ppo, entry.name):
            words = " ".join(map(str, value)) if isinstance(value, tuple) else value
            given.append((entry.name, words))
    options = "".join(f" --{name.replace('_', '-')} {value}" for name, value in given)
    run = shown(folder)
    resume = f"{command()} train {own.task} --run {run}{options} --resume"
    console.print(f"Saved. To go on:             {resume}", soft_wrap=True)
    console.print(f"To use the policy so far:    {command()} export {run}", soft_wrap=True)


def _commit() -> str:
    """The repository's commit, with + where the tree differs from it; '' outside a repository."""
    here = Path(__file__).parent
    try:
        words = ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--exclude=*"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
