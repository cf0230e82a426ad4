"""Terrain: tiles that join, a field without an edge, and the curriculum."""

from __future__ import annotations

import numpy as np
import pytest
from surefoot.sim import terrain
from surefoot.sim.terrain import KINDS, LEVELS, RISE, SLOPE, TILE, make_terrain, promoted

SIZE = 0.2  # standing height [m]
GROUND = make_terrain(SIZE, seed=1)


def tile(level: int, kind: int) -> np.ndarray:
    return GROUND.heights[level * TILE :, kind * TILE :][:TILE, :TILE]


def test_the_same_seed_gives_the_same_ground():
    np.testing.assert_array_equal(make_terrain(SIZE, seed=1).heights, GROUND.heights)
    assert not np.array_equal(make_terrain(SIZE, seed=2).heights, GROUND.heights)


def test_lengths_are_multiples_of_the_robots_size():
    larger = make_terrain(3 * SIZE, seed=1)
    np.testing.assert_allclose(larger.heights, 3 * GROUND.heights)
    assert larger.tile == pytest.approx(3 * GROUND.tile)


def test_which_tile_a_place_lies_on():
    level, kind = np.meshgrid(np.arange(LEVELS), np.arange(len(KINDS)), indexing="ij")
    for shift in (0.0, -GROUND.period, 2 * GROUND.period):
        found = GROUND.tiles(GROUND.centre(level, kind) + 0.49 * GROUND.tile + shift)
        np.testing.assert_array_equal(found, (level, kind))


def test_the_first_level_is_level_and_the_last_the_hardest():
    for kind in range(len(KINDS)):
        assert not tile(0, kind).any()
        spans = [float(np.ptp(tile(level, kind))) for level in range(LEVELS)]
        assert spans == sorted(spans)


@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_tiles_join_at_level_rims_and_begin_on_a_level_platform(kind: int):
    for level in range(LEVELS):
        heights = tile(level, kind)
        rim = np.concatenate((heights[0], heights[-1], heights[:, 0], heights[:, -1]))
        assert not rim.any()
        middle = heights[TILE // 2 - 4 : TILE // 2 + 4, TILE // 2 - 4 : TILE // 2 + 4]
        assert np.ptp(middle) == 0


def test_steps_rise_and_slopes_incline_as_stated():
    down, up = KINDS.index(terrain.steps_down), KINDS.index(terrain.steps_up)
    across = tile(LEVELS - 1, down)[:, TILE // 2]
    rises = np.abs(np.diff(across))
    assert rises[rises > 0] == pytest.approx(RISE * SIZE)
    np.testing.assert_allclose(tile(LEVELS - 1, up), -tile(LEVELS - 1, down))
    slope = tile(LEVELS - 1, KINDS.index(terrain.slopes_down))[:, TILE // 2]
    assert slope[20] - slope[10] == pytest.approx(SLOPE * 10 * GROUND.spacing)


def test_the_height_between_points_is_bilinear():
    heights, spacing = GROUND.heights, GROUND.spacing
    row, column = (LEVELS - 1) * TILE + 30, TILE + 40  # amid the rough
    corners = heights[row : row + 2, column : column + 2]
    at = np.array([row + 0.25, column + 0.5]) * spacing
    by_hand = 0.75 * corners[0].mean() + 0.25 * corners[1].mean()
    assert GROUND.height(at) == pytest.approx(by_hand)
    assert np.ptp(corners) > 0


def test_the_field_has_no_edge():
    rng = np.random.default_rng(0)
    inside = rng.uniform(0, 1, (50, 2)) * GROUND.period
    outside = inside + GROUND.period * rng.integers(-2, 3, (50, 2))
    np.testing.assert_allclose(GROUND.height(outside), GROUND.height(inside), atol=1e-9)
    np.testing.assert_allclose(GROUND.wrapped(outside), inside, atol=1e-9)


def test_a_tiles_centre_lies_on_its_platform():
    centre = GROUND.centre(np.array([2]), np.array([3]))
    assert centre.tolist() == [[2.5 * GROUND.tile, 3.5 * GROUND.tile]]
    assert GROUND.height(centre)[0] == pytest.approx(tile(2, 3).max())


def test_the_curriculum_by_hand():
    cases = [  # level, walked, commanded, survived → next
        (2, 9.0, 10.0, True, 3),  # most of the way
        (2, 7.0, 10.0, True, 2),  # some of it
        (2, 4.0, 10.0, True, 1),  # too little
        (2, 9.0, 10.0, False, 1),  # fell
        (0, 0.0, 10.0, False, 0),  # there is none below
        (LEVELS - 1, 10.0, 10.0, True, 0),  # begins anew
    ]
    *columns, expected = zip(*cases, strict=True)
    level, walked, commanded, survived = (np.array(column) for column in columns)
    assert promoted(level, walked, commanded, survived, LEVELS).tolist() == list(expected)
