"""What varies of one environment's robots: drawn at each reset, and again during the episodes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from .quantities import PUSHES
from .randomisation import Variation, disturb, randomise, require_fit, values_per
from .robot_batch import RobotBatch


class Randomiser:
    """The variations of N robots, and what was drawn for each."""

    def __init__(self, variations: Sequence[Variation], robots: RobotBatch) -> None:
        """Nothing is drawn yet.

        Raises:
            UsageError: the robots have nothing for one of the variations.
        """
        require_fit(variations, robots)
        self._robots = robots
        self._at_reset = tuple(v for v in variations if v.every is None)
        self._during = tuple((v, v.every) for v in variations if v.every is not None)
        num_envs = robots.num_envs
        self.next_draw = np.zeros((len(self._during), num_envs))  # of what recurs [s]
        # By the variations' names, as it is or was the last time; NaN: not yet. Each (N, m).
        nothing = partial(np.full, fill_value=np.nan)
        self.drawn = {v.name: nothing((num_envs, values_per(robots, v.per))) for v in variations}
        self.pushed = np.zeros(num_envs, bool)  # whom a push hit in the last `advance`

    def reset(self, ids: np.ndarray, rng: np.random.Generator) -> None:
        """Draw robots `ids` (k,) anew; of what recurs, nothing yet."""
        for values in self.drawn.values():
            values[ids] = np.nan
        for name, values in randomise(self._at_reset, self._robots, ids, rng).items():
            self.drawn[name][ids] = values

    def schedule(self, ids: np.ndarray, rng: np.random.Generator) -> None:
        """Say when what recurs acts first on robots `ids` (k,), whose episodes begin."""
        for (_, every), due in zip(self._during, self.next_draw, strict=True):
            due[ids] = every.sample(rng, (len(ids),))

    def advance(self, time: np.ndarray, rng: np.random.Generator) -> None:
        """Draw what is due again; `time` is that of each episode [s], shape (N,)."""
        self.pushed[:] = False
        for (variation, every), due in zip(self._during, self.next_draw, strict=True):
            ids = np.flatnonzero(time >= due)
            if len(ids):
                self.drawn[variation.name][ids] = disturb(variation, self._robots, ids, rng)
                due[ids] += every.sample(rng, (len(ids),))
                self.pushed[ids] |= variation.vary in PUSHES

    def get_state(self) -> dict[str, Any]:
        """What the next draws depend on, and what was drawn; the robots hold their own values."""
        drawn = {name: values.copy() for name, values in self.drawn.items()}
        return {"next_draw": self.next_draw.copy(), "drawn": drawn}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_state` gave."""
        self.next_draw[:] = state["next_draw"]
        for name, values in state["drawn"].items():
            self.drawn[name][:] = values
