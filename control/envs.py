"""Environments as a learner sees them: one step type, whatever the autoreset.

Gymnasium knows two kinds of autoreset, and both hide something. Under SAME_STEP the observation
returned at an episode's end is already the next episode's first, and the true one lies in
`infos["final_obs"]`. Under NEXT_STEP it is the true one, and the step after it only resets: its
action is ignored, and nothing can be learned from it. `Envs.step` gives both as one `Step`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv

from ..models.errors import UsageError
from ..models.task import Mirror, TaskEnv


class Step(NamedTuple):
    """One step of N environments. The arrays belong to the environment: copy before the next."""

    obs: np.ndarray  # to act on next, after any reset. Shape (N, D)
    privileged: np.ndarray  # the critic's, beside `obs`. Shape (N, P)
    reward: np.ndarray  # Shape (N,)
    terminated: np.ndarray  # the task ended: no value lies beyond. bool, shape (N,)
    truncated: np.ndarray  # the time limit cut the episode: value lies beyond. bool, shape (N,)
    next_obs: np.ndarray  # the true successor, before any reset. Shape (N, D)
    next_privileged: np.ndarray  # the critic's, beside `next_obs`. Shape (N, P)
    valid: np.ndarray  # False where the step only reset an environment. bool, shape (N,)

    @property
    def done(self) -> np.ndarray:
        """The episode ended, for either reason. bool, shape (N,)."""
        return self.terminated | self.truncated


class Envs:
    """N environments of vectors: continuous observations (N, D) and actions (N, A).

    Raises:
        UsageError: another kind of space, or autoreset is disabled.
    """

    def __init__(self, env: VectorEnv, seed: int) -> None:
        if not isinstance(env, VectorEnv):
            raise UsageError(
                f"environment: found {type(env).__name__}, allowed is a gymnasium.vector.VectorEnv"
            )
        self.env = env
        self.task = env.unwrapped if isinstance(env.unwrapped, TaskEnv) else None
        self.num_envs = env.num_envs
        self.obs_dim = _vector_size(env.single_observation_space, "observation")
        self.action_dim = _vector_size(env.single_action_space, "action")
        self._same_step = _autoreset_mode(env) is AutoresetMode.SAME_STEP
        box = env.single_action_space
        assert isinstance(box, Box)
        self._bounds = (box.low, box.high) if box.is_bounded() else None
        self._seed = seed
        self._resetting = np.zeros(self.num_envs, bool)
        self._return = np.zeros(self.num_envs)
        self._length = np.zeros(self.num_envs, np.int64)
        self._finished: list[dict[str, np.ndarray]] = []
        self.obs, _ = env.reset(seed=seed)
        self.privileged = self.obs if self.task is None else self.task.privileged
        self.privileged_dim = self.privileged.shape[1]

    @property
    def mirror(self) -> Mirror | None:
        """The task's left-right symmetry, if it has one."""
        return None if self.task is None else self.task.mirror

    def step(self, action: np.ndarray) -> Step:
        """Act, clipped to the action space where that is bounded. `action`: shape (N, A)."""
        if self._bounds is not None:
            action = np.clip(action, *self._bounds)
        obs, reward, terminated, truncated, infos = self.env.step(action)
        done = terminated | truncated
        privileged = obs if self.task is None else self.task.privileged
        next_obs, next_privileged = obs, privileged
        if self._same_step and done.any():
            next_obs = obs.copy()
            for index in np.flatnonzero(done):  # rows of an array, or of Gymnasium's object array
                next_obs[index] = infos["final_obs"][index]
            next_privileged = next_obs
            if self.task is not None:
                next_privileged = np.where(done[:, None], self.task.final_privileged, privileged)
        valid = ~self._resetting
        self._count(reward, done, infos)
        if not self._same_step:
            self._resetting = done.copy()
        self.obs, self.privileged = obs, privileged
        return Step(
            obs, privileged, reward, terminated, truncated, next_obs, next_privileged, valid
        )

    def pop_finished(self) -> dict[str, np.ndarray]:
        """Statistics of the episodes that ended since the last call: name → one number each.

        `return`, `length` and what the environment puts into `infos["statistics"]`; empty when no
        episode ended.
        """
        finished, self._finished = self._finished, []
        names = dict.fromkeys(name for episodes in finished for name in episodes)
        return {k: np.concatenate([f[k] for f in finished if k in f]) for k in names}

    def get_state(self) -> dict[str, Any] | None:
        """All that decides the future, or None where the environment does not expose it."""
        if self.task is None:
            return None
        return {
            "task": self.task.get_state(),
            "obs": self.obs.copy(),
            "privileged": self.privileged.copy(),
            "resetting": self._resetting.copy(),
            "return": self._return.copy(),
            "length": self._length.copy(),
        }

    def set_state(self, state: dict[str, Any] | None) -> bool:
        """Go on from `get_state`; False if that was None: the episodes start anew instead."""
        if self.task is None or state is None:
            # Another seed: the episodes of the first run must not come a second time.
            self.obs, _ = self.env.reset(seed=self._seed + 1_000_003)
            self.privileged = self.obs if self.task is None else self.task.privileged
            self._resetting[:], self._return[:], self._length[:] = False, 0, 0
            return False
        self.task.set_state(state["task"])
        self.obs, self.privileged = state["obs"].copy(), state["privileged"].copy()
        self._resetting = state["resetting"].copy()
        self._return, self._length = state["return"].copy(), state["length"].copy()
        return True

    def _count(self, reward: np.ndarray, done: np.ndarray, infos: dict[str, Any]) -> None:
        self._return += np.where(self._resetting, 0.0, reward)
        self._length += ~self._resetting
        if done.any():
            episode = {"return": self._return[done], "length": self._length[done]}
            if self.task is not None:
                statistics = infos.get("statistics", {})
                episode |= {name: values[done] for name, values in statistics.items()}
            self._finished.append(episode)
            self._return[done], self._length[done] = 0.0, 0


def make(env: str | VectorEnv, num_envs: int, seed: int, **options: Any) -> Envs:
    """Environments by Gymnasium's id, or around a vector environment that exists already.

    Args:
        env: an id such as `HalfCheetah-v5`, or a vector environment.
        num_envs: how many.
        seed: of the first reset.
        options: passed to `gymnasium.make_vec`.

    Raises:
        UsageError: unknown id, unsupported spaces or autoreset, or another number of environments.
    """
    if isinstance(env, str):
        try:
            env = gymnasium.make_vec(env, num_envs=num_envs, **options)
        except gymnasium.error.UnregisteredEnv as error:
            raise UsageError(f"environment: {str(error).splitlines()[0]}") from None
    if isinstance(env, VectorEnv) and env.num_envs != num_envs:
        raise UsageError(f"environments: found {env.num_envs}, allowed is num_envs = {num_envs}")
    return Envs(env, seed)


def _vector_size(space: gymnasium.Space, name: str) -> int:
    if not isinstance(space, Box) or len(space.shape) != 1:
        raise UsageError(f"{name} space: found {space}, allowed is a Box of shape (n,)")
    return space.shape[0]


def _autoreset_mode(env: VectorEnv) -> AutoresetMode:
    allowed = (AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP)
    found = env.metadata.get("autoreset_mode")
    for mode in allowed:
        if found in (mode, mode.value):
            return mode
    raise UsageError(f"autoreset mode: found {found}, allowed is SAME_STEP or NEXT_STEP")
