"""`surefoot export`: a training run, of Surefoot or of another library, as one ONNX file."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from ..control import checkpoint
from ..control.run import CHECKPOINT
from ..deploy.contract import Contract, robot_facts
from ..deploy.log.format import POLICY_FILE
from ..deploy.workstation.export import export_policy
from ..deploy.workstation.foreign.policy import Kind, kind_of, require_same
from ..deploy.workstation.foreign.rsl_rl import load_rsl_rl
from ..deploy.workstation.foreign.stable_baselines import find_statistics, load_stable_baselines
from ..models.errors import UsageError
from ..sim.tasks import TASKS, make_task
from .terminal import open_console, require_file

CHECKED_TOGETHER = 16  # robots in the rollout that compares torch with ONNX Runtime


# The options that each kind of checkpoint leaves open.
OPTIONS: Mapping[Kind, tuple[str, ...]] = {
    "Surefoot": (),
    "Stable-Baselines3": ("robot", "history", "vecnormalize"),
    "rsl_rl": ("robot", "history", "activation"),
}


@dataclass(frozen=True)
class Arguments:
    """Write a policy with its whole contract into one ONNX file, checked against its network.

    Takes a run of Surefoot's, or what PPO or SAC of Stable-Baselines3 or PPO of rsl_rl has learned
    on Surefoot's task. The last four options are for these. Loading a model of Stable-Baselines3
    runs code that its files hold: export only what you trust.
    """

    source: tyro.conf.Positional[Path]
    """The run's folder, as `surefoot train` leaves it, or the checkpoint in it; a model.zip of
    Stable-Baselines3; a model_*.pt of rsl_rl."""
    out: Path | None = None
    """The file to write; policy.onnx in the source's folder if not given."""
    seed: int = 0
    """Random seed, of the rollouts in which networks and ONNX Runtime are compared."""
    json: bool = False
    """End with one JSON object on the last line."""
    task: str = "walk"
    """What it was trained on: walk or reach."""
    robot: str | None = None
    """Robot: quadruped, go1, biped, arm, or the path of a robot.toml; the task's usual one if not
    given."""
    history: int | None = None
    """Observations that it saw side by side; one if not given."""
    vecnormalize: Path | None = None
    """What VecNormalize saved; vecnormalize.pkl beside the model.zip is found without this."""
    activation: str | None = None
    """The activation of rsl_rl's actor, such as elu, where the file does not hold it."""


def run(arguments: Arguments) -> int:
    """Export the policy in a checkpoint, whosever it is."""
    source, console = arguments.source, open_console()
    kind = kind_of(source)
    _require_options(arguments, kind)
    out = arguments.out or (source.parent if source.is_file() else source) / POLICY_FILE
    if arguments.out:
        require_file(arguments.out, "--out")
    if kind == "Surefoot":
        contract = export_run(source, out, arguments.seed)
    else:
        contract = _export_foreign(arguments, kind, out, console)
    console.print(
        f"{out}: for {contract.robot}, {len(contract.golden)} golden pairs, "
        f"torch and ONNX Runtime agree within {contract.tolerance:g}",
        soft_wrap=True,
    )
    if arguments.json:
        print(jsonlib.dumps({"policy": str(out), "robot": contract.robot}))
    return 0


def export_run(run_dir: Path, out: Path, seed: int = 0) -> Contract:
    """Export the policy in a run's checkpoint.

    Raises:
        UsageError: no run of the task, or one on another robot than robot.toml describes now.
        PolicyError: as `export_policy`.
    """
    path = run_dir / CHECKPOINT if run_dir.is_dir() else run_dir
    state = checkpoint.load(path)
    policy = checkpoint.load_policy(path)
    about = state["about"]
    if about.get("task") not in TASKS:
        allowed = " or ".join(TASKS)
        raise UsageError(f"{path}: found task {about.get('task')}, allowed is {allowed}")
    output = about.get("output", "joint_target")
    env = make_task(
        about["task"],
        CHECKED_TOGETHER,
        about["robot"],
        output,
        history=about.get("history", 1),
    )
    facts = robot_facts(env.robot)
    for key, now in facts.items():
        if about.get(key, now) != now:
            raise UsageError(
                f"{path}: {key} was {about[key]} in training and is {now} in robot.toml: "
                "put it back, or train again"
            )
    parameters = state["policy"]["parameters"]
    std = {"std": parameters["log_std"].exp().tolist()} if "log_std" in parameters else {}
    training = {
        "algorithm": state["algorithm"],
        "config": state["config"],
        "seed": state["seed"],
        "steps": state["progress"]["steps"],
        "seconds": state["progress"]["elapsed"],
        **std,
        **{key: fact for key, fact in about.items() if key not in facts},
    }
    return export_policy(policy, env, out, training, seed)


def _export_foreign(arguments: Arguments, kind: Kind, out: Path, console: Console) -> Contract:
    """Export another library's policy. Raises UsageError and PolicyError."""
    source = arguments.source
    history = arguments.history or 1
    env = make_task(arguments.task, CHECKED_TOGETHER, arguments.robot, history=history)
    if kind == "Stable-Baselines3":
        statistics = find_statistics(source, arguments.vecnormalize)
        files = f"{source} and {statistics}" if statistics else f"{source}, without VecNormalize"
        console.print(f"Loading {files}: this runs code that is in them.", soft_wrap=True)
        policy = load_stable_baselines(source, env, statistics)
    else:
        policy = load_rsl_rl(source, env, arguments.activation)
    console.print(
        "Gains and limits are those of robot.toml as it is now: the checkpoint holds none.",
        soft_wrap=True,
    )
    require_same(policy, env, arguments.seed)
    robot = arguments.robot or env.usual_robot
    training = {**policy.training, "task": arguments.task, "robot": robot, "history": history}
    return export_policy(policy.actor, env, out, training, arguments.seed)


def _require_options(arguments: Arguments, kind: Kind) -> None:
    if not arguments.source.exists():
        raise UsageError(f"{arguments.source}: found nothing, allowed is the checkpoint of a run")
    if arguments.task not in TASKS:
        raise UsageError(f"--task: found {arguments.task}, allowed is {' or '.join(TASKS)}")
    for name in ("robot", "history", "vecnormalize", "activation"):
        if getattr(arguments, name) is not None and name not in OPTIONS[kind]:
            takers = " or ".join(other for other, names in OPTIONS.items() if name in names)
            raise UsageError(f"--{name}: found a checkpoint of {kind}, allowed is one of {takers}")
