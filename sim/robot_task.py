"""What a task says of N robots; `robot_env.py` makes an environment of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from ..models.limits import Output
from ..models.task import CommandPart
from .curriculum import TerrainCurriculum


class RobotTask(ABC):
    """How an episode begins, what is commanded and rewarded, what ends it, what the critic sees.

    Arrays are of N robots, n joints each, unless `ids` (k,) says of which.
    """

    usual_robot: str  # as `load_robot` takes it
    outputs: tuple[Output, ...] = ("joint_target",)  # that the task can be learned with
    has_terrain = False  # whether the task can be on ground that is not level
    curriculum: TerrainCurriculum | None = None  # where it is
    episode_time: float  # [s]
    clock_period: float  # at which the input `clock` wraps [s]
    commands: tuple[CommandPart, ...]  # c of them
    command_time: tuple[float, float] | None = None  # from one to the next [s]; None: it stays

    @abstractmethod
    def initial_state(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where an episode begins: qpos (k, nq) and qvel (k, nv)."""
        ...

    @abstractmethod
    def begin(self, ids: np.ndarray) -> None:
        """Remember what is needed of robots that have just been put into their first state."""
        ...

    @abstractmethod
    def draw_commands(self, ids: np.ndarray) -> np.ndarray:
        """New commands. Shape (k, c)."""
        ...

    @abstractmethod
    def reward_terms(self, actions: np.ndarray, target: np.ndarray) -> dict[str, np.ndarray]:
        """Every term of the reward, weighted, each (N,), by name.

        `self.action` and `self.target` are still those of the step before. Shapes (N, n).
        """
        ...

    @abstractmethod
    def ends(self) -> dict[str, np.ndarray]:
        """What may end an episode before its time, and where it did. Each bool, (N,)."""
        ...

    @abstractmethod
    def go_on(self) -> None:
        """Remember what is needed of a step whose reward is known."""
        ...

    @abstractmethod
    def privileged_parts(self) -> Sequence[np.ndarray]:
        """What only the simulator knows, behind the observation in the critic's. Each (N, …)."""
        ...
