"""Pushes and recoveries, on trajectories that are written down."""

from __future__ import annotations

import numpy as np
import pytest
from surefoot.models.robot_file import load_robot
from surefoot.sim.evaluate import record
from surefoot.sim.measures import Recording
from surefoot.sim.quantities import Per, angular_push, push
from surefoot.sim.randomisation import Uniform, Variation
from surefoot.sim.recovery import held, recoveries
from surefoot.sim.trials import walking
from surefoot.sim.walk import WalkEnv
from surefoot.sim.walk_measures import WalkMeasures

PERIOD = 0.02  # [s]
SIGMA, TURN_SIGMA = 0.2, 0.5  # of the score [m/s] and of turns [rad/s]


@pytest.mark.parametrize(
    ("pushed", "on_way", "alive", "settled", "expected"),
    [
        ("..........", "xx..xxxxxx", "", "", (0, 0)),  # nobody pushed: it left its way by itself
        ("..x.......", "xxxxxxxxxx", "", "", (1, 1)),  # a push that it hardly notices counts, too
        ("..x.......", "xx..xxxxxx", "", "", (1, 1)),  # there for the last two of its four ticks
        ("..x.......", "xx...xxxxx", "", "", (1, 0)),  # too late
        ("..x.......", "xxx.x.xxxx", "", "", (1, 0)),  # never for two on end
        ("..x.......", ".x..xxxxxx", "", "", (0, 0)),  # it had not been on its way for long enough
        ("..x.......", "xxxx......", "xxxx......", "", (1, 0)),  # back, but it fell in that time
        ("..x.......", "xxxx......", "xxxxxx....", "", (1, 1)),  # and here only later
        ("..x.......", "xxxxxxxxxx", "x.........", "", (0, 0)),  # it had fallen before
        ("..x.x.....", "xxxxxxxxxx", "", "", (1, 1)),  # of the first nobody knows what came
        ("..x.x.....", "xxx.......", "", "", (0, 0)),
        ("..x...x...", "xx..xx....", "", "", (2, 1)),
        ("......x...", "xxxxxx..xx", "", "", (1, 1)),
        (".......x..", "xxxxxxxxxx", "", "", (0, 0)),  # the recording ends before it is known
        ("..x.......", "xxxxxxxxxx", "", "xxxxx.xxxx", (0, 0)),  # so does the command,
        ("..x.......", "xx........", "xxx.......", "xxxxx.xxxx", (0, 0)),  # whatever comes of it
        ("..x.......", "xxxxxxxxxx", "", "xxxxxx.xxx", (1, 1)),
        ("x.........", "xxxxxxxxxx", "", "", (0, 0)),
    ],
)
def test_pushes_by_hand(pushed: str, on_way: str, alive: str, settled: str, expected: tuple):
    """Of one robot; a character is a tick, x where it is so. No `alive` or `settled`: always."""

    def ticks(drawn: str) -> np.ndarray:
        return np.array([c == "x" for c in drawn or "x" * len(pushed)])[:, None]

    pushes, recovered = recoveries(
        ticks(pushed), ticks(on_way), ticks(alive), ticks(settled)[:, 0], back=2, limit=4
    )
    assert (pushes.tolist(), recovered.tolist()) == ([expected[0]], [expected[1]])


def test_robots_are_counted_apart():
    pushed = np.zeros((8, 3), bool)
    pushed[2, 1], pushed[3, 2] = True, True
    on_way = np.ones((8, 3), bool)
    on_way[3:, 2] = False
    always = np.ones((8, 3), bool)
    pushes, recovered = recoveries(pushed, on_way, always, always[:, 0], back=2, limit=3)
    assert pushes.tolist() == [0, 1, 1] and recovered.tolist() == [0, 1, 0]


def test_held_for_as_long_as_asked():
    where = np.array([1, 1, 0, 1, 1, 1, 1, 0], bool)[:, None]
    assert held(where, 3)[:, 0].tolist() == [False] * 5 + [True, True, False]
    assert held(where, 1)[:, 0].tolist() == where[:, 0].tolist()


def walk(
    error: np.ndarray, turned: np.ndarray, tilted: np.ndarray, pushed: np.ndarray
) -> WalkMeasures:
    """A walk of 5 s, all (T, N): misses of vx [m/s] and yaw rate [rad/s], a roll [rad]; 1 s to
    settle.
    """
    ticks, n = error.shape
    command = np.zeros((ticks, n, 3))
    achieved = command.copy()
    achieved[..., 0], achieved[..., 2] = error, turned
    qpos = np.zeros((ticks, n, 19))
    qpos[..., 3], qpos[..., 4] = np.cos(tilted / 2), np.sin(tilted / 2)
    none = np.zeros((ticks, n, 12))
    recording = Recording(
        PERIOD, np.arange(ticks) >= 50, np.ones((ticks, n), bool), command, achieved, none, none,
        none, qpos, torque_limit=np.ones((n, 12)), mass=np.ones(n), pushed=pushed,
    )  # fmt: skip
    return WalkMeasures.of(recording, SIGMA**2, TURN_SIGMA**2)


def test_a_push_and_what_comes_of_it():
    """A push after 2 s counts until 4 s: back for a quarter of a second by then."""
    error, turned, tilted = (np.zeros((250, 9)) for _ in range(3))
    pushed = np.zeros((250, 9), bool)
    pushed[100, :8] = True
    error[100:120, 0] = 0.41
    error[100:, 1] = 0.19  # it hardly notices
    error[100:188, 2] = 0.21  # more than σ until 12 ticks before the end,
    error[100:190, 3] = 0.21  # until 10
    turned[100:, 4] = -0.49
    turned[100:, 5] = -0.51  # it goes on turning
    tilted[100:150, 6] = 0.31  # thrown over, back after 1.25 s
    tilted[100:, 7] = 0.16  # not upright
    error[100:120, 8] = 0.41  # by its own feet: no push
    measures = walk(error, turned, tilted, pushed)
    assert measures.disturbances.tolist() == [1, 1, 1, 1, 1, 1, 1, 1, 0]
    assert measures.recovered.tolist() == [1, 1, 1, 0, 1, 0, 1, 0, 0]
    figures = measures.figures()
    assert (figures["disturbances"], figures["recovery"]) == (8, 5 / 8)
    assert figures["recovery_interval"][0] < 5 / 8 < figures["recovery_interval"][1]


def test_without_pushes_there_is_no_share():
    none = np.zeros((250, 2))
    figures = walk(none + 0.5, none, none, none.astype(bool)).figures()
    assert figures["disturbances"] == 0
    assert figures["recovery"] is None and figures["recovery_interval"] is None


def test_what_pushes_a_base_is_recorded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(WalkEnv, "episode_time", 2.0)
    robot = load_robot("quadruped")
    pushes = (
        Variation(push, Uniform(0.01, 0.02), Per.AXIS, every=Uniform(0.51, 0.51)),
        Variation(angular_push, Uniform(0.01, 0.02), Per.AXIS, every=Uniform(0.71, 0.71)),
    )
    env = WalkEnv(2, robot, pushes, nthread=1)
    trial = walking(robot, "joint_target")
    stand = lambda inputs, begins: np.zeros((2, 12), np.float32)  # noqa: E731
    pushed = record(stand, env, trial, env.commands, seed=0).pushed
    assert pushed.dtype == bool and pushed.shape == (99, 2)
    # Due at 0.51 s, 1.02 s, 1.53 s, and at 0.71 s, 1.42 s: in the first tick from then on.
    for robot_pushed in pushed.T:
        assert np.flatnonzero(robot_pushed).tolist() == [26, 36, 51, 71, 77]
