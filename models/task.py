"""What an environment of Surefoot offers a learner beyond `gymnasium.vector.VectorEnv`.

All of it is numpy; an environment that lacks it is trained on what Gymnasium defines. Beside these
members, `infos["statistics"]` may hold a dict of arrays of shape (N,), read where an episode ends:
whatever is worth a curve, such as means of the reward terms over the episode
(`"reward/track"`) or 0 and 1 for what ended it (`"end/fall"`).

A vector environment of goals (a dict of observation, achieved_goal and desired_goal) may have
`compute_reward(achieved, desired)`, and `compute_terminated` alike: arrays (B, G), (B, G) → (B,).
Hindsight asks them what another goal would have given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from .limits import Output
from .observation import Term
from .robot import Robot


@dataclass(frozen=True)
class Reflection:
    """A signed permutation of a vector: reflected[i] = sign[i] · vector[index[i]]. Shapes (n,)."""

    index: np.ndarray  # int64
    sign: np.ndarray  # ±1, float32

    def __call__(self, vector: np.ndarray) -> np.ndarray:
        """The reflected vectors. Shape (..., n)."""
        return vector[..., self.index] * self.sign

    def repeated(self, times: int) -> Reflection:
        """Of so many such vectors side by side, each reflected by itself. Shapes (times · n,)."""
        index = np.arange(times)[:, None] * len(self.index) + self.index
        return Reflection(index.ravel(), np.tile(self.sign, times))


@dataclass(frozen=True)
class Mirror:
    """The body's left-right symmetry, as each vector shows it. Reflecting twice is the identity."""

    observation: Reflection
    privileged: Reflection
    action: Reflection


@runtime_checkable
class TaskEnv(Protocol):
    """The extras; N environments, P numbers in the critic's observation."""

    mirror: Mirror | None  # None where the task has no symmetry

    @property
    def privileged(self) -> np.ndarray:
        """The critic's observation, aligned with the last observation returned. Shape (N, P)."""
        ...

    @property
    def final_privileged(self) -> np.ndarray:
        """Like `privileged`, before the autoreset of the last step; read where an episode ended.

        Shape (N, P).
        """
        ...

    def get_state(self) -> dict[str, Any]:
        """All that decides the future: arrays, numbers and random states, nested in dicts."""
        ...

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on exactly from where `get_state` was called."""
        ...


@dataclass(frozen=True)
class CommandPart:
    """One number of a command: a column of the input `command`."""

    name: str
    unit: str
    lower: float  # of the range that the policy is trained for
    upper: float


class DeployableTask(Protocol):
    """A task whose policy can be exported for a robot: N environments, n joints, D columns.

    D are those of `history` observations (`stack_observations` in observation.py).

    An action of `output` "joint_target" stands for the target default pose + action_scale · action
    [rad]; one of "joint_torque" for the torque action_scale · action [N·m].
    """

    num_envs: int
    robot: Robot
    terms: tuple[Term, ...]  # of the observation
    history: int  # observations that the policy sees side by side, the newest first
    output: Output
    action_scale: float | tuple[float, ...]  # of all joints, or one for each
    clock_period: float  # at which the input `clock` wraps [s]
    commands: tuple[CommandPart, ...]
    inputs: dict[str, np.ndarray]  # of the controller, now, each (N, width), float32

    def reset(self, *, seed: int | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Start every episode anew. Returns the observations (N, D) first."""
        ...

    def step(
        self, actions: np.ndarray, /
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One control period under `actions` (N, n); renews `inputs`."""
        ...
