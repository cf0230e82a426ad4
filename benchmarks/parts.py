"""Where the microseconds of Surefoot's learning go: `python parts.py RUN`, RUN a `Run` as JSON.

The parts of a step are timed by wrapping the functions that do them, while real iterations run; an
outer part does not count its inner ones. The update is taken apart by torch.profiler, and its
floor is measured: the same matrix products on the same operands, with nothing between them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from surefoot.control import ppo, sac  # before torch: it says how OpenMP's threads wait

# isort: split
import torch
from libraries import pinned, say, surefoot_config, updates_until
from records import Run
from surefoot.control.envs import Envs, make
from surefoot.control.policy import Gaussian
from surefoot.control.replay_buffer import ReplayBuffer
from surefoot.control.run import learner_of
from surefoot.control.steps import Adam
from surefoot.control.train import torch_settings
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
PRODUCTS = (aten.mm.default, aten.addmm.default, aten.bmm.default, aten.baddbmm.default)
REPEATS = 200  # of a matrix product
UPDATES = 100  # of SAC, to be taken apart
KINDS = {  # of what torch's profiler names, the first that fits
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"),
    "autograd's bookkeeping": ("autograd::",),
    "random numbers": ("aten::normal", "aten::random", "aten::randperm", "aten::randint"),
    "reading rows": ("aten::index", "aten::gather"),
    "other operations of torch": ("",),
}
PARTS_OF_BOTH = (
    (Envs, "step", "our view of the environment"),
    (torch.autograd, "backward", "update: derivatives"),
    (Adam, "zero_grad", "update: Adam"),
    (Adam, "clip", "update: Adam"),
    (Adam, "step", "update: Adam"),
)
PARTS = {
    "ppo": (
        (Gaussian, "sample", "policy"),
        (ppo, "collect", "storing, values"),
        (ppo, "gae", "advantages"),
        (ppo, "update", "update: forward, losses"),
    ),
    "sac": (
        (sac.Learner, "_act", "policy"),
        (ReplayBuffer, "add", "storing"),
        (ReplayBuffer, "sample", "drawing a batch"),
        (sac, "polyak_update", "update: target critics"),
        (sac, "update", "update: forward, losses"),
    ),
}


class Stopwatch:
    """Seconds spent in functions by label, without those in other labelled ones within."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = {}
        self._now, self._inner = now, [0.0]

    def wrap(self, owner: Any, name: str, label: str) -> None:
        """Replace a module's, class's or object's function by one that is timed."""
        function = getattr(owner, name)
        self.seconds[label] = 0.0

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = self._now()
            self._inner.append(0.0)
            try:
                return function(*args, **kwargs)
            finally:
                took = self._now() - began
                self.seconds[label] += took - self._inner.pop()
                self._inner[-1] += took

        setattr(owner, name, timed)


class Products(TorchDispatchMode):
    """Notes every matrix product: how often each one, by operation, shapes and strides."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[Any, tuple[Any, Any, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in PRODUCTS:
            key = (str(func), *((a.shape, a.stride()) for a in args if isinstance(a, torch.Tensor)))
            count = self.calls[key][2] if key in self.calls else 0
            self.calls[key] = (func, args, count + 1)
        return func(*args, **(kwargs or {}))

    def flop(self) -> int:
        """Of all products noted: two for each multiply and add."""
        return sum(2 * a[-2].numel() * a[-1].shape[-1] * n for _, a, n in self.calls.values())

    @torch.no_grad()
    def seconds(self) -> float:
        """What the products take when nothing comes between them."""
        total = 0.0
        for function, args, count in self.calls.values():
            times = []
            for _ in range(3):
                began = time.perf_counter()
                for _ in range(REPEATS):
                    function(*args)
                times.append(time.perf_counter() - began)
            total += count * min(times) / REPEATS
        return total


def measure(run: Run) -> dict[str, Any]:
    """The parts of a step, those of a gradient step and its floor. All times [µs]."""
    config = surefoot_config(run)
    with torch_settings(config):
        envs = make(run.task, config.num_envs, run.seed, pool=False)
        learner: Any = learner_of(envs, config, run.seed)
        alone = _environment_alone(envs)
        steps = 0
        while steps < run.warm_up:
            steps += learner.iterate(envs, 0.0, time.perf_counter).steps
        update = _one_update(learner)
        floor = _floor(update)
        kinds = _kinds(update)
        watch = Stopwatch()
        watch.wrap(envs.env, "step", "environment")
        for owner, name, label in (*PARTS_OF_BOTH, *PARTS[run.algorithm]):
            watch.wrap(owner, name, label)
        first, began = steps, time.perf_counter()
        while steps < run.steps:
            steps += learner.iterate(envs, 0.0, time.perf_counter).steps
        whole = time.perf_counter() - began
        threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    count = steps - first
    parts = {label: 1e6 * spent / count for label, spent in watch.seconds.items()}
    updates = updates_until(config, steps) - updates_until(config, first)
    return {
        "whole": 1e6 * whole / count,
        "parts": parts,
        "updates_per_step": updates / count,
        "update": 1e6 * sum(s for name, s in watch.seconds.items() if "update" in name) / updates,
        "shares": kinds,
        "floor": floor,
        "environment_alone": alone,
        "torch_threads": threads,
        "precision": precision,
    }


def _environment_alone(envs: Envs, steps: int = 2000) -> float:
    """Of one environment's step, with random actions [µs]."""
    space = envs.env.action_space
    space.seed(0)
    actions = [space.sample() for _ in range(100)]
    began = time.perf_counter()
    for index in range(steps // envs.num_envs):
        envs.env.step(actions[index % len(actions)])
    return 1e6 * (time.perf_counter() - began) / (steps // envs.num_envs * envs.num_envs)


def _one_update(learner: Any) -> Callable[[], int]:
    """What makes some gradient steps, and tells how many."""
    config = learner.config
    if isinstance(config, ppo.PPOConfig):

        def improve() -> int:
            ppo.update(learner, learner.rollout, config.learning_rate)
            return config.epochs * config.num_minibatches

        return improve

    batches = [learner.replay.sample(config.batch_size, learner.generator) for _ in range(UPDATES)]

    def descend() -> int:
        for batch in batches:
            sac.update(learner, batch)
        return UPDATES

    return descend


def _floor(update: Callable[[], int]) -> dict[str, float]:
    """Of one gradient step: work [MFLOP], time of its products alone [µs], and their rate."""
    with Products() as products:
        count = update()
    seconds, flop = products.seconds(), products.flop()
    return {
        "mflop": flop / count / 1e6,
        "microseconds": 1e6 * seconds / count,
        "gflops": flop / seconds / 1e9,
    }


def _kinds(update: Callable[[], int]) -> dict[str, float]:
    """Shares of an update's time by kind of work, under the profiler; the rest is Python."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        began = time.perf_counter()
        update()
        whole = 1e6 * (time.perf_counter() - began)
    shares = dict.fromkeys(KINDS, 0.0)
    for event in profiler.key_averages():
        kind = next(kind for kind, names in KINDS.items() if event.key.startswith(names))
        shares[kind] += event.self_cpu_time_total / whole
    return {**shares, "Python and what torch does not name": max(0.0, 1 - sum(shares.values()))}


def main(words: list[str]) -> None:
    """Measure as the argument says, and print the result."""
    run, _ = pinned(words)
    torch.set_num_threads(run.cores)  # it has counted the machine's
    say(result=measure(run))


if __name__ == "__main__":
    main(sys.argv[1:])
