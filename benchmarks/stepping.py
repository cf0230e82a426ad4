"""How fast robots are stepped: `python stepping.py RUN`, RUN a `Run` as JSON.

A whole environment, with its observation and reward under random actions, and a bare
`mujoco.batch.Batch` of the same model take turns in blocks of a few control periods. Ours is beside
its own model, put into the environment's state before each block and driven by its joint targets;
EnvPool is beside the model in its wheel, driven by its actions. Random actions are normal, of the
spread that a first policy has; what is on the clock is `step` alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from libraries import pinned, say
from mujoco.batch import Batch
from records import Run, peak_memory

BLOCK = 10  # control periods: so short that the bare robots are about where the environment's are
SPREAD = 0.5  # of the actions: PPO's initial_std
WARM_UP = 5  # blocks that do not count: who falls has fallen, who begins has begun
ENVPOOL_TASK = "Go1JoystickFlatTerrain-v1"
ENVPOOL_MODEL = (
    "mujoco/playground/assets/mujoco_playground/_src/locomotion/go1/xmls/"
    "scene_mjx_feetonly_flat_terrain.xml"
)


@dataclass(frozen=True)
class Pair:
    """An environment and its model alone; each is called with a block's actions (BLOCK, N, n)."""

    environment: Callable[[np.ndarray], float]  # → seconds of its steps
    bare: Callable[[np.ndarray], float]  # → seconds of the physics of the same periods
    substeps: int  # of the physics in a control period
    timestep: float  # [s]


def timed(function: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def surefoot_pair(run: Run) -> Pair:
    """The environment of `surefoot train walk`, and its model in a `Batch` of its own."""
    from surefoot.sim.servos import SUBSTEPS
    from surefoot.sim.tasks import make_task

    env = make_task("walk", run.config["num_envs"], run.task, nthread=run.cores)
    env.reset(seed=run.seed)
    bare = Batch(env.robots.model, env.num_envs, run.cores)
    ctrl = bare.bind("ctrl")
    states, targets = bare.state, np.zeros((BLOCK, *ctrl.shape))

    def environment(actions: np.ndarray) -> float:
        states[:] = env.robots.batch.state
        seconds = 0.0
        for tick, action in enumerate(actions):
            seconds += timed(lambda action=action: env.step(action))
            targets[tick] = env.robots.ctrl
        return seconds

    def physics(actions: np.ndarray) -> float:
        seconds = 0.0
        for target in targets:
            ctrl[:] = target
            seconds += timed(lambda: bare.step(nstep=SUBSTEPS))
        return seconds

    return Pair(environment, physics, SUBSTEPS, env.robots.model.opt.timestep)


def envpool_pair(run: Run) -> Pair:
    """EnvPool's Go1, and its model in a `Batch`, with the gains and the time step that it sets."""
    import envpool

    count = run.config["num_envs"]
    env = envpool.make(
        ENVPOOL_TASK, env_type="gymnasium", num_envs=count, num_threads=run.cores, seed=run.seed
    )
    env.reset()
    config = env.spec.config
    model = mujoco.MjModel.from_xml_path(str(Path(config.base_path) / ENVPOOL_MODEL))
    model.opt.timestep = config.sim_dt
    model.dof_damping[6:] = config.kd
    model.actuator_gainprm[:, 0], model.actuator_biasprm[:, 1] = config.kp, -config.kp
    substeps = round(config.ctrl_dt / config.sim_dt)
    batch = Batch(model, count, run.cores)
    qpos, qvel, ctrl = (batch.bind(name) for name in ("qpos", "qvel", "ctrl"))
    home = model.key("home")
    qpos[:] = home.qpos
    lower, upper = env.action_space.low, env.action_space.high

    def environment(actions: np.ndarray) -> float:
        return sum(
            timed(lambda action=action: env.step(action))
            for action in np.clip(actions, lower, upper)
        )

    def physics(actions: np.ndarray) -> float:
        fallen = 1 - 2 * np.square(qpos[:, 4:6]).sum(1) < 0  # its z axis points down: as EnvPool
        qpos[fallen], qvel[fallen] = home.qpos, 0.0
        seconds = 0.0
        for action in np.clip(actions, lower, upper):
            ctrl[:] = home.ctrl + config.action_scale * action
            seconds += timed(lambda: batch.step(nstep=substeps))
        return seconds

    return Pair(environment, physics, substeps, config.sim_dt)


def measure(pair: Pair, run: Run, joints: int = 12) -> dict[str, Any]:
    """Control periods of all robots a second, of each block: environment and bare in turn."""
    count = run.config["num_envs"]
    rng = np.random.default_rng(run.seed)
    seconds: list[tuple[float, float]] = []
    for index, actions in enumerate(_actions(rng, count, joints, run.steps)):
        block = pair.environment(actions), pair.bare(actions)
        if index >= WARM_UP:
            seconds.append(block)
    environment, bare = (BLOCK * count / np.array(seconds)).T
    return {
        "steps_per_second": float(np.median(environment)),
        "bare_steps_per_second": float(np.median(bare)),
        "ratio": float(np.median(environment / bare)),
        "blocks": len(seconds),
        "substeps": pair.substeps,
        "timestep": pair.timestep,
        "peak_memory": peak_memory(),
    }


def _actions(rng: np.random.Generator, count: int, joints: int, steps: int) -> Iterator[np.ndarray]:
    """Blocks of random actions, (BLOCK, N, n) each, until there were `steps` beside the warm-up."""
    for _ in range(WARM_UP + max(1, steps // (BLOCK * count))):
        yield (SPREAD * rng.standard_normal((BLOCK, count, joints))).astype(np.float32)


PAIRS: dict[str, Callable[[Run], Pair]] = {"surefoot": surefoot_pair, "envpool": envpool_pair}


def main(words: list[str]) -> None:
    """Measure as the argument says, and print the result."""
    run, _ = pinned(words)
    say(result=measure(PAIRS[run.library](run), run))


if __name__ == "__main__":
    main(sys.argv[1:])
