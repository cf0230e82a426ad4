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
from . import checkpoint
from .envs import Envs, make
from .policy import Gaussian
from .ppo import Diagnostics, Learner, PPOConfig, update
from .rollout import collect, empty_rollout

CHECKPOINT = "checkpoint.pt"
CHECKPOINT_EVERY = 25  # updates
THREADS = 2  # of torch: more than this only gets in the simulator's way

Clock = Callable[[], float]


@dataclass(frozen=True)
class Metrics:
    """One update, for whoever watches."""

    update: int  # updates so far
    steps: int  # environment steps so far
    elapsed: float  # training time so far, that before a resume included [s]
    progress: float  # of the budget, 0 to 1
    steps_per_second: float  # of this update, collecting and learning together
    collect_time: float  # [s]
    learn_time: float  # [s]
    learning_rate: float
    episodes: int  # that ended during this update
    episode_return: float | None  # mean of those; None if there were none
    episode_length: float | None  # mean of those [steps]
    reward: float  # mean of a step
    diagnostics: Diagnostics
    episode: dict[str, float] = field(default_factory=dict)  # means of `infos["statistics"]`


@dataclass(frozen=True)
class Trained:
    """What a session leaves."""

    policy: Gaussian
    steps: int
    updates: int
    elapsed: float  # [s]
    checkpoint: Path
    resumed_exactly: bool | None  # False: the episodes started anew; None: nothing was resumed


@dataclass
class _Progress:
    updates: int = 0
    steps: int = 0
    elapsed: float = 0.0


def train(
    env: str | VectorEnv,
    config: PPOConfig,
    run_dir: Path,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    resume: bool = False,
    on_update: Callable[[Metrics], None] | None = None,
    about: Mapping[str, Any] | None = None,
    clock: Clock = time.perf_counter,
) -> Trained:
    """Train a policy with PPO until the budget is spent. KeyboardInterrupt saves, and goes on.

    Args:
        env: vector environment of `config.num_envs`, or a Gymnasium id.
        config: hyperparameters.
        run_dir: made if missing; must hold no run unless `resume`.
        minutes: budget of training time [min]. With both budgets, the first one spent ends it.
        steps: budget of environment steps, rounded up to whole updates.
        seed: of the environments, the first weights, the actions and the minibatches.
        resume: go on from the checkpoint in `run_dir`. The budget counts from the run's start.
        on_update: called after each update.
        about: JSON-able facts of the task, kept in config.json and in the checkpoint.
        clock: measures the training time [s].

    Raises:
        UsageError: no budget, an occupied or empty `run_dir`, another configuration than that of
            the run to resume, or an environment that cannot be learned from.
    """
    if minutes is None and steps is None:
        raise UsageError("budget: found none, allowed is a number of minutes, of steps, or both")
    path = run_dir / CHECKPOINT
    saved = checkpoint.load(path) if resume else None
    if saved is None and path.exists():
        raise UsageError(f"{run_dir}: found a run, allowed is a new folder, or to resume it")
    if saved is not None:
        _require_same(saved, config, seed)

    with _torch_settings():
        envs = make(env, config.num_envs, seed)
        learner = Learner.of(envs, config, seed)
        done = _Progress()
        exactly = None if saved is None else _restore(saved, learner, envs, done)
        run_dir.mkdir(parents=True, exist_ok=True)
        if saved is None:
            _write_config(run_dir, config, seed, about)

        def save() -> None:
            state = _state(learner, envs, done, config, seed, about)
            checkpoint.save(path, state)

        rollout = empty_rollout(config.horizon, envs)
        earlier, start = done.elapsed, clock()
        writer = SummaryWriter(str(run_dir), purge_step=done.steps + 1)
        try:
            while (progress := _spent(done, minutes, steps)) < 1:
                began = clock()
                learning_rate = _linear(config.learning_rate, config.final_learning_rate, progress)
                collect(envs, learner.policy, learner.value, rollout, learner.generator)
                collected = clock()
                diagnostics = update(learner, rollout, config, learning_rate)
                learned = clock()

                done.updates += 1
                done.steps += rollout.reward.numel()
                done.elapsed = earlier + learned - start
                finished = envs.pop_finished()
                means = {name: float(np.mean(values)) for name, values in finished.items()}
                metrics = Metrics(
                    update=done.updates,
                    steps=done.steps,
                    elapsed=done.elapsed,
                    progress=min(1.0, _spent(done, minutes, steps)),
                    steps_per_second=rollout.reward.numel() / max(learned - began, 1e-9),
                    collect_time=collected - began,
                    learn_time=learned - collected,
                    learning_rate=learning_rate,
                    episodes=len(finished.get("return", ())),
                    episode_return=means.pop("return", None),
                    episode_length=means.pop("length", None),
                    reward=float(rollout.reward[rollout.valid].mean()),
                    diagnostics=diagnostics,
                    episode=means,
                )
                _log(writer, metrics)
                if on_update is not None:
                    on_update(metrics)
                if done.updates % CHECKPOINT_EVERY == 0:
                    save()
            save()
        except KeyboardInterrupt:
            save()  # all updates so far; one that was cut short is done anew by whoever resumes
            raise
        finally:
            writer.close()
    return Trained(learner.policy, done.steps, done.updates, done.elapsed, path, exactly)


def _spent(done: _Progress, minutes: float | None, steps: int | None) -> float:
    """Part of the budget that is spent; 1 or more when it is all gone."""
    by_time = 0.0 if minutes is None else done.elapsed / max(60 * minutes, 1e-9)
    by_steps = 0.0 if steps is None else done.steps / max(steps, 1)
    return max(by_time, by_steps)


def _linear(first: float, last: float, progress: float) -> float:
    return first + (last - first) * min(progress, 1.0)


@contextmanager
def _torch_settings() -> Iterator[None]:
    """Fast matrix products and few threads while training; what was set before comes back."""
    precision, threads = torch.get_float32_matmul_precision(), torch.get_num_threads()
    torch.set_float32_matmul_precision("medium")
    torch.set_num_threads(min(THREADS, threads))
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
    config: PPOConfig,
    seed: int,
    about: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """All that the run is. Nothing draws from torch's or numpy's global generators."""
    return {
        "policy": checkpoint.policy_state(learner.policy),
        "value": learner.value.state_dict(),
        "optimiser": learner.optimiser.state_dict(),
        "generator": learner.generator.get_state(),
        "envs": envs.get_state(),
        "progress": asdict(done),
        "config": asdict(config),
        "seed": seed,
        "about": dict(about or {}),
    }


def _restore(saved: dict[str, Any], learner: Learner, envs: Envs, done: _Progress) -> bool:
    """Put a checkpoint back; False if the environments could only start their episodes anew."""
    learner.policy.load_state_dict(saved["policy"]["parameters"])
    learner.value.load_state_dict(saved["value"])
    learner.optimiser.load_state_dict(saved["optimiser"])
    learner.generator.set_state(saved["generator"])
    for name, number in saved["progress"].items():
        setattr(done, name, number)
    return envs.set_state(saved["envs"])


def _require_same(saved: dict[str, Any], config: PPOConfig, seed: int) -> None:
    wanted = {**asdict(config), "seed": seed}
    for name, found in {**saved["config"], "seed": saved["seed"]}.items():
        if wanted.get(name) != found:
            raise UsageError(
                f"resume: found {name} = {wanted.get(name)}, allowed is the run's own {found}"
            )


def _write_config(
    run_dir: Path, config: PPOConfig, seed: int, about: Mapping[str, Any] | None
) -> None:
    table = {
        "algorithm": "ppo",
        "config": asdict(config),
        "seed": seed,
        "about": dict(about or {}),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "gymnasium": gymnasium.__version__,
            "numpy": np.__version__,
        },
    }
    (run_dir / "config.json").write_text(json.dumps(table, indent=2) + "\n")


def _log(writer: SummaryWriter, metrics: Metrics) -> None:
    curves: dict[str, float | None] = {
        "episode/return": metrics.episode_return,
        "episode/length": metrics.episode_length,
        "train/reward": metrics.reward,
        "train/learning_rate": metrics.learning_rate,
        "time/steps_per_second": metrics.steps_per_second,
        "time/collect": metrics.collect_time,
        "time/learn": metrics.learn_time,
        **{f"ppo/{name}": number for name, number in asdict(metrics.diagnostics).items()},
        **metrics.episode,
    }
    for name, number in curves.items():
        if number is not None:
            writer.add_scalar(name, number, metrics.steps)
