"""`surefoot train`: from nothing to a policy, its figures and its file."""

from __future__ import annotations

import itertools
import json as jsonlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from gymnasium.vector import VectorEnv
from rich.console import Console
from tyro.constructors import PrimitiveConstructorSpec

from ..control import checkpoint, distributed
from ..control.checkpoint import Policy
from ..control.envs import make
from ..control.evaluate import episode_returns
from ..control.health import Check, checks
from ..control.ppo import PPOConfig
from ..control.ranges import require_possible
from ..control.run import CHECKPOINT
from ..control.sac import SACConfig
from ..control.train import Trained, train
from ..deploy.export import add_evaluation
from ..deploy.log_format import POLICY_FILE
from ..deploy.reopen import reopen
from ..models.errors import UsageError
from ..sim.randomisation import TRAINING, describe
from ..sim.walk import WalkEnv
from .commit import commit
from .evaluate import measure, show
from .export import export_run
from .tables import health_panel
from .terminal import command, open_console, require_folder, shown
from .watch import Watch, shown_count

DEFAULT_MINUTES = 4.0
ROBOT_TASKS = ("walk",)
RESUMED = ("robot", "minutes", "steps", "seed", "pool", "episodes")  # options said again
FOREIGN_EPISODES = 10  # of the evaluation of a task that is no robot's


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
class _Common:
    task: Annotated[str, tyro.conf.Positional]
    """What to learn: walk, or the id of a Gymnasium environment with observations and actions in
    boxes, such as HalfCheetah-v5."""
    robot: str = "quadruped"
    """Name of a robot that Surefoot ships, or the path of a robot.toml."""
    minutes: float | None = None
    """Budget of training time [min]; 4 if neither this nor --steps is given."""
    steps: Count = None
    """Budget of environment steps, as 4000000 or 4e6; with both, the first one spent ends it."""
    seed: int = 0
    """Of everything random. The same seed and steps give the same policy."""
    from_: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """Begin from an earlier policy: a run's folder, or a policy.onnx of Surefoot's. Its critic
    learns alone at first, see --critic-warm-up."""
    run: Path | None = None
    """The run's folder; a new one under runs/ if not given."""
    resume: bool = False
    """Go on from the checkpoint in --run, with the budget counted from its start."""
    pool: bool = True
    """Let EnvPool step 16 environments of Gymnasium's and more, where it is installed and has the
    task; evaluation is Gymnasium's own in any case."""
    episodes: int = 256
    """Episodes of the evaluation of a robot at the end, under each condition; 0 leaves it out.
    Other environments are evaluated for 10."""
    json: bool = False
    """End with one JSON object on the last line."""


@dataclass(frozen=True)
class Arguments(_Common):
    """Learn a policy in simulation; a robot's ends with policy.onnx and its evaluation.

    Ctrl-C saves what has been learned; --resume goes on from there. The options below are PPO's;
    `--algo sac --help` lists those of SAC.
    """

    algo: Literal["ppo", "sac"] = "ppo"
    """Algorithm: ppo for many environments together, sac for few, with a replay buffer."""
    config: Annotated[PPOConfig, tyro.conf.arg(name="")] = field(default_factory=PPOConfig)


@dataclass(frozen=True)
class SACArguments(_Common):
    """Learn a policy in simulation; a robot's ends with policy.onnx and its evaluation.

    Ctrl-C saves what has been learned; --resume goes on from there. The options below are SAC's;
    without `--algo sac`, --help lists those of PPO.
    """

    algo: Literal["ppo", "sac"] = "sac"
    """Algorithm: ppo for many environments together, sac for few, with a replay buffer."""
    config: Annotated[SACConfig, tyro.conf.arg(name="")] = field(default_factory=SACConfig)


AnyArguments = Arguments | SACArguments


def arguments_for(words: Sequence[str]) -> type[AnyArguments]:
    """Which options there are depends on the algorithm, wherever its name stands."""
    pairs = itertools.pairwise([*words, ""])
    asked = [word == "--algo=sac" or (word, after) == ("--algo", "sac") for word, after in pairs]
    return SACArguments if any(asked) else Arguments


def run(arguments: AnyArguments) -> int:
    """Train; export and evaluate a robot's policy, evaluate any other."""
    if arguments.resume and arguments.run is None:
        raise UsageError("--resume: found no --run, give the folder of a run")
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = arguments.run or Path("runs") / f"{arguments.task.replace('/', '-')}-{stamp}"
    with distributed.group():  # alone, unless torchrun started this process
        first = distributed.rank() == 0
        console = open_console() if first else Console(quiet=True)
        distributed.from_first(lambda: _require_possible(arguments, folder))
        trained, found = _train(arguments, folder, console)
    if not first:
        return 0
    finish = _export if arguments.task in ROBOT_TASKS else _evaluate
    result = {
        "run": str(folder),
        "steps": trained.steps,
        "seconds": round(trained.elapsed, 1),
        "health": [{"figure": c.figure, "value": c.value, "advice": c.advice} for c in found],
        **finish(arguments, folder, trained, console),
    }
    if arguments.json:
        print(jsonlib.dumps(result))
    return 0


def _train(arguments: AnyArguments, folder: Path, console: Console) -> tuple[Trained, list[Check]]:
    """The session under a bar, and how healthy it was; on Ctrl-C, the words to go on with."""
    minutes = arguments.minutes
    if minutes is None and arguments.steps is None:
        minutes = DEFAULT_MINUTES
    env: str | VectorEnv = arguments.task
    about = {"task": arguments.task, "commit": commit()}
    if arguments.from_:
        about["from"] = str(arguments.from_)
    if arguments.task in ROBOT_TASKS:
        env = WalkEnv(arguments.config.num_envs, arguments.robot, nthread=distributed.threads())
        about |= {"robot": arguments.robot, "randomisation": describe(TRAINING)}
    earlier = distributed.from_first(lambda: _earlier(arguments, env))
    what = "Going on in" if arguments.resume else "Training in"
    watch = Watch(console, f"{what} {folder}: tensorboard --logdir {folder}")
    try:
        with watch.live, watch.interrupts():
            trained = train(
                env,
                arguments.config,
                folder,
                minutes=minutes,
                steps=arguments.steps,
                seed=arguments.seed,
                resume=arguments.resume,
                pool=arguments.pool,
                earlier=earlier,
                on_update=watch.update,
                about=about,
            )
    except KeyboardInterrupt:
        _tell_how_to_go_on(console, arguments, folder)
        raise
    spent = f"{shown_count(trained.steps)} steps in {trained.elapsed:.0f} s"
    found = checks(arguments.config, watch.seen)
    if found:
        console.print(f"{spent}.")
        console.print(health_panel(found))
    else:
        words = f"Nothing trained: the run has had {spent}. Give a larger --minutes or --steps."
        console.print(words, style="yellow", soft_wrap=True)
    if trained.resumed_exactly is False:
        console.print("The environments do not expose their state: their episodes restarted.")
    return trained, found


def _earlier(arguments: AnyArguments, env: str | VectorEnv) -> Policy | None:
    """The policy to begin from. Raises UsageError and PolicyError."""
    path = arguments.from_
    if path is None or arguments.resume:
        return None
    if path.suffix != ".onnx":
        return checkpoint.load_policy(path / CHECKPOINT if path.is_dir() else path)
    if not isinstance(env, WalkEnv):
        raise UsageError(f"--from: found {path} for {env}, allowed is a run's folder")
    return reopen(path, env)


def _export(
    arguments: AnyArguments, folder: Path, trained: Trained, console: Console
) -> dict[str, Any]:
    """Write a robot's policy.onnx, with its evaluation inside."""
    policy = folder / POLICY_FILE
    export_run(folder, policy)
    result: dict[str, Any] = {"policy": str(policy)}
    if arguments.episodes:
        figures = measure(policy, arguments.robot, arguments.episodes, arguments.seed, console)
        add_evaluation(policy, figures)
        show(figures, policy, console)
        result["evaluation"] = figures
    robot = "" if arguments.robot == "quadruped" else f" --robot {arguments.robot}"
    for line in (
        "Next:",
        f"  {command()} deploy {shown(policy)}{robot} --emulated --command 0.2 0 0",
        f"  tensorboard --logdir {folder}",
    ):
        console.print(line, soft_wrap=True)
    return result


def _evaluate(
    arguments: AnyArguments, folder: Path, trained: Trained, console: Console
) -> dict[str, Any]:
    """A few deterministic episodes; the checkpoint is what the run leaves."""
    console.print(
        f"The policy is in {trained.checkpoint}; export to {POLICY_FILE} is for robots "
        f"({', '.join(ROBOT_TASKS)}).",
        soft_wrap=True,
    )
    if not arguments.episodes:
        return {"checkpoint": str(trained.checkpoint)}
    # Episodes that training has not seen, the same ones for every policy of this seed.
    envs = make(arguments.task, FOREIGN_EPISODES, arguments.seed + 2_000_003, pool=False)
    returns = episode_returns(trained.policy, envs)
    envs.env.close()
    mean, spread = float(np.mean(returns)), float(np.std(returns))
    console.print(
        f"Return of {len(returns)} deterministic episodes: {mean:.1f} ± {spread:.1f}, "
        f"from {returns.min():.1f} to {returns.max():.1f}",
        soft_wrap=True,
    )
    evaluation = {"episodes": len(returns), "mean_return": mean, "returns": returns.tolist()}
    return {"checkpoint": str(trained.checkpoint), "evaluation": evaluation}


def _require_possible(arguments: AnyArguments, folder: Path) -> None:
    """Raise UsageError for figures that nothing can be learned with."""
    if arguments.minutes is not None and not 0 < arguments.minutes < math.inf:
        raise UsageError(f"--minutes: found {arguments.minutes}, allowed is a number > 0")
    if arguments.episodes < 0:
        raise UsageError(f"--episodes: found {arguments.episodes}, allowed is 0 or more")
    if arguments.steps is not None and arguments.steps < 1:
        raise UsageError(f"--steps: found {arguments.steps}, allowed is 1 or more")
    require_possible(arguments.config, arguments.seed, lambda name: f"--{name.replace('_', '-')}")
    require_folder(folder, "--run")
    if arguments.resume:
        checkpoint.load(folder / CHECKPOINT)  # or it says what is wrong, before anything begins
    elif (folder / CHECKPOINT).exists():
        raise UsageError(f"{folder}: found a run, allowed is a new folder, or --resume")


def _tell_how_to_go_on(console: Console, arguments: AnyArguments, folder: Path) -> None:
    if not (folder / CHECKPOINT).exists():
        return  # stopped before anything was learned
    own, usual = arguments, type(arguments)(task=arguments.task)
    names = [entry.name for entry in fields(own.config)]
    given = [
        *((name, getattr(own, name), getattr(usual, name)) for name in RESUMED),
        ("from", own.from_, None),
        ("algo", own.algo, Arguments.algo),
        *((name, getattr(own.config, name), getattr(usual.config, name)) for name in names),
    ]
    options = "".join(_option(name, value) for name, value, default in given if value != default)
    run = shown(folder)
    call = command() if distributed.size() == 1 else "torchrun (as before) -m -- surefoot"
    resume = f"{call} train {own.task} --run {run}{options} --resume"
    console.print(f"Saved. To go on:             {resume}", soft_wrap=True)
    if own.task in ROBOT_TASKS:
        console.print(f"To use the policy so far:    {command()} export {run}", soft_wrap=True)


def _option(name: str, value: Any) -> str:
    """As it is written on a command line, after a space."""
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f" --{flag}" if value else f" --no-{flag}"
    words = value if isinstance(value, tuple) else (value,)
    shown = (f"{word:g}" if isinstance(word, float) else str(word) for word in words)
    return f" --{flag} {' '.join(shown)}"
