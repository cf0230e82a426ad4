"""One training run, by Surefoot or by a peer: `python libraries.py RUN`, RUN a `Run` as JSON.

What the three have in common is here once: the clock, which stands still while a policy is being
evaluated, the evaluation, and when to stop. No library writes checkpoints or logs meanwhile.
Lines that begin with @ are JSON: steps done so far and, as the last one, the result.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from records import Point, Run, time_to_return

EPISODES = 10  # of an evaluation
EVALUATION_SEED = 2_000_003  # far from those of training
VECTORISERS: dict[str, dict[str, Any]] = {  # options of surefoot.control.envs.make
    "gymnasium": {"pool": False},
    "envpool": {"pool": True},
}

Policy = Callable[[Any], Any]  # deterministic; torch tensors (N, D) → (N, A)


class Clock:
    """Seconds since it was made, without those in which it was stopped."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now, self._origin = now, now()

    def __call__(self) -> float:
        return self._now() - self._origin

    @contextmanager
    def stopped(self) -> Iterator[None]:
        began = self._now()
        yield
        self._origin += self._now() - began


@dataclass
class Watch:
    """What is noted of a run while it learns."""

    run: Run
    evaluate: Callable[[Policy, int], float]  # the policy, for the n-th time → mean return
    target: float | None = None  # return at which the run may end
    clock: Clock = field(default_factory=Clock)
    curve: list[Point] = field(default_factory=list)
    warm: tuple[int, int, float] | None = None  # steps, updates, seconds after the warm-up
    last: tuple[int, int, float] = (0, 0, 0.0)
    threads: int = 0  # of torch, while it learns

    def look(self, steps: int, updates: int, policy: Policy) -> bool:
        """To be called between updates; True if the run may end."""
        self.last = (steps, updates, self.clock())
        if self.warm is None and steps >= self.run.warm_up:
            self.warm = self.last
        every = self.run.evaluate_every
        if not every or steps < every * (len(self.curve) + 1):
            return False
        with self.clock.stopped():
            score = self.evaluate(policy, len(self.curve))
            self.curve.append(Point(steps, self.last[2], score))
            say(steps=steps, score=score)
        return self.target is not None and time_to_return(self.curve, self.target) is not None

    def result(self) -> dict[str, Any]:
        """What becomes part of the record."""
        steps, updates, seconds = self.last
        warm = self.warm or (0, 0, 0.0)
        spent = max(seconds - warm[2], 1e-9)
        return {
            "steps": steps,
            "updates": updates,
            "seconds": seconds,
            "steps_per_second": (steps - warm[0]) / spent,
            "updates_per_second": (updates - warm[1]) / spent,
            "curve": self.curve,
            "stopped_early": self.target is not None and steps < self.run.steps,
            "target": self.target,
            "torch_threads": self.threads,
        }


def pinned(words: list[str]) -> tuple[Run, dict[str, Any]]:
    """A session's run, and all that it asks; from here on this process has the run's cores alone.

    To be called before any library counts the cores.

    Raises:
        SystemExit: there are fewer.
    """
    asked = json.loads(words[0])
    run, first = Run(**asked["run"]), asked["first_core"]
    cores = sorted(os.sched_getaffinity(0))
    if first + run.cores > len(cores):
        raise SystemExit(f"cores: found {first + run.cores}, allowed is at most {len(cores)}")
    os.sched_setaffinity(0, cores[first : first + run.cores])
    return run, asked


def say(**facts: Any) -> None:
    """To whoever started this process."""
    print("@" + json.dumps(facts), flush=True)


def evaluator(task: str) -> Callable[[Policy, int], float]:
    """The same for every library: mean return of `EPISODES` deterministic episodes.

    Each evaluation has starts of its own, the same ones for all libraries and seeds.
    """
    from surefoot.control.envs import make
    from surefoot.control.evaluate import episode_returns

    def evaluate(policy: Policy, count: int) -> float:
        envs = make(task, EPISODES, EVALUATION_SEED + count * EPISODES, pool=False)
        returns = episode_returns(policy, envs)
        envs.env.close()
        return float(returns.mean())

    return evaluate


def train_surefoot(run: Run, watch: Watch) -> dict[str, Any]:
    """As surefoot.control.train.train does (a test compares the weights), without its folder."""
    from surefoot.control.envs import make
    from surefoot.control.run import learner_of
    from surefoot.control.train import torch_settings
    from torch import get_num_threads  # after Surefoot, see `main`

    config = surefoot_config(run)
    watch.clock = Clock()  # imports left out
    with torch_settings(config):
        watch.threads = get_num_threads()
        envs = make(run.task, config.num_envs, run.seed, **VECTORISERS[run.vectoriser])
        learner = learner_of(envs, config, run.seed)
        steps, ended = 0, False
        while steps < run.steps and not ended:
            steps += learner.iterate(envs, steps / run.steps, watch.clock).steps
            envs.pop_finished()
            ended = watch.look(steps, updates_until(config, steps), learner.policy)
    return asdict(config)


def surefoot_config(run: Run) -> Any:
    """Our configuration of a run; JSON has no tuples."""
    from surefoot.control.ppo import PPOConfig
    from surefoot.control.sac import SACConfig

    values = {k: tuple(v) if isinstance(v, list) else v for k, v in run.config.items()}
    return (PPOConfig if run.algorithm == "ppo" else SACConfig)(**values)


def updates_until(config: Any, steps: int) -> int:
    """Gradient steps that Surefoot has made after `steps` of the environments."""
    if hasattr(config, "horizon"):
        iterations = steps // (config.num_envs * config.horizon)
        return iterations * config.epochs * config.num_minibatches
    rows = steps // config.num_envs - config.learning_starts // config.num_envs
    return config.updates_per_step * max(0, rows)


def train_peer(run: Run, watch: Watch) -> dict[str, Any]:
    """Stable-Baselines3, or SBX, which has its interface."""
    import torch
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env

    if run.library == "sb3":
        from stable_baselines3 import PPO, SAC
    else:
        from sbx import PPO, SAC

    class Look(BaseCallback):
        """Before each rollout: with SAC that is each step, after its update."""

        ended = False

        def _on_rollout_start(self) -> None:
            updates = self.model._n_updates
            if run.algorithm == "ppo":  # counted in epochs there
                model: Any = self.model
                updates *= model.n_steps * model.n_envs // model.batch_size
            self.ended = watch.look(self.num_timesteps, updates, policy)

        def _on_step(self) -> bool:
            return not self.ended

    def policy(obs: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(model.predict(obs.numpy(), deterministic=True)[0])

    watch.clock = Clock()  # imports left out, JAX's compilation not
    config = dict(run.config)
    env = make_vec_env(run.task, config.pop("n_envs", 1), seed=run.seed)
    algorithm = PPO if run.algorithm == "ppo" else SAC
    model = algorithm("MlpPolicy", env, seed=run.seed, device="cpu", **config)
    watch.threads = torch.get_num_threads()
    look = Look()
    model.learn(run.steps, callback=look)
    if not look.ended:
        look._on_rollout_start()  # after the last update
    parameters = inspect.signature(algorithm.__init__).parameters
    defaults = {name: p.default for name, p in parameters.items()}
    simple = {k: v for k, v in defaults.items() if isinstance(v, bool | int | float | str)}
    return simple | dict(run.config)


def main(words: list[str]) -> None:
    """Train as the argument says, and print the result."""
    run, asked = pinned(words)
    if run.library != "surefoot":
        # Before Surefoot, which asks OpenMP's threads to sleep: a peer runs as its users know it.
        import torch  # noqa: F401
    watch = Watch(run, evaluator(run.task), asked["target"])
    train = train_surefoot if run.library == "surefoot" else train_peer
    config = train(run, watch)
    say(result={**watch.result(), "config": config})


if __name__ == "__main__":
    main(sys.argv[1:])
