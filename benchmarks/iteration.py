"""Where the time of one of PPO's iterations on a robot's task goes: `python iteration.py RUN`.

RUN is a `Run` as JSON. As in parts.py, functions are timed by wrapping them while real iterations
run, and an outer part does not count its inner ones. The physics are on all cores that the process
may use, the environment's Python is on one.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from parts import PARTS, PARTS_OF_BOTH, Stopwatch  # before torch: it says how OpenMP waits

# isort: split
import torch
from libraries import pinned, say, surefoot_config
from records import Run, peak_memory
from surefoot.control.envs import make
from surefoot.control.run import learner_of
from surefoot.control.train import torch_settings
from surefoot.sim.robot_env import RobotEnv
from surefoot.sim.tasks import make_task

PHYSICS = "physics: Batch.step"
# Of an environment: the object, as the path to it, the function and what it is called here.
PARTS_OF_ENVIRONMENT = (
    ("robots.batch", "step", PHYSICS),
    ("robots", "step", "environment: robots"),
    ("robots", "measure", "environment: sensors"),
    ("", "_limit", "environment: limiter"),
    ("", "reward_terms", "environment: reward"),
    ("", "ends", "environment: ends of episodes"),
    ("", "go_on", "environment: commands"),
    ("", "_command", "environment: commands"),
    ("", "privileged_parts", "environment: privileged observation"),
    ("", "_observe", "environment: observation"),
    ("randomiser", "advance", "environment: pushes"),
    ("", "_reset", "environment: resets"),
    ("", "statistics", "environment: statistics"),
    ("", "step", "environment: the rest"),
)


def wrap_environment(watch: Stopwatch, env: RobotEnv) -> None:
    """Time the parts of one environment."""
    for path, name, label in PARTS_OF_ENVIRONMENT:
        owner: Any = env
        for part in filter(None, path.split(".")):
            owner = getattr(owner, part)
        watch.wrap(owner, name, label)


def measure(run: Run) -> dict[str, Any]:
    """Microseconds of an environment's step, by part; the first iteration does not count."""
    config = surefoot_config(run)
    task, robot = run.task.split()
    env = make_task(task, config.num_envs, robot, nthread=run.cores)
    watch = Stopwatch()
    with torch_settings(config):
        envs = make(env, config.num_envs, run.seed)
        learner: Any = learner_of(envs, config, run.seed)
        learner.iterate(envs, 0.0, time.perf_counter)
        wrap_environment(watch, env)
        for owner, name, label in (*PARTS_OF_BOTH, *PARTS["ppo"]):
            watch.wrap(owner, name, label)
        steps, began = 0, time.perf_counter()
        while steps < run.steps:
            steps += learner.iterate(envs, 0.0, time.perf_counter).steps
        whole = time.perf_counter() - began
        threads = torch.get_num_threads()
    return {
        "whole": 1e6 * whole / steps,
        "parts": {label: 1e6 * spent / steps for label, spent in watch.seconds.items()},
        "torch_threads": threads,
        "peak_memory": peak_memory(),
    }


def main(words: list[str]) -> None:
    """Measure as the argument says, and print the result."""
    run, _ = pinned(words)
    torch.set_num_threads(run.cores)  # it has counted the machine's
    say(result=measure(run))


if __name__ == "__main__":
    main(sys.argv[1:])
