"""Joint torques end to end: loop, monitor and driver against an emulated robot in mode 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("mujoco")

from safety_bench import BOLTED, ROBOT, SAFETY, N
from surefoot.deploy.loop import run
from surefoot.deploy.safety import SafetyMonitor
from surefoot.deploy.schedule import Schedule
from surefoot.deploy.verdict import Decision, Fault, State, Verdict
from surefoot.hardware.dynamixel import xseries as x
from surefoot.hardware.emulated.lines import EmulatedLines
from surefoot.hardware.emulated.robot import EmulatedRobot
from surefoot.hardware.interface import Command, Mode, Sample
from surefoot.hardware.serial_robot import SerialRobot
from surefoot.models.limits import Limits, loop_torque
from surefoot.sim.plant import MujocoPlant

LIMITS = Limits.of(ROBOT, "joint_torque")


class Bench:
    """The quadruped's body on motors in mode 0, without an IMU: its feet alone hold it up."""

    def __init__(self) -> None:
        self.emulated = EmulatedRobot(BOLTED, MujocoPlant(ROBOT), output="joint_torque")
        self.lines = EmulatedLines(self.emulated)
        self.robot = SerialRobot(BOLTED, self.lines.transports, self.lines.clock, "joint_torque")
        for _ in range(75):  # until all is known of the motors
            self.lines.wait_until(self.lines.clock() + ROBOT.control_period)
            self.sample = self.robot.read()

    # The loop's clock.
    def now(self) -> float:
        return self.lines.clock()

    def sleep_until(self, when: float) -> None:
        self.lines.wait_until(when)

    def registers(self, register: x.Register) -> list[int]:
        return [motor.table.get(register) for motor in self.emulated.motors]


class Stands:
    """A policy that holds the standing pose, by torques."""

    def reset(self) -> None:
        pass

    def act(self, sample: Sample, command: np.ndarray, tick: int) -> Decision:
        torque = loop_torque(LIMITS, ROBOT.default_pose, sample.joint_pos, sample.joint_vel)
        return Decision({}, np.zeros(N), torque, "joint_torque")


class Breaks(Stands):
    """One that has had enough after half a second."""

    def act(self, sample: Sample, command: np.ndarray, tick: int) -> Decision:
        decision = super().act(sample, command, tick)
        return replace(decision, wanted=decision.wanted * np.nan) if tick > 25 else decision


def drive(bench: Bench, policy: Stands, seconds: float, on: Callable[[int], None]) -> tuple:
    """The run's summary, the states passed through, and the highest the base has been [m]."""
    states: list[State] = []
    heights: list[float] = []

    def look(tick: int, _run_time: float, _sample: Sample, verdict: Verdict) -> None:
        on(tick)
        heights.append(float(bench.emulated.state.base_position[2]))
        if verdict.state not in states[-1:]:
            states.append(verdict.state)

    monitor = SafetyMonitor(BOLTED, bench.robot, output="joint_torque")
    assert monitor.preflight(bench.sample) == []
    schedule = Schedule.constant([0.0])
    summary = run(BOLTED, bench.robot, policy, monitor, schedule, seconds, bench, on_tick=look)
    return summary, states, max(heights)


def test_a_robot_stands_up_runs_and_lies_down_by_torques_alone():
    bench = Bench()
    summary, states, height = drive(bench, Stands(), 1.0, lambda tick: None)
    assert states == [State.STAND, State.RUN, State.LIE, State.DAMP, State.OFF]
    assert (summary.fault, summary.torque_left_on) == (Fault.NONE, ())
    assert height > 0.15, "it stands as high as by targets, less what it sags"
    assert bench.registers(x.TORQUE_ENABLE) == [0] * N
    assert np.abs(bench.robot.read().joint_pos - ROBOT.rest_pose).max() < 0.1


def test_a_policy_of_nan_is_held_standing_then_damped_to_the_floor():
    bench = Bench()
    summary, states, _ = drive(bench, Breaks(), 3.0, lambda tick: None)
    assert states == [State.STAND, State.RUN, State.HOLD, State.DAMP, State.FAULT]
    assert summary.fault is Fault.NON_FINITE and "joint_torque[0]" in summary.cause
    assert bench.registers(x.TORQUE_ENABLE) == [0] * N


def test_when_the_host_is_gone_the_watchdogs_let_go():
    """Not held, as by targets: limp, as far as the emulator may be believed."""
    bench = Bench()
    bench.robot.write(Command(Mode.TORQUE, torque=np.full(N, 0.3)))
    goals = bench.registers(x.GOAL_CURRENT)
    assert all(goals)
    bench.lines.wait_until(bench.now() + SAFETY.watchdog - 0.02)
    assert bench.registers(x.GOAL_CURRENT) == goals, "until then they go on pushing"
    bench.lines.wait_until(bench.now() + 0.05)
    assert bench.registers(x.BUS_WATCHDOG) == [x.WATCHDOG_TRIPPED] * N
    assert bench.registers(x.GOAL_CURRENT) == [0] * N
    assert bench.registers(x.TORQUE_ENABLE) == [1] * N
    assert not bench.emulated.joint_torque.any()
