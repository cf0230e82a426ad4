"""The safety monitor: its states, an untrusted policy, deadlines, a port that goes, the dry run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kinematic_robot import silence
from safety_bench import (
    DAMP_TICKS,
    DOWN,
    HALF,
    KNEE,
    ROBOT,
    STAND_TICKS,
    Bench,
    N,
    spoiled,
    states,
    wanting,
)
from surefoot.deploy.verdict import Decision, Fault, State
from surefoot.hardware.interface import Command, Mode, Sample
from surefoot.models.errors import EnableRefused, UsageError
from surefoot.models.limits import Reason

# --- a life without faults ------------------------------------------------------------------------


def test_a_whole_life():
    bench = Bench()
    bench.monitor.start()
    verdicts = bench.ticks(STAND_TICKS + 50)
    bench.monitor.stop()
    verdicts += bench.until(State.OFF, STAND_TICKS + DAMP_TICKS + 2)
    assert states(verdicts) == [State.STAND, State.RUN, State.LIE, State.DAMP, State.OFF]
    assert bench.monitor.fault is Fault.NONE
    assert all(verdict.fault is Fault.NONE for verdict in verdicts)
    np.testing.assert_allclose(bench.robot.joint_pos, ROBOT.rest_pose, atol=1e-12)
    assert [v.mode for v in verdicts] == bench.robot.modes, "one command a tick, as reported"
    bench.monitor.start()  # and once more
    assert bench.until(State.RUN, STAND_TICKS + 1)


def test_standing_up_is_smooth_and_its_cap_rises():
    bench = Bench()
    bench.monitor.start()
    verdicts = bench.until(State.RUN, STAND_TICKS + 1)
    targets = np.array([v.limited_target for v in verdicts])
    np.testing.assert_array_equal(targets[0], ROBOT.rest_pose)  # the start moves nothing
    np.testing.assert_allclose(targets[HALF], (ROBOT.rest_pose + ROBOT.default_pose) / 2)
    np.testing.assert_allclose(targets[-1], ROBOT.default_pose)
    # A cosine's steepest step: π/2 · 1.15 rad / 100 ticks = 0.0181 rad, far below 16 rad/s · 20 ms.
    assert np.abs(np.diff(targets, axis=0)).max() == pytest.approx(0.0181, abs=2e-4)
    caps = np.array([v.torque_cap for v in verdicts])
    np.testing.assert_allclose(caps[0], 0.3 * ROBOT.torque_limit)
    np.testing.assert_allclose(caps[HALF], 0.65 * ROBOT.torque_limit)
    np.testing.assert_allclose(caps[-1], ROBOT.torque_limit)
    assert (np.diff(caps, axis=0) >= 0).all()


def test_lying_down_goes_on_from_the_last_target():
    bench = Bench().running()
    bench.decide = lambda: wanting(ROBOT.default_pose + 0.1)
    bench.ticks(3)
    # The robot sags under its weight: what carries it must not let go as the lying down begins.
    bench.robot.spoil = lambda s: replace(s, joint_pos=s.joint_pos - 0.05)
    last = bench.tick().limited_target
    bench.monitor.stop()
    first = bench.tick()
    assert first.state is State.LIE
    np.testing.assert_allclose(first.limited_target, last, atol=2e-3)
    np.testing.assert_allclose(first.torque_cap, ROBOT.torque_limit, rtol=0.02)
    verdicts = bench.until(State.DAMP, STAND_TICKS + 1)
    assert verdicts[-2].torque_cap[0] == pytest.approx(0.3 * 2.0, rel=0.03)


def test_nothing_is_written_before_the_start():
    bench = Bench()
    assert {v.state for v in bench.ticks(20)} == {State.OFF}
    assert bench.robot.commands == []


def test_a_stop_before_the_first_tick_never_enables():
    bench = Bench()
    bench.monitor.start()
    bench.monitor.stop()
    assert bench.tick().state is State.OFF
    assert bench.robot.commands == []


def test_a_stop_while_standing_up_turns_round():
    bench = Bench()
    bench.monitor.start()
    bench.ticks(40)
    bench.monitor.stop()
    verdicts = bench.until(State.OFF, STAND_TICKS + DAMP_TICKS + 2)
    assert states(verdicts) == [State.LIE, State.DAMP, State.OFF]
    np.testing.assert_allclose(bench.robot.joint_pos, ROBOT.rest_pose, atol=1e-12)


def test_damp_at_once():
    bench = Bench().running()
    bench.monitor.damp("stopped twice")
    verdicts = bench.until(State.OFF, DAMP_TICKS + 2)
    assert states(verdicts) == [State.DAMP, State.OFF]
    assert verdicts[0].mode is Mode.DAMP
    assert verdicts[0].message == "stopped twice"


def test_slow_enabling_and_spikes_move_no_target_by_leaps():
    bench = Bench()
    bench.robot.enabling_time = 1.5
    bench.monitor.start()
    verdicts = bench.ticks(30)
    bench.clock.pass_by(0.7)
    verdicts += bench.ticks(30)
    targets = np.array([v.limited_target for v in verdicts])
    assert np.abs(np.diff(targets, axis=0)).max() < 2 * 0.0174


# --- the policy is untrusted ----------------------------------------------------------------------


def test_targets_pass_the_limiter_and_leave_their_reasons():
    bench = Bench().running()
    wild = ROBOT.default_pose.copy()
    wild[2] = -50.0
    bench.decide = lambda: wanting(wild)
    first = bench.tick()
    # Torque is the tightest: 2 N·m / 13.8 N·m/rad = 0.1449 rad around the measured angle.
    assert first.limited_target[2] == pytest.approx(-1.5 - 2.0 / 13.8)
    assert first.reasons[2] == Reason.RATE | Reason.TORQUE
    assert not first.reasons[[i for i in range(N) if i != 2]].any()
    for _ in range(20):
        last = bench.tick()
    assert last.limited_target[2] == ROBOT.lower[2]
    assert last.reasons[2] & Reason.POSITION
    assert last.state is State.RUN


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", ["joint_target", "action"])
def test_a_single_non_finite_decision_is_refused_whole(value: float, place: str):
    bench = Bench().running()
    before = bench.tick().limited_target
    bad = wanting(ROBOT.default_pose + 0.1)
    array = getattr(bad, place).copy()
    array[7] = value
    bad = replace(bad, **{place: array})
    good, bench.decide = bench.decide, lambda: bad
    verdict = bench.tick()
    assert (verdict.state, verdict.mode) == (State.HOLD, Mode.HOLD)
    assert verdict.fault is Fault.NON_FINITE
    assert f"policy: {place}[7]: found {value}" in verdict.message
    np.testing.assert_array_equal(verdict.limited_target, before)
    bench.decide = good
    verdict = bench.tick()
    assert (verdict.state, verdict.fault) == (State.RUN, Fault.NONE)


@pytest.mark.parametrize(
    ("decision", "fault"),
    [
        (wanting(np.full(N, np.nan)), Fault.NON_FINITE),
        (wanting(np.zeros(1)), Fault.NON_FINITE),
        (Decision({}, np.zeros((1, N)), np.zeros(N)), Fault.NON_FINITE),
        (None, Fault.POLICY_STALLED),
    ],
)
def test_a_policy_that_stays_broken_ends_the_run(decision: Decision | None, fault: Fault):
    bench = Bench().running()
    bench.decide = lambda: decision
    verdicts = bench.until(State.DAMP, 7)
    verdicts += bench.until(State.FAULT, DAMP_TICKS + 1)
    assert states(verdicts) == [State.HOLD, State.DAMP, State.FAULT]
    assert bench.monitor.fault is fault
    finite = [c.target for c in bench.robot.commands if c.target is not None]
    assert np.isfinite(finite).all()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.one_of(st.floats(width=32), st.floats(-3, 3)), min_size=N, max_size=N).map(
            np.array
        ),
        min_size=1,
        max_size=8,
    )
)
def test_whatever_the_policy_says_commands_stay_within_the_limits(targets: list[np.ndarray]):
    bench = Bench().running()
    for target in targets:
        bench.decide = lambda target=target: wanting(target)
        measured = bench.robot.joint_pos
        bench.tick()
        command = bench.robot.commands[-1]
        if command.mode is Mode.TRACK:
            assert command.target is not None
            assert (command.target >= ROBOT.lower).all()
            assert (command.target <= ROBOT.upper).all()
            reach = ROBOT.torque_limit / ROBOT.kp
            assert (np.abs(command.target - measured) <= reach + 1e-9).all()
        else:
            assert command.mode in (Mode.HOLD, Mode.DAMP)


# --- holding has an end ---------------------------------------------------------------------------


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


# --- deadlines and the port -----------------------------------------------------------------------


def test_missed_deadlines_hold_then_damp():
    bench = Bench().running()
    seen = {}
    for bench.missed in (0, 4, 5, 9, 0, 9, 10):
        seen[bench.missed] = bench.tick().state
    assert seen == {
        0: State.RUN, 4: State.RUN, 5: State.HOLD, 9: State.HOLD, 10: State.DAMP
    }  # fmt: skip
    assert bench.monitor.fault is Fault.MISSED_DEADLINES


def test_a_port_that_goes_is_a_dead_bus():
    bench = Bench().running()
    bench.robot.refuses = True
    verdict = bench.tick()
    assert (verdict.state, verdict.fault) == (State.DAMP, Fault.DEAD_BUS)
    assert "/dev/ttyFAKE: the port is gone" in verdict.message
    bench.until(State.FAULT, DAMP_TICKS + 1)  # and nothing is raised meanwhile
    bench.robot.refuses = False
    bench.tick()
    assert bench.robot.modes[-1] is Mode.OFF, "back again: off at once"


def test_a_port_that_goes_while_enabling_has_its_motors_released():
    bench = Bench()
    bench.monitor.start()
    bench.robot.refuses = True
    verdict = bench.tick()
    assert (verdict.state, verdict.fault) == (State.FAULT, Fault.DEAD_BUS)
    bench.robot.refuses = False
    bench.tick()
    assert bench.robot.modes == [Mode.OFF]


def test_motors_that_refuse_to_be_enabled_are_left_alone():
    bench = Bench()
    write = bench.robot.write

    def refuse(command: Command) -> None:
        if command.mode is not Mode.OFF:
            raise EnableRefused("torque is on already")
        write(command)

    bench.robot.write = refuse  # type: ignore[method-assign]
    bench.monitor.start()
    verdict = bench.tick()
    assert (verdict.state, verdict.fault) == (State.FAULT, Fault.ENABLE_REFUSED)
    bench.ticks(10)
    assert bench.robot.commands == [], "OFF would drop what stands by another's torque"


def test_damping_before_the_first_command_enables_nothing():
    bench = Bench()
    bench.monitor.start()
    assert bench.monitor.damp("stopped twice")
    verdicts = bench.ticks(10)
    assert {v.state for v in verdicts} == {State.OFF}
    assert bench.robot.commands == []


def test_a_tick_that_fails_before_the_first_command_enables_nothing(
    monkeypatch: pytest.MonkeyPatch,
):
    bench = Bench()
    bench.monitor.start()
    with monkeypatch.context() as context:
        context.setattr("surefoot.deploy.safety.limit_target", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            bench.tick()
    bench.monitor.damp("the control loop failed")
    bench.ticks(10)
    assert bench.robot.commands == []


def test_a_robot_that_did_not_get_up_does_not_run():
    bench = Bench()
    bench.monitor.start()
    stuck = ROBOT.rest_pose[2]

    def stick(sample: Sample) -> Sample:
        joint_pos = sample.joint_pos.copy()
        joint_pos[2] = stuck
        return replace(sample, joint_pos=joint_pos)

    bench.robot.spoil = stick
    verdicts = bench.until(State.FAULT, 2 * STAND_TICKS + DAMP_TICKS + 3)
    assert states(verdicts) == [State.STAND, State.LIE, State.DAMP, State.FAULT]
    assert bench.monitor.cause == (
        "front_left_knee: 1.15 rad from the standing pose, allowed is 0.35 rad"
    )


# --- the dry run ----------------------------------------------------------------------------------


def test_a_dry_run_limits_and_writes_nothing():
    bench = Bench(dry_run=True)
    verdict = bench.tick()
    assert (verdict.state, verdict.mode) == (State.OFF, Mode.OFF)
    # The knee lies at rest and the policy wants -1.5: the torque window ends 2 / 13.8 from there.
    assert verdict.limited_target[2] == pytest.approx(KNEE + 2.0 / 13.8)
    assert verdict.reasons[2] & Reason.TORQUE
    bench.robot.spoil = spoiled(gravity=-DOWN)
    verdict = bench.tick()
    assert (verdict.state, verdict.fault) == (State.OFF, Fault.TILT)
    assert verdict.message.startswith("TILT")
    bench.robot.spoil = lambda s: s
    bench.decide = lambda: wanting(np.full(N, np.nan))
    assert bench.tick().fault is Fault.NON_FINITE
    bench.monitor.stop()
    bench.monitor.damp("twice")
    assert bench.robot.commands == []
    with pytest.raises(UsageError, match="a dry run never starts the robot"):
        bench.monitor.start()
