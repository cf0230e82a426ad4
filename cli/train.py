"""`surefoot train`: from nothing to a policy, its figures and its file."""

from __future__ import annotations

import csv
import json as jsonlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from gymnasium.vector import VectorEnv
from rich.console import Console

from ..control import checkpoint, distributed
from ..control.checkpoint import Policy
from ..control.envs import make
from ..control.evaluate import episode_returns
from ..control.health import Check, checks
from ..control.metrics import Metrics
from ..control.run import CHECKPOINT
from ..control.train import Trained, train
from ..deploy.contract import robot_facts
from ..deploy.controller import open_session, read_contract, read_policy
from ..deploy.log.format import POLICY_FILE
from ..deploy.workstation.export import add_evaluation
from ..deploy.workstation.reopen import reopen
from ..hardware.drivers import why_not_given
from ..models.errors import UsageError
from ..models.provenance import commit
from ..models.task import CommandPart
from ..sim import randomisation
from ..sim.quantities import unit_of
from ..sim.robot_env import RobotEnv
from ..sim.tasks import TASKS, make_task
from .evaluate import measure, shortcoming, show
from .export import export_run
from .tables import health_panel
from .terminal import command, open_console, shown
from .train_options import AnyArguments, saved_about, settled
from .train_options import arguments_for as arguments_for  # for __main__
from .training_display import TrainingDisplay, shown_count

DEFAULT_MINUTES = 4.0
DRAWN = "randomisation.csv"  # in a run's folder: what the first robots were
FOREIGN_EPISODES = 10  # of the evaluation of a task that is no robot's


def run(arguments: AnyArguments) -> int:
    """Train; export and evaluate a robot's policy, evaluate any other."""
    quiet = nullcontext() if arguments.task in TASKS else mujoco_warnings_on_stderr()
    with quiet, distributed.group():  # alone, unless torchrun started this process
        first = distributed.rank() == 0
        console = open_console() if first else Console(quiet=True)
        arguments, folder = distributed.from_first(lambda: settled(arguments))
        trained, found = _train(arguments, folder, console)
    if not first:
        return 0
    finish = _export if arguments.task in TASKS else _evaluate
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
    if minutes is None and arguments.steps is None and not arguments.resume:
        minutes = DEFAULT_MINUTES
    env: str | VectorEnv = arguments.task
    about: dict[str, Any] = {"task": arguments.task, "commit": commit()}
    about["episodes"] = arguments.episodes
    if arguments.from_:
        about["from"] = str(arguments.from_)
    if arguments.task in TASKS:
        env = _robots(arguments)
        about |= {"robot": arguments.robot or env.usual_robot, "output": env.output}
        about |= {"terrain": arguments.terrain, "history": env.history}
        about |= {"randomisation": randomisation.describe(env.randomisation)}
        about |= robot_facts(env.robot)
    elif arguments.history != 1:
        raise UsageError(f"--history: found {arguments.history} for {env}, allowed is 1")
    else:
        about["pool"] = arguments.pool
    earlier = distributed.from_first(lambda: _earlier(arguments, env))
    what = "Going on in" if arguments.resume else "Training in"
    display = TrainingDisplay(console, f"{what} {folder}: tensorboard --logdir {folder}")

    written = bool(arguments.resume) or distributed.rank() > 0

    def on_iteration(metrics: Metrics) -> None:
        nonlocal written
        if not written and isinstance(env, RobotEnv):
            written = write_drawn(env, folder / DRAWN)
        display.update(metrics)

    try:
        with display.live, display.interrupts():
            trained = train(
                env,
                arguments.config,
                folder,
                minutes=minutes,
                steps=arguments.steps,
                seed=arguments.seed,
                resume=arguments.resume is not None,
                pool=arguments.pool,
                earlier=earlier,
                on_iteration=on_iteration,
                about=about,
            )
    except KeyboardInterrupt:
        if display.seen:
            console.print(health_panel(checks(arguments.config, display.seen)))
        _tell_how_to_go_on(console, folder, arguments.task in TASKS)
        raise
    spent = f"{shown_count(trained.steps)} steps in {trained.elapsed:.0f} s"
    found = checks(arguments.config, display.seen)
    if found:
        console.print(f"{spent}.")
        console.print(health_panel(found))
    else:
        words = f"Nothing trained: the run has had {spent}. Give a larger --minutes or --steps."
        console.print(words, style="yellow", soft_wrap=True)
    if trained.resumed_exactly is False:
        console.print("The environments do not expose their state: their episodes restarted.")
    return trained, found


def write_drawn(env: RobotEnv, path: Path) -> bool:
    """What randomisation has drawn for the robots as they are, beside what it is drawn from.

    A row for each quantity: over all robots and all their parts. Empty: nothing yet, as of pushes
    at the start. Returns whether nothing is empty.
    """
    whole = True
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["what", "unit", "low", "high", "min", "mean", "max"])
        for row in randomisation.describe(env.randomisation):
            drawn = env.drawn[row["what"]]
            drawn = drawn[np.isfinite(drawn)]
            spread = (drawn.min(), drawn.mean(), drawn.max()) if len(drawn) else ()
            cells = [f"{value:.6g}" for value in (row["low"], row["high"], *spread)]
            writer.writerow([row["what"], unit_of(row["what"]), *cells])
            whole &= len(drawn) > 0
    return whole


def _robots(arguments: AnyArguments) -> RobotEnv:
    """The environments of a robot's task; a resumed run's vary what they varied."""
    varied = None
    if arguments.resume:
        folder = arguments.resume
        about = distributed.from_first(lambda: saved_about(folder))
        varied = randomisation.read(about["randomisation"])
    return make_task(
        arguments.task,
        arguments.config.num_envs,
        arguments.robot,
        arguments.output,
        varied,
        distributed.threads(),
        arguments.terrain,
        arguments.history,
    )


def _earlier(arguments: AnyArguments, env: str | VectorEnv) -> Policy | None:
    """The policy to begin from. Raises UsageError and PolicyError."""
    path = arguments.from_
    if path is None or arguments.resume:
        return None
    if path.suffix != ".onnx":
        path = path / CHECKPOINT if path.is_dir() else path
        if isinstance(env, RobotEnv):
            saved = checkpoint.load(path)
            widths = [env.single_observation_space.shape, env.single_action_space.shape]
            same = widths == [(saved["policy"][name],) for name in ("obs_dim", "action_dim")]
            _require_kin(path, saved["about"], env, same)
        return checkpoint.load_policy(path)
    if not isinstance(env, RobotEnv):
        raise UsageError(f"--from: found {path} for {env}, allowed is a run's folder")
    contract = read_contract(open_session(read_policy(path)))
    about = {**contract.training, "robot": contract.robot, "output": contract.output}
    _require_kin(path, about, env, contract.robot == env.robot.name)
    return reopen(path, env)


def _require_kin(path: Path, about: Mapping[str, Any], env: RobotEnv, same: bool) -> None:
    """Raise UsageError where a policy is for another robot, not the `same`, output or history."""
    found = (about.get("robot"), about.get("output", "joint_target"), about.get("history", 1))
    wanted = (env.robot.name, env.output, env.history)
    if not same or found[1:] != wanted[1:]:
        words = ["robot {}, output {}, history {}".format(*each) for each in (found, wanted)]
        raise UsageError(f"--from {path}: found {words[0]}, allowed is {words[1]}")


def _export(
    arguments: AnyArguments, folder: Path, trained: Trained, console: Console
) -> dict[str, Any]:
    """Write a robot's policy.onnx, with its evaluation inside."""
    policy = folder / POLICY_FILE
    contract = export_run(folder, policy)
    result: dict[str, Any] = {"policy": str(policy)}
    name = arguments.robot or TASKS[arguments.task].usual_robot
    lacking = False
    if arguments.episodes:
        figures = measure(policy, name, arguments.episodes, arguments.seed, console)
        add_evaluation(policy, figures)
        show(figures, policy, console)
        result["evaluation"] = figures
        lacking = bool(shortcoming(figures))
    robot = "" if name == "quadruped" else f" --robot {name}"
    commanded = " ".join(f"{value:g}" for value in _example(contract.commands))
    use = f"deploy {shown(policy)}{robot} --emulated --command {commanded}"
    if why_not_given([term["input"] for term in contract.terms]):
        use = f"play {shown(policy)}{robot}"  # in simulation alone
    longer = f"train --resume {shown(folder)} {_twice_the_budget(arguments, trained)}"
    calls = [longer, f"play {shown(policy)}{robot}"] if lacking else [use]
    for line in ("Next:", *(f"  {command()} {call}" for call in calls)):
        console.print(line, soft_wrap=True)
    console.print(f"  tensorboard --logdir {folder}", soft_wrap=True)
    return result


def _twice_the_budget(arguments: AnyArguments, trained: Trained) -> str:
    """What lets a run go on for as long as it has lasted: budgets count from its start."""
    if arguments.steps is not None:
        return f"--steps {2 * trained.steps}"
    return f"--minutes {max(1, round(2 * trained.elapsed / 60))}"


def _example(commands: Sequence[CommandPart]) -> list[float]:
    """A command well inside its range: more than the middle of its first part."""
    first, *others = commands
    return [
        round(first.lower + 0.7 * (first.upper - first.lower), 3),
        *(round((part.lower + part.upper) / 2, 3) for part in others),
    ]


def _evaluate(
    arguments: AnyArguments, folder: Path, trained: Trained, console: Console
) -> dict[str, Any]:
    """A few deterministic episodes; the checkpoint is what the run leaves."""
    console.print(
        f"The policy is in {trained.checkpoint}; export to {POLICY_FILE} is for robots "
        f"({', '.join(TASKS)}).",
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


@contextmanager
def mujoco_warnings_on_stderr() -> Iterator[None]:
    """MuJoCo's warnings on stderr, and not in a MUJOCO_LOG.TXT in the folder one is in.

    Without what is deprecated in the models of Gymnasium's tasks: nobody here can change it.
    """
    before = mujoco.get_mju_user_warning()

    def tell(words: str) -> None:
        if "deprecated" not in words:
            print(f"MuJoCo: {words}", file=sys.stderr)

    mujoco.set_mju_user_warning(tell)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


def _tell_how_to_go_on(console: Console, folder: Path, exportable: bool) -> None:
    if not (folder / CHECKPOINT).exists():
        return  # stopped before anything was learned
    call = command() if distributed.world_size() == 1 else "torchrun (as before) -m -- surefoot"
    run = shown(folder)
    console.print(f"Saved. To go on:             {call} train --resume {run}", soft_wrap=True)
    if exportable:
        console.print(f"To use the policy so far:    {command()} export {run}", soft_wrap=True)
