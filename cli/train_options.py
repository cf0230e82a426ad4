"""The options of `surefoot train`; those of a resumed run are read from its checkpoint."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import gymnasium
import tyro
from tyro.constructors import PrimitiveConstructorSpec

from ..control import checkpoint
from ..control.ppo import PPOConfig
from ..control.ranges import require_possible
from ..control.run import CHECKPOINT
from ..control.sac import SACConfig
from ..models.errors import UsageError, first_line
from ..models.limits import Output
from ..sim.tasks import TASKS
from .terminal import require_folder

WHICH = f"{', '.join(TASKS)}, the id of a Gymnasium environment, or module:Id of one of your own"
EPISODES = 256  # of a robot's evaluation, under each condition
OF_THE_TASK = ("robot", "output", "terrain", "history", "pool")  # options in what a run is about


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
    task: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TASK")] = ""
    """What to learn: walk, reach, or reach-goals, which pays only for goals reached; or the id of a
    Gymnasium environment with observations and actions in boxes, such as HalfCheetah-v5. Left out
    with --resume."""
    robot: str | None = None
    """Robot: quadruped, go1 or biped to walk, arm to reach, or the path of a robot.toml; quadruped
    or arm if not given."""
    output: Output = "joint_target"
    """What the policy gives a robot's motors: joint targets [rad] or joint torques [N·m]. A walk by
    torques wants a robot with contact sensors, such as biped."""
    terrain: bool = False
    """Walk on rough ground, blocks, steps and slopes, from easy to hard as each robot earns it."""
    history: int = 1
    """How many of a robot's last observations the policy sees, side by side. With several it can
    adapt to what is randomised."""
    minutes: float | None = None
    """Budget of training time [min]; 4 if neither this nor --steps is given. A resumed run's counts
    from its start, and is its own if neither is given."""
    steps: Count = None
    """Budget of environment steps, as 4000000 or 4e6, rounded up to whole iterations; with both,
    the first one spent ends it."""
    seed: int = 0
    """Random seed. The same seed and steps give the same policy."""
    from_: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """Begin from an earlier policy: a run's folder, or a policy.onnx of Surefoot's. Its critic
    learns alone at first, see --critic-warm-up."""
    run: Path | None = None
    """The run's folder; a new one under runs/ if not given."""
    resume: Path | None = None
    """Go on with the run in this folder. Of its options only the budget and
    --episodes can be said anew; without being said, all are as they were."""
    pool: bool = True
    """EnvPool steps 16 environments of Gymnasium's and more, where it is installed and has the
    task; --no-pool leaves it out. Evaluation is Gymnasium's own in any case."""
    episodes: int | None = None
    """Episodes of the evaluation of a robot at the end, under each condition: 256 if not given; 0
    leaves it out. Other environments are evaluated for 10."""
    json: bool = False
    """End with one JSON object on the last line."""


@dataclass(frozen=True)
class Arguments(_Common):
    """Learn a policy in simulation; a robot's ends with policy.onnx and its evaluation.

    Ctrl-C saves what has been learned; --resume RUN goes on. The options below are PPO's;
    `--algo sac --help` lists those of SAC.
    """

    algo: Literal["ppo", "sac"] = "ppo"
    """Algorithm: ppo for many environments together, sac for few, with a replay buffer."""
    config: Annotated[PPOConfig, tyro.conf.arg(name="")] = field(default_factory=PPOConfig)


@dataclass(frozen=True)
class SACArguments(_Common):
    """Learn a policy in simulation; a robot's ends with policy.onnx and its evaluation.

    Ctrl-C saves what has been learned; --resume RUN goes on. The options below are SAC's;
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


def settled(arguments: AnyArguments) -> tuple[AnyArguments, Path]:
    """The arguments of a run, new or resumed, and its folder.

    Raises:
        UsageError: figures that nothing can be learned with, a folder that holds another run, none
            to resume, or options that are not the resumed run's.
    """
    if arguments.resume:
        arguments = _as_begun(arguments, arguments.resume)
    if arguments.episodes is None:
        arguments = replace(arguments, episodes=EPISODES)
    if not arguments.task:
        raise UsageError(f"task: found none, allowed are {WHICH}, or --resume RUN")
    _require_known(arguments.task)
    _require_possible(arguments)
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = arguments.run or Path("runs") / f"{arguments.task.replace('/', '-')}-{stamp}"
    require_folder(folder, "--run")
    if not arguments.resume and (folder / CHECKPOINT).exists():
        raise UsageError(f"{folder}: found a run, allowed is a new folder, or --resume {folder}")
    return arguments, folder


def saved_about(folder: Path) -> dict[str, Any]:
    """What the run in a folder is about, as its checkpoint says. Raises UsageError."""
    return checkpoint.load(folder / CHECKPOINT)["about"]


def _as_begun(said: AnyArguments, folder: Path) -> AnyArguments:
    """What a run was begun with, and the budget that is said now. Raises UsageError."""
    saved = checkpoint.load(folder / CHECKPOINT)
    about, config = saved["about"], saved["config"]
    if "task" not in about:
        raise UsageError(f"{folder}: found a run of Python's, allowed is one of surefoot train")
    own = {
        **{entry.name: getattr(said, entry.name) for entry in fields(_Common)},
        "task": about["task"],
        "seed": saved["seed"],
        "from_": Path(about["from"]) if "from" in about else None,
        "run": folder,
        "episodes": about.get("episodes") if said.episodes is None else said.episodes,
        **{name: about[name] for name in OF_THE_TASK if name in about},
    }
    if saved["algorithm"] == "ppo":
        begun = Arguments(**own, config=PPOConfig(**config))
    else:
        begun = SACArguments(**own, config=SACConfig(**config))
    usual, of_run = _options(type(said)()) | {"algo": Arguments.algo}, _options(begun)
    for name, found in _options(said).items():
        if found not in (usual[name], of_run.get(name)):
            own_value = of_run.get(name, f"{begun.algo}, which has no such option")
            raise UsageError(f"{_flag(name)}: found {found}, allowed is the run's own {own_value}")
    return begun


def _options(arguments: AnyArguments) -> dict[str, Any]:
    """All that can be said on the command line."""
    return vars(arguments) | vars(arguments.config) | {"config": None}


def _require_known(task: str) -> None:
    """Raise UsageError for no task; a module's is known only once the module is imported."""
    if task in TASKS or ":" in task:
        return
    try:
        gymnasium.spec(task)
    except gymnasium.error.Error as error:
        raise UsageError(f"task: found {task}, allowed are {WHICH} ({first_line(error)})") from None


def _require_possible(arguments: AnyArguments) -> None:
    """Raise UsageError for figures that nothing can be learned with."""
    if arguments.minutes is not None and not 0 < arguments.minutes < math.inf:
        raise UsageError(f"--minutes: found {arguments.minutes}, allowed is a number > 0")
    if arguments.episodes is not None and arguments.episodes < 0:
        raise UsageError(f"--episodes: found {arguments.episodes}, allowed is 0 or more")
    if arguments.steps is not None and arguments.steps < 1:
        raise UsageError(f"--steps: found {arguments.steps}, allowed is 1 or more")
    require_possible(arguments.config, arguments.seed, _flag)


def _flag(name: str) -> str:
    """An option as it is written."""
    return f"--{name.rstrip('_').replace('_', '-')}"
