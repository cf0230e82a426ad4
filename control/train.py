"""A training session: a run is begun or resumed, and goes on until its budget is spent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch.utils.tensorboard import SummaryWriter

from ..models.errors import Diverged, UsageError
from . import distributed
from .checkpoint import Policy
from .diagnostics import Clock
from .envs import merged
from .metrics import Metrics, write
from .ppo import PPOConfig
from .ranges import require_possible
from .run import CHECKPOINT, Budget, Config, Run, algorithm, saved_in
from .sac import SACConfig

THREADS = 2  # of torch: more than this only gets in the simulator's way
LARGE_WORK = 4e6  # multiplications of a product, from which bfloat16 pays
SHARED_WORK = 4e7  # and a second thread


@dataclass(frozen=True)
class Trained:
    """What a session leaves."""

    policy: Policy
    steps: int
    iterations: int
    elapsed: float  # [s]
    checkpoint: Path
    resumed_exactly: bool | None  # False: the episodes started anew; None: nothing was resumed


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
    earlier: Policy | None = None,
    on_iteration: Callable[[Metrics], None] | None = None,
    checkpoint_every: int = 25,
    on_checkpoint: Callable[[int], None] | None = None,
    about: Mapping[str, Any] | None = None,
    clock: Clock = time.perf_counter,
) -> Trained:
    """Train a policy until the budget is spent.

    A KeyboardInterrupt that `on_iteration` raises saves first, so nothing is lost; one that cuts an
    iteration short leaves the last checkpoint as it is.

    Started by torchrun, each rank has `config.num_envs` environments, counts the steps of all, and
    gets the same policy; rank 0's clock decides, and its `run_dir` alone is read and written.

    Args:
        env: vector environment of `config.num_envs`, or a Gymnasium id.
        config: hyperparameters; their type is the choice of the algorithm.
        run_dir: made if missing; must hold no run unless `resume`.
        minutes: budget of training time [min]. With both budgets, the first one spent ends it.
        steps: budget of environment steps, rounded up to whole iterations.
        seed: of the environments, the first weights, the actions and the batches.
        resume: go on from the checkpoint in `run_dir`. The budget counts from the run's start; if
            none is given it is the run's own.
        pool: as of `envs.make`.
        earlier: a policy to begin from; the critic learns alone at first
            (`config.critic_warm_up`). Not looked at where a run is resumed.
        on_iteration: called after each iteration; on each rank with the same metrics but for times.
        checkpoint_every: iterations from one checkpoint to the next; the last one comes at the end.
        on_checkpoint: called on each rank with the steps so far, when their checkpoint is whole.
        about: JSON-able facts of the task, kept in config.json and in the checkpoint.
        clock: measures the training time [s].

    Raises:
        UsageError: no budget, less than an iteration from checkpoint to checkpoint, an occupied or
            empty `run_dir`, another configuration than that of the run to resume, ranks that
            differ, or an environment that cannot be learned from.
        Diverged: what was learned is no longer finite; the last checkpoint still is.
        RankLost: another rank ended; the last checkpoint is whole.
    """
    require_possible(config, seed)
    budget = Budget(minutes, steps)
    if budget == Budget() and not resume:
        raise UsageError("budget: found none, allowed is a number of minutes, of steps, or both")
    if checkpoint_every < 1:
        raise UsageError(f"checkpoint_every: found {checkpoint_every}, allowed is 1 or more")
    _require_alike(config, seed, budget, resume, checkpoint_every, about)
    saved = distributed.from_first(lambda: saved_in(run_dir, resume, config, seed, about or {}))
    with torch_settings(config):
        run = Run(env, config, run_dir, seed, pool, about or {})
        exactly = None if saved is None else run.resume(saved)
        if saved is None:
            run.begin(earlier)
        elif budget == Budget():
            budget = Budget(**saved["budget"])
        progress, before, start = run.progress, run.progress.elapsed, clock()

        def save() -> None:
            run.save(budget)
            if on_checkpoint is not None:
                distributed.together(on_checkpoint, progress.steps)

        with _events(run_dir, progress.steps) as log, closing(run):
            whole = True  # between iterations, when all parts of the run belong together
            try:
                while budget.spent(progress) < 1:
                    whole = False
                    metrics = _iterate(run, budget, lambda: before + clock() - start, clock)
                    whole = True
                    log(metrics, algorithm(config))
                    if on_iteration is not None:
                        distributed.together(on_iteration, metrics)
                    due = progress.iterations % checkpoint_every == 0
                    if due and budget.spent(progress) < 1:
                        save()
                save()
            except KeyboardInterrupt as interrupt:
                # Ranks that were not stopped together have no common state to save.
                if whole and (
                    distributed.world_size() == 1 or isinstance(interrupt, distributed.Stopped)
                ):
                    save()
                raise
    path = run_dir / CHECKPOINT
    return Trained(
        run.learner.policy, progress.steps, progress.iterations, progress.elapsed, path, exactly
    )


def _iterate(run: Run, budget: Budget, elapsed: Callable[[], float], clock: Clock) -> Metrics:
    """One iteration of all ranks."""
    progress = run.progress
    critic_only = progress.warm_up > 0
    it = run.learner.iterate(run.envs, budget.spent(progress), clock, critic_only)
    if not run.learner.is_finite():
        raise Diverged(
            f"learning has diverged after {progress.steps} steps: a reward or an observation that "
            "is no finite number, or too high a learning rate; the last checkpoint is from before"
        )
    if it.gradient_steps:
        progress.warm_up = max(0, progress.warm_up - 1)
    progress.iterations += 1
    progress.steps += it.steps
    progress.elapsed = distributed.from_first(elapsed)
    finished = merged(distributed.all_gather_objects(run.envs.pop_finished()))
    means = {name: float(np.mean(values)) for name, values in finished.items()}
    return Metrics(
        iteration=progress.iterations,
        steps=progress.steps,
        elapsed=progress.elapsed,
        progress=min(1.0, budget.spent(progress)),
        steps_per_second=it.steps / max(it.collect_time + it.learn_time, 1e-9),
        collect_time=it.collect_time,
        learn_time=it.learn_time,
        learning_rate=it.learning_rate,
        episodes=len(finished.get("return", ())),
        episode_return=means.pop("return", None),
        episode_length=means.pop("length", None),
        reward=it.reward,
        saturation=it.saturation,
        critic_only=critic_only,
        diagnostics=it.diagnostics,
        episode=means,
    )


@contextmanager
def torch_settings(config: Config) -> Iterator[None]:
    """What suits the size of an update's matrix products; what was set before comes back.

    Products in bfloat16 ("medium") and a second thread each cost some microseconds a call: small
    networks learn faster without.
    """
    minibatch = (
        config.num_envs * config.horizon // config.num_minibatches
        if isinstance(config, PPOConfig)
        else config.batch_size
    )
    work = minibatch * max(config.hidden, default=1) ** 2
    precision, threads = torch.get_float32_matmul_precision(), torch.get_num_threads()
    large = work * distributed.world_size() >= LARGE_WORK  # ranks round as one process would
    torch.set_float32_matmul_precision("medium" if large else "highest")
    torch.set_num_threads(min(THREADS, threads) if work >= SHARED_WORK else 1)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.set_num_threads(threads)


@contextmanager
def _events(run_dir: Path, steps: int) -> Iterator[Callable[[Metrics, str], None]]:
    """What writes TensorBoard's events, on rank 0; those after `steps` are forgotten."""
    if distributed.rank() > 0:
        yield lambda metrics, algorithm: None
        return
    with SummaryWriter(str(run_dir), purge_step=steps + 1) as writer:
        yield lambda metrics, algorithm: write(writer, metrics, algorithm)


def _require_alike(
    config: Config,
    seed: int,
    budget: Budget,
    resume: bool,
    checkpoint_every: int,
    about: Mapping[str, Any] | None,
) -> None:
    """Raise UsageError for ranks that would learn something else, or SAC on several."""
    distributed.require_same(
        {
            "algorithm": algorithm(config),
            **asdict(config),
            "seed": seed,
            **asdict(budget),
            "resume": resume,
            "checkpoint_every": checkpoint_every,
            **(about or {}),
        }
    )
    if distributed.world_size() > 1 and isinstance(config, SACConfig):
        raise UsageError(f"processes: found {distributed.world_size()}, allowed for sac is 1")
