"""`surefoot release` on motors in memory: what can be switched off is, and the rest is named."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from collections.abc import Mapping

import pytest
from surefoot.__main__ import main
from surefoot.cli import release as cli
from surefoot.hardware import release
from surefoot.hardware.dynamixel import xseries as x
from surefoot.hardware.dynamixel.protocol import Instruction, Packet
from surefoot.models.errors import DeviceError
from surefoot.models.robot import Bus
from wire_bench import DESCRIPTION, Clock, Motors

NAMES = list(DESCRIPTION.joint_names)
CapFd = pytest.CaptureFixture[str]


class Line(Motors):
    """Motors that answer at once on any clock, all under torque; a test may pull their cable."""

    def __init__(self) -> None:
        super().__init__(Clock())
        self.pulled_after = math.inf  # so many requests the port is gone
        self.closed = True
        self.set_torque(1)

    def set_torque(self, torque: int) -> None:
        for id in self.tables:
            self.put(id, x.TORQUE_ENABLE, torque)

    def torque(self) -> list[int]:
        return [self.get(id, x.TORQUE_ENABLE) for id in self.tables]

    def write(self, data: bytes) -> None:
        assert not self.closed
        if len(self.requests) >= self.pulled_after:
            raise DeviceError(f"port {self.name}: the device is gone")
        super().write(data)

    def read(self, deadline: float) -> bytes:
        chunk, self.pending = self.pending, b""
        return chunk


class Robot:
    """Its ports, by bus; what is not there does not open."""

    def __init__(self) -> None:
        self.motors = Line()
        self.lines = {"motors": self.motors}

    def open_port(self, bus: Bus, ports: Mapping[str, str], clock: object) -> Line:
        path = ports.get(bus.name, bus.port)
        if bus.name not in self.lines:
            raise DeviceError(f"port {path}: there is no such device")
        line = self.lines[bus.name]
        assert line.closed, "one holder at a time"
        line.closed = False
        return line


@pytest.fixture
def robot(monkeypatch: pytest.MonkeyPatch) -> Robot:
    robot = Robot()
    monkeypatch.setattr(release, "open_port", robot.open_port)
    return robot


@pytest.fixture
def two_buses(robot: Robot, monkeypatch: pytest.MonkeyPatch) -> Robot:
    """Joints 1 to 6 on the bus `front`, 7 to 12 on `rear`."""
    motors = DESCRIPTION.buses["motors"]
    robot.lines = {name: Line() for name in ("front", "rear")}
    buses = {name: dataclasses.replace(motors, name=name) for name in robot.lines}
    joints = tuple(
        dataclasses.replace(joint, motor=dataclasses.replace(joint.motor, bus=name))
        for joint, name in zip(DESCRIPTION.joints, ["front"] * 6 + ["rear"] * 6, strict=True)
    )
    description = dataclasses.replace(
        DESCRIPTION, buses={**buses, "imu": DESCRIPTION.buses["imu"]}, joints=joints
    )
    monkeypatch.setattr(cli, "load_robot", lambda _: description)
    return robot


def last_line(out: str) -> dict:
    return json.loads(out.splitlines()[-1])


def test_all_torque_goes_off(robot: Robot, capfd: CapFd) -> None:
    for id in range(3, 13):
        robot.motors.put(id, x.TORQUE_ENABLE, 0)
    assert main(["release", "--yes", "--json"]) == 0
    out = capfd.readouterr().out
    assert f"Under torque: {NAMES[0]}, {NAMES[1]}\n" in out and "every motor says" in out
    assert last_line(out) == {"found_torque_on": NAMES[:2], "torque_left_on": [], "silent": []}
    assert robot.motors.torque() == [0] * 12
    assert robot.motors.closed
    written = robot.motors.seen(Instruction.SYNC_WRITE)
    assert [packet.params[0] for packet in written] == [64], "and nothing else"


def test_a_limp_robot_is_not_written_to(robot: Robot, capfd: CapFd) -> None:
    robot.motors.set_torque(0)
    assert main(["release"]) == 0
    assert "No joint is under torque" in capfd.readouterr().out
    assert not robot.motors.seen(Instruction.SYNC_WRITE)


def test_what_a_run_would_refuse_is_released(robot: Robot, capfd: CapFd) -> None:
    """No IMU, a motor in a wrong mode, a slow one; and one that is silent keeps its own alone."""
    robot.motors.put(2, x.OPERATING_MODE, 3)
    robot.motors.put(3, x.RETURN_DELAY, 254)
    robot.motors.silent = {7}
    assert main(["release", "--yes", "--json"]) == 1
    out = capfd.readouterr().out
    assert robot.motors.torque() == [0] * 6 + [1] + [0] * 5
    assert f"Off: {', '.join(NAMES[:6] + NAMES[7:])}\n" in out
    assert f"TORQUE MAY STILL BE ON: {NAMES[6]}. Cut the power." in out
    assert out.count(f"No answer: {NAMES[6]}\n") == 2, "before and after"
    assert last_line(out) == {
        "found_torque_on": NAMES[:6] + NAMES[7:],
        "torque_left_on": [NAMES[6]],
        "silent": [NAMES[6]],
    }


def test_a_motor_that_ignores_it_is_named(robot: Robot, capfd: CapFd) -> None:
    robot.motors.set_torque(0)
    robot.motors.put(5, x.TORQUE_ENABLE, 1)
    robot.motors.read_only = {x.TORQUE_ENABLE.address}
    assert main(["release", "--yes", "--json"]) == 1
    out = capfd.readouterr().out
    assert f"Still on: {NAMES[4]}\n" in out and f"STILL BE ON: {NAMES[4]}. Cut" in out
    assert last_line(out)["torque_left_on"] == [NAMES[4]]
    assert len(robot.motors.seen(Instruction.SYNC_WRITE)) == 3


def test_a_lost_request_is_sent_again(robot: Robot) -> None:
    robot.motors.silent = {9}

    def heard_from_the_second_on(request: Packet, reply: bytes) -> bytes:
        if len(robot.motors.seen(Instruction.SYNC_WRITE)) == 1:
            robot.motors.silent = set()
        return reply

    robot.motors.mangle = heard_from_the_second_on
    assert main(["release", "--yes"]) == 0
    assert robot.motors.torque() == [0] * 12


@pytest.mark.parametrize("dead", ["front", "rear"])
def test_a_port_that_does_not_open_keeps_it_from_no_other(
    two_buses: Robot, capfd: CapFd, dead: str
) -> None:
    del two_buses.lines[dead]
    assert main(["release", "--yes", "--json"]) == 1
    out = capfd.readouterr().out
    assert out.count("there is no such device") == 1 and f"give --port {dead}=DEVICE" in out
    (alive,) = two_buses.lines.values()
    lost, released = (NAMES[:6], NAMES[6:]) if dead == "front" else (NAMES[6:], NAMES[:6])
    assert sum(alive.torque()) == 6, "the fake line has all twelve, six of them asked"
    assert last_line(out) == {
        "found_torque_on": released,
        "torque_left_on": lost,
        "silent": lost,
    }


def test_a_port_that_goes_meanwhile_keeps_it_from_no_other(two_buses: Robot, capfd: CapFd) -> None:
    two_buses.lines["front"].pulled_after = 1  # what was under torque has been asked by then
    assert main(["release", "--yes", "--json"]) == 1
    out = capfd.readouterr().out
    assert "the device is gone" in out
    assert two_buses.lines["rear"].torque()[6:] == [0] * 6
    assert last_line(out)["found_torque_on"] == NAMES
    assert last_line(out)["torque_left_on"] == NAMES[:6]


def test_without_any_port_one_line_says_what_to_give(robot: Robot, capfd: CapFd) -> None:
    robot.lines = {}
    assert main(["release", "--yes"]) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1 and "no such device" in err
    assert "bus 'motors' on /dev/ttyUSB0, robot.toml's own port: give --port motors=DEVICE" in err
    assert main(["release", "--yes", "--port", "motors=/dev/ttyACM3"]) == 2
    err = capfd.readouterr().err
    assert "/dev/ttyACM3" in err and "give" not in err


class Person(io.StringIO):
    """Who answers at a terminal."""

    def isatty(self) -> bool:
        return True


def test_it_asks_first(robot: Robot, capsys: CapFd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))  # no terminal
    assert main(["release"]) == 2
    assert "--yes" in capsys.readouterr().err
    for answer in ("no\n", ""):
        monkeypatch.setattr("sys.stdin", Person(answer))
        assert main(["release"]) == 1
        assert "go limp" in capsys.readouterr().out
    assert robot.motors.torque() == [1] * 12
    assert not robot.motors.seen(Instruction.SYNC_WRITE)
    monkeypatch.setattr("sys.stdin", Person("yes\n"))
    assert main(["release"]) == 0
    assert robot.motors.torque() == [0] * 12
