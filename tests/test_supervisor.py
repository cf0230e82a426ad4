"""What may pass is let pass, but not for ever: holds, and trouble that comes and goes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest
from kinematic_robot import silence
from safety_bench import (
    DAMP_TICKS,
    ROBOT,
    STAND_TICKS,
    Bench,
    N,
    spoiled,
    states,
    wanting,
)
from surefoot.deploy.verdict import Decision, Fault, State
from surefoot.hardware.interface import Sample


def test_a_hold_by_the_imu_ends_in_lying_down():
    bench = Bench().running()
    bench.robot.spoil = spoiled(imu_age=0.06)
    verdicts = bench.until(State.FAULT, 51 + STAND_TICKS + DAMP_TICKS + 2)
    assert states(verdicts) == [State.HOLD, State.LIE, State.DAMP, State.FAULT]
    assert [v.state for v in verdicts].count(State.HOLD) == 50
    assert bench.monitor.fault is Fault.STALE_SENSORS
    assert bench.monitor.cause == (
        "in trouble for 1 s: imu: last reading 60.0 ms ago, allowed is 30 ms"
    )
    np.testing.assert_allclose(bench.robot.joint_pos, ROBOT.rest_pose, atol=1e-12)


def test_a_hold_by_the_motors_ends_in_damping():
    bench = Bench().running()
    bench.robot.spoil = lambda s: silence(s, list(range(N)), 0.06)
    verdicts = bench.until(State.DAMP, 51)
    assert states(verdicts) == [State.HOLD, State.DAMP]
    assert "all 12 motors: last reading 60.0 ms ago, allowed is 30 ms" in bench.monitor.cause


def test_a_hold_that_ends_without_joint_angles_ends_in_damping():
    bench = Bench().running()
    bench.robot.spoil = spoiled(imu_age=0.06)
    assert {v.state for v in bench.ticks(50)} == {State.HOLD}
    bench.robot.spoil = spoiled(joint_pos=np.full(N, np.nan))
    verdict = bench.tick()
    assert (verdict.state, verdict.fault) == (State.DAMP, Fault.NON_FINITE)
    bench.until(State.FAULT, DAMP_TICKS + 1)


def troubled(bench: Bench, ticks: Iterable[bool], spoil: Callable[[Sample], Sample]) -> int:
    """Spoil these ticks of RUN; the number of the tick that ends it, -1 if none does."""
    for index, is_bad in enumerate(ticks):
        bench.robot.spoil = spoil if is_bad else lambda s: s
        if bench.tick().state not in (State.RUN, State.HOLD):
            return index
    return -1


def test_a_policy_that_is_broken_every_other_tick_lies_down():
    bench = Bench().running()
    calls = 0

    def every_other() -> Decision:
        nonlocal calls
        calls += 1
        return wanting(ROBOT.default_pose * (np.nan if calls % 2 else 1.0))

    bench.decide = every_other
    # 20 ms with trouble, then 20 ms / 4 of relief: 15 ms come in 2 ticks, 1 s in 134.
    verdicts = bench.until(State.LIE, 135)
    assert len(verdicts) == 135
    assert bench.monitor.fault is Fault.NON_FINITE
    assert bench.monitor.cause.startswith("in trouble for 1 s: policy: joint_target[0]: found nan")
    bench.until(State.FAULT, STAND_TICKS + DAMP_TICKS + 2)


def test_a_motor_that_is_silent_in_24_of_25_ticks_ends_the_run():
    bench = Bench().running()
    # 24 · 20 ms - 5 ms in 25 ticks: 0.95 s after 50, 1.01 s after 53.
    bad = [index % 25 != 24 for index in range(3000)]
    assert troubled(bench, bad, lambda s: silence(s, [4], 0.09)) == 53
    assert (bench.monitor.state, bench.monitor.fault) == (State.DAMP, Fault.STALE_SENSORS)


def test_deadlines_missed_again_and_again_end_the_run():
    bench = Bench().running()
    rows = [missed for row in (4, 4, 4, 4, 9) for missed in (*range(1, row + 1), 0)]
    # 25 ticks with trouble in 30: 0.95 s after 60, 1.01 s after 63.
    for index in range(64):
        bench.missed = rows[index % 30]
        verdict = bench.tick()
        assert (verdict.state is State.LIE) is (index == 63)
    assert bench.monitor.fault is Fault.MISSED_DEADLINES
    assert "in trouble for 1 s: found 4 deadlines missed in a row" in bench.monitor.cause


def test_trouble_that_is_rare_never_adds_up():
    bench = Bench().running()
    for index in range(20 * 50):  # a stall of three ticks in every second
        stalled = index % 50 < 3
        bench.missed = index % 50 + 1 if stalled else 0
        bench.robot.spoil = spoiled(imu_age=0.06) if stalled else lambda s: s
        assert bench.tick().state is (State.HOLD if stalled else State.RUN)


@pytest.mark.parametrize(("bad", "ends"), [(3, False), (4, True)])
def test_a_fifth_of_the_time_is_the_bound(bad: int, ends: bool):
    bench = Bench().running()
    # In 16 ticks 4 · 20 ms - 12 · 5 ms, 20 ms more: 1 s after 800; with 3 nothing is left over.
    ticks = [index % 16 < bad for index in range(900)]
    assert (troubled(bench, ticks, spoiled(imu_age=0.06)) >= 0) is ends


def test_a_long_hold_is_forgotten_slowly():
    bench = Bench().running()
    # 0.8 s held; 1.6 s of relief leave 0.4 s; then 0.6 s more are too many.
    ticks = [True] * 40 + [False] * 80 + [True] * 40
    assert troubled(bench, ticks, spoiled(imu_age=0.06)) == 40 + 80 + 30


def test_a_deadline_missed_once_shows_nowhere():
    for dry_run in (False, True):
        bench = Bench(dry_run)
        if not dry_run:
            bench.running()
        bench.missed = 1
        verdict = bench.tick()
        assert (verdict.fault, verdict.message) == (Fault.NONE, "")
        assert np.isfinite(verdict.limited_target).all()


def test_a_stop_is_obeyed_while_the_imu_holds_the_robot():
    bench = Bench().running()
    bench.robot.spoil = spoiled(imu_age=0.06)
    assert bench.ticks(5)[-1].state is State.HOLD
    assert bench.monitor.stop()
    verdicts = bench.until(State.OFF, STAND_TICKS + DAMP_TICKS + 2)
    assert states(verdicts) == [State.LIE, State.DAMP, State.OFF]
    assert bench.monitor.fault is Fault.NONE
