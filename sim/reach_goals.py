"""Reaching for learners of goals: the sparse reward, which hindsight makes something of.

The observation is the dense task's, cut into Gymnasium's three parts. What was achieved is where
the joints say that the tip is, so all of it is measurable on board; joined again it is the dense
task's observation, and a policy of goals is exported as any other.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import batch_space

from ..models.errors import UsageError
from .reach import SUCCESS, ReachEnv

GOAL = 3  # columns: x, y, z [m]


class ReachGoalsEnv(ReachEnv):
    """`ReachEnv` as a goal environment; each step costs 1 while the tip is not at its goal.

    Observations are dicts of `observation` (N, D − 6), `achieved_goal` and `desired_goal` (N, 3).
    """

    def __init__(self, num_envs: int = 1, *args: Any, **options: Any) -> None:
        """As of `ReachEnv`. Raises UsageError for a history: it would tell hindsight's goals apart
        from those that were commanded.
        """
        super().__init__(num_envs, *args, **options)
        if self.history > 1:
            raise UsageError(f"history: found {self.history} of a task of goals, allowed is 1")
        flat = self.single_observation_space
        assert isinstance(flat, gym.spaces.Box)
        boxes: dict[str, gym.Space[Any]] = {
            name: gym.spaces.Box(-np.inf, np.inf, part.shape, np.float32)
            for name, part in _parted(flat.low).items()
        }
        self.single_observation_space = gym.spaces.Dict(boxes)
        self.observation_space = batch_space(self.single_observation_space, num_envs)

    def compute_reward(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """0 where a goal is reached, −1 elsewhere. Goals (B, 3) and (B, 3), rewards (B,)."""
        distance = np.linalg.norm(achieved - desired, axis=-1)
        return -(distance > SUCCESS).astype(np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start every episode anew. Returns observations and an empty dict."""
        observation, infos = super().reset(seed=seed, options=options)
        return _parted(observation), infos

    def step(
        self, actions: np.ndarray
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """As of `RobotEnv`, with the sparse reward; `final_obs` is a dict, too."""
        observation, _, terminated, truncated, infos = super().step(actions)
        last = _parted(infos.get("final_obs", observation))
        if "final_obs" in infos:
            infos["final_obs"] = last
        reward = self.compute_reward(last["achieved_goal"], last["desired_goal"])
        return _parted(observation), reward, terminated, truncated, infos


def _parted(observation: np.ndarray) -> dict[str, np.ndarray]:
    """The parts of flat observations (..., D): the last columns are the tip, then its goal."""
    return {
        "observation": observation[..., : -2 * GOAL],
        "achieved_goal": observation[..., -2 * GOAL : -GOAL],
        "desired_goal": observation[..., -GOAL:],
    }
