"""What the monitor watches: sensors, motors, attitude; every fault to its state."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from kinematic_robot import silence
from safety_bench import (
    DAMP_TICKS,
    DOWN,
    JUMP,
    PERIOD,
    ROBOT,
    STAND_TICKS,
    STEADY,
    Bench,
    N,
    alerting,
    limp,
    spoiled,
    states,
    tripped,
    weaken,
)
from surefoot.deploy.checks import tilt
from surefoot.deploy.verdict import Fault, State
from surefoot.hardware.interface import Mode, Sample
from surefoot.models.errors import UsageError

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


def fall_silent(bench: Bench) -> Callable[[Sample], Sample]:
    """The IMU's port is gone: its last values stay, and grow old."""
    last = bench.robot.read()
    values = {name: getattr(last, name) for name in ("gyro", "gravity", "acceleration")}
    return lambda s: replace(s, imu_age=s.time - last.time, **values)


@pytest.mark.parametrize("phase", [State.STAND, State.RUN])
def test_an_imu_that_is_gone_holds_and_then_lies_down(phase: State):
    bench = Bench()
    bench.monitor.start()
    bench.ticks(90) if phase is State.STAND else bench.until(State.RUN, STAND_TICKS + 1)
    bench.robot.spoil = fall_silent(bench)
    verdicts = bench.until(State.LIE, 6)
    # Ages 0.02, 0.04, 0.06, 0.08, 0.10, 0.12: held beyond 0.03, given up beyond 0.10.
    assert [v.state for v in verdicts] == [phase, *[State.HOLD] * 4, State.LIE]
    assert verdicts[-1].fault is Fault.STALE_SENSORS
    assert "imu: last reading 120.0 ms ago, allowed is 100 ms" in bench.monitor.cause
    verdicts = bench.until(State.FAULT, STAND_TICKS + DAMP_TICKS + 1)
    assert states(verdicts) == [State.LIE, State.DAMP, State.FAULT]
    np.testing.assert_allclose(bench.robot.joint_pos, ROBOT.rest_pose, atol=1e-12)


def test_an_imu_that_is_gone_stops_no_lying_down():
    bench = Bench().running()
    bench.monitor.stop()
    bench.robot.spoil = fall_silent(bench)
    verdicts = bench.until(State.OFF, STAND_TICKS + DAMP_TICKS + 2)
    assert states(verdicts) == [State.LIE, State.DAMP, State.OFF]


def test_a_motor_is_still_watched_while_the_imu_is_gone():
    bench = Bench().running()
    bench.robot.spoil = lambda s: silence(replace(s, imu_age=math.inf), [4], 0.06)
    assert [v.state for v in bench.ticks(2)] == [State.HOLD] * 2
    assert bench.monitor.fault is Fault.STALE_SENSORS
    bench.robot.spoil = lambda s: silence(replace(s, imu_age=math.inf), [4], 0.2)
    assert bench.tick().state is State.DAMP
    bench = Bench().running()
    bench.robot.spoil = lambda s: replace(s, imu_age=math.nan)
    assert bench.tick().state is State.LIE


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


DEEP = {
    "all motors silent": (lambda s: silence(s, list(range(N)), 0.2), Fault.DEAD_BUS, 1),
    "all ages are NaN": (lambda s: silence(s, list(range(N)), math.nan), Fault.DEAD_BUS, 1),
    "one motor never heard": (lambda s: silence(s, [4], math.inf), Fault.STALE_SENSORS, 1),
    "age is NaN": (lambda s: silence(s, [4], math.nan), Fault.STALE_SENSORS, 1),
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
