"""How a run is ended: by whoever presses a key, by what fails in it, and until torque is off."""

from __future__ import annotations

import signal

import numpy as np
import pytest
from kinematic_robot import FakeClock
from loop_bench import (
    DAMP_TICKS,
    PERIOD,
    STAND_TICKS,
    Bench,
)
from surefoot.deploy.log.format import Level
from surefoot.deploy.loop import OFF_PATIENCE, OFF_REPEATS
from surefoot.deploy.stop import StopRequest
from surefoot.deploy.verdict import Decision, Fault, State
from surefoot.hardware.interface import Command, Mode, Sample


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
    assert bench.robot.modes[n:] == [Mode.DAMP] * (DAMP_TICKS - 1) + [Mode.OFF] * OFF_REPEATS
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
    assert bench.robot.modes[n:] == [Mode.DAMP] * (DAMP_TICKS - 1) + [Mode.OFF] * OFF_REPEATS
    assert bench.monitor.ended


def test_a_write_that_fails_too_is_tried_until_the_end(monkeypatch: pytest.MonkeyPatch):
    bench, tried = Bench(), []

    def fail(command: Command) -> None:
        tried.append(command.mode)
        raise RuntimeError("the driver broke")

    bench.at[STAND_TICKS + 4] = lambda: monkeypatch.setattr(bench.robot, "write", fail)
    with pytest.raises(RuntimeError, match="the driver broke"):
        bench.run()
    assert tried == [Mode.TRACK] + [Mode.DAMP] * (DAMP_TICKS - 1) + [Mode.OFF] * OFF_REPEATS


def test_a_check_that_fails_before_the_first_torque_enables_nothing(
    monkeypatch: pytest.MonkeyPatch,
):
    bench = Bench()
    monkeypatch.setattr("surefoot.deploy.watch.SensorWatch.inspect", lambda *_: 1 / 0)
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
    assert bench.robot.modes[-OFF_REPEATS - 1 :] == [Mode.DAMP] + [Mode.OFF] * OFF_REPEATS


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
        assert bench.robot.modes[-OFF_REPEATS:] == [Mode.OFF] * OFF_REPEATS


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
    assert bench.robot.modes.count(Mode.OFF) == OFF_REPEATS + round(OFF_PATIENCE / PERIOD)


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
    assert bench.robot.commands == [] and len(bench.verdicts) == OFF_REPEATS
