"""The safety monitor: its states, an untrusted policy, deadlines, a port that goes, the dry run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
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
@pytest.mark.parametrize(("place", "name"), [("wanted", "joint_target"), ("action", "action")])
def test_a_single_non_finite_decision_is_refused_whole(value: float, place: str, name: str):
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
    assert f"policy: {name}[7]: found {value}" in verdict.message
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


def after_a_run(bench: Bench) -> Bench:
    """The bench when it has been through a whole run, and has been left alone for a minute."""
    bench.running()
    bench.monitor.stop()
    bench.until(State.OFF, STAND_TICKS + DAMP_TICKS + 2)
    bench.clock.pass_by(60.0)
    return bench


def test_torque_found_at_a_second_start_is_left_on():
    bench = after_a_run(Bench())
    others = np.ones(N, bool)
    bench.robot.spoil = lambda s: replace(s, health=replace(s.health, torque_on=others))
    before = len(bench.robot.commands)
    bench.monitor.start()
    verdict = bench.tick()
    assert (verdict.state, verdict.fault) == (State.FAULT, Fault.START_REFUSED)
    bench.ticks(10)
    assert len(bench.robot.commands) == before, "OFF would drop what stands by another's torque"


def test_the_time_between_two_runs_is_none_of_the_second():
    """An attitude that rests for a minute is not frozen, be the gyro never quite 0."""
    bench = Bench()
    bench.robot.spoil = spoiled(gyro=np.array([0.005, 0.0, 0.0]))
    after_a_run(bench).monitor.start()
    assert bench.until(State.RUN, STAND_TICKS + 1)


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
        context.setattr("surefoot.deploy.drive.limit_target", lambda *_: 1 / 0)
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
