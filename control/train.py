"""A training session: environments, a learner, a budget, and a folder that keeps it all.

The folder holds `config.json`, TensorBoard's events and `checkpoint.pt`. On the same machine,
versions and thread count, a session that is resumed from its checkpoint goes on bit for bit like
one that never stopped, if its budget is in steps and the environment exposes its state.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch.utils.tensorboard import SummaryWriter

from ..models.errors import UsageError
from . import checkpoint, distributed, ppo, sac
from .checkpoint import Policy
from .diagnostics import Clock
from .envs import Envs, make
from .ppo import PPOConfig
from .sac import SACConfig

CHECKPOINT = "checkpoint.pt"
CHECKPOINT_EVERY = 25  # iterations
THREADS = 2  # of torch: more than this only gets in the simulator's way
LARGE_WORK = 4e6  # multiplications of a product, from which bfloat16 pays
SHARED_WORK = 3e7  # and a second thread

Config = PPOConfig | SACConfig
Learner = ppo.Learner | sac.Learner


@dataclass(frozen=True)
class Metrics:
    """One iteration, for whoever watches."""

    update: int  # iterations so far: PPO's updates, a few steps with theirs of SAC
    steps: int  # environment steps so far
    elapsed: float  # training time so far, that before a resume included [s]
    progress: float  # of the budget, 0 to 1
    steps_per_second: float  # of this one, collecting and learning together
    collect_time: float  # [s]
    learn_time: float  # [s]
    learning_rate: float
    episodes: int  # that ended during it
    episode_return: float | None  # mean of those; None if there were none
    episode_length: float | None  # mean of those [steps]
    reward: float  # mean of a step
    saturation: float | None  # part of the actions at or beyond their Box's bounds
    diagnostics: ppo.Diagnostics | sac.Diagnostics
    episode: dict[str, float] = field(default_factory=dict)  # means of `infos["statistics"]`


@dataclass(frozen=True)
class Trained:
    """What a session leaves."""

    policy: Policy
    steps: int
    updates: int  # iterations
    elapsed: float  # [s]
    checkpoint: Path
    resumed_exactly: bool | None  # False: the episodes started anew; None: nothing was resumed


@dataclass
class _Progress:
    updates: int = 0
    steps: int = 0
    elapsed: float = 0.0


@distributed.group()
def train(
    env: str | VectorEnv,
    config: Config,
    run_dir: Path,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    resume: bool = False,
    pool: bool = True,
    on_update: Callable[[Metrics], None] | None = None,
    about: Mapping[str, Any] | None = None,
    clock: Clock = time.perf_counter,
) -> Trained:
    """Train a policy until the budget is spent. KeyboardInterrupt saves, and goes on.

    Started by torchrun, each rank has `config.num_envs` environments, counts the steps of all, and
    gets the same policy; rank 0's clock decides, and its `run_dir` alone is read and written.

    Args:
        env: vector environment of `config.num_envs`, or a Gymnasium id.
        config: hyperparameters; their type is the choice of the algorithm.
        run_dir: made if missing; must hold no run unless `resume`.
        minutes: budget of training time [min]. With both budgets, the first one spent ends it.
        steps: budget of environment steps, rounded up to whole iterations.
        seed: of the environments, the first weights, the actions and the batches.
        resume: go on from the checkpoint in `run_dir`. The budget counts from the run's start.
        pool: as of `envs.make`.
        on_update: called after each iteration; on each rank with the same metrics but for times.
        about: JSON-able facts of the task, kept in config.json and in the checkpoint.
        clock: measures the training time [s].

    Raises:
        UsageError: no budget, an occupied or empty `run_dir`, another configuration than that of
            the run to resume, ranks that differ, or an environment that cannot be learned from.
        RankLost: another rank ended; the last checkpoint is whole.
    """
    if minutes is None and steps is None:
        raise UsageError("budget: found none, allowed is a number of minutes, of steps, or both")
    path = run_dir / CHECKPOINT
    _require_alike(config, seed, minutes, steps, resume, about)
    saved = distributed.from_first(lambda: _saved(run_dir, resume))
    if saved is not None:
        _require_same(saved, config, seed)
    first = distributed.rank() == 0

    with torch_settings(config):
        envs = make(env, config.num_envs, seed + distributed.rank() * config.num_envs, pool)
        of = ppo.Learner.of if isinstance(config, PPOConfig) else sac.Learner.of
        learner: Learner = of(envs, config, seed)  # type: ignore[arg-type]
        done = _Progress()
        exactly = None if saved is None else _restore(saved, learner, envs, done, run_dir)
        distributed.take_over(_learned(learner))
        if first:
            run_dir.mkdir(parents=True, exist_ok=True)
            if saved is None:
                _write_config(run_dir, config, seed, about)

        def save() -> None:
            distributed.take_over(_learned(learner))
            state = _state(learner, envs, done, seed, about, run_dir)
            distributed.from_first(lambda: checkpoint.save(path, state))

        earlier, start = done.elapsed, clock()
        writer = SummaryWriter(str(run_dir), purge_step=done.steps + 1) if first else None
        try:
            while (progress := _spent(done, minutes, steps)) < 1:
                it = learner.iterate(envs, progress, clock)
                done.updates += 1
                done.steps += it.steps
                done.elapsed = distributed.from_first(lambda: earlier + clock() - start)
                finished = _merged(distributed.gather_objects(envs.pop_finished()))
                means = {name: float(np.mean(values)) for name, values in finished.items()}
                metrics = Metrics(
                    update=done.updates,
                    steps=done.steps,
                    elapsed=done.elapsed,
                    progress=min(1.0, _spent(done, minutes, steps)),
                    steps_per_second=it.steps / max(it.collect_time + it.learn_time, 1e-9),
                    collect_time=it.collect_time,
                    learn_time=it.learn_time,
                    learning_rate=it.learning_rate,
                    episodes=len(finished.get("return", ())),
                    episode_return=means.pop("return", None),
                    episode_length=means.pop("length", None),
                    reward=it.reward,
                    saturation=it.saturation,
                    diagnostics=it.diagnostics,
                    episode=means,
                )
                if writer is not None:
                    _log(writer, metrics, _algorithm(config))
                if on_update is not None:
                    distributed.together(on_update, metrics)
                if done.updates % CHECKPOINT_EVERY == 0:
                    save()
            save()
        except KeyboardInterrupt as interrupt:
            # All updates so far; one that was cut short is done anew by whoever resumes. Ranks
            # that were not stopped together have no common state to save.
            if distributed.size() == 1 or isinstance(interrupt, distributed.Stopped):
                save()
            raise
        finally:
            if writer is not None:
                writer.close()
    return Trained(learner.policy, done.steps, done.updates, done.elapsed, path, exactly)


def _spent(done: _Progress, minutes: float | None, steps: int | None) -> float:
    """Part of the budget that is spent; 1 or more when it is all gone."""
    by_time = 0.0 if minutes is None else done.elapsed / max(60 * minutes, 1e-9)
    by_steps = 0.0 if steps is None else done.steps / max(steps, 1)
    return max(by_time, by_steps)


def _algorithm(config: Config) -> str:
    return "ppo" if isinstance(config, PPOConfig) else "sac"


@contextmanager
def torch_settings(config: Config) -> Iterator[None]:
    """What suits the size of an update's matrix products; what was set before comes back.

    Products in bfloat16 ("medium") and a second thread each cost some microseconds a call: small
    networks learn faster without.
    """
    minibatch = (
        config.num_envs * config.horizon // config.minibatches
        if isinstance(config, PPOConfig)
        else config.batch
    )
    work = minibatch * max(config.hidden, default=1) ** 2
    precision, threads = torch.get_float32_matmul_precision(), torch.get_num_threads()
    torch.set_float32_matmul_precision("medium" if work >= LARGE_WORK else "highest")
    torch.set_num_threads(min(THREADS, threads) if work >= SHARED_WORK else 1)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.set_num_threads(threads)


# --- what is kept -----------------------------------------------------------------------------


def _state(
    learner: Learner,
    envs: Envs,
    done: _Progress,
    seed: int,
    about: Mapping[str, Any] | None,
    run_dir: Path,
) -> dict[str, Any]:
    """All that the run is. Nothing draws from torch's or numpy's global generators.

    What was replayed lies in files of its own, which this writes into `run_dir`.
    """
    states = distributed.gather_objects(envs.get_state())
    state = {
        "algorithm": _algorithm(learner.config),
        **_learned(learner),
        "generator": learner.generator.get_state(),
        "envs": states if len(states) > 1 else states[0],
        "progress": asdict(done),
        "config": asdict(learner.config),
        "seed": seed,
        "about": dict(about or {}),
    }
    if isinstance(learner, sac.Learner):
        state["replay"] = learner.replay.get_state(run_dir)
    return state


def _learned(learner: Learner) -> dict[str, Any]:
    """What ranks have in common, beside the random state."""
    parts = {name: part.state_dict() for name, part in learner.parts().items()}
    return {"policy": checkpoint.policy_state(learner.policy), **parts}


def _restore(
    saved: dict[str, Any], learner: Learner, envs: Envs, done: _Progress, run_dir: Path
) -> bool:
    """Put a checkpoint back; False if the environments could only start their episodes anew."""
    learner.policy.load_state_dict(saved["policy"]["parameters"])
    for name, part in learner.parts().items():
        part.load_state_dict(saved[name])
    learner.generator.set_state(saved["generator"])
    for name, number in saved["progress"].items():
        setattr(done, name, number)
    exactly = envs.set_state(_envs_of_ranks(saved)[distributed.rank()])
    if isinstance(learner, sac.Learner):
        learner.replay.set_state(saved["replay"], run_dir)
        if not exactly:
            learner.replay.cut()
    return exactly


def _saved(run_dir: Path, resume: bool) -> dict[str, Any] | None:
    """The checkpoint to resume. Raises UsageError where there is none, or one to spoil."""
    path = run_dir / CHECKPOINT
    if resume:
        return checkpoint.load(path)
    if path.exists():
        raise UsageError(f"{run_dir}: found a run, allowed is a new folder, or to resume it")
    return None


def _envs_of_ranks(saved: dict[str, Any]) -> list[Any]:
    return saved["envs"] if isinstance(saved["envs"], list) else [saved["envs"]]


def _require_same(saved: dict[str, Any], config: Config, seed: int) -> None:
    def table(algorithm: str, config: dict[str, Any], seed: int) -> dict[str, Any]:
        return {"algorithm": algorithm, **config, "seed": seed}

    wanted = table(_algorithm(config), asdict(config), seed)
    theirs = table(saved.get("algorithm", "ppo"), saved["config"], saved["seed"])
    for name, found in theirs.items():
        if wanted.get(name) != found:
            raise UsageError(
                f"resume: found {name} = {wanted.get(name)}, allowed is the run's own {found}"
            )
    ranks = len(_envs_of_ranks(saved))
    if ranks != distributed.size():
        raise UsageError(
            f"resume: found {distributed.size()} processes, allowed is the run's own {ranks}"
        )


def _require_alike(
    config: Config,
    seed: int,
    minutes: float | None,
    steps: int | None,
    resume: bool,
    about: Mapping[str, Any] | None,
) -> None:
    """Raise UsageError for ranks that would learn something else, or SAC on several."""
    distributed.require_same(
        {
            "algorithm": _algorithm(config),
            **asdict(config),
            "seed": seed,
            "minutes": minutes,
            "steps": steps,
            "resume": resume,
            **(about or {}),
        }
    )
    if distributed.size() > 1 and isinstance(config, SACConfig):
        raise UsageError(f"processes: found {distributed.size()}, allowed for sac is 1")


def _merged(finished: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Statistics of all ranks' episodes, by name."""
    names = dict.fromkeys(name for table in finished for name in table)
    return {k: np.concatenate([table[k] for table in finished if k in table]) for k in names}


def _write_config(
    run_dir: Path, config: Config, seed: int, about: Mapping[str, Any] | None
) -> None:
    table = {
        "algorithm": _algorithm(config),
        "config": asdict(config),
        "seed": seed,
        "processes": distributed.size(),
        "about": dict(about or {}),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "gymnasium": gymnasium.__version__,
            "numpy": np.__version__,
        },
    }
    (run_dir / "config.json").write_text(json.dumps(table, indent=2) + "\n")


def _log(writer: SummaryWriter, metrics: Metrics, algorithm: str) -> None:
    curves: dict[str, float | None] = {
        "episode/return": metrics.episode_return,
        "episode/length": metrics.episode_length,
        "train/reward": metrics.reward,
        "train/saturation": metrics.saturation,
        "train/learning_rate": metrics.learning_rate,
        "time/steps_per_second": metrics.steps_per_second,
        "time/collect": metrics.collect_time,
        "time/learn": metrics.learn_time,
        **{f"{algorithm}/{name}": x for name, x in asdict(metrics.diagnostics).items()},
        **metrics.episode,
    }
    for name, number in curves.items():
        if number is not None:
            writer.add_scalar(name, number, metrics.steps)
