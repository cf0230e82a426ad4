"""What an operator sees and is asked by `surefoot deploy`, without physics."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kinematic_robot import FakeClock, KinematicRobot, silence
from rich.console import Console
from surefoot.__main__ import main
from surefoot.cli import deploy, ports
from surefoot.cli.run_display import MESSAGES, Display, rehearsal_table
from surefoot.cli.tables import run_table
from surefoot.deploy.log.format import tick_dtype
from surefoot.deploy.log.reader import read_log
from surefoot.deploy.log.summary import RunSummary, faults, holds, summarise
from surefoot.deploy.log.writer import LogSummary
from surefoot.deploy.verdict import Fault, State, Verdict
from surefoot.hardware.interface import Mode, Sample
from surefoot.models.errors import DeviceError, UsageError
from surefoot.models.robot_file import load_robot
from tiny_policy import tiny_policy

ROBOT = load_robot("quadruped")
N = len(ROBOT.joints)
NAMES = ROBOT.joint_names
CapFd = pytest.CaptureFixture[str]


class Stand:
    """`surefoot deploy` on a kinematic robot and a clock that nobody waits for."""

    def __init__(self, policy: Path) -> None:
        self.clock = FakeClock()
        self.robot = KinematicRobot(ROBOT, self.clock)
        self.policy = policy
        self.log = policy.parent / "run.mcap"

    def deploy(self, *words: str) -> int:
        words = ("deploy", str(self.policy), "--log", str(self.log), "--seconds", "1", *words)
        return main([*words, "--json"])


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    policy = tmp_path / "tiny.onnx"
    policy.write_bytes(tiny_policy())
    stand = Stand(policy)
    monkeypatch.setattr(deploy, "open_ports", lambda *_: stand.robot)
    monkeypatch.setattr(deploy, "RealClock", lambda: stand.clock)
    return stand


def last_line(out: str) -> dict:
    return json.loads(out.splitlines()[-1])


# --- deploy -----------------------------------------------------------------------------------


def test_a_run_says_how_it_went(stand: Stand, capfd: CapFd):
    assert stand.deploy("--yes") == 0
    out = capfd.readouterr().out
    assert "ready" in out and "one read of all motors" in out
    assert "━" not in out, "the bar leaves nothing behind"
    result = last_line(out)
    assert (result["fault"], result["stopped"], result["torque_left_on"]) == ("NONE", "", [])
    assert stand.robot.refreshes == 2, "before the question, and before the first torque"
    assert "TORQUE" not in out.replace('TORQUE":', "")


@pytest.mark.parametrize(
    # Trained up to 0.35, 0.2 m/s and 0.8 rad/s; 1.2 times that is 0.42, 0.24 and 0.96.
    ("command", "status", "words"),
    [
        (("0.35", "-0.2", "0.8"), 0, ""),
        (("-0.42", "0", "0"), 0, "Command vx: found -0.42 m/s; the policy was trained for -0.35"),
        (("0.43", "0", "0"), 2, "command vx: found 0.43 m/s, allowed is -0.42 to 0.42"),
        (("0", "0", "-30"), 2, "command yaw_rate: found -30 rad/s, allowed is -0.96 to 0.96"),
    ],
)
def test_commands_far_beyond_training_are_refused(
    stand: Stand, capfd: CapFd, command: tuple[str, ...], status: int, words: str
):
    assert stand.deploy("--yes", "--command", *command) == status
    out, err = capfd.readouterr()
    said = err if status else out
    assert words in said
    assert ("trained for" in said) is bool(words)
    assert bool(stand.robot.commands) is (status == 0)


def test_limits_tighter_than_in_training_are_told(stand: Stand, capfd: CapFd):
    tighter = stand.policy.parent / "robot.toml"
    text = ROBOT.toml.replace("torque_limit = 2.0", "torque_limit = 1.2")
    tighter.write_text(text.replace(f'"{ROBOT.model}"', f'"{ROBOT.mjcf}"'))
    assert stand.deploy("--yes", "--robot", str(tighter)) == 0
    words = "torque_limit, all 12 motors: tighter in robot.toml (1.2) than in the policy's training"
    assert words in capfd.readouterr().out
    caps = [c.torque_cap.max() for c in stand.robot.commands if c.torque_cap is not None]
    assert max(caps) == 1.2


def test_a_schedule_far_beyond_training_is_refused(stand: Stand, capfd: CapFd):
    schedule = stand.policy.parent / "fast.csv"
    schedule.write_text("time,vx,vy,yaw_rate\n0,0,0,0\n5,30,0,0\n")
    assert stand.deploy("--yes", "--schedule", str(schedule)) == 2
    assert "command vx: found 30 m/s, allowed is -0.42 to 0.42" in capfd.readouterr().err
    assert stand.robot.commands == []


def test_torque_that_may_still_be_on_is_told_and_no_success(stand: Stand, capfd: CapFd):
    stand.robot.torque_left_on = (NAMES[2], NAMES[7])
    assert stand.deploy("--yes") == 1
    out = capfd.readouterr().out
    assert f"TORQUE MAY STILL BE ON: {NAMES[2]}, {NAMES[7]}. Cut the power." in out
    result = last_line(out)
    assert (result["fault"], result["torque_left_on"]) == ("NONE", [NAMES[2], NAMES[7]])


def test_torque_that_may_still_be_on_is_told_though_the_loop_has_failed(
    stand: Stand, capfd: CapFd, monkeypatch: pytest.MonkeyPatch
):
    stand.robot.torque_left_on = (NAMES[2],)
    monkeypatch.setattr(deploy, "run_loop", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        stand.deploy("--yes")
    assert "TORQUE MAY STILL BE ON" in capfd.readouterr().out
    assert read_log(stand.log).complete


def test_a_robot_found_under_torque_is_refused_with_a_way_out(stand: Stand, capfd: CapFd):
    stand.robot.spoil = lambda s: replace(s, health=replace(s.health, torque_on=np.ones(N, bool)))
    assert stand.deploy("--yes") == 1
    out = capfd.readouterr().out
    assert "all 12 motors: found torque on, allowed is off" in out
    assert "surefoot release" in out
    assert last_line(out)["fault"] == "START_REFUSED"
    assert stand.robot.commands == []


def test_a_robot_out_of_its_rest_pose_is_refused_with_a_way_out(stand: Stand, capfd: CapFd):
    stand.robot.joint_pos = ROBOT.default_pose.copy()
    assert stand.deploy("--yes") == 1
    assert "Lay the robot in its rest pose by hand" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda s: replace(s, gravity=-s.gravity), "tilt: found 3.14 rad"),
        (lambda s: replace(s, acceleration=np.array([0, 0, 9.8])), "imu: the same acceleration"),
        (lambda s: silence(s, [4], 5.0), "front_right_hip_pitch: last reading 5000.0 ms ago"),
    ],
)
def test_what_happens_after_the_yes_is_noticed(
    stand: Stand, capfd: CapFd, spoil: Callable[[Sample], Sample], words: str
):
    refresh = stand.robot.refresh

    def refresh_and_change() -> None:
        refresh()
        if stand.robot.refreshes == 2:
            stand.robot.spoil = spoil

    stand.robot.refresh = refresh_and_change  # type: ignore[method-assign]
    assert stand.deploy("--yes") == 1
    out = capfd.readouterr().out
    assert words in out and "nothing moved" in out
    assert words in last_line(out)["cause"]
    assert stand.robot.commands == []
    assert any(words in event.text for event in read_log(stand.log).events)


def test_a_dry_run_shows_angles_and_would_be_targets(stand: Stand, capfd: CapFd):
    assert stand.deploy("--dry-run") == 0
    out = capfd.readouterr().out
    assert "gravity +0.00 +0.00 -1.00" in out and "target, rad" in out
    row = next(line for line in out.splitlines() if NAMES[2] in line)
    # The knee lies at -2.65; the policy wants it up, and the limits let it pull by 2 / 13.8 rad.
    assert "-2.650" in row and "-2.505" in row
    assert "torque is off" in out
    assert stand.robot.commands == []


def test_a_dry_run_says_what_it_found_under_torque(stand: Stand, capfd: CapFd):
    on = np.isin(np.arange(N), (1, 2))
    stand.robot.spoil = lambda s: replace(s, health=replace(s.health, torque_on=on))
    assert stand.deploy("--dry-run") == 0
    out = capfd.readouterr().out
    assert f"TORQUE MAY BE ON: {NAMES[1]} and 1 more" in out
    assert "torque is off" not in out
    assert stand.robot.commands == []


def test_a_motor_that_has_not_told_may_be_under_torque():
    sample = KinematicRobot(ROBOT, FakeClock()).read()
    age = np.where(np.arange(N) == 3, 2.1, 0.1)
    table = rehearsal_table(
        ROBOT, replace(sample, health=replace(sample.health, age=age)), a_verdict()
    )
    assert str(table.caption).startswith(f"TORQUE MAY BE ON: {NAMES[3]}; ")


# --- ports ------------------------------------------------------------------------------------


def test_ports_of_ones_own_and_an_emulated_robot_exclude_each_other(stand: Stand, capsys: CapFd):
    assert stand.deploy("--emulated", "--port=motors=/dev/ttyUSB7") == 2
    err = capsys.readouterr().err
    assert "--port" in err and "--emulated" in err and err.count("\n") == 1


def test_a_port_word_that_is_none_lists_the_buses():
    assert ports.parse_ports(("motors=/dev/a", "imu=/dev/b"), ROBOT) == {
        "motors": "/dev/a",
        "imu": "/dev/b",
    }
    for words in (("motors",), ("legs=/dev/a",), ("imu=/dev/a", "imu=/dev/b")):
        with pytest.raises(UsageError, match="--port") as refused:
            ports.parse_ports(words, ROBOT)
        assert "motors, imu" in str(refused.value) or "twice" in str(refused.value)


def test_a_port_that_nobody_gave_is_told_as_such(monkeypatch: pytest.MonkeyPatch):
    def fail(error: str) -> Callable[..., None]:
        def open_robot(*_: object, **__: object) -> None:
            raise DeviceError(error)

        return open_robot

    monkeypatch.setattr(ports, "open_robot", fail("port /dev/ttyUSB1: there is no such device"))
    with pytest.raises(DeviceError) as failed:
        ports.open_ports(ROBOT, {"motors": "/dev/a"}, ", or --emulated")
    assert str(failed.value) == (
        "port /dev/ttyUSB1: there is no such device; bus 'imu' on /dev/ttyUSB1, robot.toml's own "
        "port: give --port imu=DEVICE, or --emulated"
    )
    given = {"motors": "/dev/a", "imu": "/dev/b"}
    with pytest.raises(DeviceError, match=r"no such device$"):
        ports.open_ports(ROBOT, given)
    monkeypatch.setattr(ports, "open_robot", fail("IMU on bus 'imu': no packets"))
    with pytest.raises(DeviceError, match="are the ports swapped"):
        ports.open_ports(ROBOT, given)


# --- the display ------------------------------------------------------------------------------


class Stopped(io.StringIO):
    """A terminal that takes nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.stopped = threading.Event()
        self.go_on = threading.Event()

    def write(self, text: str) -> int:
        self.stopped.set()
        self.go_on.wait(30.0)
        return len(text)


class Gone(io.StringIO):
    """A terminal that is no more."""

    error: type[BaseException] = OSError

    def write(self, text: str) -> int:
        raise self.error(5, "Input/output error")


def a_verdict(message: str = "") -> Verdict:
    nothing = np.zeros(N)
    return Verdict(State.RUN, Mode.TRACK, nothing, nothing, nothing, Fault.NONE, message, nothing)


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_terminal_that_is_stopped_stops_nothing(dry_run: bool):
    terminal = Stopped()
    sample = KinematicRobot(ROBOT, FakeClock()).read()
    console = Console(file=terminal, force_terminal=True)
    display = Display(console, ROBOT, 10.0, dry_run)
    with display:
        display.say("first")
        assert terminal.stopped.wait(10.0)
        start = time.monotonic()
        for tick in range(5000):
            display.show(tick, 0.0, sample, a_verdict("more"))
        assert time.monotonic() - start < 1.0
        assert len(display._messages) <= MESSAGES, "it drops"
        start = time.monotonic()
    assert time.monotonic() - start < 3.0, "nor does it wait for the terminal at the end"
    terminal.go_on.set()


@pytest.mark.parametrize("error", [OSError, BrokenPipeError])
def test_a_terminal_that_is_gone_stops_nothing(error: type[BaseException]):
    terminal = Gone()
    terminal.error = error
    display = Display(Console(file=terminal, force_terminal=True), ROBOT, 10.0, dry_run=False)
    sample = KinematicRobot(ROBOT, FakeClock()).read()
    with display:
        display.say("first")
        display._thread.join(10.0)
        display.show(0, 0.0, sample, a_verdict("more"))


# --- the table of a run -----------------------------------------------------------------------


def test_the_table_of_a_run_tells_holds_stops_and_faults_apart():
    ticks = np.zeros(8, tick_dtype(N, 3))
    ticks["start"] = 0.02 * np.arange(8)
    run, hold = State.RUN, State.HOLD
    ticks["state"] = [run, hold, hold, run, hold, run, State.DAMP, State.FAULT]
    ticks["fault"] = np.where(ticks["state"] == hold, Fault.STALE_SENSORS, Fault.NONE)
    ticks["fault"][6:] = Fault.TILT
    figures = summarise(ticks, NAMES)
    assert figures.holds == 2
    assert [fault["fault"] for fault in faults(ticks)] == ["TILT"]
    assert [hold["fault"] for hold in holds(ticks)] == ["STALE_SENSORS"] * 2
    summary = RunSummary(Fault.TILT, "gyro [rad/s]", "operator", (), 0.1, figures)
    console = Console(file=io.StringIO(), width=100)
    console.print(run_table(summary, LogSummary(Path("run[b].mcap"), 8, 0, None)))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "2 times, 0.06 s in all" in text
    assert "TILT: gyro [rad/s]" in text and "run[b].mcap" in text
    assert "stopped by" in text and "operator" in text
