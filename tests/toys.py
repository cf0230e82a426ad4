"""Small tasks that learners are tested on."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict
from gymnasium.vector import AutoresetMode, VectorEnv

LIMIT = 5  # steps of an episode


class Point(VectorEnv):
    """N points on a line, asked to go to the origin: the optimal action is −2.5 × position.

    The Box is lopsided on purpose: −1 to 3. It exposes its state (`models/task.py`).
    """

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space = Box(-np.inf, np.inf, (1,), np.float32)
        self.single_action_space = Box(-1.0, 3.0, (1,), np.float32)
        self.contract = self.mirror = None
        self.position = np.zeros((num_envs, 1), np.float32)
        self.ticks = np.zeros(num_envs, np.int64)
        self.final_privileged = self.privileged

    @property
    def privileged(self) -> np.ndarray:
        return np.column_stack((self.position, self.ticks)).astype(np.float32)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.position = self._anywhere(self.num_envs)
        self.ticks = self.rng.integers(0, LIMIT, self.num_envs)
        return self.position.copy(), {}

    def step(self, actions: np.ndarray) -> tuple:
        self.position += 0.4 * actions
        self.ticks += 1
        reward = -np.square(self.position[:, 0])
        terminated = np.abs(self.position[:, 0]) > 3
        truncated = (self.ticks >= LIMIT) & ~terminated
        done = terminated | truncated
        infos: dict[str, Any] = {}
        if done.any():
            infos["final_obs"] = self.position.copy()
            self.final_privileged = self.privileged
            self.position[done] = self._anywhere(done.sum())
            self.ticks[done] = 0
        return self.position.copy(), reward, terminated, truncated, infos

    def _anywhere(self, n: int) -> np.ndarray:
        return self.rng.uniform(-0.9, 0.3, (n, 1)).astype(np.float32)

    def get_state(self) -> dict[str, Any]:
        random = self.rng.bit_generator.state
        return {"position": self.position.copy(), "ticks": self.ticks.copy(), "random": random}

    def set_state(self, state: dict[str, Any]) -> None:
        self.position, self.ticks = state["position"].copy(), state["ticks"].copy()
        self.rng.bit_generator.state = state["random"]


class Counter(gymnasium.Env):
    """Pays 1 a step and never ends but for its time limit; every state looks alike."""

    observation_space = Box(-1, 1, (1,), np.float32)
    action_space = Box(-2, 2, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        self.time = 0
        return np.ones(1, np.float32), {}

    def step(self, action: np.ndarray) -> tuple:
        self.time += 1
        return np.ones(1, np.float32), 1.0, False, self.time == LIMIT, {}


class Reach(gymnasium.Env):
    """A point in the plane pays 0 within 0.1 of its goal and −1 elsewhere.

    Each step moves it by at most 0.1 along each axis; goals lie 0.6 to 1 away, episodes have 25
    steps: chance rarely gets there.
    """

    def __init__(self) -> None:
        plane = Box(-5, 5, (2,), np.float32)
        self.observation_space = Dict(
            {"observation": plane, "achieved_goal": plane, "desired_goal": plane}
        )
        self.action_space = Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        super().reset(seed=seed)
        self.ticks = 0
        self.position = np.zeros(2, np.float32)
        angle, distance = self.np_random.uniform(0, 2 * np.pi), self.np_random.uniform(0.6, 1.0)
        self.wanted = distance * np.array([np.cos(angle), np.sin(angle)], np.float32)
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple:
        self.position = self.position + 0.1 * np.asarray(action, np.float32)
        self.ticks += 1
        reward = self.compute_reward(self.position, self.wanted, {})
        return self._observe(), float(reward), False, self.ticks >= 25, {}

    def compute_reward(self, achieved: np.ndarray, desired: np.ndarray, info: dict) -> np.ndarray:
        return -(np.linalg.norm(achieved - desired, axis=-1) > 0.1).astype(np.float32)

    def _observe(self) -> dict[str, np.ndarray]:
        position = self.position.copy()
        return {
            "observation": position,
            "achieved_goal": position,
            "desired_goal": self.wanted.astype(np.float32),
        }
