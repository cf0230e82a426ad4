"""How well goals were reached: an episode at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from .measures import Effort, Recording, effort, mean
from .reach import SUCCESS
from .statistics import share_interval


@dataclass(frozen=True)
class ReachMeasures(Effort):
    """How goals (x, y, z [m]) were reached by the tip. Arrays of shape (N,)."""

    distance: np.ndarray  # of the tip from its goal, at the end [m]; NaN after a fall
    start_distance: np.ndarray  # at the first tick [m]
    reached: np.ndarray  # whether the end was within `SUCCESS`. bool
    time_to_reach: np.ndarray  # from when on it stayed within it [s]; NaN if not at the end

    @classmethod
    def of(cls, recording: Recording) -> Self:
        """Measure a recording of goals, one an episode."""
        distance = np.linalg.norm(recording.achieved - recording.command, axis=-1).astype(float)
        final = np.where(recording.alive[-1], distance[-1], np.nan)
        reached = final <= SUCCESS
        far = distance > SUCCESS
        # Ticks up to and with the last one that was too far away; a row is what a tick ended in.
        late = np.where(far.any(0), len(far) - np.argmax(far[::-1], axis=0), 0)
        return cls(
            **effort(recording),
            distance=final,
            start_distance=distance[0],
            reached=reached,
            time_to_reach=np.where(reached, (late + 1) * recording.period, np.nan),
        )

    @property
    def merit(self) -> np.ndarray:
        """The nearer the better. Shape (N,)."""
        return -np.nan_to_num(self.distance, nan=np.inf)

    def values(self) -> dict[str, np.ndarray]:
        """Every measure by name, each (N,)."""
        return {
            "reached": self.reached,
            "distance": self.distance,
            "time_to_reach": self.time_to_reach,
            **super().values(),
        }

    def figures(self) -> dict[str, Any]:
        """A summary as plain data."""
        return {
            **super().figures(),
            "success": float(self.reached.mean()),
            "success_interval": share_interval(int(self.reached.sum()), len(self.reached)),
            "distance": mean(self.distance),
            "time_to_reach": mean(self.time_to_reach),
            "standing_still": {
                "success": float((self.start_distance <= SUCCESS).mean()),
                "distance": float(self.start_distance.mean()),
            },
        }
