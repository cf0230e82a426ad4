"""Environments that learners get from Gymnasium: goals in one vector, limits kept, spaces named."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from surefoot.control.envs import Envs, make
from surefoot.control.evaluate import episode_returns
from surefoot.models.errors import UsageError
from toys import Counter, Reach

MODES = [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP]


@pytest.mark.parametrize("mode", MODES)
def test_a_goal_environment_s_dict_becomes_one_vector(mode: AutoresetMode):
    envs = Envs(SyncVectorEnv([Reach] * 3, autoreset_mode=mode), seed=0)
    assert (envs.obs_dim, envs.action_dim, envs.has_privileged) == (6, 2, False)
    assert envs.goal is not None
    assert (envs.goal.achieved, envs.goal.desired) == (slice(2, 4), slice(4, 6))
    action = np.array([[1, 0], [0, 1], [1, 1]], np.float32)
    for tick in range(1, 26):
        goals = envs.obs[:, envs.goal.desired].copy()
        step = envs.step(action)
        np.testing.assert_allclose(step.next_obs[:, :2], 0.1 * tick * action, rtol=1e-5)
        np.testing.assert_array_equal(step.next_obs[:, :2], step.next_obs[:, envs.goal.achieved])
        np.testing.assert_array_equal(step.next_obs[:, envs.goal.desired], goals)
        assert envs.goal.reward is not None
        rewards = envs.goal.reward(step.next_obs[:, 2:4], goals)
        np.testing.assert_array_equal(rewards, step.reward)
    assert step.truncated.all()
    if mode is AutoresetMode.NEXT_STEP:
        assert not envs.step(action).valid.any()
    np.testing.assert_array_equal(envs.obs[:, :2], np.zeros((3, 2)))


def test_a_vector_environment_s_own_reward_is_asked_with_two_arguments():
    class Own(SyncVectorEnv):
        def compute_reward(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
            return achieved[:, 0] - desired[:, 1]

    goal = Envs(Own([Reach]), seed=0).goal
    assert goal is not None and goal.reward is not None
    found = goal.reward(np.array([[3.0, 0.0]]), np.array([[0.0, 1.0]]))
    assert found.tolist() == [2.0]


def test_a_task_with_vectors_of_its_own_keeps_its_limit_of_steps():
    class Vectors(VectorEnv):
        def __init__(self, num_envs: int) -> None:
            raise AssertionError("its episodes would never end")

    class Endless(Counter):
        def step(self, action: np.ndarray) -> tuple:
            return *super().step(action)[:3], False, {}

    gymnasium.register(
        "Endless-v0", entry_point=Endless, vector_entry_point=Vectors, max_episode_steps=7
    )
    envs = make("Endless-v0", 2, seed=0)
    ends = [bool(envs.step(np.zeros((2, 1), np.float32)).truncated.all()) for _ in range(7)]
    assert ends == [False] * 6 + [True]
    gymnasium.registry.pop("Endless-v0")


@pytest.mark.parametrize("mode", MODES)
def test_an_evaluation_counts_the_first_episode_of_each_environment(mode: AutoresetMode):
    ends = iter((3, 1, 4))

    class Ladder(Counter):
        def __init__(self) -> None:
            self.end = next(ends)

        def step(self, action: np.ndarray) -> tuple:
            obs, _, *_ = super().step(action)
            return obs, 10.0**self.time, self.time == self.end, False, {}

    envs = Envs(SyncVectorEnv([Ladder] * 3, autoreset_mode=mode), seed=0)
    returns = episode_returns(lambda obs: torch.zeros(len(obs), 1), envs)
    assert returns.tolist() == [1110, 10, 11110]


def broken(space: gymnasium.Space, action: gymnasium.Space | None = None) -> SyncVectorEnv:
    class Broken(Counter):
        observation_space = space
        action_space = action or Counter.action_space

        def reset(self, **options: Any) -> tuple:
            return self.observation_space.sample(), {}

    return SyncVectorEnv([Broken])


LINE = Box(-1, 1, (1,), np.float32)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (broken(Box(0, 1, (8, 8, 3), np.float32)), r"observation space: found Box.*\(8, 8, 3\)"),
        (broken(Dict({"observation": LINE})), "observation space: found Dict"),
        (broken(LINE, Box(0, 5, (1,), np.int64)), "action space: found Box.*allowed is a Box of f"),
        (
            broken(
                Dict(
                    {
                        "observation": LINE,
                        "achieved_goal": LINE,
                        "desired_goal": Box(-1, 1, (2,), np.float32),
                    }
                )
            ),
            "achieved_goal: found size 1",
        ),
        ("HalfCheetah-v999", "environment: .*HalfCheetah"),
    ],
)
def test_other_spaces_are_refused_in_one_line(env: Any, message: str):
    with pytest.raises(UsageError, match=message) as error:
        make(env, 1, seed=0)
    assert "\n" not in str(error.value)
