"""How well velocity commands were followed, and at what cost: an episode at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from ..models.rotation import tilt
from .measures import Effort, Recording, effort, mean, mean_while, pooled
from .recovery import BACK, IN_TIME, UPRIGHT, recoveries
from .statistics import share_interval

GRAVITY = 9.81  # [m/s²]
STRIDE = 0.5  # a path is made of straight lines as long as this: the sway of a trot is no path [s]
SHORTEST_PATH = 1.0  # for a cost of transport [m]
AXES = ("vx", "vy", "yaw_rate")


@dataclass(frozen=True)
class WalkMeasures(Effort):
    """How commands (vx, vy [m/s], yaw rate [rad/s]) were followed. Arrays of shape (N,)."""

    score: np.ndarray  # mean of exp(−|v − v*|² / σ²) in the horizontal plane; 0 after a fall
    scored: np.ndarray  # ticks that count for the errors: settled, and before a fall
    errors: np.ndarray  # root mean squares of vx, vy [m/s], yaw rate [rad/s]. Shape (N, 3)
    cost_of_transport: np.ndarray  # ∫ Σ max(τ ω, 0) dt / (m g path)
    disturbances: np.ndarray  # pushes that hit it on its way, see recovery.py
    recovered: np.ndarray  # after how many of these it was back in time
    still_score: np.ndarray  # of one who never moves, under the same commands
    still_errors: np.ndarray  # likewise. Shape (N, 3)

    @classmethod
    def of(cls, recording: Recording, sigma2: float, turn_sigma2: float) -> Self:
        """Measure a recording of a walk, by the σ² of the score [m²/s²] and of turns [rad²/s²]."""
        settled, command = recording.settled, recording.command
        counted = settled[:, None] & recording.alive
        error = recording.achieved - command
        missed = np.square(error[..., :2]).sum(-1) / sigma2  # σ²
        score = np.exp(-missed)
        met = (missed <= 1) & (np.square(error[..., 2]) <= turn_sigma2)
        disturbances, recovered = recoveries(
            recording.pushed,
            on_way=met & (tilt(recording.qpos[..., 3:7]) <= UPRIGHT),
            alive=recording.alive,
            settled=settled,
            back=round(BACK / recording.period),
            limit=round(IN_TIME / recording.period),
        )
        squares = [mean_while(counted, np.square(error[..., i])) for i in range(len(AXES))]
        still = np.exp(-np.square(command[settled, :, :2]).sum(-1) / sigma2)
        return cls(
            **effort(recording),
            score=(score * counted).sum(0, dtype=float) / settled.sum(),
            scored=counted.sum(0),
            errors=np.sqrt(np.stack(squares, -1)),
            cost_of_transport=cost_of_transport(recording),
            disturbances=disturbances,
            recovered=recovered,
            still_score=still.mean(0, dtype=float),
            still_errors=np.sqrt(np.square(command[settled]).mean(0, dtype=float)),
        )

    @property
    def merit(self) -> np.ndarray:
        """The tracking score. Shape (N,)."""
        return self.score

    def values(self) -> dict[str, np.ndarray]:
        """Every measure by name, each (N,)."""
        return {
            "score": self.score,
            **{f"{axis}_error": self.errors[:, i] for i, axis in enumerate(AXES)},
            "cost_of_transport": self.cost_of_transport,
            "disturbances": self.disturbances.astype(float),
            "recovered": self.recovered.astype(float),
            **super().values(),
        }

    def figures(self) -> dict[str, Any]:
        """A summary as plain data."""
        still = np.sqrt(np.square(self.still_errors).mean(0))
        count, back = int(self.disturbances.sum()), int(self.recovered.sum())
        return {
            **super().figures(),
            "score": float(self.score.mean()),
            "rmse": {axis: pooled(self.errors[:, i], self.scored) for i, axis in enumerate(AXES)},
            "cost_of_transport": mean(self.cost_of_transport),
            "disturbances": count,
            "recovery": back / count if count else None,
            "recovery_interval": share_interval(back, count) if count else None,
            "standing_still": {
                "score": float(self.still_score.mean()),
                **dict(zip(AXES, still.tolist(), strict=True)),
            },
        }


def cost_of_transport(recording: Recording) -> np.ndarray:
    """∫ Σ max(τ ω, 0) dt over m g times the path, in whole strides before a fall. Shape (N,).

    The mechanical power that the joints put in, none of it won back in braking; neither the motors'
    heat nor their electronics. NaN where the path is shorter than `SHORTEST_PATH`.
    """
    marks = np.arange(0, len(recording.alive), round(STRIDE / recording.period))
    whole = recording.alive[marks[1:]]  # (strides, N)
    power = np.maximum(recording.torque * recording.joint_vel, 0).sum(-1, dtype=float)  # (T, N)
    work = np.add.reduceat(power[1 : marks[-1] + 1], marks[:-1], axis=0) * recording.period
    moved = np.diff(recording.qpos[marks, :, :2], axis=0)
    if recording.terrain:  # who walked out on one side was put back on the other
        moved = recording.terrain.shortest(moved)
    steps = np.linalg.norm(moved, axis=-1)
    path = (steps * whole).sum(0, dtype=float)
    energy = (work * whole).sum(0)
    far = path >= SHORTEST_PATH
    return np.where(far, energy / (recording.mass * GRAVITY * np.where(far, path, 1)), np.nan)
