"""One training of a robot, and which of its checkpoints passes: `python walkers.py RUN`.

RUN is a `Run` as JSON. The clock begins with the process, imports and all, and is read as soon as a
checkpoint is on disk. Only when the training is over are the checkpoints evaluated, in their order
until one passes: by a first look at 16 episodes and, where that is near the goal, by all. The first
look can make a time only longer. Lines that begin with @ are JSON, as libraries.py's.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from goals import GOALS, LOOK, Goal
from libraries import EVALUATION_SEED, pinned, say, surefoot_config
from records import Run

MODEL, STATISTICS = "model", "statistics.pkl"  # files of a snapshot
Figures = dict[str, Any]


class TimeOver(Exception):
    """A library has trained as long as it may."""


class Snapshot(NamedTuple):
    """A checkpoint that was put by."""

    steps: int  # of all environments
    seconds: float  # since the process began
    folder: Path


@dataclass
class Snapshots:
    """The checkpoints of a run, in their order."""

    folder: Path
    began: float  # when the process did, as `time.time` says it [s]
    limit: float  # [s]
    now: Callable[[], float] = time.time
    kept: list[Snapshot] = field(default_factory=list)

    @contextmanager
    def keeping(self, steps: int) -> Iterator[Path]:
        """A folder for the checkpoint after `steps`. Raises TimeOver afterwards, when it is."""
        folder = self.folder / str(steps)
        folder.mkdir()
        yield folder
        self.kept.append(Snapshot(steps, self.now() - self.began, folder))
        if self.kept[-1].seconds > self.limit:
            raise TimeOver

    def has(self, steps: int) -> bool:
        """Whether the last one was after `steps`."""
        return bool(self.kept) and self.kept[-1].steps == steps


# --- training ---------------------------------------------------------------------------------


def train_surefoot(run: Run, snapshots: Snapshots) -> None:
    """What `surefoot train` learns with the run's words (a test compares the weights).

    Without its display, and with the physics on the run's cores alone, where it takes them all.
    """
    from surefoot.control.run import CHECKPOINT
    from surefoot.control.train import train
    from surefoot.sim.tasks import make_task

    goal, folder = GOALS[run.task], snapshots.folder / "run"
    config = surefoot_config(replace(run, config=run.config["settings"]))

    def keep(steps: int) -> None:
        with snapshots.keeping(steps) as kept:
            shutil.copy(folder / CHECKPOINT, kept / MODEL)

    train(
        make_task(goal.task, config.num_envs, goal.robot, nthread=run.cores),
        config,
        folder,
        steps=run.steps,
        seed=run.seed,
        checkpoint_every=iterations(run, config.num_envs * config.horizon),
        on_checkpoint=keep,
    )


def iterations(run: Run, rows: int) -> int:
    """From one checkpoint to the next, of `rows` steps each."""
    return max(1, run.config["every"] // rows)


def train_rsl_rl(run: Run, snapshots: Snapshots) -> None:
    """rsl_rl's runner, with its logs."""
    import torch
    from rsl_rl.runners import OnPolicyRunner
    from surefoot.sim.adapters.rsl_rl import RslRlEnv

    torch.manual_seed(run.seed)
    config = json.loads(json.dumps(run.config["settings"]))  # a copy: the runner changes it
    env = RslRlEnv(environments(run), seed=run.seed)
    rows = env.num_envs * config["num_steps_per_env"]
    config["save_interval"] = iterations(run, rows)
    runner = OnPolicyRunner(env, config, str(snapshots.folder / "run"), device="cpu")
    save = runner.save

    def save_and_keep(path: str, infos: Any = None) -> None:
        steps = rows * (runner.current_learning_iteration + 1)
        if not snapshots.has(steps):
            with snapshots.keeping(steps) as folder:
                save(str(folder / MODEL))

    runner.save = save_and_keep
    runner.learn(max(1, run.steps // rows))


def train_sb3(run: Run, snapshots: Snapshots) -> None:
    """Stable-Baselines3's PPO, observations and rewards as its settings say."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.vec_env import VecNormalize
    from surefoot.sim.adapters.stable_baselines import StableBaselinesEnv
    from torch.nn import ELU

    settings = dict(run.config["settings"])
    normalise, network = settings.pop("normalise"), settings.pop("network")
    network = {**network, "activation_fn": ELU}
    env = VecNormalize(StableBaselinesEnv(environments(run)), **normalise)
    model = PPO("MlpPolicy", env, policy_kwargs=network, seed=run.seed, device="cpu", **settings)
    rows = settings["n_steps"] * env.num_envs
    every = iterations(run, rows) * rows

    def keep() -> None:
        with snapshots.keeping(model.num_timesteps) as folder:
            model.save(folder / f"{MODEL}.zip")
            env.save(str(folder / STATISTICS))

    class Keep(BaseCallback):
        """After the update of every so many rollouts."""

        def _on_rollout_start(self) -> None:
            if self.num_timesteps and self.num_timesteps % every == 0:
                keep()

        def _on_step(self) -> bool:
            return True

    model.learn(run.steps, callback=Keep())
    if not snapshots.has(model.num_timesteps):
        keep()


def environments(run: Run) -> Any:
    """A peer's: those that `surefoot train` trains on; the reward is paid by the second.

    So are the rewards that the peers' settings were published for, and neither of the two divides
    its returns by their spread, as Surefoot does.
    """
    from surefoot.sim.tasks import make_task

    goal = GOALS[run.task]
    env: Any = make_task(goal.task, run.config["num_envs"], goal.robot, nthread=run.cores)
    step = env.step

    def step_paid_by_the_second(actions: Any) -> tuple[Any, ...]:
        obs, reward, *others = step(actions)
        return obs, (env.period * reward).astype(reward.dtype), *others

    env.step = step_paid_by_the_second
    return env


# --- judging ----------------------------------------------------------------------------------


def judge(
    run: Run,
    snapshots: Sequence[Snapshot],
    look: Callable[[Path, int], Figures],
    tell: Callable[[int, float], None] = lambda steps, score: None,
) -> dict[str, Any]:
    """Which snapshot is the first to pass.

    Args:
        run: with its task, `episodes` and `limit`: what is later than that counts no more.
        snapshots: in their order, one or more.
        look: a snapshot's folder and a number of episodes to the evaluation's figures.
        tell: called with the steps and the figure of each that was looked at.

    Returns:
        Which one passed, as its `seconds` and `steps`, or None each; how long there was; and of
        every one looked at: steps, seconds, the figure, survival, and the episodes looked at.
    """
    goal, whole, limit = GOALS[run.task], run.config["episodes"], run.config["limit"]
    seen, passed = [], None
    for snapshot in (each for each in snapshots if each.seconds <= limit):
        episodes = min(LOOK, whole)
        figures = look(snapshot.folder, episodes)
        if goal.likely(figures) and episodes < whole:
            episodes, figures = whole, look(snapshot.folder, whole)
        found = figures[goal.figure], figures["survival"]
        seen.append((snapshot.steps, snapshot.seconds, *found, episodes))
        tell(snapshot.steps, found[0])
        if episodes == whole and goal.passed(figures):
            passed = snapshot
            break
    return {
        "passed": passed is not None,
        "seconds": passed and passed.seconds,
        "steps": passed and passed.steps,
        "given": min(limit, snapshots[-1].seconds),
        "looks": seen,
    }


def looker(library: str, goal: Goal) -> Callable[[Path, int], Figures]:
    """What evaluates a library's snapshots: the nominal condition of `surefoot evaluate`.

    The answers are those of the library's network in torch; every export is held to within 1e-5
    of them.
    """
    import numpy as np
    import torch
    from surefoot.models.observation import observe
    from surefoot.models.robot_file import load_robot
    from surefoot.sim.evaluate import record
    from surefoot.sim.tasks import make_task
    from surefoot.sim.trials import trial_for

    robot = load_robot(goal.robot)
    task: Any = make_task(goal.task, 1, goal.robot)
    trial = trial_for(task.commands, robot, task.output)

    def look(folder: Path, episodes: int) -> Figures:
        env = trial.make(episodes, robot, trial.nominal)
        actor = load(library, folder, env)

        @torch.no_grad()
        def act(inputs: Mapping[str, np.ndarray], begins: np.ndarray) -> np.ndarray:
            return actor(torch.from_numpy(observe(env.terms, inputs, np))).numpy()

        recording = record(act, env, trial, env.commands, EVALUATION_SEED)
        return trial.measures(env)(recording).figures()

    return look


def load(library: str, folder: Path, env: Any) -> Callable[[Any], Any]:
    """A snapshot's deterministic policy: observations (N, D) to actions (N, n), in torch."""
    if library == "surefoot":
        from surefoot.control.checkpoint import load_policy

        return load_policy(folder / MODEL)
    if library == "rsl_rl":
        from surefoot.deploy.workstation.foreign.rsl_rl import load_rsl_rl

        return load_rsl_rl(folder / MODEL, env, "elu").actor.eval()
    from surefoot.deploy.workstation.foreign.stable_baselines import load_stable_baselines

    return load_stable_baselines(folder / f"{MODEL}.zip", env, folder / STATISTICS).actor.eval()


TRAINERS: Mapping[str, Callable[[Run, Snapshots], None]] = {
    "surefoot": train_surefoot,
    "rsl_rl": train_rsl_rl,
    "sb3": train_sb3,
}


def main(words: list[str]) -> None:
    """Train as the argument says, judge, and print the result."""
    run, asked = pinned(words)
    # As Surefoot asks for. It is kind to the peers, too: threads of torch that spin take the cores
    # from the physics, and an update of rsl_rl's on a busy machine took five times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with TemporaryDirectory() as folder:
        snapshots = Snapshots(Path(folder), asked["began"], run.config["limit"])
        with suppress(TimeOver):
            TRAINERS[run.library](run, snapshots)
        if not snapshots.kept:
            raise SystemExit("trained too shortly for a checkpoint")
        look = looker(run.library, GOALS[run.task])
        result = judge(run, snapshots.kept, look, lambda s, score: say(steps=s, score=score))
    say(result=result)


if __name__ == "__main__":
    main(sys.argv[1:])
