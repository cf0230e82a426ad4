"""Which ground each of N robots is on, and what it has earned: the curriculum of a terrain."""

from __future__ import annotations

import numpy as np

from .terrain import KINDS, Terrain, promoted, tile_names

# What the critic sees of the ground, ahead and to the left, in standing heights: three rows of
# three, from behind to ahead, each from right to left.
SCAN = np.array([(x, y) for x in (-1.5, 0.0, 1.5) for y in (-1.0, 0.0, 1.0)])
SCAN_MIRRORED = np.array([2, 1, 0, 5, 4, 3, 8, 7, 6])  # left for right


class TerrainCurriculum:
    """N robots on a terrain, each among tiles of its kind. Arrays of shape (N,)."""

    def __init__(self, terrain: Terrain, num_envs: int, size: float) -> None:
        """All at the easiest level; the kinds are dealt out in turn.

        Args:
            terrain: to walk on.
            num_envs: N.
            size: of a robot, its standing height [m].
        """
        self.terrain = terrain
        self.kind = np.arange(num_envs) % len(KINDS)
        self.level = np.zeros(num_envs, np.int64)
        self._first_level = self.level.copy()
        # In the commanded direction since the episode began: what was asked for, and came of it.
        self.commanded, self.walked = np.zeros(num_envs), np.zeros(num_envs)  # [m]
        self._scan = size * SCAN  # [m]

    def deal(self) -> None:
        """Deal out the levels, too: every kind at every level, before any of them again."""
        self.level[:] = np.arange(len(self.level)) // len(KINDS) % self.terrain.levels
        self._first_level[:] = self.level

    def forget(self, earned: bool) -> None:
        """An episode broken off earns nothing; with `earned`, forget what those before did, too."""
        self.commanded[:] = self.walked[:] = 0.0
        if earned:
            self.level[:] = self._first_level

    def names(self) -> dict[str, np.ndarray]:
        """What each robot begins on, as `tile_names` has it. Each str, (N,)."""
        return tile_names(self.level, self.kind)

    def begin(self, ids: np.ndarray, survived: np.ndarray) -> np.ndarray:
        """Where the next episodes of robots `ids` begin, x and y [m]. Shapes (k,) → (k, 2).

        `survived`, bool (k,), says who came to the time limit. The level changes with how it went;
        not for who was commanded nowhere.
        """
        commanded, walked = self.commanded[ids], self.walked[ids]
        earned = promoted(self.level[ids], walked, commanded, survived, self.terrain.levels)
        self.level[ids] = np.where(commanded > 0, earned, self.level[ids])
        self.commanded[ids] = self.walked[ids] = 0.0
        return self.terrain.centre(self.level[ids], self.kind[ids])

    def follow(self, velocity: np.ndarray, command: np.ndarray, period: float) -> None:
        """Count a tick's way. Velocities in the base frame [m/s], shapes (N, 2)."""
        speed = np.linalg.norm(command, axis=1)
        along = (velocity * command).sum(1) / np.maximum(speed, 1e-9)
        self.commanded += speed * period
        self.walked += np.where(speed > 0, along, 0.0) * period

    def scan(self, xy: np.ndarray, heading: np.ndarray) -> np.ndarray:
        """Heights around the bases [m]; x and y (N, 2) [m], heading (N,) [rad]. Shape (N, 9)."""
        cos, sin = np.cos(heading)[:, None], np.sin(heading)[:, None]
        ahead, left = self._scan.T
        around = np.stack((cos * ahead - sin * left, sin * ahead + cos * left), -1)
        return self.terrain.height(xy[:, None] + around)

    def arrays(self) -> dict[str, np.ndarray]:
        """What the future depends on; writable. Each (N,)."""
        return {
            "level": self.level,
            "commanded": self.commanded,
            "walked": self.walked,
        }
