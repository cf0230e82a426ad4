"""How an arm reached its goals, by the emulator's truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...hardware.truth import Truth
from ...models.robot import Robot
from ...sim.reach import SUCCESS, tip_position
from ...sim.robot_batch import RobotBatch


@dataclass(frozen=True)
class Goal:
    """What became of one goal. None where the truth does not tell."""

    place: tuple[float, ...]  # x, y, z in the base frame [m]
    start_distance: float | None  # of the tip from it, as it was commanded [m]
    distance: float | None  # and as the next one was, or the run ended [m]
    time_to_reach: float | None  # from when on it stayed within `SUCCESS`; None: not at the end [s]

    @property
    def reached(self) -> bool:
        """Whether the tip was within `SUCCESS` at the end."""
        return self.time_to_reach is not None


def tip_path(robot: Robot, truth: Truth) -> np.ndarray:
    """Where the tip truly was, in the base frame [m]. Shape (T, 3).

    Raises:
        UsageError: the robot is no chain of joints from a bolted base to a site `tip`.
    """
    tip = tip_position(RobotBatch(robot, 1, nthread=1))
    return tip({"joint_pos": truth.joint_pos}, np)


def judge_reach(ticks: np.ndarray, time: np.ndarray, tip: np.ndarray) -> list[Goal]:
    """Judge the goals of a run, in their order.

    Args:
        ticks: of the whole run, records of `format.tick_dtype`. Shape (T,).
        time: of the truth, on the ticks' clock [s]. Shape (M,).
        tip: its path, in the base frame [m]. Shape (M, 3).
    """
    goals = []
    for place, begin, end in zip(*commanded(ticks), strict=True):
        shown = (time >= begin) & (time <= end)
        distance = np.linalg.norm(tip[shown] - place, axis=1)
        goals.append(_goal(place, time[shown] - begin, distance))
    return goals


def commanded(ticks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The goals that the policy was given, (G, 3) [m], when each began, and when it ended [s]."""
    asked = ticks[np.isfinite(ticks["action"]).any(1)]  # a tick that asks nobody commands nothing
    start, place = asked["start"], asked["command"].astype(np.float64)
    new = np.append(True, (np.diff(place, axis=0) != 0).any(1))[: len(asked)]
    begins = start[new]
    return place[new], begins, np.append(begins[1:], start[-1:])


def _goal(place: np.ndarray, time: np.ndarray, distance: np.ndarray) -> Goal:
    """One goal, from its distance (K,) at times (K,) since it was commanded."""
    where = tuple(np.round(place, 6).tolist())  # the log holds single precision
    if not len(time):
        return Goal(where, None, None, None)
    far = np.flatnonzero(~(distance <= SUCCESS))  # what is no number is far
    first = far[-1] + 1 if len(far) else 0  # from here on it stayed
    reached = float(time[first]) if first < len(time) else None
    return Goal(where, float(distance[0]), float(distance[-1]), reached)
