"""Ground to walk on: tiles of every kind, from easy to hard, as one height field without an edge.

Rows of tiles are levels, columns are kinds. The field repeats itself in both directions: who walks
out on one side is put back on the other, where the ground is the same. The tiles' rims are level,
so that they join. Lengths are multiples of the robot's standing height: what is a stair for one
robot is a pebble for another.
Source: Rudin et al., "Learning to Walk in Minutes Using Massively Parallel Deep Reinforcement
Learning", arXiv:2109.11978, section 3, for tiles, levels and the game-like curriculum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

RESOLUTION = 0.2  # of the grid, in standing heights
TILE = 100  # points along the side of a tile
LEVELS = 6
PLATFORM = 0.2  # of a tile's side, in its middle: level, to begin on
BORDER = 20  # points of the field's repetition around it, farther than a robot moves in a tick

# At the hardest level, in standing heights.
ROUGHNESS = 0.25  # from the lowest to the highest point
BLOCK_HEIGHT, BLOCK_SIDE = 0.35, 4  # the side in points
RISE, TREAD = 0.3, 5  # of a step; the tread in points
SLOPE = 0.4  # rise over run


@dataclass(frozen=True)
class Terrain:
    """A periodic height field. Tile (level, kind) begins at (level, kind) · `tile` [m]."""

    heights: np.ndarray  # above the tiles' rims [m]. Shape (levels · TILE, kinds · TILE)
    spacing: float  # of the grid [m]

    @property
    def tile(self) -> float:
        """Side of a tile [m]."""
        return TILE * self.spacing

    @property
    def levels(self) -> int:
        """Of difficulty."""
        return len(self.heights) // TILE

    @property
    def period(self) -> np.ndarray:
        """After which it repeats, along x and y [m]. Shape (2,)."""
        return self.spacing * np.array(self.heights.shape)

    def centre(self, level: np.ndarray, kind: np.ndarray) -> np.ndarray:
        """Of tiles, x and y [m]. Shapes (k,) → (k, 2)."""
        return (np.stack((level, kind), -1) + 0.5) * self.tile

    def tiles(self, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Level and kind of what lies there, as indices. Shape (..., 2) → (...), twice."""
        corner = np.floor(xy / self.tile).astype(np.int64)
        level, kind = np.moveaxis(corner % (np.array(self.heights.shape) // TILE), -1, 0)
        return level, kind

    def height(self, xy: np.ndarray) -> np.ndarray:
        """Of the ground, bilinear between the grid's points [m]. Shape (..., 2) → (...)."""
        scaled = xy / self.spacing
        low = np.floor(scaled).astype(np.int64)
        part = scaled - low
        rows, columns = self.heights.shape
        (x, y), (next_x, next_y) = (
            (corner[..., 0] % rows, corner[..., 1] % columns) for corner in (low, low + 1)
        )
        u, v, heights = part[..., 0], part[..., 1], self.heights
        near = (1 - v) * heights[x, y] + v * heights[x, next_y]
        far = (1 - v) * heights[next_x, y] + v * heights[next_x, next_y]
        return (1 - u) * near + u * far

    def wrapped(self, xy: np.ndarray) -> np.ndarray:
        """The same places within the first period. Shape (..., 2)."""
        return xy % self.period

    def shortest(self, way: np.ndarray) -> np.ndarray:
        """The shortest ways between the same places, of those between any. Shape (..., 2)."""
        return way - self.period * np.round(way / self.period)


def make_terrain(size: float, seed: int = 0, levels: int = LEVELS) -> Terrain:
    """All kinds at all levels, for a robot of standing height `size` [m]."""
    rng = np.random.default_rng(seed)
    rows = [
        np.concatenate([make(level / max(levels - 1, 1), rng) for make in KINDS], 1)
        for level in range(levels)
    ]
    return Terrain(size * np.concatenate(rows), RESOLUTION * size)


def tile_names(level: np.ndarray, kind: np.ndarray) -> dict[str, np.ndarray]:
    """The `level`, from 1, and the `kind` by its name. Each str, of the indices' shape."""
    return {"kind": np.array(KIND_NAMES)[kind], "level": (level + 1).astype(str)}


def promoted(
    level: np.ndarray, walked: np.ndarray, commanded: np.ndarray, survived: np.ndarray, levels: int
) -> np.ndarray:
    """The level of the next episode. Shapes (k,).

    One up for who survived and walked most of the way that the commands asked for; one down for who
    walked less than half of it. After the last comes the first again, so that nothing is forgotten.
    """
    up = survived & (walked > 0.8 * commanded)
    down = (walked < 0.5 * commanded) | ~survived
    return np.maximum(level + up - (down & ~up), 0) % levels


# --- kinds: difficulty 0 to 1 → heights of a tile in standing heights, (TILE, TILE) --------------


def flat(difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """Level ground."""
    return np.zeros((TILE, TILE))


def rough(difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """Uniform noise at every second point, linear in between."""
    coarse = rng.uniform(-0.5, 0.5, (TILE // 2, TILE // 2))
    fine = np.repeat(np.repeat(coarse, 2, 0), 2, 1)
    for axis in (0, 1):
        fine = 0.5 * (fine + np.roll(fine, 1, axis))
    return _joined(ROUGHNESS * difficulty * fine)


def blocks(difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """Squares of random heights, side by side."""
    count = TILE // BLOCK_SIDE
    heights = rng.uniform(-0.5, 0.5, (count, count))
    wide = np.repeat(np.repeat(heights, BLOCK_SIDE, 0), BLOCK_SIDE, 1)
    return _joined(BLOCK_HEIGHT * difficulty * wide)


def steps_down(difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """A stepped pyramid, begun on its top."""
    return RISE * difficulty * (_from_rim() // TREAD)


def steps_up(difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """A stepped pit, begun at its bottom."""
    return -steps_down(difficulty, rng)


def slopes_down(difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """A pyramid, begun on its top."""
    return SLOPE * RESOLUTION * difficulty * _from_rim()


def slopes_up(difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """A pit, begun at its bottom."""
    return -slopes_down(difficulty, rng)


Kind = Callable[[float, np.random.Generator], np.ndarray]
KINDS: tuple[Kind, ...] = (flat, rough, blocks, steps_down, steps_up, slopes_down, slopes_up)
KIND_NAMES = tuple(kind.__name__ for kind in KINDS)


def _from_rim() -> np.ndarray:
    """Points from a tile's rim inwards, as far as its platform. Shape (TILE, TILE)."""
    line = np.minimum(np.arange(TILE), np.arange(TILE)[::-1])
    highest = round(TILE * (0.5 - PLATFORM / 2))
    return np.minimum(np.minimum(line[:, None], line[None, :]), highest)


def _joined(heights: np.ndarray) -> np.ndarray:
    """With a level rim and a level platform."""
    inwards = _from_rim()
    return np.where((inwards > 1) & (inwards < inwards.max()), heights, 0.0)
