"""`surefoot deploy`: what it refuses before any port is opened."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console
from surefoot.deploy.controller import Controller
from surefoot.deploy.schedule import Schedule
from surefoot.models.robot_file import load_robot
from surefoot.models.task import CommandPart
from tiny_policy import tiny_policy
from verbs import refuse

pytestmark = pytest.mark.usefixtures("folder_of_its_own")

ROBOT = load_robot("quadruped")


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf"])
def test_deploy_refuses_a_duration_that_is_none(capsys, policy: str, seconds: str):
    line = refuse(capsys, "deploy", policy, "--seconds", seconds)
    assert f"--seconds: found {float(seconds)}" in line and "> 0" in line


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_deploy_refuses_a_command_that_is_no_number(capsys, policy: str, axis: int, value: str):
    command = ["0.1", "0.1", "0.1"]
    command[axis] = value
    line = refuse(capsys, "deploy", policy, "--command", *command)
    assert f"found {value}" in line and "finite" in line


@pytest.mark.parametrize(
    ("port", "found"),
    [("motors", "'motors'"), ("=/dev/ttyUSB0", "'=/dev/ttyUSB0'"), ("motors=", "'motors='")],
)
def test_deploy_refuses_a_port_without_bus_or_device(capsys, policy: str, port: str, found: str):
    line = refuse(capsys, "deploy", policy, f"--port={port}")
    assert found in line and "BUS=/dev/" in line


def test_deploy_refuses_ports_that_are_not_there(capsys, policy: str, tmp_path: Path):
    motors, imu = tmp_path / "motors", tmp_path / "imu"
    line = refuse(capsys, "deploy", policy, f"--port=motors={motors}", f"--port=imu={imu}")
    assert str(motors) in line or str(imu) in line


def test_deploy_refuses_a_bus_that_the_robot_lacks(capsys, policy: str):
    line = refuse(capsys, "deploy", policy, "--port=legs=/dev/ttyUSB0")
    assert "legs" in line and "motors" in line and "imu" in line


def test_deploy_refuses_a_bad_robot_and_a_bad_policy(capsys, policy: str, tmp_path: Path):
    assert "there is no robot 'spot'" in refuse(capsys, "deploy", policy, "--robot", "spot")
    broken = tmp_path / "robot.toml"
    broken.write_text("format = 1\nname = ")
    assert "not TOML" in refuse(capsys, "deploy", policy, "--robot", str(broken))
    text = tmp_path / "text.onnx"
    text.write_text("nothing")
    assert "not a policy" in refuse(capsys, "deploy", str(text))
    other = tmp_path / "other.onnx"
    other.write_bytes(tiny_policy(lambda table: table.update(robot="spot")))
    line = refuse(capsys, "deploy", str(other))
    assert "'spot'" in line and "'quadruped'" in line


def test_deploy_refuses_a_truth_that_nobody_knows(capsys, policy: str):
    line = refuse(capsys, "deploy", policy, "--truth", "truth.csv")
    assert "--truth" in line and "--emulated" in line


def test_deploy_refuses_a_log_that_exists_or_has_no_folder(capsys, policy: str, tmp_path: Path):
    log = tmp_path / "run.mcap"
    log.write_bytes(b"precious")
    assert str(log) in refuse(capsys, "deploy", policy, "--log", str(log), "--emulated", "--yes")
    assert log.read_bytes() == b"precious"
    line = refuse(capsys, "deploy", policy, "--log", str(tmp_path / "none" / "run.mcap"))
    assert "no folder" in line


SCHEDULES = {
    "no columns": ("", "found the columns"),
    "other columns": ("t,x,y,yaw\n0,0,0,0\n", "t,x,y,yaw"),
    "no rows": ("time,vx,vy,yaw_rate\n", "found no command"),
    "a word": ("time,vx,vy,yaw_rate\n0,fast,0,0\n", "line 2: found 0,fast,0,0"),
    "too few numbers": ("time,vx,vy,yaw_rate\n0,0,0\n", "found 2 numbers"),
    "too many numbers": ("time,vx,vy,yaw_rate\n0,0,0,0,0\n", "found 4 numbers"),
    "not a number": ("time,vx,vy,yaw_rate\n0,nan,0,0\n", "found nan"),
    "time that falls": ("time,vx,vy,yaw_rate\n1,0,0,0\n0,0,0,0\n", "0.0 s after 1.0 s"),
}


@pytest.mark.parametrize(("text", "words"), SCHEDULES.values(), ids=SCHEDULES)
def test_deploy_refuses_a_bad_schedule(capsys, policy: str, tmp_path: Path, text: str, words: str):
    path = tmp_path / "schedule.csv"
    path.write_text(text)
    assert words in refuse(capsys, "deploy", policy, "--schedule", str(path))


def test_deploy_refuses_a_schedule_that_is_no_text(capsys, policy: str, tmp_path: Path):
    path = tmp_path / "schedule.csv"
    path.write_bytes(b"\xff\x00\xfe")
    assert str(path) in refuse(capsys, "deploy", policy, "--schedule", str(path))
    assert "there is no file" in refuse(capsys, "deploy", policy, "--schedule", "none.csv")


def test_a_schedule_is_read_from_its_table(tmp_path: Path):
    from surefoot.deploy.schedule import read_schedule

    path = tmp_path / "schedule.csv"
    path.write_text("time, vx, vy, yaw_rate\n0,0,0,0\n\n1.5,0.3,-0.1,0.5\n")
    schedule = read_schedule(path, ("vx", "vy", "yaw_rate"))
    assert schedule.at(1.49).tolist() == [0.0, 0.0, 0.0]
    assert schedule.at(1.5).tolist() == [0.3, -0.1, 0.5]


def test_commands_beyond_the_trained_range_are_warned_of_and_far_beyond_refused(
    policy: str, capsys
):
    from surefoot.cli.commands import check_commands

    controller = Controller(policy, ROBOT)  # trained for ± 0.35, 0.2, 0.8
    console = Console(width=200)
    parts = controller.contract.commands
    check_commands(console, parts, Schedule.constant([0.35, -0.2, -0.8]))
    assert capsys.readouterr().out == ""
    check_commands(console, parts, Schedule.constant([0.0, -0.22, 0.0]))
    out = capsys.readouterr().out
    assert "vy: found -0.22 m/s; the policy was trained for -0.2 to 0.2" in out
    line = refuse(capsys, "deploy", policy, "--command", "0", "-0.25", "0")
    assert "vy: found -0.25 m/s, allowed is -0.24 to 0.24: the policy was trained" in line


def test_a_command_of_another_width_is_refused_by_the_names_of_its_parts(policy: str, capsys):
    line = refuse(capsys, "deploy", policy, "--command", "0.1", "0")
    assert "--command: found 2 numbers, allowed are 3: vx [m/s], vy [m/s], yaw_rate [rad/s]" in line


def test_without_a_command_the_middle_of_every_range_is_commanded():
    from surefoot.cli.commands import schedule_of

    parts = [CommandPart("x", "m", 0.1, 0.3), CommandPart("y", "m", -0.2, 0.2)]
    schedule = schedule_of((), None, parts)
    assert schedule.at(0.0) == pytest.approx([0.2, 0.0])
