"""What a robot's policy must be able to do, and how soon it is to have learned it. Data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

LOOK = 16  # episodes of the first look at a checkpoint
MARGIN = 0.1  # of a first look, where chance is large: below the goal by more, and it is far off


@dataclass(frozen=True)
class Goal:
    """A task, and the figures of the nominal condition with which it counts as learned."""

    task: str
    """Of `surefoot train`."""
    robot: str
    figure: Literal["score", "success"]
    """Of the evaluation: its tracking score, or its share of goals reached."""
    least: float
    """Of this figure."""
    seconds: float
    """Median time of training that is aimed at [s]."""
    steps: int
    """Budget of Surefoot's training."""
    survival: float = 0.99
    """Share of episodes without a fall, of which there must be more."""

    def passed(self, figures: Mapping[str, Any]) -> bool:
        """Whether an evaluation's figures are good enough."""
        return figures[self.figure] >= self.least and figures["survival"] > self.survival

    def likely(self, figures: Mapping[str, Any]) -> bool:
        """Whether those of a first look at few episodes make a whole evaluation worth its time."""
        near = self.least - MARGIN, self.survival - MARGIN
        return figures[self.figure] >= near[0] and figures["survival"] > near[1]


GOALS: Mapping[str, Goal] = {
    "go1": Goal("walk", "go1", "score", least=0.80, seconds=100, steps=4_000_000),
    "quadruped": Goal("walk", "quadruped", "score", least=0.80, seconds=60, steps=3_000_000),
    "arm": Goal("reach", "arm", "success", least=0.95, seconds=60, steps=1_500_000),
}
