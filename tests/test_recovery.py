"""Disturbances and recoveries, on trajectories that are written down."""

from __future__ import annotations

import numpy as np
import pytest
from surefoot.sim.measures import Recording
from surefoot.sim.recovery import held, recoveries, tilt
from surefoot.sim.terrain import Terrain, make_terrain
from surefoot.sim.walk_measures import WalkMeasures

PERIOD = 0.02  # [s]
SIGMA = 0.2  # of the score [m/s]


def counted(
    upset: str, calm: str, alive: str = "", settled: str = "", limit: int = 3
) -> tuple[int, int]:
    """Of one robot; a character is a tick, x where it is so. No `alive` or `settled`: always."""

    def ticks(drawn: str) -> np.ndarray:
        return np.array([c == "x" for c in drawn or "x" * len(upset)])

    count, back = recoveries(
        ticks(upset)[:, None], ticks(calm)[:, None], ticks(alive)[:, None], ticks(settled), limit
    )
    return int(count[0]), int(back[0])


@pytest.mark.parametrize(
    ("upset", "calm", "alive", "settled", "expected"),
    [
        ("........", "xxxxxxxx", "", "", (0, 0)),  # nothing happened
        ("..xx....", "xx....xx", "", "", (1, 0)),  # calm after 4 ticks: too late
        ("..xx....", "xx...xxx", "", "", (1, 1)),  # after 3: in time
        ("..x.....", "........", "", "", (0, 0)),  # it never was on its way
        ("..x..x...", "xx.xx.xxx", "", "", (2, 2)),
        ("..x.x.x.", "xx......", "", "", (1, 0)),  # one long one
        ("..xx....", "xx......", "xxx.....", "", (1, 0)),  # a fall is none
        (".....xx.", "xxxxx...", "", "", (0, 0)),  # the recording ends before it is decided
        ("..xx....", "xx...xxx", "", "xxxx..xx", (0, 0)),  # so does the command
        ("..xx....", "xx......", "xxxx....", "xxx.xxxx", (0, 0)),  # nor does a fall count then
        (".....xx.", "xxxxx...", "xxxxxx..", "", (0, 0)),
        ("..xx....", "xx.xxxxx", "", "xxxx.xxx", (0, 0)),  # nor who was back in that time
        ("..xx....", "xx.xxxxx", "", "xxxxxx.x", (1, 1)),  # the command stays for long enough
        ("..xx....", "xx....xx", "", "x.xxxxxx", (0, 0)),  # a new command is no disturbance
    ],
)
def test_disturbances_by_hand(
    upset: str, calm: str, alive: str, settled: str, expected: tuple[int, int]
):
    assert counted(upset, calm, alive, settled) == expected


def test_robots_are_counted_apart():
    upset = np.zeros((8, 3), bool)
    upset[2, 1], upset[3, 2] = True, True
    calm = np.ones((8, 3), bool)
    calm[2:, 1] = False
    calm[3, 2] = False
    always = np.ones((8, 3), bool)
    count, back = recoveries(upset, calm, always, always[:, 0], limit=3)
    assert count.tolist() == [0, 1, 1] and back.tolist() == [0, 0, 1]


def test_held_for_as_long_as_asked():
    where = np.array([1, 1, 0, 1, 1, 1, 1, 0], bool)[:, None]
    assert held(where, 3)[:, 0].tolist() == [False] * 5 + [True, True, False]
    assert held(where, 1)[:, 0].tolist() == where[:, 0].tolist()


def test_the_tilt_of_a_base_by_hand():
    angle = 0.4
    half = angle / 2
    rolled = [0, 0, 0, np.cos(half), np.sin(half), 0, 0]
    turned_and_pitched = np.array([np.cos(1.0), 0, 0, np.sin(1.0)])  # about z,
    w, z = turned_and_pitched[[0, 3]]
    c, s = np.cos(half), np.sin(half)  # then about y
    pitched = [0, 0, 0, w * c, -z * s, w * s, z * c]
    level = [0, 0, 0, np.cos(1.0), 0, 0, np.sin(1.0)]
    np.testing.assert_allclose(tilt(np.array([[rolled, pitched, level]])), [[0.4, 0.4, 0.0]])


def walk(error: np.ndarray, tilted: np.ndarray, terrain: Terrain | None = None) -> WalkMeasures:
    """A walk of 5 s with misses along x (T, N) [m/s] and a roll [rad]; 1 s to settle."""
    ticks, n = error.shape
    command = np.zeros((ticks, n, 3))
    achieved = command.copy()
    achieved[..., 0] = error
    qpos = np.zeros((ticks, n, 19))
    qpos[..., 3], qpos[..., 4] = np.cos(tilted / 2), np.sin(tilted / 2)
    none = np.zeros((ticks, n, 12))
    recording = Recording(
        PERIOD, np.arange(ticks) >= 50, np.ones((ticks, n), bool), command, achieved, none, none,
        none, qpos, torque_limit=np.ones((n, 12)), mass=np.ones(n),
        terrain=terrain,
    )  # fmt: skip
    return WalkMeasures.of(recording, SIGMA**2)


def test_a_push_and_what_comes_of_it():
    error, tilted = np.zeros((250, 5)), np.zeros((250, 5))
    error[100:120, 0] = 0.41  # 2.05 σ for 0.4 s: back after 0.65 s
    error[100:120, 1] = 0.39  # not far enough
    error[100, 2], error[101:190, 2] = 0.5, 0.21  # more than σ until 1.8 s: 0.25 s too long
    tilted[100:150, 3] = 0.31  # thrown over, back after 1.25 s
    tilted[100, 4], tilted[101:230, 4] = 0.35, 0.2  # not upright for more than 2 s
    measures = walk(error, tilted)
    assert measures.disturbances.tolist() == [1, 0, 1, 1, 1]
    assert measures.recovered.tolist() == [1, 0, 0, 1, 0]
    figures = measures.figures()
    assert (figures["disturbances"], figures["recovery"]) == (4, 0.5)
    assert figures["recovery_interval"][0] < 0.5 < figures["recovery_interval"][1]


def test_without_disturbances_there_is_no_share():
    figures = walk(np.zeros((250, 2)), np.zeros((250, 2))).figures()
    assert figures["disturbances"] == 0
    assert figures["recovery"] is None and figures["recovery_interval"] is None


def test_on_terrain_recoveries_are_not_measured():
    tilted = np.zeros((250, 2))
    tilted[125:] = 0.32  # from here on it walks on a slope, as well as before
    figures = walk(np.zeros((250, 2)), tilted, make_terrain(0.16)).figures()
    assert (figures["disturbances"], figures["recovery"]) == (None, None)
    assert "disturbances" not in figures["interquartile"]
