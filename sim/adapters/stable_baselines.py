"""A vector environment as Stable-Baselines3 wants it. Needs `pip install stable-baselines3`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from stable_baselines3.common.vec_env import VecEnv

from ...models.errors import UsageError


class StableBaselinesEnv(VecEnv):
    """N environments of a Gymnasium `VectorEnv` with SAME_STEP autoreset and flat observations.

    Put `VecMonitor` around it for curves of the episodes' returns.
    """

    def __init__(self, env: VectorEnv) -> None:
        self.env = env
        self.actions = np.zeros(env.action_space.shape or (), np.float32)
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> np.ndarray:
        """Start every episode anew, with the first of the seeds that `seed` left. Shape (N, D)."""
        obs, _ = self.env.reset(seed=self._seeds[0])
        self._reset_seeds()
        self._reset_options()
        return obs

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions (N, n) for `step_wait`."""
        self.actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Observations (N, D), rewards (N,), dones (N,) and an info for each environment.

        Where an episode ended `terminal_observation` is its true last one, and
        `TimeLimit.truncated` says whether only the clock ended it.
        """
        obs, reward, terminated, truncated, infos = self.env.step(self.actions)
        done = terminated | truncated
        rows: list[dict[str, Any]] = [
            {"TimeLimit.truncated": cut} for cut in (truncated & ~terminated).tolist()
        ]
        for i in np.flatnonzero(done).tolist():
            rows[i]["terminal_observation"] = infos["final_obs"][i]
        return obs, reward, done, rows

    def close(self) -> None:
        """Close the environments."""
        self.env.close()

    # One object stands behind all rows: each of these has the same answer for every one.

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The attribute, once for each row asked for."""
        return [getattr(self.env, attr_name)] * self._count(indices)

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set the attribute for all rows. Raises UsageError where only some are meant."""
        self._require_all(indices)
        setattr(self.env, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call the method once, for all rows. Raises UsageError where only some are meant."""
        self._require_all(indices)
        return [getattr(self.env, method_name)(*method_args, **method_kwargs)] * self.num_envs

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """No row has a wrapper of its own."""
        return [False] * self._count(indices)

    def get_images(self) -> Sequence[np.ndarray | None]:
        """The first robot's picture, if there is one."""
        pictures: Any = self.env.render()
        return pictures or []

    def _count(self, indices: Any) -> int:
        return len(list(self._get_indices(indices)))

    def _require_all(self, indices: Any) -> None:
        if self._count(indices) != self.num_envs:
            raise UsageError(f"indices: found {indices}, allowed are all {self.num_envs} or None")
