"""EnvPool behind the same interface: where it is taken, and that it does what Gymnasium does."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv
from surefoot.control import pool
from surefoot.control.envs import Envs, make
from surefoot.control.pool import PoolEnv, has_pool


class Stand:
    """What EnvPool gives, of Gymnasium's environments: seeded once, NEXT_STEP, no VectorEnv."""

    def __init__(self, env_id: str, num_envs: int, seed: int) -> None:
        self._envs = SyncVectorEnv([lambda: gymnasium.make(env_id)] * num_envs)
        self.observation_space = self._envs.single_observation_space
        self.action_space = self._envs.single_action_space
        self._seed: int | None = seed

    def reset(self) -> Any:
        seed, self._seed = self._seed, None
        return self._envs.reset(seed=seed)

    def step(self, actions: np.ndarray) -> Any:
        return self._envs.step(actions)

    def close(self) -> None:
        self._envs.close()


@pytest.fixture
def envpool(monkeypatch) -> SimpleNamespace:
    """A module of that name, installed or not."""
    module: Any = ModuleType("envpool")
    module.list_all_envs = lambda: ["Hopper-v5", "CartPole-v1"]
    module.make = lambda env_id, env_type, num_envs, seed: Stand(env_id, num_envs, seed)
    module.__spec__ = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "envpool", module)
    return module


def test_it_is_taken_where_it_has_the_task_and_there_are_many_environments(envpool):
    assert isinstance(make("Hopper-v5", 16, 0).env, PoolEnv)
    assert not isinstance(make("Hopper-v5", 15, 0).env, PoolEnv)
    assert not isinstance(make("Hopper-v5", 16, 0, pool=False).env, PoolEnv)
    assert not isinstance(make("HalfCheetah-v5", 16, 0).env, PoolEnv)  # not on its list
    assert not has_pool("CartPole-v1")  # on its list, but none of those compared
    assert not has_pool("Nothing-v0")


def test_without_the_package_gymnasium_steps(monkeypatch):
    monkeypatch.setattr(pool.importlib.util, "find_spec", lambda name: None)
    assert not has_pool("Hopper-v5")


def test_another_seed_is_another_pool_and_the_same_one_the_same_episodes(envpool):
    env = PoolEnv("Hopper-v5", 3)
    first, again, other = (env.reset(seed=seed)[0] for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(other[:2], first[1:])  # environment i has seed + i


def test_the_step_that_only_resets_is_no_step(envpool):
    envs = Envs(PoolEnv("Hopper-v5", 2), seed=0)
    for _ in range(300):
        step = envs.step(np.ones((2, 3), np.float32))
        if step.done.any():
            break
    assert step.terminated.any() and step.valid.all()
    after = envs.step(np.ones((2, 3), np.float32))
    np.testing.assert_array_equal(after.valid, ~step.done)


@pytest.mark.parametrize("env_id", ["HalfCheetah-v5", "Hopper-v5", "Walker2d-v5", "Ant-v5"])
def test_the_real_one_does_what_gymnasium_does(env_id: str):
    pytest.importorskip("envpool")
    env, single = PoolEnv(env_id, 8), gymnasium.make(env_id).unwrapped
    obs, _ = env.reset(seed=0)
    assert env.single_observation_space.shape == single.observation_space.shape
    single.reset(seed=0)
    hidden = single.model.nq + single.model.nv - obs.shape[1] if env_id != "Ant-v5" else 2
    size = single.model.nq - hidden
    qpos = np.concatenate([np.zeros(hidden), obs[0, :size]])
    single.set_state(qpos, obs[0, size : size + single.model.nv])
    generator = np.random.default_rng(0)
    for _ in range(4):  # later, contacts make more of rounding
        action = generator.uniform(-0.3, 0.3, (8, *env.single_action_space.shape))
        theirs = env.step(action)
        expected = single.step(action[0].astype(np.float32).astype(np.float64))
        np.testing.assert_allclose(theirs[0][0], expected[0], atol=1e-4)
        assert theirs[1][0] == pytest.approx(expected[1], abs=1e-4)
        assert theirs[2][0] == expected[2]
    env.close()
