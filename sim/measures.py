"""What is measured of an episode: pure functions of a recording, a figure for each episode.

A task's measures are a frozen dataclass of arrays (N,), made by its `of` from a `Recording`:
`values` gives what statistics are made of, a number for each episode, and `figures` the few numbers
in which a table or a policy's metadata holds them all. NaN stands where an episode has no such
figure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from .statistics import interquartile_interval, interquartile_mean, share_interval
from .terrain import Terrain

SATURATED = 0.95  # of the torque limit


@dataclass(frozen=True)
class Recording:
    """What N robots did in T ticks: after a tick, where nothing else is said.

    What a robot does that has fallen, and is not `alive`, says nothing.
    """

    period: float  # of a tick [s]
    settled: np.ndarray  # whether the command is no longer new. bool, (T,)
    alive: np.ndarray  # who has not fallen so far. bool, (T, N)
    command: np.ndarray  # (T, N, c)
    achieved: np.ndarray  # what became of the command, in its columns. (T, N, c)
    action: np.ndarray  # raw, of the tick. (T, N, n)
    torque: np.ndarray  # [N·m]. (T, N, n)
    joint_vel: np.ndarray  # [rad/s]. (T, N, n)
    qpos: np.ndarray  # MuJoCo's positions. (T, N, nq)
    torque_limit: np.ndarray  # [N·m]. (N, n)
    mass: np.ndarray  # [kg]. (N,)
    pushed: np.ndarray  # whom a push hit at the tick's beginning. bool, (T, N)
    drawn: Mapping[str, np.ndarray] = field(default_factory=dict)
    """By the names of what varied; what recurs, as it was the last time. NaN: never. (N, m)"""
    terrain: Terrain | None = None
    """The ground, where it is not level."""


class Measures(Protocol):
    """The measures of N episodes."""

    @property
    def merit(self) -> np.ndarray:
        """What orders the episodes, the best one highest. Shape (N,)."""
        ...

    def values(self) -> dict[str, np.ndarray]:
        """Every measure by name, each (N,): bool, or float with NaN where an episode has none."""
        ...

    def figures(self) -> dict[str, Any]:
        """A summary as plain data."""
        ...


@dataclass(frozen=True)
class Effort:
    """What any robot's motion costs. Arrays of shape (N,)."""

    survived: np.ndarray  # without a fall. bool
    ticks: np.ndarray  # until a fall
    torque: np.ndarray  # root mean square over joints and ticks [N·m]
    torque_saturation: np.ndarray  # share of joints and ticks at `SATURATED` of the limit or more
    action_change: np.ndarray  # root mean square of the first difference of the actions, a tick
    action_jerk: np.ndarray  # root mean square of their second difference

    def values(self) -> dict[str, np.ndarray]:
        """Every measure by name, each (N,)."""
        names = ("torque", "torque_saturation", "action_change", "action_jerk")
        return {"survived": self.survived, **{name: getattr(self, name) for name in names}}

    def figures(self) -> dict[str, Any]:
        """A summary as plain data: over all joints and ticks of all episodes until a fall."""
        n = len(self.ticks)
        return {
            "episodes": n,
            "survival": float(self.survived.mean()),
            "survival_interval": share_interval(int(self.survived.sum()), n),
            "torque": pooled(self.torque, self.ticks),
            "torque_saturation": weighted(self.torque_saturation, self.ticks),
            "action_change": pooled(self.action_change, self.ticks),
            "action_jerk": pooled(self.action_jerk, self.ticks),
            "interquartile": interquartile(self.values()),
        }


def effort(recording: Recording) -> dict[str, np.ndarray]:
    """The fields of `Effort`."""
    alive = recording.alive
    saturated = np.abs(recording.torque) >= SATURATED * recording.torque_limit
    # Before an episode the action is 0.
    change = np.diff(recording.action, axis=0, prepend=0 * recording.action[:1])
    jerk = np.diff(change, axis=0, prepend=0 * change[:1])
    return {
        "survived": alive[-1],
        "ticks": alive.sum(0),
        "torque": np.sqrt(mean_while(alive, np.square(recording.torque).mean(-1))),
        "torque_saturation": mean_while(alive, saturated.mean(-1)),
        "action_change": np.sqrt(mean_while(alive, np.square(change).mean(-1))),
        "action_jerk": np.sqrt(mean_while(alive, np.square(jerk).mean(-1))),
    }


def mean_while(mask: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean over the ticks in which `mask`; NaN where it never is. Shapes (T, N) → (N,)."""
    count = mask.sum(0)
    total = np.where(mask, values, 0).sum(0, dtype=float)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def pooled(rms: np.ndarray, weight: np.ndarray) -> float | None:
    """Root mean square over all, of those of the episodes (N,); None where nothing counts."""
    square = weighted(np.square(rms), weight)
    return None if square is None else float(np.sqrt(square))


def weighted(values: np.ndarray, weight: np.ndarray) -> float | None:
    """Mean of (N,) with weights (N,); None where these are 0."""
    total = float(weight.sum())
    return float((np.nan_to_num(values) * weight).sum() / total) if total else None


def mean(values: np.ndarray) -> float | None:
    """Mean of those of (N,) that have a value; None where none has."""
    found = values[np.isfinite(values)]
    return float(found.mean()) if len(found) else None


def interquartile(values: dict[str, np.ndarray]) -> dict[str, list[float]]:
    """Interquartile mean and its interval's two ends, of each float measure that has values."""
    found = {n: v[np.isfinite(v)] for n, v in values.items() if v.dtype != bool}
    return {
        name: [float(interquartile_mean(v)), *interquartile_interval(v)]
        for name, v in found.items()
        if len(v)
    }
