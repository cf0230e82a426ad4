"""The safety monitor against a robot that obeys and sensors that lie: every fault to its state."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kinematic_robot import FakeClock, KinematicRobot, silence
from surefoot.deploy.checks import tilt
from surefoot.deploy.preflight import advice, listen, preflight
from surefoot.deploy.safety import SafetyMonitor
from surefoot.deploy.verdict import Decision, Fault, State, Verdict
from surefoot.hardware.interface import Command, Mode, Sample
from surefoot.models.errors import EnableRefused, UsageError
from surefoot.models.limits import Reason
from surefoot.models.robot_file import load_robot

ROBOT = load_robot("quadruped")
N = len(ROBOT.joints)
PERIOD = ROBOT.control_period
SAFETY = ROBOT.safety
HALF = round(SAFETY.stand_time / PERIOD / 2)  # 50
STAND_TICKS = 2 * HALF + 1  # both ends included
DAMP_TICKS = round(SAFETY.damp_time / PERIOD) + 1
DOWN = np.array([0.0, 0.0, -1.0])


def wanting(joint_target: np.ndarray) -> Decision:
    """A decision for this joint target."""
    return Decision({}, np.zeros(N), joint_target)


class Bench:
    """A monitor, its robot, and a policy that wants the standing pose."""

    def __init__(self, dry_run: bool = False) -> None:
        self.clock = FakeClock()
        self.robot = KinematicRobot(ROBOT, self.clock)
        self.monitor = SafetyMonitor(ROBOT, self.robot, dry_run)
        self.decide: Callable[[], Decision | None] = lambda: wanting(ROBOT.default_pose)
        self.missed = 0

    def tick(self) -> Verdict:
        self.clock.pass_by(PERIOD)
        sample = self.robot.read()
        decision = self.decide() if self.monitor.wants_decision else None
        return self.monitor.tick(sample, decision, self.clock.now(), self.missed)

    def ticks(self, count: int) -> list[Verdict]:
        return [self.tick() for _ in range(count)]

    def until(self, state: State, most: int) -> list[Verdict]:
        """Tick until `state`, in at most so many ticks."""
        verdicts = []
        for _ in range(most):
            verdicts.append(self.tick())
            if verdicts[-1].state is state:
                return verdicts
        raise AssertionError(f"no {state.name} in {most} ticks: {verdicts[-1]}")

    def running(self) -> Bench:
        self.monitor.start()
        self.until(State.RUN, STAND_TICKS + 1)
        return self


def spoiled(**changes: object) -> Callable[[Sample], Sample]:
    return lambda sample: replace(sample, **changes)  # type: ignore[arg-type]


def states(verdicts: list[Verdict]) -> list[State]:
    """The states passed through, each once."""
    passed = [verdict.state for verdict in verdicts]
    return [s for i, s in enumerate(passed) if i == 0 or passed[i - 1] is not s]


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


# --- faults of the sensors ------------------------------------------------------------------------


def test_silence_holds_then_damps_then_ends():
    bench = Bench().running()
    silent_for = 0.0

    def forget(sample: Sample) -> Sample:
        nonlocal silent_for
        silent_for += PERIOD
        return silence(sample, [2], silent_for)

    bench.robot.spoil = forget
    verdicts = bench.ticks(6)
    # Ages 0.02, 0.04, 0.06, 0.08, 0.10, 0.12: held beyond 0.03, damped beyond 0.10.
    hold = [State.HOLD] * 4
    assert [v.state for v in verdicts] == [State.RUN, *hold, State.DAMP]
    assert verdicts[-1].fault is Fault.STALE_SENSORS
    assert "front_left_knee: last reading 120.0 ms ago, allowed is 100 ms" in verdicts[-1].message
    bench.until(State.FAULT, DAMP_TICKS + 1)


def test_a_short_silence_is_survived():
    bench = Bench().running()
    bench.robot.spoil = lambda s: silence(s, [2, 5], 0.05)
    verdict = bench.tick()
    assert (verdict.state, verdict.fault) == (State.HOLD, Fault.STALE_SENSORS)
    bench.robot.spoil = lambda s: s
    verdict = bench.tick()
    assert (verdict.state, verdict.fault) == (State.RUN, Fault.NONE)
    assert bench.monitor.fault is Fault.NONE


def test_standing_up_waits_while_it_holds():
    bench = Bench()
    bench.monitor.start()
    bench.ticks(50)
    bench.robot.spoil = lambda s: silence(s, [0], 0.05)
    assert {v.state for v in bench.ticks(45)} == {State.HOLD}
    bench.robot.spoil = lambda s: s
    verdicts = bench.until(State.RUN, 60)
    assert len(verdicts) in (50, 51, 52)


def alerting(sample: Sample, joint: int, bits: int) -> Sample:
    """With the alert of one motor, whose error status says so much."""
    which = np.arange(N) == joint
    health = replace(sample.health, error_bits=np.where(which, bits, 0).astype(np.uint8))
    return replace(sample, alert=which, health=health)


def limp(sample: Sample, joint: int) -> Sample:
    """With one motor that has silently lost its torque."""
    health = replace(sample.health, torque_on=np.arange(N) != joint)
    return replace(sample, health=health)


def tripped(sample: Sample, joint: int) -> Sample:
    """With one motor that was stopped by its own watchdog."""
    health = replace(sample.health, watchdog_tripped=np.arange(N) == joint)
    return replace(sample, health=health)


STEADY = np.array([0.0, 0.0, 9.8])
JUMP = np.eye(N)[2]  # 1 rad at one joint
DEEP = {
    "all motors silent": (lambda s: silence(s, list(range(N)), 0.2), Fault.DEAD_BUS, 1),
    "all ages are NaN": (lambda s: silence(s, list(range(N)), math.nan), Fault.DEAD_BUS, 1),
    "one motor never heard": (lambda s: silence(s, [4], math.inf), Fault.STALE_SENSORS, 1),
    "age is NaN": (lambda s: silence(s, [4], math.nan), Fault.STALE_SENSORS, 1),
    "imu silent": (spoiled(imu_age=0.2), Fault.STALE_SENSORS, 1),
    "on its side": (spoiled(gravity=np.array([0.0, -1.0, 0.0])), Fault.TILT, 1),
    "upside down": (spoiled(gravity=np.array([0.0, 0.0, 1.0])), Fault.TILT, 1),
    "no gravity": (spoiled(gravity=np.zeros(3)), Fault.TILT, 1),
    "motor alert": (lambda s: alerting(s, 3, 0x20), Fault.MOTOR_ALERT, 1),
    "motor alert, cause unread": (lambda s: alerting(s, 3, 0), Fault.MOTOR_ALERT, 7),
    "torque lost": (lambda s: limp(s, 5), Fault.TORQUE_LOST, 1),
    "watchdog": (lambda s: tripped(s, 1), Fault.WATCHDOG_TRIPPED, 1),
    "readings refused": (spoiled(encoder_jump=np.eye(N, dtype=bool)[2]), Fault.ENCODER_JUMP, 1),
    "encoder jump": (lambda s: replace(s, joint_pos=s.joint_pos + JUMP), Fault.ENCODER_JUMP, 1),
    "imu frozen": (spoiled(acceleration=STEADY), Fault.IMU_FROZEN, 14),
    "NaN gyro": (spoiled(gyro=np.array([0.0, np.nan, 0.0])), Fault.NON_FINITE, 7),
    "infinite angle": (spoiled(joint_pos=np.full(N, np.inf)), Fault.NON_FINITE, 7),
    "NaN gravity": (spoiled(gravity=DOWN * np.nan), Fault.NON_FINITE, 7),
}


@pytest.mark.parametrize("name", DEEP)
@pytest.mark.parametrize("phase", [State.STAND, State.RUN, State.LIE])
def test_a_fault_damps_and_is_latched(name: str, phase: State):
    spoil, fault, most = DEEP[name]
    bench = Bench()
    bench.monitor.start()
    bench.ticks(30) if phase is State.STAND else bench.until(State.RUN, STAND_TICKS + 1)
    if phase is State.LIE:
        bench.monitor.stop()
        bench.ticks(30)
    bench.robot.spoil = spoil
    verdicts = bench.until(State.DAMP, most)
    assert verdicts[-1].fault is bench.monitor.fault is fault
    assert fault.name in verdicts[-1].message
    assert bench.robot.modes[-1] is Mode.DAMP
    verdicts = bench.until(State.FAULT, DAMP_TICKS + 1)
    assert set(bench.robot.modes[-len(verdicts) : -1]) == {Mode.DAMP}
    bench.robot.spoil = lambda s: s
    after = bench.ticks(50)  # all is well again, and it stays off
    assert {(v.state, v.mode, v.fault) for v in after} == {(State.FAULT, Mode.OFF, fault)}
    assert set(bench.robot.modes[-50:]) == {Mode.OFF}
    with pytest.raises(UsageError, match=r"found state FAULT \(.+\), allowed is OFF"):
        bench.monitor.start()


def test_a_resting_gyro_may_repeat():
    bench = Bench().running()  # the double's gyro is zero all the time
    assert {v.state for v in bench.ticks(100)} == {State.RUN}


def test_a_joint_heard_again_may_have_moved_as_far_as_its_motor_can():
    # 0.09 s unheard at 1.5 · 8.06 rad/s: 1.09 rad. Not 0.8 rad in each of its five ticks.
    for moved, state in ((1.0, State.RUN), (1.2, State.DAMP)):
        bench = Bench().running()
        bench.tick()
        bench.clock.pass_by(0.07)
        bench.robot.spoil = lambda s, by=moved: replace(s, joint_pos=s.joint_pos + by * JUMP)
        assert bench.tick().state is state


def test_tilt_is_a_true_angle():
    for angle in (0.0, 0.3, 0.89, 0.91, math.pi / 2, 2.5, math.pi):
        for heading in (0.0, 1.0, -2.0):
            x, y = math.cos(heading), math.sin(heading)
            gravity = np.array([math.sin(angle) * x, math.sin(angle) * y, -math.cos(angle)])
            assert tilt(gravity) == pytest.approx(angle, abs=1e-9)


def test_tilt_limit_is_exact():
    for angle, state in ((0.899, State.RUN), (0.901, State.DAMP)):
        bench = Bench().running()
        gravity = np.array([math.sin(angle), 0.0, -math.cos(angle)])
        bench.robot.spoil = spoiled(gravity=gravity)
        assert bench.tick().state is state


# --- faults of the motors' health: lie down while it can ------------------------------------------


def weaken(bench: Bench, **changes: np.ndarray) -> None:
    bench.robot.health = replace(bench.robot.health, **changes)


def test_heat_lies_down():
    bench = Bench().running()
    weaken(bench, temperature=np.where(np.arange(N) == 5, 71.0, 40.0))
    verdicts = bench.ticks(1)
    assert verdicts[0].message.endswith(
        "OVERHEATED: front_right_knee: found 71.0 °C, allowed is at most 70.0 °C"
    )
    verdicts += bench.until(State.FAULT, STAND_TICKS + DAMP_TICKS + 2)
    assert states(verdicts) == [State.LIE, State.DAMP, State.FAULT]
    assert bench.monitor.fault is Fault.OVERHEATED


def test_a_sag_that_lasts_lies_down_and_a_short_one_does_not():
    bench = Bench().running()
    weaken(bench, voltage=np.full(N, 9.9))
    assert {v.state for v in bench.ticks(20)} == {State.RUN}
    weaken(bench, voltage=np.full(N, 10.1))
    bench.tick()
    weaken(bench, voltage=np.full(N, 9.9))
    verdicts = bench.until(State.FAULT, 27 + STAND_TICKS + DAMP_TICKS)
    assert states(verdicts) == [State.RUN, State.LIE, State.DAMP, State.FAULT]
    assert [v.state for v in verdicts].count(State.RUN) in (25, 26)  # 0.5 s, counted anew
    assert bench.monitor.fault is Fault.UNDERVOLTAGE


def test_a_fall_while_lying_down_hot_damps_and_keeps_the_first_cause():
    bench = Bench().running()
    weaken(bench, temperature=np.full(N, 80.0))
    bench.ticks(10)
    bench.robot.spoil = spoiled(gravity=-DOWN)
    verdict = bench.tick()
    assert (verdict.state, verdict.fault) == (State.DAMP, Fault.OVERHEATED)
    assert verdict.message.startswith("then TILT")


def test_an_old_watchdog_trip_is_no_fault_and_one_soon_after_enabling_is():
    bench = Bench()
    first = np.eye(N, dtype=bool)[1]
    # Of an earlier run, and not read again before the run begins.
    weaken(bench, watchdog_tripped=first, age=np.full(N, 0.5))
    bench.monitor.start()
    assert {v.state for v in bench.ticks(20)} == {State.STAND}
    weaken(bench, age=np.zeros(N))  # read again, and it still says so
    verdict = bench.tick()
    assert (verdict.state, verdict.fault) == (State.DAMP, Fault.WATCHDOG_TRIPPED)


def test_a_motor_whose_news_are_from_before_the_torque_is_not_limp():
    bench = Bench()
    bench.robot.spoil = lambda s: replace(
        s, health=replace(s.health, torque_on=np.zeros(N, bool), age=np.full(N, 0.3))
    )
    bench.monitor.start()
    assert {v.state for v in bench.ticks(15)} == {State.STAND}
    verdict = bench.until(State.DAMP, 3)[-1]  # 0.3 s after it
    assert verdict.fault is Fault.TORQUE_LOST
    assert "all 12 motors: found torque off" in verdict.message


def test_an_input_voltage_error_alone_lies_down_and_is_told_by_its_bits():
    bench = Bench().running()
    dip = alerting(bench.robot.read(), 0, 0x01)
    bench.robot.spoil = lambda s: replace(
        s, alert=np.ones(N, bool), health=replace(s.health, error_bits=dip.health.error_bits)
    )
    # All alert, one has told why: nobody is dropped for it. It lies down where it lasts.
    assert {v.state for v in bench.ticks(20)} == {State.RUN}
    verdicts = bench.until(State.LIE, 10)
    assert bench.monitor.fault is Fault.UNDERVOLTAGE
    assert bench.monitor.cause == (
        "front_left_hip_roll: hardware error 0x01 (INPUT_VOLTAGE): reboot it"
    )
    both = alerting(bench.robot.read(), 0, 0x21)
    bench.robot.spoil = lambda s: replace(s, alert=both.alert, health=both.health)
    verdicts = bench.until(State.DAMP, 1)
    assert "0x21 (INPUT_VOLTAGE|OVERLOAD)" in verdicts[-1].message


def test_an_alert_is_judged_when_its_cause_is_known():
    bench = Bench().running()
    bench.robot.spoil = lambda s: alerting(s, 4, 0)
    verdict = bench.tick()
    assert (verdict.state, verdict.fault) == (State.HOLD, Fault.MOTOR_ALERT)
    assert "0x00" not in verdict.message
    bench.robot.spoil = lambda s: alerting(s, 4, 0x01)
    assert bench.tick().state is State.RUN
    bench.robot.spoil = lambda s: alerting(s, 4, 0x04)
    verdict = bench.tick()
    assert verdict.state is State.DAMP
    assert "front_right_hip_pitch: hardware error 0x04 (OVERHEATING)" in verdict.message


def test_health_that_nobody_reads_any_more_lies_down():
    bench = Bench().running()
    age = np.where(np.arange(N) == 3, 2.1, 0.1)
    weaken(bench, age=age)
    verdict = bench.tick()
    assert (verdict.state, verdict.fault) == (State.LIE, Fault.STALE_SENSORS)
    assert "front_right_hip_roll: voltage and temperature read 2.1 s ago" in verdict.message


# --- holding has an end ---------------------------------------------------------------------------


def test_a_hold_by_the_imu_ends_in_lying_down():
    bench = Bench().running()
    bench.robot.spoil = spoiled(imu_age=0.06)
    verdicts = bench.until(State.FAULT, 51 + STAND_TICKS + DAMP_TICKS + 2)
    assert states(verdicts) == [State.HOLD, State.LIE, State.DAMP, State.FAULT]
    assert [v.state for v in verdicts].count(State.HOLD) == 50
    assert bench.monitor.fault is Fault.STALE_SENSORS
    assert bench.monitor.cause == ("held for 1 s: imu: last reading 60.0 ms ago, allowed is 30 ms")
    np.testing.assert_allclose(bench.robot.joint_pos, ROBOT.rest_pose, atol=1e-12)


def test_a_hold_by_the_motors_ends_in_damping():
    bench = Bench().running()
    bench.robot.spoil = lambda s: silence(s, list(range(N)), 0.06)
    verdicts = bench.until(State.DAMP, 51)
    assert states(verdicts) == [State.HOLD, State.DAMP]
    assert "all 12 motors: last reading 60.0 ms ago, allowed is 30 ms" in bench.monitor.cause


def test_a_stop_is_obeyed_while_the_imu_holds_the_robot():
    bench = Bench().running()
    bench.robot.spoil = spoiled(imu_age=0.06)
    assert bench.ticks(5)[-1].state is State.HOLD
    assert bench.monitor.stop()
    verdicts = bench.until(State.OFF, STAND_TICKS + DAMP_TICKS + 2)
    assert states(verdicts) == [State.LIE, State.DAMP, State.OFF]
    assert bench.monitor.fault is Fault.NONE


# --- an attitude that lies ------------------------------------------------------------------------


def test_an_attitude_that_stays_upright_while_the_robot_turns_over_is_a_fault():
    bench = Bench().running()
    reads = 0

    def turned_over(sample: Sample) -> Sample:
        nonlocal reads
        reads += 1
        return replace(sample, acceleration=np.array([0.1, 0.0, -9.8 + 0.005 * (reads % 2)]))

    bench.robot.spoil = turned_over
    # Smoothed over 0.5 s it takes 0.35 s to be more than 0.6 rad off, and 0.5 s more to tell.
    verdicts = bench.until(State.DAMP, 50)
    assert set(states(verdicts)) == {State.RUN, State.DAMP}
    assert len(verdicts) > 25
    assert verdicts[-1].fault is Fault.ATTITUDE_DISAGREES


def test_an_attitude_that_freezes_while_the_gyro_turns_is_a_fault():
    for gyro, faults in (([1.0, 0.0, 0.0], True), ([0.0, 0.0, 1.0], False)):
        bench = Bench().running()
        bench.robot.spoil = spoiled(gyro=np.array(gyro))
        verdicts = bench.ticks(30)
        assert (verdicts[-1].fault is Fault.IMU_FROZEN) is faults
        if faults:
            assert any("the same attitude for" in v.message for v in verdicts)


def test_shoves_are_no_attitude_fault():
    bench = Bench().running()
    rng = np.random.default_rng(0)
    bench.robot.spoil = lambda s: replace(s, acceleration=s.acceleration + rng.normal(0.0, 8.0, 3))
    assert {v.state for v in bench.ticks(300)} == {State.RUN}


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


# --- before the start -----------------------------------------------------------------------------

KNEE = ROBOT.rest_pose[2]
REFUSALS = {
    f"front_left_knee: found {KNEE + 1:.2f} rad, allowed is {KNEE:.2f} ± 0.35 rad, the rest pose": (
        lambda s: replace(s, joint_pos=s.joint_pos + JUMP)
    ),
    "rear_right_knee: no reading yet": lambda s: silence(s, [11], math.inf),
    "imu: last reading 500.0 ms ago, allowed is 30 ms": spoiled(imu_age=0.5),
    "imu: found 20 Hz, allowed is at least 160 Hz, 0.8 of imu.rate: set the IMU's output rate": (
        spoiled(imu_rate=20.0)
    ),
    "imu: found nan Hz, allowed is at least 160 Hz, 0.8 of imu.rate: set the IMU's output rate": (
        spoiled(imu_rate=math.nan)
    ),
    "tilt: found 3.14 rad, allowed is at most 0.90 rad": spoiled(gravity=-DOWN),
    "front_left_hip_pitch: hardware error, its status not read yet": spoiled(
        alert=np.eye(N, dtype=bool)[1]
    ),
    "front_left_hip_pitch: hardware error 0x04 (OVERHEATING): reboot it": (
        lambda s: alerting(s, 1, 0x04)
    ),
    "all 12 motors: found torque on, allowed is off": lambda s: replace(
        s, health=replace(s.health, torque_on=np.ones(N, bool))
    ),
    "rear_left_knee: found torque on, allowed is off": lambda s: replace(
        s, health=replace(s.health, torque_on=np.eye(N, dtype=bool)[8])
    ),
    # In the rest pose as far as that goes, and outside the joint's range.
    "front_left_knee: found -2.95 rad, allowed is -2.70 to -0.30 rad, its range": lambda s: replace(
        s, joint_pos=np.where(np.arange(N) == 2, -2.95, s.joint_pos)
    ),
    "all 12 motors: voltage and temperature read 3.0 s ago, allowed is 2 s": lambda s: replace(
        s, health=replace(s.health, age=np.full(N, 3.0))
    ),
    "gyro[2]: found nan, allowed is a finite number": spoiled(gyro=np.array([0, 0, np.nan])),
    "front_left_hip_roll: found 9.1 V, allowed is at least 10.0 V": lambda s: replace(
        s, health=replace(s.health, voltage=np.where(np.arange(N) == 0, 9.1, 12.0))
    ),
    "front_left_hip_roll: found 90.0 °C, allowed is at most 70.0 °C": lambda s: replace(
        s, health=replace(s.health, temperature=np.where(np.arange(N) == 0, 90.0, 30.0))
    ),
    "voltage: not known yet of 12 motors": lambda s: replace(
        s, health=replace(s.health, voltage=np.full(N, np.nan))
    ),
}


@pytest.mark.parametrize("finding", REFUSALS)
def test_preflight_names_what_it_found(finding: str):
    bench = Bench()
    assert bench.monitor.preflight(bench.robot.read()) == []
    bench.robot.spoil = REFUSALS[finding]
    assert preflight(ROBOT, bench.robot.read()) == [finding]
    bench.monitor.start()  # the operator says yes all the same, or long after
    verdict = bench.tick()
    assert (verdict.state, verdict.fault) == (State.FAULT, Fault.START_REFUSED)
    assert finding in verdict.message
    bench.ticks(5)
    assert bench.robot.commands == []


def test_a_limp_joint_on_the_end_of_its_range_may_start():
    bench = Bench()
    bench.robot.joint_pos = np.where(np.arange(N) == 2, -2.72, ROBOT.rest_pose)
    assert preflight(ROBOT, bench.robot.read()) == []


def test_listening_begins_afresh_and_finds_what_one_sample_does_not_show():
    bench = Bench()
    sample, seen = listen(ROBOT, bench.robot, bench.clock)
    assert (bench.robot.refreshes, seen) == (1, [])
    assert bench.robot.reads >= 5 * N
    assert sample.time == bench.clock.now()
    bench.robot.spoil = spoiled(acceleration=STEADY)
    _, seen = listen(ROBOT, bench.robot, bench.clock)
    assert len(seen) == 1 and "imu: the same acceleration" in seen[0]
    bench.robot.spoil = spoiled(encoder_jump=np.ones(N, bool))
    _, seen = listen(ROBOT, bench.robot, bench.clock)
    assert seen == ["all 12 motors: implausible readings, two in a row or more"]


def test_a_refused_start_comes_with_advice():
    bench = Bench()
    assert advice(ROBOT, bench.robot.read()) == ""
    bench.robot.joint_pos = ROBOT.default_pose.copy()
    assert advice(ROBOT, bench.robot.read()).startswith("Lay the robot in its rest pose by hand")
    bench.robot.spoil = lambda s: replace(s, health=replace(s.health, torque_on=np.ones(N, bool)))
    assert "surefoot release" in advice(ROBOT, bench.robot.read())


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
