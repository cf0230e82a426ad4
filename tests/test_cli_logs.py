"""`surefoot log` and `surefoot replay`: what they say, and what they refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import MakeLog
from surefoot.cli.replay import report_policy
from surefoot.cli.tables import evaluation_table
from surefoot.cli.terminal import open_console
from surefoot.deploy.log.reader import read_log
from surefoot.deploy.log.writer import LogWriter
from surefoot.deploy.workstation.replay import PolicyReplay
from surefoot.models.robot_file import load_robot
from verbs import refuse, succeed, succeed_with_json

pytestmark = pytest.mark.usefixtures("folder_of_its_own")

ROBOT = load_robot("quadruped")


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


def test_a_replay_says_what_it_could_not_compare(capsys):
    replay = PolicyReplay(3, 2, same_machine=True, identical=3, largest_difference=0.0)
    table = report_policy(open_console(), replay)
    assert (table["agrees"], table["ticks"], table["not_compared"]) == (True, 3, 2)
    out = " ".join(capsys.readouterr().out.split())
    assert "Policy agrees" in out and "2 ticks not compared: records are missing" in out


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
