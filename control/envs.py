"""Environments as a learner sees them: one step type, whatever the autoreset.

Gymnasium knows two kinds of autoreset, and both hide something. Under SAME_STEP the observation
returned at an episode's end is already the next episode's first, and the true one lies in
`infos["final_obs"]`. Under NEXT_STEP it is the true one, and the step after it only resets: its
action is ignored, and nothing can be learned from it. `Envs.step` gives both as one `Step`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict
from gymnasium.vector import AutoresetMode, VectorEnv

from ..models.errors import UsageError, first_line
from ..models.task import Mirror, TaskEnv
from .pool import PoolEnv, has_pool

# What constructors of environments raise where they cannot be had as asked.
BROKEN = (
    gymnasium.error.Error,
    ImportError,
    AssertionError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
POOLED = 16  # environments, from which EnvPool's threads are faster than Gymnasium's loop


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


@dataclass(frozen=True)
class Goal:
    """Goals in a flat observation, and what the environment gives for what was reached.

    The functions take (B, G) achieved and (B, G) desired goals and return (B,).
    """

    achieved: slice  # columns of the observation
    desired: slice
    reward: Callable[[np.ndarray, np.ndarray], np.ndarray] | None  # None: cannot be asked
    terminated: Callable[[np.ndarray, np.ndarray], np.ndarray] | None  # None: goals end nothing


GOAL_KEYS = ("observation", "achieved_goal", "desired_goal")


class Envs:
    """N environments of vectors: continuous observations (N, D) and actions (N, A).

    A goal environment's dict of observation, achieved and desired goal becomes one vector, in this
    order; its critic sees the same, since no privileged vector could be given another goal.

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
        self.goal, self.obs_dim = _goal_and_size(env)
        self.has_privileged = self.task is not None and self.goal is None
        self.action_dim = _vector_size(env.single_action_space, "action")
        self._same_step = _autoreset_mode(env) is AutoresetMode.SAME_STEP
        box = env.single_action_space
        assert isinstance(box, Box)
        if not np.issubdtype(box.dtype, np.floating):
            raise UsageError(f"action space: found {box}, allowed is a Box of floats")
        self._box = box.low, box.high
        self.bounds = self._box if box.is_bounded() else None  # of actions, each (A,)
        self._seed = seed
        self._resetting = np.zeros(self.num_envs, bool)
        self._return = np.zeros(self.num_envs)
        self._length = np.zeros(self.num_envs, np.int64)
        self._finished: list[dict[str, np.ndarray]] = []
        self._reset(seed)
        self.privileged_dim = self.privileged.shape[1]

    @property
    def mirror(self) -> Mirror | None:
        """The task's left-right symmetry, if it has one."""
        return None if self.task is None else self.task.mirror

    def step(self, action: np.ndarray) -> Step:
        """Act, clipped to the action space. `action`: shape (N, A)."""
        action = np.clip(action, *self._box)
        obs, reward, terminated, truncated, infos = self.env.step(action)
        obs = self._flat(obs)
        done = terminated | truncated
        privileged = self.task.privileged if self.has_privileged and self.task else obs
        next_obs, next_privileged = obs, privileged
        if self._same_step and done.any():
            next_obs = obs.copy()
            final = infos["final_obs"]
            final = self._flat(final) if isinstance(final, Mapping) else final
            for index in np.flatnonzero(done):  # rows of an array, or of Gymnasium's object array
                next_obs[index] = self._flat(final[index])
            next_privileged = next_obs
            if self.has_privileged and self.task:
                next_privileged = np.where(done[:, None], self.task.final_privileged, privileged)
        valid = ~self._resetting
        self._count(reward, done, truncated & ~terminated, infos)
        if not self._same_step:
            self._resetting = done.copy()
        self.obs, self.privileged = obs, privileged
        return Step(
            obs, privileged, reward, terminated, truncated, next_obs, next_privileged, valid
        )

    def pop_finished(self) -> dict[str, np.ndarray]:
        """Statistics of the episodes that ended since the last call: name → one number each.

        `return`, `length`, `end/time_limit` (0 or 1) and what the environment puts into
        `infos["statistics"]`; empty when no episode ended.
        """
        finished, self._finished = self._finished, []
        return merged(finished)

    def get_state(self) -> dict[str, Any] | None:
        """All that decides the future, or None where the environment does not expose it.

        A wrapper around a task may have a state of its own, which nobody knows.
        """
        if self.task is None or self.env is not self.env.unwrapped:
            return None
        return {
            "task": self.task.get_state(),
            "obs": self.obs.copy(),
            "privileged": self.privileged.copy(),
            "resetting": self._resetting.copy(),
            "return": self._return.copy(),
            "length": self._length.copy(),
        }

    def set_state(self, state: dict[str, Any] | None, steps: int) -> bool:
        """Go on from `get_state`, `steps` into the run; False if that was None: the episodes start
        anew instead, other ones than at the run's start or at another resume.
        """
        if self.task is None or state is None:
            self._reset(self._seed + 1_000_003 + steps)
            self._resetting[:], self._return[:], self._length[:] = False, 0, 0
            return False
        self.task.set_state(state["task"])
        self.obs, self.privileged = state["obs"].copy(), state["privileged"].copy()
        self._resetting = state["resetting"].copy()
        self._return, self._length = state["return"].copy(), state["length"].copy()
        return True

    def _reset(self, seed: int) -> None:
        obs, _ = self.env.reset(seed=seed)
        self.obs = self._flat(obs)
        self.privileged = self.task.privileged if self.has_privileged and self.task else self.obs

    def _flat(self, obs: Any) -> np.ndarray:
        """A goal environment's observation as one vector; any other as it is. Shape (..., D)."""
        if self.goal is None or isinstance(obs, np.ndarray):
            return obs
        return np.concatenate([np.asarray(obs[key], np.float32) for key in GOAL_KEYS], axis=-1)

    def _count(
        self, reward: np.ndarray, done: np.ndarray, cut: np.ndarray, infos: dict[str, Any]
    ) -> None:
        self._return += np.where(self._resetting, 0.0, reward)
        self._length += ~self._resetting
        if done.any():
            episode = {"return": self._return[done], "length": self._length[done]}
            episode["end/time_limit"] = cut[done].astype(float)
            if self.task is not None:
                statistics = infos.get("statistics", {})
                episode |= {name: values[done] for name, values in statistics.items()}
            self._finished.append(episode)
            self._return[done], self._length[done] = 0.0, 0


def make(env: str | VectorEnv, num_envs: int, seed: int, pool: bool = True, **options: Any) -> Envs:
    """Environments by Gymnasium's id, or around a vector environment that exists already.

    Args:
        env: an id such as `HalfCheetah-v5`, or `module:Id-v0` of a module that registers it, or a
            vector environment.
        num_envs: how many.
        seed: of the first reset.
        pool: let EnvPool step many environments, where it is installed and has the task.
        options: passed to `gymnasium.make_vec`; with any, EnvPool is left out.

    Raises:
        UsageError: unknown id, unsupported spaces or autoreset, or another number of environments.
    """
    if isinstance(env, str) and pool and num_envs >= POOLED and not options and has_pool(env):
        env = PoolEnv(env, num_envs)
    if isinstance(env, str):
        try:
            spec = gymnasium.spec(_imported(env))
            if spec.vector_entry_point is not None and spec.max_episode_steps is not None:
                # Gymnasium keeps the limit of steps to itself where a task has its own vectors.
                options = {"vectorization_mode": "sync", **options}
            env = gymnasium.make_vec(spec, num_envs=num_envs, **options)
        except BROKEN as error:
            raise UsageError(f"environment: {env}: {first_line(error)}") from None
    if isinstance(env, VectorEnv) and env.num_envs != num_envs:
        raise UsageError(f"environments: found {env.num_envs}, allowed is num_envs = {num_envs}")
    return Envs(env, seed)


def merged(tables: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The columns of several tables, joined by name; a table may lack some."""
    names = dict.fromkeys(name for table in tables for name in table)
    return {k: np.concatenate([table[k] for table in tables if k in table]) for k in names}


def _imported(env_id: str) -> str:
    """The id behind `module:`, once that module, which registers it, is imported."""
    module, _, name = env_id.rpartition(":")
    if module:
        sys.path.insert(0, str(Path.cwd()))  # where a person's own tasks are
        try:
            importlib.import_module(module)
        finally:
            sys.path.pop(0)
    return name


def _goal_and_size(env: VectorEnv) -> tuple[Goal | None, int]:
    """What there is of goals, and the width of the flat observation."""
    space = env.single_observation_space
    if not isinstance(space, Dict) or set(space) != set(GOAL_KEYS):
        return None, _vector_size(space, "observation")
    sizes = [_vector_size(space[key], key) for key in GOAL_KEYS]
    if sizes[1] != sizes[2]:
        raise UsageError(f"achieved_goal: found size {sizes[1]}, allowed is desired_goal's")
    achieved = slice(sizes[0], sizes[0] + sizes[1])
    desired = slice(achieved.stop, achieved.stop + sizes[2])
    functions = [_goal_function(env, f"compute_{name}") for name in ("reward", "terminated")]
    return Goal(achieved, desired, *functions), desired.stop


def _goal_function(
    env: VectorEnv, name: str
) -> Callable[[np.ndarray, np.ndarray], np.ndarray] | None:
    """A vector environment's own (models/task.py), or its first environment's by Gymnasium.

    Gymnasium's goal environments are asked with a third argument, the step's info: an empty one.
    """
    if (own := getattr(env.unwrapped, name, None)) is not None:
        return own
    single = getattr(env.unwrapped, "envs", [None])[0]
    function = None if single is None else getattr(single.unwrapped, name, None)
    return None if function is None else lambda achieved, desired: function(achieved, desired, {})


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
