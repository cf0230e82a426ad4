"""EnvPool's environments as Gymnasium's vector environments: C++ threads in place of Python.

Source: https://envpool.readthedocs.io, the Gymnasium interface.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space


class PoolEnv(VectorEnv):
    """N environments of EnvPool; environment i is seeded with seed + i, as Gymnasium does it.

    An episode's last observation is returned as it is, and the step after it only resets
    (NEXT_STEP). The time limits are those of Gymnasium's registry.
    """

    metadata: ClassVar[dict[str, Any]] = {"autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(self, env_id: str, num_envs: int) -> None:
        self.num_envs, self._id = num_envs, env_id
        self._pool = self._open(0)
        self.single_observation_space = self._pool.observation_space
        self.single_action_space = self._pool.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start every episode anew; with a seed, in a new pool: EnvPool's are seeded once."""
        if seed is not None:
            self._pool.close()
            self._pool = self._open(int(seed))
        return self._pool.reset()

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Act. Shape (N, A)."""
        return self._pool.step(np.asarray(actions, self.single_action_space.dtype))

    def close_extras(self, **kwargs: Any) -> None:
        """End its threads."""
        self._pool.close()

    def _open(self, seed: int) -> Any:
        envpool = importlib.import_module("envpool")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the precision of its own spaces
            return envpool.make(self._id, env_type="gymnasium", num_envs=self.num_envs, seed=seed)


def has_pool(env_id: str) -> bool:
    """Whether EnvPool is installed and has this task, one of Gymnasium's with MuJoCo.

    For these it has been checked that both do the same (tests/test_pool.py).
    """
    spec = gymnasium.registry.get(env_id)
    if spec is None or not str(spec.entry_point).startswith("gymnasium.envs.mujoco"):
        return False
    if importlib.util.find_spec("envpool") is None:
        return False
    return env_id in importlib.import_module("envpool").list_all_envs()
