"""The command `surefoot`: what it says, and with which exit status it says it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import MakeLog
from rich.console import Console
from surefoot import __version__
from surefoot.__main__ import VERBS, main
from surefoot.cli.tables import evaluation_table
from surefoot.cli.terminal import open_console
from surefoot.deploy.controller import Controller
from surefoot.deploy.log.reader import read_log
from surefoot.deploy.log.writer import LogWriter
from surefoot.deploy.schedule import Schedule
from surefoot.models.robot_file import load_robot
from surefoot.models.task import CommandPart
from tiny_policy import tiny_policy
from verbs import refuse, succeed, succeed_with_json

ROBOT = load_robot("quadruped")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def policy(tmp_path: Path) -> str:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_policy())
    return str(path)


# --- help -------------------------------------------------------------------------------------

UNITS = {
    "train": ["[min]", "environment steps", "--num-envs"],
    "evaluate": ["walking episode lasts 20 s", "0.5 m/s"],
    "play": ["[m/s]", "[rad/s]", "127.0.0.1"],
    "export": ["ONNX"],
    "emulate": ["every 20 ms"],
    "deploy": ["[s]", "[m/s]", "[rad/s]", "[s, m/s, m/s, rad/s]", "--dry-run"],
    "release": ["torque", "--yes"],
    "replay": ["bit", "simulation"],
    "log": ["info", "repair"],
    "demo": ["[s]"],
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_units(verb: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert f"surefoot {verb}" in text
    for word in UNITS[verb]:
        assert word in text, word


def test_help_of_train_lists_the_options_of_the_algorithm(capsys: pytest.CaptureFixture[str]):
    def options(*words: str) -> str:
        with pytest.raises(SystemExit):
            main(["train", *words, "--help"])
        return capsys.readouterr().out

    ppo, sac = options(), options("--algo", "sac")
    assert "--horizon" in ppo and "--tau" not in ppo
    assert "--tau" in sac and "--hindsight" in sac and "--horizon" not in sac


def test_help_names_every_verb_and_what_it_is_for(capsys: pytest.CaptureFixture[str]):
    text = succeed(capsys, "--help")
    for verb, meaning in VERBS.items():
        assert verb in text and meaning in text
    assert main([]) == 2


def test_version(capsys: pytest.CaptureFixture[str]):
    assert succeed(capsys, "--version") == f"surefoot {__version__}\n"


def test_an_unknown_verb_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]):
    assert main(["fly"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert "found 'fly'" in err and all(verb in err for verb in VERBS)


@pytest.mark.parametrize(
    "words",
    [
        ["deploy"],
        ["deploy", "p.onnx", "--nonsense"],
        ["deploy", "p.onnx", "--command", "0.1", "fast"],
        ["deploy", "p.onnx", "--seconds", "soon"],
        ["train", "walk", "--algo", "dreamer"],
        ["train", "walk", "--algo", "sac", "--horizon", "24"],
        ["train", "walk", "--tau", "0.1"],
        ["train", "walk", "--steps", "many"],
        ["train", "walk", "--steps", "1.5"],
        ["train", "walk", "--steps", "inf"],
        ["replay", "run.mcap", "--mode", "backwards"],
        ["evaluate"],
        ["export"],
        ["emulate", "quadruped", "spot"],
        ["log"],
        ["log", "delete"],
        ["demo", "now"],
    ],
    ids=" ".join,
)
def test_words_that_no_verb_understands_exit_with_2(words, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == "" and err and "Traceback" not in err


def test_the_installed_command_says_one_line_and_exits_with_2():
    run = subprocess.run(
        [sys.executable, "-m", "surefoot", "deploy", "missing.onnx"], capture_output=True, text=True
    )
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr == "surefoot deploy: there is no policy file 'missing.onnx'\n"


@pytest.mark.parametrize(
    ("words", "package", "extra"),
    [
        (["train", "walk"], "torch", "train"),
        (["replay", "x"], "mujoco", "sim"),
        (["export", "x"], "onnx", "train"),
    ],
)
def test_a_package_that_is_not_installed_is_named(words: list[str], package: str, extra: str):
    code = (
        f"import sys; sys.modules[{package!r}] = None; "
        f"from surefoot.__main__ import main; sys.exit(main({words!r}))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stderr == (
        f"surefoot {words[0]}: needs the package '{package}': pip install 'surefoot[{extra}]'\n"
    )


def test_ctrl_c_ends_a_verb_without_a_traceback(capsys, monkeypatch: pytest.MonkeyPatch):
    from surefoot.cli import log

    def interrupted(_arguments: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(log, "run", interrupted)
    assert main(["log", "info", "run.mcap"]) == 130
    assert capsys.readouterr().err == "surefoot log: stopped\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(13, "Permission denied", "runs"), "runs: Permission denied"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("[b] something"), "[b] something"),
    ],
)
def test_an_error_of_the_system_is_one_line(capsys, monkeypatch, error: OSError, line: str):
    from surefoot.cli import log

    def fail(_arguments: object) -> int:
        raise error

    monkeypatch.setattr(log, "run", fail)
    assert refuse(capsys, "log", "info", "run.mcap") == f"surefoot log: {line}\n"


def test_a_renderer_that_mujoco_does_not_know_is_one_line():
    run = subprocess.run(
        [sys.executable, "-m", "surefoot", "replay", "run.mcap"],
        capture_output=True,
        text=True,
        env={**os.environ, "MUJOCO_GL": "nonsense"},
    )
    assert run.returncode == 2 and run.stderr.count("\n") == 1
    assert "MUJOCO_GL=nonsense cannot be used here" in run.stderr


@pytest.mark.parametrize("words", [["--help"], ["log", "--help"]], ids=" ".join)
def test_a_pipe_that_nobody_reads_is_no_failure(words: list[str]):
    out, pipe = os.pipe()
    os.close(out)
    command = [sys.executable, "-m", "surefoot", *words]
    run = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, text=True)
    os.close(pipe)
    assert (run.returncode, run.stderr) == (141, "")


# --- deploy: what is refused before any port is opened ----------------------------------------


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


# --- the other verbs' refusals ----------------------------------------------------------------


def test_emulate_refuses_a_robot_that_is_none(capsys):
    assert "there is no robot 'spot'" in refuse(capsys, "emulate", "spot")


def test_evaluate_refuses(capsys, policy: str):
    assert "there is no policy file" in refuse(capsys, "evaluate", "none.onnx")
    Path("text.onnx").write_text("nothing")
    assert "text.onnx: not a policy" in refuse(capsys, "evaluate", "text.onnx")
    assert "--episodes: found 0" in refuse(capsys, "evaluate", policy, "--episodes", "0")
    assert "there is no robot" in refuse(capsys, "evaluate", policy, "--robot", "spot")


def test_log_refuses(capsys, tmp_path: Path, run_log: Path):
    assert "cannot be read" in refuse(capsys, "log", "info", "none.mcap")
    text = tmp_path / "text.mcap"
    text.write_text("not a log at all")
    assert "found no MCAP file" in refuse(capsys, "log", "info", str(text))
    assert "nothing to repair" in refuse(capsys, "log", "repair", str(run_log), "new.mcap")
    assert "surefoot log info some.mcap" in refuse(capsys, "log", "some.mcap")


def test_replay_refuses(capsys, tmp_path: Path, run_log: Path, make_log: MakeLog):
    assert "cannot be read" in refuse(capsys, "replay", "none.mcap")
    bare = str(make_log(attach=("robot.toml",), seconds=0.1))
    line = refuse(capsys, "replay", bare)
    assert "found no policy.onnx" in line and bare in line
    log = str(run_log)
    assert ".mp4, .gif" in refuse(capsys, "replay", log, "--video", "walk.avi")
    assert ".png, .svg" in refuse(capsys, "replay", log, "--plot", "walk.txt")
    assert "no folder" in refuse(capsys, "replay", log, "--plot", "none/walk.png")
    (tmp_path / "taken.png").mkdir()
    assert "found a folder" in refuse(capsys, "replay", log, "--plot", "taken.png")
    assert "/proc/x.png" in refuse(capsys, "replay", log, "--plot", "/proc/x.png")
    line = refuse(capsys, "replay", log, "--mode", "policy", "--plot", "walk.png")
    assert "sim and both" in line
    assert "there is no robot" in refuse(capsys, "replay", log, "--robot", "spot")


def test_train_refuses(capsys, tmp_path: Path):
    for flag, value in (
        ("--minutes", "0"), ("--minutes", "nan"), ("--minutes", "inf"), ("--steps", "0"),
        ("--num-envs", "0"), ("--horizon", "0"), ("--epochs", "0"), ("--num-minibatches", "-1"),
        ("--episodes", "-1"),
    ):  # fmt: skip
        line = refuse(capsys, "train", "walk", flag, value, "--run", "new")
        assert f"{flag}: found" in line
    assert "there is no robot" in refuse(capsys, "train", "walk", "--robot", "spot")
    assert "environment: " in refuse(capsys, "train", "fly")
    assert "found Discrete(2)" in refuse(capsys, "train", "CartPole-v1", "--algo", "sac")
    for flag in ("--num-envs", "--updates-per-step", "--batch-size", "--buffer-size", "--n-step"):
        assert f"{flag}: found 0" in refuse(capsys, "train", "walk", "--algo=sac", flag, "0")
    assert "found 4 for an environment without goals" in refuse(
        capsys, "train", "Pendulum-v1", "--algo", "sac", "--hindsight", "4",
        "--run", str(tmp_path / "new"),
    )  # fmt: skip
    assert "task: found none" in refuse(capsys, "train")
    few = ("--steps", "8", "--num-envs", "4", "--horizon", "2")
    line = refuse(capsys, "train", *few, "--resume", "none")
    assert "checkpoint" in line
    file = tmp_path / "file"
    file.touch()
    assert "found a file" in refuse(capsys, "train", "walk", *few, "--run", str(file))
    (tmp_path / "runs").touch()  # where a run goes that is given no folder
    assert "found a file" in refuse(capsys, "train", "walk", *few)
    assert not (tmp_path / "new").exists()


def test_export_refuses(capsys, tmp_path: Path):
    assert "checkpoint of a run" in refuse(capsys, "export", "none")
    (tmp_path / "checkpoint.pt").write_text("broken")
    assert "not a whole checkpoint" in refuse(capsys, "export", str(tmp_path))


def test_demo_refuses(capsys, tmp_path: Path):
    for seconds in ("1", "nan", "61"):
        assert "4 to 60" in refuse(capsys, "demo", "--seconds", seconds)
    assert "there is no policy" in refuse(capsys, "demo", "--policy", "none.onnx")
    assert "there is no robot" in refuse(capsys, "demo", "--robot", "spot")
    assert not (tmp_path / "demo").exists()


def test_demo_deletes_nobodys_files(capsys, tmp_path: Path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("precious")
    assert "something else" in refuse(capsys, "demo", "--out", "mine")
    (mine / "schedule.csv").write_text("the exam's")  # as a demo's is called
    (mine / "walk.png").write_text("a photograph")
    assert "thesis.tex" in refuse(capsys, "demo", "--out", "mine")
    assert (mine / "thesis.tex").read_text() == "precious"
    assert (mine / "schedule.csv").read_text() == "the exam's"
    assert (mine / "walk.png").exists()
    assert "found a file" in refuse(capsys, "demo", "--out", "mine/thesis.tex")


def test_two_demos_do_not_share_a_folder(capsys, tmp_path: Path):
    from surefoot.cli.demo import _fresh

    with _fresh(tmp_path / "demo") as folder:
        (folder / "walk.mcap").write_text("the first one's")
        assert "another demo" in refuse(capsys, "demo")
        assert (folder / "walk.mcap").read_text() == "the first one's"
    with _fresh(tmp_path / "demo") as folder:
        assert list(folder.iterdir()) == []


def test_a_stopped_demo_is_no_success(capsys, monkeypatch: pytest.MonkeyPatch):
    from surefoot.cli import deploy

    summary = SimpleNamespace(stopped="operator")
    monkeypatch.setattr(deploy, "deploy", lambda _arguments: (0, summary))
    assert main(["demo"]) == 130
    assert "Stopped by the operator" in capsys.readouterr().out


# --- what they do -----------------------------------------------------------------------------


def test_log_info_ends_with_json(capsys, run_log: Path):
    table = succeed_with_json(capsys, "log", "info", str(run_log))
    assert table["complete"] and table["faults"] == []
    assert list(table["states"]) == ["STAND", "RUN", "LIE", "DAMP", "OFF"]
    assert set(table["attachments"]) == {"robot.toml", "policy.onnx"}
    assert table["period"]["p50"] == pytest.approx(ROBOT.control_period)
    assert (table["holds"], table["held"]) == (0, [])
    low, high = table["joint_pos"]["rear_left_knee"]
    assert low == pytest.approx(-2.65, abs=0.02) and high == pytest.approx(-1.5, abs=0.1)


def test_log_info_shows_what_a_person_asks_for(capsys, run_log: Path):
    short = succeed(capsys, "log", "info", str(run_log))
    assert "[ms]" in short and "[rad]" in short and "rear_left_knee" in short
    assert "sha256" not in short and "onnxruntime" not in short
    whole = succeed(capsys, "log", "info", str(run_log), "--all", "--fields")
    assert "sha256" in whole and "onnxruntime" in whole and "rad/s" in whole


def test_log_info_tells_holds_from_faults(capsys, run_log: Path):
    from surefoot.cli.log import _rows, _summary
    from surefoot.deploy.verdict import Fault, State

    log = read_log(run_log)
    ticks = log.ticks.copy()
    running = np.flatnonzero(ticks["state"] == State.RUN)
    for first in (5, 20):
        held = running[first : first + 3]
        ticks["state"][held], ticks["fault"][held] = State.HOLD, Fault.STALE_SENSORS
    rows = dict(_rows(_summary(replace(log, ticks=ticks))))
    assert rows["faults"] == "none"
    assert rows["held, and went on"] == "2 times, 0.12 s in all: STALE_SENSORS 2"


def test_a_repaired_log_is_told_of_in_json(capsys, run_log: Path, tmp_path: Path):
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(run_log.read_bytes()[:-30_000])
    assert "log repair cut.mcap" in succeed(capsys, "log", "info", str(cut))
    table = succeed_with_json(capsys, "log", "repair", str(cut), "whole.mcap")
    assert table["file"] == "whole.mcap"
    assert table["ticks"] == len(read_log(tmp_path / "whole.mcap").ticks)


def test_units_and_paths_are_printed_as_they_are(capsys, run_log: Path, tmp_path: Path):
    folder = tmp_path / "[b]odd"
    folder.mkdir()
    plot = folder / "joints[red].svg"
    out = succeed(capsys, "replay", str(run_log), "--plot", str(plot))
    assert "RMS [rad]" in out and "largest [rad]" in out
    assert str(plot) in out
    assert "found [b]odd" in refuse(capsys, "replay", str(run_log), "--plot", "[b]odd")
    figures = {
        "episodes": 2, "survival": 1.0, "score": 0.5, "torque": 1.0, "action_change": 1.0,
        "rmse": {"vx": 0.1, "vy": 0.1, "yaw_rate": 0.1},
        "standing_still": {"score": 0.25, "vx": 0.2, "vy": 0.2, "yaw_rate": 0.2},
    }  # fmt: skip
    open_console().print(evaluation_table({"nominal": figures}, "runs/[b]/policy.onnx"))
    out = capsys.readouterr().out
    assert "runs/[b]/policy.onnx" in out
    assert all(unit in out for unit in ("[m/s]", "[rad/s]", "[N·m]"))
    assert "standing still" in out and "0.250" in out


def test_robots_that_all_fell_at_once_have_no_error(capsys):
    figures = {
        "episodes": 2, "survival": 0.0, "score": 0.0, "torque": 1.0, "action_change": 1.0,
        "rmse": {"vx": None, "vy": None, "yaw_rate": None},
        "standing_still": {"score": 0.25, "vx": 0.2, "vy": 0.2, "yaw_rate": 0.2},
    }  # fmt: skip
    open_console().print(evaluation_table({"nominal": figures}, "policy"))
    row = next(line for line in capsys.readouterr().out.splitlines() if "vx" in line)
    assert row.split()[-2:] == ["-", "0.200"]


def test_replay_ends_with_json(capsys, run_log: Path, tmp_path: Path):
    plot = tmp_path / "joints.svg"
    table = succeed_with_json(capsys, "replay", str(run_log), "--plot", str(plot))
    assert table["policy"]["agrees"] and table["policy"]["compared"] == "bits"
    assert table["policy"]["identical"] == table["policy"]["ticks"] == 50
    assert set(table["sim"]["joints"]) == set(ROBOT.joint_names)
    assert 0 < table["sim"]["rms"] < 0.01
    assert "<svg" in plot.read_text()


def test_a_replay_that_differs_exits_with_1(capsys, run_log: Path, tmp_path: Path):
    whole = read_log(run_log)
    ticks = whole.ticks.copy()
    ticks["action"].view(np.uint32)[150, 3] ^= 1
    path = tmp_path / "flipped.mcap"
    metadata = {"robot": whole.metadata["robot"]}
    log = LogWriter(path, whole.joint_names, whole.command_names, whole.attachments, metadata)
    for tick in ticks:
        log.record(tick)
    assert log.close().written == len(ticks)
    words = ("replay", str(path), "--mode", "policy", "--json")
    out = succeed(capsys, *words, status=1)
    assert "differs" in out and "49 of 50 ticks identical" in " ".join(out.split())
    table = json.loads(out.splitlines()[-1])
    assert not table["policy"]["agrees"] and table["policy"]["identical"] == 49


def test_a_replay_on_another_processor_says_that_it_compares_by_tolerance(
    capsys, run_log: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("surefoot.deploy.workstation.replay.processor", lambda: "another")
    out = " ".join(succeed(capsys, "replay", str(run_log), "--mode", "policy").split())
    assert "within 0.0001: another ONNX Runtime or processor" in out


def test_a_dry_run_is_replayed_without_a_motion_to_compare(capsys, make_log: MakeLog):
    log = str(make_log(dry_run=True, seconds=0.2))
    table = succeed_with_json(capsys, "replay", log)
    assert table["policy"]["agrees"]
    assert table["sim"] == {"rms": None, "joints": {}}
    pictures = ("--plot", "log.svg", "--video", "none.mp4")
    assert "No video" in succeed(capsys, "replay", log, *pictures)
    assert "simulation" not in Path("log.svg").read_text()
    assert not Path("none.mp4").exists()


def test_a_log_that_was_cut_off_is_replayed_with_a_word(capsys, run_log: Path, tmp_path: Path):
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(run_log.read_bytes()[:-30_000])
    out = " ".join(succeed(capsys, "replay", str(cut), "--mode", "policy").split())
    assert "cut off" in out and "agrees" in out
