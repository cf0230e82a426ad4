"""Each task as one Gymnasium environment, for learners and wrappers that know no other.

import gymnasium, surefoot.sim
env = gymnasium.make("Surefoot/Walk-v0", render_mode="rgb_array")
envs = gymnasium.make_vec("Surefoot/Walk-v0", num_envs=512)  # WalkEnv itself: far faster
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from .reach import ReachEnv
from .robot_env import RobotEnv
from .walk import WalkEnv


class SingleEnv(gym.Env[np.ndarray, np.ndarray]):
    """One robot at a task: the task's vector environment with one row, without the autoreset.

    Observation (D,) and action (n,) are float32 and the same as there; so are the bits of the first
    episode, for the same seed. The task itself truncates: a TimeLimit around it is not needed.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012, Gymnasium's form
    task: ClassVar[Callable[..., RobotEnv]]

    def __init__(self, render_mode: str | None = None, **options: Any) -> None:
        """`render_mode` is None or "rgb_array"; the rest as of the task's environment."""
        self.render_mode = render_mode
        self.vector = type(self).task(1, nthread=1, **options)
        self.metadata = {**self.metadata, "render_fps": round(1 / self.vector.period)}
        self.observation_space = self.vector.single_observation_space
        self.action_space = self.vector.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode. Returns its first observation (D,) and an empty dict."""
        super().reset(seed=seed)
        self.vector.np_random = self.np_random  # one generator, the one that Gymnasium seeds
        observation, _ = self.vector.reset()
        return observation[0], {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One control period under `action` (n,).

        Where it ends the episode, the robot stays as it ended, to be looked at, until `reset`.
        """
        observation, reward, terminated, truncated, _ = self.vector.advance(action[None])
        return observation[0], float(reward[0]), bool(terminated[0]), bool(truncated[0]), {}

    def render(self) -> np.ndarray | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """An RGB image, shape (480, 640, 3), uint8; None without a render mode."""
        return self.vector.render()[0] if self.render_mode == "rgb_array" else None


class SingleWalkEnv(SingleEnv):
    """One walking robot."""

    task = WalkEnv


class SingleReachEnv(SingleEnv):
    """One reaching arm."""

    task = ReachEnv
