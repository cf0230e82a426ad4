"""`surefoot train`: from nothing to a policy, its figures and its file."""

from __future__ import annotations

import itertools
import json as jsonlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from gymnasium.vector import VectorEnv
from rich.console import Console

from ..control.envs import make
from ..control.evaluate import episode_returns
from ..control.ppo import PPOConfig
from ..control.sac import SACConfig
from ..control.train import Trained, train
from ..deploy.export import add_evaluation
from ..models.errors import UsageError
from ..sim.randomisation import TRAINING, describe
from ..sim.walk import WalkEnv
from .evaluate import measure
from .export import commit, export_run
from .tables import evaluation_table
from .watch import Watch

DEFAULT_MINUTES = 4.0
ROBOT_TASKS = ("walk",)
FOREIGN_EPISODES = 10  # of the evaluation of a task that is no robot's


@dataclass(frozen=True)
class _Common:
    task: Annotated[str, tyro.conf.Positional]
    """What to learn: walk, or the id of a Gymnasium environment with observations and actions in
    boxes, such as HalfCheetah-v5."""
    robot: str = "quadruped"
    """Name of a robot that Surefoot ships, or the path of a robot.toml."""
    minutes: float | None = None
    """Budget of training time [min]; 4 if neither this nor --steps is given."""
    steps: int | None = None
    """Budget of environment steps; with both, the first one spent ends it."""
    seed: int = 0
    """Of everything random. The same seed and steps give the same policy."""
    run: Path | None = None
    """The run's folder; a new one under runs/ if not given."""
    resume: bool = False
    """Go on from the checkpoint in --run, with the budget counted from its start."""
    episodes: int = 256
    """Episodes of the evaluation of a robot at the end, under each condition; 0 leaves it out.
    Other environments are evaluated for 10."""
    json: bool = False
    """End with one JSON object on the last line."""


@dataclass(frozen=True)
class Arguments(_Common):
    """Learn a policy in simulation; a robot's ends with policy.onnx and its evaluation.

    The options below are PPO's; `--algo sac --help` lists those of SAC.
    """

    algo: Literal["ppo", "sac"] = "ppo"
    """Algorithm: ppo for many environments together, sac for few, with a replay buffer."""
    config: Annotated[PPOConfig, tyro.conf.arg(name="")] = field(default_factory=PPOConfig)


@dataclass(frozen=True)
class SACArguments(_Common):
    """Learn a policy in simulation; a robot's ends with policy.onnx and its evaluation.

    The options below are SAC's; without `--algo sac`, --help lists those of PPO.
    """

    algo: Literal["ppo", "sac"] = "sac"
    """Algorithm: ppo for many environments together, sac for few, with a replay buffer."""
    config: Annotated[SACConfig, tyro.conf.arg(name="")] = field(default_factory=SACConfig)


def arguments_for(words: Sequence[str]) -> type[Arguments] | type[SACArguments]:
    """Which options there are depends on the algorithm, wherever its name stands."""
    pairs = itertools.pairwise([*words, ""])
    asked = [word == "--algo=sac" or (word, after) == ("--algo", "sac") for word, after in pairs]
    return SACArguments if any(asked) else Arguments


def run(arguments: Arguments | SACArguments) -> int:
    """Train; export and evaluate a robot's policy, evaluate any other."""
    console = Console()
    if arguments.resume and arguments.run is None:
        raise UsageError("--resume: found no --run, allowed is the folder of a run")
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = arguments.run or Path("runs") / f"{arguments.task.replace('/', '-')}-{stamp}"
    minutes = arguments.minutes
    if minutes is None and arguments.steps is None:
        minutes = DEFAULT_MINUTES
    _require_possible(arguments, folder)
    of_robot = arguments.task in ROBOT_TASKS
    env: str | VectorEnv = arguments.task
    about = {"task": arguments.task, "commit": commit()}
    if of_robot:
        env = WalkEnv(arguments.config.num_envs, arguments.robot)
        about |= {"robot": arguments.robot, "randomisation": describe(TRAINING)}
    console.print(
        f"Training in [bold]{folder}[/bold]: tensorboard --logdir {folder}", soft_wrap=True
    )
    watch = Watch(console)
    with watch.live:
        trained = train(
            env,
            arguments.config,
            folder,
            minutes=minutes,
            steps=arguments.steps,
            seed=arguments.seed,
            resume=arguments.resume,
            on_update=watch.update,
            about=about,
        )
    if not console.is_terminal:
        console.print()  # the bar leaves its line open there
    if trained.resumed_exactly is False:
        console.print("The environments do not expose their state: their episodes restarted.")
    console.print(f"{_amount(trained.steps)} steps in {trained.elapsed:.0f} s.", highlight=False)
    finish = _export if of_robot else _evaluate
    result = {
        "run": str(folder),
        "steps": trained.steps,
        "seconds": round(trained.elapsed, 1),
        **finish(arguments, folder, trained, console),
    }
    if arguments.json:
        print(jsonlib.dumps(result))
    return 0


def _export(
    arguments: Arguments | SACArguments, folder: Path, trained: Trained, console: Console
) -> dict[str, Any]:
    """Write a robot's policy.onnx, with its evaluation inside."""
    policy = folder / "policy.onnx"
    export_run(folder, policy)
    result: dict[str, Any] = {"policy": str(policy)}
    if arguments.episodes:
        figures = measure(policy, arguments.robot, arguments.episodes, arguments.seed, console)
        add_evaluation(policy, figures)
        console.print(evaluation_table(figures, f"{policy}"))
        result["evaluation"] = figures
    console.print(
        f"Next: surefoot deploy {policy} --robot {arguments.robot} --emulated",
        highlight=False,
        soft_wrap=True,
    )
    return result


def _evaluate(
    arguments: Arguments | SACArguments, folder: Path, trained: Trained, console: Console
) -> dict[str, Any]:
    """A few deterministic episodes; the checkpoint is what the run leaves."""
    console.print(
        f"The policy is in {trained.checkpoint}; export to policy.onnx is for robots "
        f"({', '.join(ROBOT_TASKS)}).",
        highlight=False,
        soft_wrap=True,
    )
    if not arguments.episodes:
        return {"checkpoint": str(trained.checkpoint)}
    # Episodes that training has not seen, the same ones for every policy of this seed.
    envs = make(arguments.task, FOREIGN_EPISODES, arguments.seed + 2_000_003)
    returns = episode_returns(trained.policy, envs)
    envs.env.close()
    mean, spread = float(np.mean(returns)), float(np.std(returns))
    console.print(
        f"Return of {len(returns)} deterministic episodes: {mean:.1f} ± {spread:.1f}, "
        f"from {returns.min():.1f} to {returns.max():.1f}",
        highlight=False,
        soft_wrap=True,
    )
    evaluation = {"episodes": len(returns), "mean_return": mean, "returns": returns.tolist()}
    return {"checkpoint": str(trained.checkpoint), "evaluation": evaluation}


def _require_possible(arguments: Arguments | SACArguments, folder: Path) -> None:
    """Raise UsageError for figures that nothing can be learned with."""
    if arguments.minutes is not None and not 0 < arguments.minutes < math.inf:
        raise UsageError(f"--minutes: found {arguments.minutes}, allowed is a number > 0")
    if arguments.episodes < 0:
        raise UsageError(f"--episodes: found {arguments.episodes}, allowed is 0 or more")
    counts = {"steps": 1 if arguments.steps is None else arguments.steps}
    of_ppo = ("num_envs", "horizon", "epochs", "minibatches")
    of_sac = ("num_envs", "updates", "batch", "buffer", "n_step")
    names = of_ppo if isinstance(arguments, Arguments) else of_sac
    counts.update({name: getattr(arguments.config, name) for name in names})
    for name, count in counts.items():
        if count < 1:
            raise UsageError(f"--{name.replace('_', '-')}: found {count}, allowed is 1 or more")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--run: found a file {folder}, allowed is a folder")


def _amount(steps: int) -> str:
    return f"{steps / 1e6:.2f} M" if steps >= 1e5 else f"{steps}"
