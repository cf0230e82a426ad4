"""The safety monitor under joint torques: the host holds, damps, and pushes at nothing unseen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from kinematic_robot import FakeClock, silence
from safety_bench import BOLTED, DAMP_TICKS, PERIOD, ROBOT, SAFETY, STAND_TICKS, N, states
from surefoot.deploy.safety import SafetyMonitor
from surefoot.deploy.verdict import Decision, Fault, State, Verdict
from surefoot.hardware.interface import Command, Mode, Sample
from surefoot.models.errors import UsageError
from surefoot.models.limits import Limits, Reason
from surefoot.models.robot import Robot
from torque_robot import TorqueRobot

LIMITS = Limits.of(ROBOT, "joint_torque")


def pushing(torque: np.ndarray) -> Decision:
    """A decision for this joint torque."""
    return Decision({}, np.zeros(N), torque, "joint_torque")


class Bench:
    """A monitor, a robot of rotors, and a policy that pushes at nothing."""

    def __init__(self, dry_run: bool = False, robot: Robot = ROBOT, load: float = 1.5) -> None:
        self.clock = FakeClock()
        self.robot = TorqueRobot(robot, self.clock, load)
        self.monitor = SafetyMonitor(robot, self.robot, dry_run, "joint_torque")
        self.decide: Callable[[Sample], Decision] = lambda sample: pushing(np.zeros(N))

    def tick(self) -> Verdict:
        self.clock.pass_by(PERIOD)
        sample = self.robot.read()
        decision = self.decide(sample) if self.monitor.wants_decision else None
        return self.monitor.tick(sample, decision, self.clock.now())

    def ticks(self, count: int) -> list[Verdict]:
        return [self.tick() for _ in range(count)]

    def running(self) -> Bench:
        self.monitor.start()
        assert self.ticks(STAND_TICKS + 1)[-1].state is State.RUN
        return self


def test_a_whole_run_in_position_terms_until_the_policy_pushes():
    bench = Bench()
    bench.monitor.start()
    stood = bench.ticks(STAND_TICKS)
    away = np.abs(bench.robot.joint_pos - ROBOT.default_pose).max()
    assert away < 0.05, "there is no gravity to sag under"
    bench.decide = lambda sample: pushing(np.full(N, 0.1))
    ran = bench.ticks(5)
    np.testing.assert_allclose(ran[-1].limited_torque, 0.1)
    assert bench.monitor.stop()
    ended = bench.ticks(STAND_TICKS + DAMP_TICKS + 1)
    assert states([*stood, *ran, *ended]) == [
        State.STAND, State.RUN, State.LIE, State.DAMP, State.OFF,
    ]  # fmt: skip
    assert np.abs(bench.robot.joint_pos - ROBOT.rest_pose).max() < 0.05
    assert set(bench.robot.modes) == {Mode.TORQUE, Mode.DAMP, Mode.OFF}


def test_the_first_torque_is_none_and_the_caps_rise_from_soft():
    bench = Bench()
    bench.monitor.start()
    first, *others = bench.ticks(STAND_TICKS)
    np.testing.assert_array_equal(first.limited_torque, np.zeros(N))
    for verdict in others:
        assert (np.abs(verdict.limited_torque) <= verdict.torque_cap + 1e-12).all()
    np.testing.assert_allclose(others[0].torque_cap, 0.3 * ROBOT.torque_limit, rtol=0.05)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_single_torque_that_is_no_number_is_refused_whole(value: float):
    bench = Bench().running()
    bench.ticks(3)
    bad = np.full(N, 0.5)
    bad[7] = value
    before = bench.robot.joint_pos.copy()
    bench.decide = lambda sample: pushing(bad)
    held = bench.tick()
    assert (held.state, held.mode, held.fault) == (State.HOLD, Mode.TORQUE, Fault.NON_FINITE)
    assert f"policy: joint_torque[7]: found {value}" in held.message
    # Held where it was, by what the loop asks for, not by 0.5 N·m.
    pulled = LIMITS.kp * (before - bench.robot.joint_pos)
    assert np.abs(held.limited_torque).max() <= np.abs(pulled).max() + 0.35 * 0.1
    rest = bench.ticks(10)
    assert states(rest) == [State.HOLD, State.DAMP]
    assert bench.monitor.fault is Fault.NON_FINITE


@pytest.mark.parametrize(("load", "overshoot"), [(1.0, 0.0), (2.0, 0.0), (3.0, 0.0), (5.0, 0.15)])
def test_a_policy_that_pushes_outwards_with_all_it_has_is_stopped(load: float, overshoot: float):
    """Up to three times the rotor's inertia short of the end; a heavier joint coasts on."""
    bench = Bench(load=load).running()
    bench.decide = lambda sample: pushing(np.full(N, 1e6))
    verdicts = bench.ticks(250)
    assert (bench.robot.farthest - ROBOT.upper).max() <= overshoot
    assert (bench.robot.fastest <= 1.1 * LIMITS.velocity).all()
    assert bench.robot.joint_pos == pytest.approx(ROBOT.upper, abs=0.03), "it comes to rest there"
    assert all(verdict.state is State.RUN for verdict in verdicts)
    assert (verdicts[-1].reasons & (Reason.TORQUE | Reason.POSITION) == 6).all()


def test_a_policy_that_shakes_the_robot_keeps_it_in_its_range():
    bench = Bench().running()
    rng = np.random.default_rng(0)
    bench.decide = lambda sample: pushing(rng.choice([-9.0, 9.0], N) * rng.random(N))
    for _ in range(500):
        bench.tick()
        assert (bench.robot.joint_pos <= ROBOT.upper).all()
        assert (bench.robot.joint_pos >= ROBOT.lower).all()
    assert (bench.robot.fastest <= 1.1 * LIMITS.velocity).all()


def test_a_motor_that_pushes_by_itself_is_a_runaway_and_all_joints_yield():
    bench = Bench().running()
    bench.robot.pushed[4] = 6.0  # more than the limiter may brake with
    verdicts = bench.ticks(20)
    assert states(verdicts) == [State.RUN, State.DAMP]
    assert bench.monitor.fault is Fault.RUNAWAY
    assert ROBOT.joint_names[4] in bench.monitor.cause
    assert "allowed is up to 8.1 rad/s" in bench.monitor.cause


def test_a_joint_that_nobody_hears_of_gets_no_torque_and_the_others_are_held():
    bench = Bench().running()
    bench.decide = lambda sample: pushing(np.full(N, 1.5))
    bench.tick()
    bench.robot.spoil = lambda sample: silence(sample, [4], SAFETY.hold_after + 0.01)
    held = bench.tick()
    assert (held.state, held.fault) == (State.HOLD, Fault.STALE_SENSORS)
    assert held.limited_torque[4] == 0.0
    others = np.arange(N) != 4
    assert (held.limited_torque[others] < 0.0).all(), "they are braked, having been pushed"
    bench.robot.spoil = lambda sample: silence(sample, [4], SAFETY.damp_after + 0.01)
    assert bench.tick().mode is Mode.DAMP


def test_a_reading_that_is_no_number_moves_no_joint():
    bench = Bench().running()
    bench.decide = lambda sample: pushing(np.full(N, 1.5))
    bench.tick()

    def spoil(sample: Sample) -> Sample:
        joint_pos = sample.joint_pos.copy()
        joint_pos[2] = np.nan
        return replace(sample, joint_pos=joint_pos)

    bench.robot.spoil = spoil
    held = bench.tick()
    assert (held.state, held.fault) == (State.HOLD, Fault.NON_FINITE)
    assert held.limited_torque[2] == 0.0 and np.isfinite(held.limited_torque).all()


def test_a_stuck_joint_is_found_when_the_robot_has_stood_up():
    bench = Bench()
    bench.robot.stuck[2] = True
    bench.monitor.start()
    verdicts = bench.ticks(STAND_TICKS + 2)
    assert verdicts[-1].state is State.LIE
    assert bench.monitor.fault is Fault.POSE_NOT_REACHED
    assert ROBOT.joint_names[2] in bench.monitor.cause


def test_a_port_that_is_gone_damps_and_ends():
    bench = Bench().running()
    sample = bench.robot.read()
    bench.robot.unplugged = True
    for _ in range(DAMP_TICKS + 2):
        bench.clock.pass_by(PERIOD)
        verdict = bench.monitor.tick(sample, pushing(np.zeros(N)), bench.clock.now())
    assert (verdict.state, bench.monitor.fault) == (State.FAULT, Fault.DEAD_BUS)


def test_a_dry_run_shows_torques_and_writes_nothing():
    bench = Bench(dry_run=True)
    bench.decide = lambda sample: pushing(np.full(N, 9.0))
    verdict = bench.ticks(3)[-1]
    assert (verdict.state, verdict.mode) == (State.OFF, Mode.OFF)
    assert (np.abs(verdict.limited_torque) <= ROBOT.torque_limit).all()
    assert (verdict.reasons & Reason.TORQUE).all()
    assert np.isnan(verdict.limited_target).all()
    assert bench.robot.commands == []


def test_targets_are_not_for_a_robot_that_is_driven_by_torques():
    bench = Bench()
    for command in (Command(Mode.TRACK, ROBOT.rest_pose), Command(Mode.HOLD)):
        with pytest.raises(UsageError, match="allowed under joint_torque is OFF, DAMP, TORQUE"):
            bench.robot.write(command)
    with pytest.raises(UsageError, match="TORQUE needs one"):
        Command(Mode.TORQUE)


def test_a_robot_without_an_imu_runs_and_its_other_faults_remain():
    bench = Bench(robot=BOLTED).running()
    assert states(bench.ticks(50)) == [State.RUN]
    bench.robot.spoil = lambda sample: silence(sample, [4], SAFETY.damp_after + 0.01)
    assert bench.tick().mode is Mode.DAMP
    assert bench.monitor.fault is Fault.STALE_SENSORS
