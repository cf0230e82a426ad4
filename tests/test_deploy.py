"""The whole road in real time: `surefoot deploy` over pseudo-terminals to an emulated robot.

Most of it is slow: seconds pass as they do on a robot. Other work on the machine may delay this
one, so the robot here is a patient one: the shipped one with longer times in [safety].
"""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from surefoot.deploy.log.reader import RunLog, read_log
from surefoot.deploy.verdict import Fault, State
from surefoot.deploy.workstation.replay import logged_robot, replay_policy
from surefoot.hardware.truth import Truth, read_truth
from surefoot.models.errors import LogError
from surefoot.models.limits import Reason
from surefoot.models.robot import Robot
from surefoot.models.robot_file import MODELS, load_robot

PATIENCE = 60.0  # for anything to happen [s]
SHIPPED = MODELS / "quadruped" / "walk.onnx"
PATIENT = {
    "hold_after = 0.03": "hold_after = 0.3",
    "damp_after = 0.1": "damp_after = 1.0",
    "missed_deadlines = 10": "missed_deadlines = 100",
    "watchdog = 0.1": "watchdog = 0.4",
    "frozen_after = 0.25": "frozen_after = 2.0",
    "damp_time = 1.5": "damp_time = 0.5",
    "stand_time = 2.0": "stand_time = 1.2",
}


@pytest.fixture(scope="module")
def policy(request: pytest.FixtureRequest) -> Path:
    """The shipped walk, or a policy that stands where there is none."""
    return SHIPPED if SHIPPED.is_file() else request.getfixturevalue("tame_policy")


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Robot:
    """The patient robot, in a folder of its own."""
    folder = tmp_path_factory.mktemp("patient")
    text = (MODELS / "quadruped" / "robot.toml").read_text()
    for old, new in PATIENT.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (folder / "robot.toml").write_text(text)
    (folder / "quadruped.xml").write_bytes((MODELS / "quadruped" / "quadruped.xml").read_bytes())
    return load_robot(folder)


@dataclass
class Deployed:
    """A `surefoot deploy` under way, in a process group of its own."""

    process: subprocess.Popen[str]
    log_path: Path
    truth_path: Path

    def finish(self) -> tuple[int, str, str]:
        """Exit status, stdout and stderr."""
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err

    @property
    def log(self) -> RunLog:
        return read_log(self.log_path)

    @property
    def truth(self) -> Truth:
        return read_truth(self.truth_path)

    def wait_for(self, state: State, ticks: int = 20) -> None:
        """Until the log tells of so many ticks in a state."""

        def came() -> bool:
            with suppress(LogError):
                return int((self.log.ticks["state"] == state).sum()) >= ticks
            return False

        assert _wait(lambda: came() or self.process.poll() is not None)
        assert self.process.poll() is None, self.finish()

    def child(self, word: str) -> int:
        """Process id of the child with `word` among its arguments."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for child in children:
            if word in Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0"):
                return int(child)
        raise AssertionError(f"no child {word} among {children}")


Start = Callable[..., Deployed]


@pytest.fixture
def start(policy: Path, robot: Robot, tmp_path: Path) -> Iterator[Start]:
    """Starts `surefoot deploy` on an emulated robot; nothing survives the test."""
    started: list[Deployed] = []

    def begin(
        *words: str,
        robot: str = str(robot.directory),
        emulated: bool = True,
        stdout: int = subprocess.PIPE,
    ) -> Deployed:
        log, truth = tmp_path / f"{len(started)}.mcap", tmp_path / f"{len(started)}.csv"
        own = ["--emulated", "--truth", str(truth)] if emulated else []
        process = subprocess.Popen(
            [sys.executable, "-m", "surefoot", "deploy", str(policy), "--robot", robot,
             "--log", str(log), *own, *words],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )  # fmt: skip
        started.append(Deployed(process, log, truth))
        return started[-1]

    yield begin
    for deployed in started:
        if deployed.process.poll() is None:
            deployed.process.kill()  # the emulator ends by itself, as a test below shows
        deployed.process.communicate()


def _wait(condition: Callable[[], bool], patience: float = PATIENCE) -> bool:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def _gone(pid: int) -> bool:
    """Ended, be it that nobody has asked for its exit status yet."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def states(log: RunLog) -> list[str]:
    """The states of a run, in their order."""
    passed = [State(state).name for state in log.ticks["state"]]
    return [name for i, name in enumerate(passed) if i == 0 or passed[i - 1] != name]


def lies(robot: Robot, truth: Truth) -> bool:
    """At the end the robot lies in its rest pose, without torque."""
    near = np.abs(truth.joint_pos[-1] - robot.rest_pose).max() < 0.3
    return bool(near and np.abs(truth.joint_torque[-1]).max() < 1e-3)


def stayed_limp(truth: Truth) -> bool:
    """No motor ever gave torque; legs that lie without it settle by hundredths of a radian."""
    settled = np.ptp(truth.joint_pos, axis=0).max()
    return bool(len(truth.time) > 10 and settled < 0.05 and not truth.joint_torque.any())


# --- a run as it should be --------------------------------------------------------------------


def test_a_run_from_end_to_end(start: Start, robot: Robot):
    deployed = start("--yes", "--seconds", "2", "--json", "--command", "0.2", "0", "0")
    status, out, err = deployed.finish()
    assert (status, err) == (0, ""), out
    result = json.loads(out.splitlines()[-1])
    assert (result["fault"], result["cause"]) == ("NONE", "")
    assert 2.0 <= result["run_time"] < 3.0
    assert result["log"]["dropped"] == 0 and result["log"]["error"] is None

    log, truth = deployed.log, deployed.truth
    assert log.complete
    assert [name for name in states(log) if name != "HOLD"] == [
        "STAND", "RUN", "LIE", "DAMP", "OFF",
    ]  # fmt: skip
    assert len(log.ticks) == result["ticks"]
    assert log.attachments["robot.toml"] == (robot.directory / "robot.toml").read_bytes()
    assert logged_robot(log, robot.directory).safety == robot.safety
    assert replay_policy(log, robot).agrees
    # By the emulator's truth, on the log's own clock: it lay, it stood, it lay again.
    running = log.ticks["start"][log.ticks["state"] == State.RUN]
    height = truth.base_position[:, 2]
    standing = truth.between(running[0], running[-1]).base_position[:, 2]
    assert standing.min() > height[0] + 0.05
    assert abs(height[-1] - height[0]) < 0.02
    assert truth.tilt.max() < 0.5
    assert lies(robot, truth)


@pytest.mark.slow
def test_the_shipped_robot_runs_as_it_is_shipped(start: Start):
    """With its own times: 30 ms to hold, 100 ms to damp."""
    deployed = start("--yes", "--seconds", "2", "--json", robot="quadruped")
    status, out, err = deployed.finish()
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if status == 1 and load > cores:
        pytest.skip(f"other work has the machine: load {load:.1f} on {cores} cores")
    assert (status, err) == (0, ""), out
    assert json.loads(out.splitlines()[-1])["fault"] == "NONE"


@pytest.mark.slow
def test_a_dry_run_moves_nothing_and_logs_what_it_would_do(start: Start, robot: Robot):
    deployed = start("--dry-run", "--seconds", "1.5", "--json", "--command", "0.3", "0", "0")
    status, out, err = deployed.finish()
    assert (status, err) == (0, ""), out
    log, truth = deployed.log, deployed.truth
    assert states(log) == ["OFF"] and set(log.ticks["mode"]) == {0}
    assert len(log.ticks) >= 40
    assert np.isfinite(log.ticks["action"]).all()
    targets = log.ticks["limited_target"]
    assert np.isfinite(targets).all()
    # The policy wants to stand; the limiter would let it pull away by what the torque allows.
    pull = np.abs(targets - log.ticks["joint_pos"]).max()
    assert 0.1 < pull < 0.2 and (log.ticks["reasons"] & Reason.TORQUE).any()
    assert stayed_limp(truth)
    assert replay_policy(log, robot).agrees


@pytest.mark.slow
def test_nobody_to_say_yes(start: Start):
    deployed = start()
    status, _, err = deployed.finish()
    assert status == 2
    assert err.startswith("surefoot deploy: ") and err.count("\n") == 1
    assert "--yes" in err
    assert stayed_limp(deployed.truth)
    assert not deployed.log_path.exists()


# --- being stopped ----------------------------------------------------------------------------


@pytest.mark.slow
def test_ctrl_c_lies_the_robot_down(start: Start, robot: Robot):
    deployed = start("--yes", "--seconds", "60", "--json")
    deployed.wait_for(State.RUN)
    os.killpg(deployed.process.pid, signal.SIGINT)
    status, out, err = deployed.finish()
    assert (status, err) == (0, ""), out
    result = json.loads(out.splitlines()[-1])
    assert (result["fault"], result["stopped"]) == ("NONE", "operator")
    log = deployed.log
    assert log.complete
    assert states(log)[-4:] == ["RUN", "LIE", "DAMP", "OFF"]
    assert "stopped: lying down" in [event.text for event in log.events]
    assert lies(robot, deployed.truth)


@pytest.mark.slow
def test_ctrl_c_again_yields_at_once(start: Start):
    deployed = start("--yes", "--seconds", "60", "--json")
    deployed.wait_for(State.RUN)
    os.killpg(deployed.process.pid, signal.SIGINT)
    deployed.wait_for(State.LIE, ticks=20)  # a press 0.3 s after the first is another one
    os.killpg(deployed.process.pid, signal.SIGINT)
    status, out, err = deployed.finish()
    assert (status, err) == (0, ""), out
    log = deployed.log
    assert states(log)[-3:] == ["LIE", "DAMP", "OFF"]
    assert "stopped twice: yielding at once" in [event.text for event in log.events]
    lying = (log.ticks["state"] == State.LIE).sum() * 0.02
    assert lying < 1.2  # less than lying down takes


@pytest.mark.slow
def test_after_kill_9_the_motors_stop_themselves_and_the_log_is_whole(start: Start, robot: Robot):
    deployed = start("--yes", "--seconds", "60", "--command", "0.3", "0", "0")
    deployed.wait_for(State.RUN)
    emulator, logger = deployed.child("emulate"), deployed.child("surefoot.deploy.log.process")
    killed = time.monotonic()
    deployed.process.kill()
    _, _, err = deployed.finish()
    assert err == ""  # the emulator shares it
    assert _wait(lambda: _gone(emulator) and _gone(logger))

    log = deployed.log
    assert log.complete and "died" in log.ending
    assert log.dropped == 0
    assert states(log)[-1] == "RUN"
    assert np.array_equal(np.diff(log.ticks["tick"]) > 0, np.ones(len(log.ticks) - 1, bool))
    last = log.ticks["written"][-1]
    assert killed - last < 0.5
    assert replay_policy(log, robot).agrees

    # A motor whose watchdog trips takes its present position for its goal: the torque that held
    # it off its goal falls away, all at once. Nothing else happens after the host's last word.
    after = deployed.truth.between(last + 0.06, last + 10.0)
    torque = np.sqrt(np.square(after.joint_torque).mean(1))
    fall = int(np.argmin(np.diff(torque)))
    assert torque[fall + 1] < 0.5 * torque[fall]
    tripped = after.time[fall + 1] - last
    assert robot.safety.watchdog - 0.02 <= tripped < robot.safety.watchdog + 0.2
    # It stays where it stands, and the emulator ends a second after its host.
    assert np.ptp(after.joint_pos[-5:], axis=0).max() < 0.01
    assert after.tilt.max() < 0.5
    assert after.time[-1] < killed + 3.0


# --- the terminal -----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_terminal_that_is_stopped_or_gone_stops_no_robot(start: Start, robot: Robot):
    master, line = pty.openpty()
    deployed = start("--yes", "--seconds", "2", stdout=line)
    os.close(line)
    try:
        Thread(target=_drain, args=(os.dup(master),), daemon=True).start()
        deployed.wait_for(State.STAND)
        os.write(master, b"\x13")  # Ctrl-S: what is written from now on waits
        assert _wait(lambda: states(deployed.log)[-1] == "OFF")
        log = deployed.log
        assert [name for name in states(log) if name != "HOLD"] == [
            "STAND", "RUN", "LIE", "DAMP", "OFF",
        ]  # fmt: skip
        os.write(master, b"\x11")  # Ctrl-Q
        assert deployed.finish()[0] == 0
    finally:
        os.close(master)
    assert lies(robot, deployed.truth)


def _drain(descriptor: int) -> None:
    """Read what a terminal shows, until it is closed."""
    with suppress(OSError):
        while os.read(descriptor, 4096):
            pass


@pytest.mark.slow
def test_a_pipe_that_nobody_reads_any_more_stops_no_robot(start: Start, robot: Robot):
    deployed = start("--yes", "--seconds", "2")
    deployed.wait_for(State.RUN)
    assert deployed.process.stdout is not None
    deployed.process.stdout.close()
    deployed.process.stdout = None
    deployed.finish()
    log = deployed.log
    assert log.complete
    assert [name for name in states(log) if name != "HOLD"] == [
        "STAND", "RUN", "LIE", "DAMP", "OFF",
    ]  # fmt: skip
    assert lies(robot, deployed.truth)


@pytest.mark.slow
def test_signals_that_come_together_lie_the_robot_down(start: Start, robot: Robot):
    deployed = start("--yes", "--seconds", "60", "--json")
    deployed.wait_for(State.RUN)
    deployed.process.send_signal(signal.SIGTERM)
    deployed.process.send_signal(signal.SIGHUP)
    status, out, _ = deployed.finish()
    assert (status, json.loads(out.splitlines()[-1])["stopped"]) == (0, "operator")
    assert states(deployed.log)[-3:] == ["LIE", "DAMP", "OFF"]
    assert lies(robot, deployed.truth)


# --- faults -----------------------------------------------------------------------------------


def assert_ended_in(deployed: Deployed, *faults: Fault) -> RunLog:
    """The run ended with exit status 1 in one of these faults, and says so everywhere."""
    status, out, _ = deployed.finish()
    assert status == 1, out
    result = json.loads(out.splitlines()[-1])
    assert result["fault"] in [fault.name for fault in faults]
    assert result["cause"] and result["fault"] in out
    log = deployed.log
    assert log.complete
    assert states(log)[-1] == "FAULT"
    assert int(log.ticks["fault"][-1]) == Fault[result["fault"]]
    assert any(result["fault"] in event.text for event in log.events)
    return log


@pytest.mark.slow
def test_a_robot_that_falls_silent_is_a_fault(start: Start):
    deployed = start("--yes", "--seconds", "60", "--json")
    deployed.wait_for(State.RUN)
    emulator = deployed.child("emulate")
    os.kill(emulator, signal.SIGSTOP)
    try:
        log = assert_ended_in(deployed, Fault.DEAD_BUS, Fault.STALE_SENSORS)
    finally:
        with suppress(ProcessLookupError):
            os.kill(emulator, signal.SIGKILL)
    assert "DAMP" in states(log)


@pytest.mark.slow
def test_a_cable_that_is_pulled_is_a_fault_and_torque_may_stay_on(start: Start, robot: Robot):
    deployed = start("--yes", "--seconds", "60", "--json")
    deployed.wait_for(State.RUN)
    os.kill(deployed.child("emulate"), signal.SIGKILL)
    status, out, _ = deployed.finish()
    assert status == 1 and "TORQUE MAY STILL BE ON" in out and "Cut the power" in out
    result = json.loads(out.splitlines()[-1])
    assert result["torque_left_on"] == list(robot.joint_names)
    assert result["fault"] == "DEAD_BUS"
    assert "DAMP" in states(deployed.log)


@pytest.fixture
def emulated_ports(robot: Robot) -> Iterator[list[str]]:
    """An emulated robot of its own, that outlives who deploys on it: `--port` for each bus."""
    words = [sys.executable, "-m", "surefoot", "emulate", str(robot.directory), "--json"]
    words += ["--parent-pid", str(os.getpid())]
    emulator = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert emulator.stdout is not None
        ports = json.loads(emulator.stdout.readline())["ports"]
        yield [f"--port={bus}={device}" for bus, device in ports.items()]
    finally:
        emulator.terminate()
        emulator.communicate(timeout=PATIENCE)
    assert emulator.returncode == 0


@pytest.mark.slow
def test_two_deployments_do_not_share_a_robot(start: Start, emulated_ports: list[str]):
    first = start(*emulated_ports, "--yes", "--seconds", "60", "--json", emulated=False)
    first.wait_for(State.RUN)
    second = start(*emulated_ports, "--yes", emulated=False)
    status, _, err = second.finish()
    assert status == 2
    assert err.count("\n") == 1 and "/dev/" in err and "in use" in err
    first.process.send_signal(signal.SIGINT)
    status, out, _ = first.finish()
    assert status == 0, out
    assert json.loads(out.splitlines()[-1])["fault"] == "NONE"


@pytest.mark.slow
def test_a_robot_left_under_torque_is_refused_and_can_be_released(
    start: Start, robot: Robot, emulated_ports: list[str]
):
    first = start(*emulated_ports, "--yes", "--seconds", "60", emulated=False)
    first.wait_for(State.STAND)
    first.process.kill()
    first.finish()
    second = start(*emulated_ports, "--yes", "--json", emulated=False)
    status, out, _ = second.finish()
    assert status == 1
    assert "all 12 motors: found torque on" in out and "surefoot release" in out
    assert json.loads(out.splitlines()[-1])["fault"] == "START_REFUSED"
    words = [sys.executable, "-m", "surefoot", "release", "--robot", str(robot.directory)]
    words += [*emulated_ports, "--yes", "--json"]
    for found in (list(robot.joint_names), []):
        released = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
        assert released.returncode == 0, released.stderr
        result = json.loads(released.stdout.splitlines()[-1])
        assert result == {"found_torque_on": found, "torque_left_on": [], "silent": []}
