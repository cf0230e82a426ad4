"""The control loop on a clock that nobody waits for."""

from __future__ import annotations

import gc
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kinematic_robot import FakeClock, KinematicRobot
from surefoot.deploy import realtime
from surefoot.deploy.clock import RealClock
from surefoot.deploy.log.format import Level
from surefoot.deploy.log.summary import Figures, RunSummary, Spread
from surefoot.deploy.loop import FAREWELLS, PERSISTENCE, run
from surefoot.deploy.safety import SafetyMonitor
from surefoot.deploy.schedule import Schedule
from surefoot.deploy.stop import StopRequest
from surefoot.deploy.verdict import Decision, Fault, State, Verdict
from surefoot.hardware.interface import Command, Mode, Sample
from surefoot.models.errors import DeviceError, UsageError
from surefoot.models.robot_file import load_robot

ROBOT = load_robot("quadruped")
N = len(ROBOT.joints)
PERIOD = ROBOT.control_period
STAND_TICKS = round(ROBOT.safety.stand_time / PERIOD) + 1
DAMP_TICKS = round(ROBOT.safety.damp_time / PERIOD) + 1
FORWARD = Schedule.constant([0.3, 0.0, 0.0])


class Policy:
    """Wants the standing pose; remembers what it was asked; may take its time."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.asked: list[tuple[int, np.ndarray]] = []
        self.resets = 0
        self.delays: dict[int, float] = {}  # [s], by the number of the call
        self.always = 0.004  # [s]

    def reset(self) -> None:
        self.resets += 1

    def act(self, sample: Sample, command: np.ndarray, tick: int) -> Decision:
        self.clock.pass_by(self.delays.get(len(self.asked), self.always))
        self.asked.append((tick, command))
        inputs = {"clock": np.array([tick * PERIOD], np.float32)}
        return Decision(inputs, np.full(N, 0.25, np.float32), ROBOT.default_pose)


@dataclass
class MemoryLog:
    records: list[Any] = field(default_factory=list)
    events: list[tuple[int, str]] = field(default_factory=list)

    def record(self, record: Any) -> None:
        self.records.append(record.copy())

    def event(self, level: Level, text: str) -> None:
        self.events.append((level, text))


class ReadOnly:
    """A robot without its write handle."""

    def __init__(self, robot: KinematicRobot) -> None:
        self.read = robot.read


class Bench:
    def __init__(self, dry_run: bool = False) -> None:
        self.clock = FakeClock()
        self.robot = KinematicRobot(ROBOT, self.clock)
        self.monitor = SafetyMonitor(ROBOT, self.robot, dry_run)
        self.policy = Policy(self.clock)
        self.log = MemoryLog()
        self.stop = StopRequest(self.clock.now)
        self.verdicts: list[Verdict] = []
        self.at: dict[int, Callable[[], None]] = {}  # what happens after a tick, by its number

    def on_tick(self, tick: int, _run_time: float, _sample: Sample, verdict: Verdict) -> None:
        self.verdicts.append(verdict)
        self.at.get(tick, lambda: None)()

    def run(self, duration: float = 1.0, schedule: Schedule = FORWARD) -> RunSummary:
        return run(
            ROBOT, ReadOnly(self.robot), self.policy, self.monitor, schedule, duration,
            self.clock, self.stop, self.log, self.on_tick,
        )  # fmt: skip

    @property
    def states(self) -> list[str]:
        passed = [verdict.state.name for verdict in self.verdicts]
        return [s for i, s in enumerate(passed) if i == 0 or passed[i - 1] != s]

    def column(self, name: str) -> np.ndarray:
        return np.array([record[name] for record in self.log.records])


def spread(figures: Figures, name: str) -> Spread:
    found = getattr(figures, name)
    assert found is not None
    return found


def test_a_whole_run():
    bench = Bench()
    summary = bench.run(duration=1.0)
    assert bench.states == ["STAND", "RUN", "LIE", "DAMP", "OFF"]
    figures = summary.figures
    assert (summary.fault, summary.cause, figures.missed_deadlines) == (Fault.NONE, "", 0)
    assert summary.run_time == pytest.approx(1.0)
    assert figures.ticks == len(bench.log.records) == len(bench.robot.commands)
    assert figures.states["RUN"].seconds == pytest.approx(1.0, abs=2.5 * PERIOD)
    assert figures.states["STAND"].seconds == pytest.approx(STAND_TICKS * PERIOD)
    assert figures.states["DAMP"].seconds == pytest.approx(DAMP_TICKS * PERIOD)
    assert bench.robot.modes[-FAREWELLS:] == [Mode.OFF] * FAREWELLS
    assert spread(figures, "period").p50 == pytest.approx(PERIOD)
    assert spread(figures, "period").max == pytest.approx(PERIOD)
    assert spread(figures, "infer").p50 == pytest.approx(0.004)
    assert spread(figures, "busy").max == pytest.approx(0.004)
    limited = {name: (share.ticks, share.joints) for name, share in figures.reasons.items()}
    assert limited == {"RATE": (0, {}), "TORQUE": (0, {}), "POSITION": (0, {})}


def test_the_policy_is_asked_in_run_alone_and_counts_from_zero():
    bench = Bench()
    bench.run(duration=0.5, schedule=Schedule.of([(0, [0, 0, 0]), (0.2, [0.5, 0, 0])]))
    assert [tick for tick, _ in bench.policy.asked] == list(range(25))
    assert bench.policy.resets == 1
    forward = [float(command[0]) for _, command in bench.policy.asked]
    assert forward == [0.0] * 10 + [0.5] * 15


def test_deadlines_are_absolute():
    bench = Bench()
    bench.run(duration=0.5)
    start = bench.column("start")
    np.testing.assert_allclose(start, start[0] + PERIOD * np.arange(len(start)), atol=1e-9)
    np.testing.assert_array_equal(bench.column("tick"), np.arange(len(start)))


def test_a_latency_spike_is_counted_and_nothing_is_made_up_for():
    bench = Bench()
    bench.policy.delays[10] = 0.055  # ends 2.75 periods after its start
    summary = bench.run(duration=1.0)
    # Late itself, and two ticks that could not begin in time.
    assert summary.figures.missed_deadlines == 3
    assert summary.fault is Fault.NONE
    starts = bench.column("start")
    assert np.diff(starts).min() > 0.5 * PERIOD, "no burst"
    assert np.diff(starts).max() == pytest.approx(3 * PERIOD)
    ticks = [tick for tick, _ in bench.policy.asked]
    assert ticks == [*range(11), *range(13, 50)], "skipped ticks count in the policy's clock"
    np.testing.assert_allclose(bench.column("deadline"), starts, atol=1e-9)
    assert summary.run_time == pytest.approx(1.0)
    # The decision of the spike saw old sensors: it is refused, and the next one is not.
    spike = bench.verdicts[STAND_TICKS + 11]
    assert (spike.state, spike.fault) == (State.HOLD, Fault.STALE_SENSORS)
    assert bench.verdicts[STAND_TICKS + 12].state is State.RUN


def test_a_tick_that_begins_a_little_late_is_not_skipped():
    bench = Bench()
    bench.policy.delays[10] = 0.026  # the next begins 0.3 periods late
    summary = bench.run(duration=0.5)
    assert summary.figures.missed_deadlines == 1
    assert [tick for tick, _ in bench.policy.asked] == list(range(25))


def test_a_policy_too_slow_for_its_rate_is_stopped():
    bench = Bench()
    bench.policy.always = 0.024
    summary = bench.run(duration=10.0)
    assert summary.fault is Fault.MISSED_DEADLINES
    assert bench.states == ["STAND", "RUN", "HOLD", "DAMP", "FAULT"]
    assert summary.run_time < 0.3


@dataclass
class OversleepingClock(FakeClock):
    """Wakes late, always."""

    late: float = 0.0  # [s]

    def sleep_until(self, when: float) -> None:
        self.time = max(self.time, when) + self.late


@pytest.mark.parametrize(("late", "fault"), [(0.015, Fault.NONE), (0.025, Fault.MISSED_DEADLINES)])
def test_a_clock_that_always_wakes_late(late: float, fault: Fault):
    bench = Bench()
    bench.clock = OversleepingClock(late=late)
    bench.robot.clock = bench.policy.clock = bench.clock
    summary = bench.run(duration=2.0)
    assert summary.fault is fault
    if fault is Fault.NONE:
        assert summary.figures.missed_deadlines == 0
        assert len(bench.policy.asked) == 100


def test_enabling_may_take_its_time():
    bench = Bench()
    bench.robot.enabling_time = 0.4
    summary = bench.run(duration=0.2)
    assert (summary.figures.missed_deadlines, summary.fault) == (0, Fault.NONE)
    assert spread(summary.figures, "period").max == pytest.approx(PERIOD)
    assert spread(summary.figures, "busy").max == pytest.approx(0.004)


# --- stopping -------------------------------------------------------------------------------------


def test_ctrl_c_lies_down():
    bench = Bench()
    bench.at[STAND_TICKS + 20] = bench.stop.press
    summary = bench.run(duration=1000.0)
    assert bench.states == ["STAND", "RUN", "LIE", "DAMP", "OFF"]
    assert summary.run_time == pytest.approx(20 * PERIOD)
    assert (summary.fault, summary.stopped) == (Fault.NONE, "operator")


def test_a_second_ctrl_c_yields_at_once():
    bench = Bench()
    bench.at[STAND_TICKS + 20] = bench.stop.press
    bench.at[STAND_TICKS + 30] = bench.stop.press
    bench.at[STAND_TICKS + 40] = bench.stop.press
    bench.at[STAND_TICKS + 50] = bench.stop.press  # says nothing new
    summary = bench.run(duration=1000.0)
    assert summary.stopped == "operator, twice"
    assert bench.states == ["STAND", "RUN", "LIE", "DAMP", "OFF"]
    # From a press to the next it is 0.2 s, which is one press, bouncing; then it is 0.4 s.
    assert [v.state for v in bench.verdicts].count(State.LIE) == 20
    assert (Level.INFO, "stopped twice: yielding at once") in bench.log.events


def test_a_run_that_came_to_its_end_was_not_stopped():
    bench = Bench()
    bench.at[STAND_TICKS + 60] = bench.stop.press  # it is lying down by then
    assert bench.run(duration=1.0).stopped == ""


def test_signals_that_come_together_only_ask():
    before = signal.getsignal(signal.SIGINT)
    clock = FakeClock()
    with StopRequest(clock.now).on_signals() as stop:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.raise_signal(number)
        assert stop.asked and not stop.insists
        clock.pass_by(5.0)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)
        assert not stop.insists
        signal.raise_signal(signal.SIGINT)
        assert stop.insists
    assert signal.getsignal(signal.SIGINT) is before


def test_no_key_of_the_terminal_ends_or_freezes_a_run_with_torque_on():
    numbers = (signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTOU, signal.SIGTTIN)
    before = {number: signal.getsignal(number) for number in numbers}
    clock = FakeClock()
    with StopRequest(clock.now).on_signals() as stop:
        for number in (signal.SIGTTOU, signal.SIGTTIN):
            assert signal.getsignal(number) is signal.SIG_IGN
        signal.raise_signal(signal.SIGTSTP)  # Ctrl-Z, as the first Ctrl-C
        clock.pass_by(5.0)
        signal.raise_signal(signal.SIGTSTP)
        assert stop.asked and not stop.insists
        signal.raise_signal(signal.SIGQUIT)  # Ctrl-\, as the second one
        assert stop.insists
    assert {number: signal.getsignal(number) for number in numbers} == before
    with StopRequest(clock.now).on_signals() as stop:
        signal.raise_signal(signal.SIGQUIT)
        assert stop.asked and stop.insists


def test_who_stops_a_loop_that_hangs_is_told_to_cut_the_power(capfd):
    clock = FakeClock()
    with StopRequest(clock.now).on_signals() as stop:
        stop.press()
        stop.beat()
        clock.pass_by(0.1)
        stop.press()
        assert capfd.readouterr().err == ""
        clock.pass_by(0.6)
        signal.raise_signal(signal.SIGINT)
        assert "no control tick for 0.7 s" in (err := capfd.readouterr().err)
        assert "CUT ITS POWER" in err
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL


def test_two_presses_before_the_first_tick_move_nothing():
    bench = Bench()
    bench.stop.press()
    bench.clock.pass_by(0.5)
    bench.stop.press()
    summary = bench.run(duration=1000.0)
    assert bench.robot.commands == []
    assert bench.states == ["OFF"]
    assert summary.stopped == "operator, twice"


def test_a_loop_that_fails_damps_the_robot_first():
    bench = Bench()

    break_policy(bench)
    with pytest.raises(RuntimeError, match="engine broke"):
        bench.run()
    n = len(bench.verdicts)
    assert bench.robot.modes[n:] == [Mode.DAMP] * (DAMP_TICKS - 1) + [Mode.OFF] * FAREWELLS
    assert any("the control loop failed: RuntimeError" in text for _, text in bench.log.events)


def test_a_check_that_fails_again_and_again_does_not_keep_the_robot_under_torque(
    monkeypatch: pytest.MonkeyPatch,
):
    bench = Bench()
    bench.at[STAND_TICKS + 4] = lambda: monkeypatch.setattr(
        bench.monitor._watch, "inspect", lambda *_: 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        bench.run()
    n = len(bench.verdicts)
    assert bench.robot.modes[n:] == [Mode.DAMP] * (DAMP_TICKS - 1) + [Mode.OFF] * FAREWELLS
    assert bench.monitor.ended


def test_a_write_that_fails_too_is_tried_until_the_end(monkeypatch: pytest.MonkeyPatch):
    bench, tried = Bench(), []

    def fail(command: Command) -> None:
        tried.append(command.mode)
        raise RuntimeError("the driver broke")

    bench.at[STAND_TICKS + 4] = lambda: monkeypatch.setattr(bench.robot, "write", fail)
    with pytest.raises(RuntimeError, match="the driver broke"):
        bench.run()
    assert tried == [Mode.TRACK] + [Mode.DAMP] * (DAMP_TICKS - 1) + [Mode.OFF] * FAREWELLS


def test_a_check_that_fails_before_the_first_torque_enables_nothing(
    monkeypatch: pytest.MonkeyPatch,
):
    bench = Bench()
    monkeypatch.setattr(bench.monitor._watch, "inspect", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        bench.run()
    assert bench.robot.commands == []


def test_an_enabling_that_fails_is_switched_off_and_not_damped(monkeypatch: pytest.MonkeyPatch):
    bench, tried = Bench(), []

    def fail(command: Command) -> None:
        tried.append(command.mode)
        if command.mode is not Mode.OFF:
            raise RuntimeError("the driver broke")

    monkeypatch.setattr(bench.robot, "write", fail)
    with pytest.raises(RuntimeError, match="the driver broke"):
        bench.run()
    assert set(tried[1:]) == {Mode.OFF}, "damping would enable the motors"


def test_a_farewell_that_fails_never_damps(monkeypatch: pytest.MonkeyPatch):
    bench = Bench()

    def fail(*_: object) -> None:
        if bench.monitor.ended:
            raise OSError("no space left")

    monkeypatch.setattr(bench.log, "record", fail)
    with pytest.raises(OSError, match="no space left"):
        bench.run(duration=0.1)
    first = bench.robot.modes.index(Mode.OFF)
    assert set(bench.robot.modes[first:]) == {Mode.OFF}


def break_policy(bench: Bench) -> None:
    """In the sixth tick of RUN."""
    act = bench.policy.act

    def fail_at_last(sample: Sample, command: np.ndarray, tick: int) -> Decision:
        if tick == 5:
            raise RuntimeError("the policy's engine broke")
        return act(sample, command, tick)

    bench.policy.act = fail_at_last  # type: ignore[method-assign]


def test_a_log_that_fails_too_does_not_keep_the_robot_under_torque():
    bench = Bench()
    break_policy(bench)

    def fail(*_: object) -> None:
        raise OSError("no space left")

    def and_its_log() -> None:
        bench.log.event = bench.log.record = fail  # type: ignore[method-assign]

    bench.at[STAND_TICKS + 4] = and_its_log
    with pytest.raises((RuntimeError, OSError)):
        bench.run()
    assert bench.robot.modes[-FAREWELLS - 1 :] == [Mode.DAMP] + [Mode.OFF] * FAREWELLS


def test_a_display_that_fails_is_no_concern_of_the_loop():
    for error in (OSError("the terminal is gone"), SystemExit(1)):
        bench = Bench()

        def fail(error: BaseException = error) -> None:
            raise error

        bench.at[STAND_TICKS + 5] = fail
        summary = bench.run(duration=0.5)
        assert len(bench.verdicts) == STAND_TICKS + 6, "it is not called again"
        assert any("the display failed" in text for _, text in bench.log.events)
        assert (summary.fault, summary.run_time) == (Fault.NONE, pytest.approx(0.5))
        assert bench.robot.modes[-FAREWELLS:] == [Mode.OFF] * FAREWELLS


def test_torque_that_was_not_seen_off_is_in_the_summary():
    bench = Bench()
    assert bench.run(duration=0.1).torque_left_on == ()
    bench = Bench()
    bench.robot.torque_left_on = ("front_left_knee",)
    assert bench.run(duration=0.1).torque_left_on == ("front_left_knee",)


def leave_on(bench: Bench, ticks: int) -> None:
    """A connector is off: OFF is seen by nobody, so many ticks long, counted from the first."""

    obey = bench.robot.write

    def write(command: Command) -> None:
        obey(command)
        off = bench.robot.modes.count(Mode.OFF)
        bench.robot.torque_left_on = ("front_left_knee",) if 0 < off < ticks else ()

    bench.robot.write = write  # type: ignore[method-assign]


def test_a_connector_that_comes_back_finds_somebody_to_switch_torque_off():
    bench = Bench()
    leave_on(bench, 25)  # back after 0.5 s
    assert bench.run(duration=0.1).torque_left_on == ()
    assert bench.robot.modes.count(Mode.OFF) == 25
    told = [v.message for v in bench.verdicts if "TORQUE MAY STILL BE ON: front_left" in v.message]
    assert len(told) == 1 and "Ctrl-C ends that" in told[0]


def test_trying_to_switch_torque_off_has_an_end():
    bench = Bench()
    leave_on(bench, 10_000)
    assert bench.run(duration=0.1).torque_left_on == ("front_left_knee",)
    assert bench.robot.modes.count(Mode.OFF) == FAREWELLS + round(PERSISTENCE / PERIOD)


def test_one_more_ctrl_c_ends_the_trying():
    bench = Bench()
    leave_on(bench, 10_000)
    bench.at[STAND_TICKS + 5] = bench.stop.press  # lies down
    bench.run(duration=0.2)
    ticks = len(bench.verdicts)
    again = Bench()
    leave_on(again, 10_000)
    again.at[STAND_TICKS + 5] = again.stop.press
    again.at[ticks - 101] = again.stop.press  # 100 ticks, 2 s, before it would end
    again.run(duration=0.2)
    assert len(again.verdicts) == ticks - 100


def test_torque_that_is_not_ours_is_not_waited_for():
    bench = Bench()
    bench.robot.torque_left_on = ("front_left_knee",)
    bench.stop.press()  # before the first torque
    assert bench.run().torque_left_on == ("front_left_knee",)
    assert bench.robot.commands == [] and len(bench.verdicts) == FAREWELLS


# --- faults ---------------------------------------------------------------------------------------


def unplug(bench: Bench) -> Callable[[], None]:
    def pull() -> None:
        bench.robot.unplugged = True

    return pull


def test_an_unplugged_cable_ends_the_run_by_name():
    bench = Bench()
    bench.at[STAND_TICKS + 20] = unplug(bench)
    summary = bench.run(duration=1000.0)
    assert bench.states == ["STAND", "RUN", "DAMP", "FAULT"]
    assert bench.verdicts[STAND_TICKS + 21].state is State.DAMP, "in the next tick"
    assert summary.fault is Fault.DEAD_BUS
    assert summary.cause.startswith("/dev/ttyFAKE: the port is gone")
    ages = bench.column("age")[STAND_TICKS + 21 :]
    assert (np.diff(ages, axis=0) > 0).all(), "the last sample grows old, and the log says so"


def test_a_port_gone_before_the_first_sample_is_an_error():
    bench = Bench()
    bench.robot.unplugged = True
    with pytest.raises(DeviceError, match="the port is gone"):
        bench.run()
    assert bench.robot.commands == []


def test_a_policy_never_sees_what_is_not_finite():
    bench = Bench()
    seen = []
    act = bench.policy.act

    def watch(sample: Sample, command: np.ndarray, tick: int) -> Decision:
        seen.append(np.isfinite(sample.gyro).all())
        return act(sample, command, tick)

    bench.policy.act = watch  # type: ignore[method-assign]

    def blind() -> None:
        bench.robot.spoil = lambda s: replace(s, gyro=np.full(3, np.nan))

    bench.at[STAND_TICKS + 20] = blind
    summary = bench.run(duration=1000.0)
    assert summary.fault is Fault.NON_FINITE
    assert bench.states == ["STAND", "RUN", "HOLD", "DAMP", "FAULT"]
    assert len(seen) == 20
    assert all(seen)


def test_a_refused_start_writes_nothing():
    bench = Bench()
    bench.robot.joint_pos = ROBOT.default_pose.copy()
    summary = bench.run()
    assert summary.fault is Fault.START_REFUSED
    assert "front_left_knee: found -1.50 rad" in summary.cause
    assert bench.robot.commands == []


def test_a_monitor_that_has_seen_a_fault_does_not_run_again():
    bench = Bench()
    bench.at[STAND_TICKS + 20] = unplug(bench)
    bench.run()
    bench.robot.unplugged = False
    with pytest.raises(UsageError, match="run: found state FAULT"):
        bench.run()


# --- the dry run ----------------------------------------------------------------------------------


def test_a_dry_run_asks_and_logs_and_writes_nothing():
    bench = Bench(dry_run=True)
    summary = bench.run(duration=0.4)
    assert bench.robot.commands == []
    assert summary.figures.ticks == 20
    assert [tick for tick, _ in bench.policy.asked] == list(range(20))
    assert set(bench.column("state")) == {State.OFF}
    assert set(bench.column("mode")) == {Mode.OFF}
    assert np.isfinite(bench.column("limited_target")).all()
    np.testing.assert_allclose(bench.column("joint_target")[3], ROBOT.default_pose, rtol=1e-6)
    assert summary.figures.reasons["TORQUE"].ticks > 0


def test_ctrl_c_ends_a_dry_run():
    bench = Bench(dry_run=True)
    bench.at[7] = bench.stop.press
    summary = bench.run(duration=1000.0)
    assert (summary.figures.ticks, summary.stopped) == (8, "operator")


# --- the log --------------------------------------------------------------------------------------


def test_each_tick_has_its_record():
    bench = Bench()
    bench.robot.spoil = lambda s: replace(
        s, joint_torque=np.arange(N) * 0.1, bus_time=0.003, wire_errors=7
    )
    bench.run(duration=0.1)
    stand, first, last = (bench.log.records[i] for i in (5, STAND_TICKS + 1, -1))
    assert (stand["state"], stand["mode"], stand["fault"]) == (State.STAND, Mode.TRACK, 0)
    for name in ("action", "joint_target", "previous_action", "clock"):
        assert np.isnan(stand[name]).all(), name
    assert (first["state"], first["tick"], first["clock"]) == (State.RUN, STAND_TICKS + 1, 0.0)
    np.testing.assert_array_equal(first["action"], np.full(N, 0.25, np.float32))
    np.testing.assert_array_equal(first["joint_target"], ROBOT.default_pose.astype(np.float32))
    np.testing.assert_array_equal(first["limited_target"], ROBOT.default_pose.astype(np.float32))
    np.testing.assert_array_equal(first["command"], np.array([0.3, 0, 0], np.float32))
    np.testing.assert_array_equal(first["joint_torque"], np.float32(np.arange(N) * 0.1))
    np.testing.assert_array_equal(first["voltage"], np.full(N, 12.0, np.float32))
    assert (first["bus_time"], first["wire_errors"]) == (np.float32(0.003), 7)
    assert first["inferred"] - first["read"] == pytest.approx(0.004)
    assert np.isnan(last["limited_target"]).all()
    changes = [text for _, text in bench.log.events if "->" in text]
    assert changes == ["OFF -> STAND", "STAND -> RUN", "RUN -> LIE", "LIE -> DAMP", "DAMP -> OFF"]


def test_wire_notes_and_faults_become_events():
    bench = Bench()

    def trouble() -> None:
        bench.robot.spoil = lambda s: replace(
            s,
            wire_notes=("motor 3: refused packet",),
            alert=np.eye(N, dtype=bool)[2],
            health=replace(s.health, error_bits=np.full(N, 0x20, np.uint8)),
        )

    bench.at[STAND_TICKS + 3] = trouble
    bench.run()
    assert (Level.WARNING, "motor 3: refused packet") in bench.log.events
    faults = [text for level, text in bench.log.events if level == Level.ERROR]
    assert faults[0].startswith("MOTOR_ALERT: front_left_hip_roll: hardware error 0x20")


# --- the command schedule -------------------------------------------------------------------------


def test_schedules():
    points = [(1.0, [0.0, 0.0, 0.0]), (3.0, [1.0, 0.0, -2.0])]
    schedule = Schedule.of(points)
    times = (0.0, 1.0, 2.0, 2.999, 3.0, 9.0)
    assert [schedule.at(t)[0] for t in times] == [0, 0, 0, 0, 1, 1]
    assert [schedule.at(t)[2] for t in times] == [0, 0, 0, 0, -2, -2]


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([], "found no command"),
        ([(0, [1, 2])], "schedule at 0 s: found 2 numbers, allowed are 3"),
        ([(0, [1, 2, float("nan")])], r"command\[0, 2\]: found nan"),
        ([(0, [0, 0, 0]), (0, [1, 0, 0])], "found 0.0 s after 0.0 s, allowed are rising times"),
    ],
)
def test_schedules_that_cannot_be(points: list, message: str):
    with pytest.raises(UsageError, match=message):
        Schedule.of(points)


@given(st.floats(-1, 10))
def test_a_schedule_stays_within_its_commands(time: float):
    schedule = Schedule.of([(0, [0.1, 0, 0]), (2, [0.5, 0, 0]), (5, [0.3, 0, 0])])
    assert 0.1 <= schedule.at(time)[0] <= 0.5


# --- real time and imports ------------------------------------------------------------------------


def test_the_real_clock_does_not_wake_early():
    clock = RealClock()
    for wait in (-1.0, 0.0, 0.002):
        until = clock.now() + wait
        clock.sleep_until(until)
        assert clock.now() >= until


def test_realtime_says_what_it_got_and_gives_it_back(monkeypatch: pytest.MonkeyPatch):
    asked = []

    def refuse(pid: int, policy: int, parameters: Any) -> None:
        asked.append(policy)
        raise PermissionError

    limit = {resource.RLIMIT_MEMLOCK: (8 << 20, 8 << 20), resource.RLIMIT_RTPRIO: (0, 0)}
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    monkeypatch.setattr(resource, "getrlimit", limit.__getitem__)
    with realtime.realtime() as notes:
        assert not gc.isenabled()
        assert sys.getswitchinterval() == pytest.approx(0.0005)
        assert notes == [
            "scheduling: ordinary; rtprio limit is 0, SCHED_FIFO needs 50",
            "memory: not locked; memlock limit is 8192 KiB, needs unlimited",
            "garbage collector: off",
        ]
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    assert sys.getswitchinterval() == pytest.approx(0.005)
    assert asked == [os.SCHED_FIFO | os.SCHED_RESET_ON_FORK]


def test_realtime_restores_the_scheduler(monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr(os, "sched_setscheduler", lambda *arguments: asked.append(arguments[1]))
    monkeypatch.setattr(realtime, "lock_memory", lambda: (False, "memory: not locked"))
    with realtime.realtime() as notes:
        assert notes[0] == "scheduling: SCHED_FIFO, priority 50"
    flag = os.SCHED_RESET_ON_FORK
    assert asked == [os.SCHED_FIFO | flag, os.sched_getscheduler(0) | flag]


def test_the_loop_needs_neither_torch_nor_mujoco():
    code = (
        "import sys, surefoot.deploy.loop, surefoot.deploy.realtime; "
        "print([m for m in ('torch', 'mujoco', 'gymnasium', 'onnxruntime') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
