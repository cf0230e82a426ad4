"""Evaluation on ground that is not level."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from surefoot.__main__ import main
from surefoot.cli import evaluation_report
from surefoot.cli.trained import open_policy
from surefoot.deploy.contract import KEY
from surefoot.models.errors import RenderError, UsageError
from surefoot.models.robot_file import load_robot
from surefoot.sim.evaluate import Result, evaluate, falls_by_ground
from surefoot.sim.gaits import QUADRUPED
from surefoot.sim.measures import Recording
from surefoot.sim.reach import ReachEnv
from surefoot.sim.terrain import KINDS, LEVELS, make_terrain
from surefoot.sim.trials import walking_on_terrain
from surefoot.sim.walk import WalkEnv
from surefoot.sim.walk_measures import WalkMeasures

ROBOT = load_robot("quadruped")
COMMANDS = QUADRUPED.commands
ALL = len(KINDS) * LEVELS


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Episodes of two seconds, of which one counts."""
    monkeypatch.setattr(WalkEnv, "episode_time", 2.0)


def stand(inputs, begins) -> np.ndarray:
    return np.zeros((len(inputs["command"]), 12), np.float32)


def test_every_kind_at_every_level_is_begun_on():
    env = walking_on_terrain(ALL + 2, ROBOT, ())
    assert env.curriculum
    names = env.curriculum.names()
    pairs = list(zip(names["kind"].tolist(), names["level"].tolist(), strict=True))
    assert pairs[0] == ("flat", "1") and pairs[7] == ("flat", "2") and pairs[41:43] == [
        ("slopes_up", "6"), ("flat", "1"),
    ]  # fmt: skip
    assert len(set(pairs)) == ALL
    env.reset(seed=0)
    assert (env.curriculum.names()["level"] == names["level"]).all()  # as they were dealt
    level = env.robots.qpos[:, 0] // env.curriculum.terrain.tile
    kind = env.robots.qpos[:, 1] // env.curriculum.terrain.tile
    assert level.tolist() == [i // len(KINDS) % LEVELS for i in range(ALL + 2)]
    assert kind.tolist() == [i % len(KINDS) for i in range(ALL + 2)]


def test_terrain_is_a_further_condition_and_changes_no_other(short):
    def figures(terrain: bool):
        results = evaluate(stand, COMMANDS, ROBOT, "joint_target", 15, 2, terrain=terrain)
        return results, {name: result.figures for name, result in results.items()}

    (_, without), (results, found) = figures(False), figures(True)
    assert list(found) == ["nominal", "pushes", "randomised", "beyond", "terrain"]
    assert {name: found[name] for name in without} == without
    rough = results["terrain"]
    assert rough.recording.terrain is not None and results["nominal"].recording.terrain is None
    assert rough.variations == results["nominal"].variations
    by_kind, by_level = found["terrain"]["by_kind"], found["terrain"]["by_level"]
    assert list(by_kind) == [kind.__name__ for kind in KINDS] and list(by_level) == ["1", "2", "3"]
    assert [group["episodes"] for group in by_kind.values()] == [3, 2, 2, 2, 2, 2, 2]
    assert [group["episodes"] for group in by_level.values()] == [7, 7, 1]
    for groups in (by_kind, by_level):
        for key in ("survival", "score"):
            total = sum(group["episodes"] * group[key] for group in groups.values())
            assert total / 15 == pytest.approx(found["terrain"][key])
    falls, walked = (
        [group[key] for group in found["terrain"]["falls_by_kind"].values()]
        for key in ("falls", "minutes")
    )
    assert sum(falls) == round(15 * (1 - found["terrain"]["survival"]))
    assert sum(walked) * 60 == pytest.approx(rough.recording.alive.sum() * 0.02)
    assert rough.recording.command == pytest.approx(results["nominal"].recording.command)
    json.dumps(found, allow_nan=False)


def test_the_ground_of_an_evaluation_is_no_trainings():
    trained = WalkEnv(1, ROBOT, (), terrain=True).curriculum
    evaluated = walking_on_terrain(1, ROBOT, ()).curriculum
    assert trained and evaluated
    ours, theirs = (np.split(c.terrain.heights, len(KINDS), 1) for c in (trained, evaluated))
    differs = [(a != b).any() for a, b in zip(ours, theirs, strict=True)]
    random = [kind.__name__ in ("rough", "blocks") for kind in KINDS]
    assert differs == random  # steps and slopes know no chance


def test_a_fall_belongs_to_the_ground_it_came_to():
    """Three robots, 1 s a tick: one falls on its second tile, one walks over the field's edge."""
    terrain = make_terrain(0.16)
    middle = terrain.centre(np.array([0, 0, 5]), np.array([0, 1, 6]))  # flat, rough, slopes up
    qpos = np.zeros((6, 3, 19))
    qpos[..., :2] = middle
    qpos[2:, 0, 1] += terrain.tile  # walks on from flat ground to rough
    qpos[3:, 2, :2] += terrain.tile * np.array([1, 1])  # over the edge: to level 1, flat
    alive = np.ones((6, 3), bool)
    alive[4:, 0] = False
    none = np.zeros((6, 3, 12))
    recording = Recording(
        1.0, np.ones(6, bool), alive, none, none, none, none, none, qpos, none[0], none[0, :, 0],
        ~alive, {}, terrain,
    )  # fmt: skip
    found = falls_by_ground(recording)
    kinds, levels = found["falls_by_kind"], found["falls_by_level"]
    assert list(kinds) == [kind.__name__ for kind in KINDS]
    assert list(levels) == [str(1 + level) for level in range(LEVELS)]
    seconds = {name: round(60 * group["minutes"]) for name, group in kinds.items()}
    assert {name: s for name, s in seconds.items() if s} == {"flat": 5, "rough": 8, "slopes_up": 3}
    assert {name: g["falls"] for name, g in kinds.items() if g["falls"]} == {"rough": 1}
    assert [g["falls"] for g in levels.values()] == [1, 0, 0, 0, 0, 0]
    assert [round(60 * g["minutes"]) for g in levels.values()] == [13, 0, 0, 0, 0, 3]


def test_groups_by_hand():
    survived = np.array([True, False, True, True])
    alive = np.stack((np.ones(4, bool), survived))

    class Scored:
        merit = np.array([0.9, 0.1, 0.5, 0.7])

        def figures(self):
            return {}

    none = np.zeros((2, 4, 12))
    recording = Recording(
        0.02,
        np.ones(2, bool),
        alive,
        none,
        none,
        none,
        none,
        none,
        none,
        none[0],
        none[0, :, 0],
        alive,
    )
    kinds = np.array(["flat", "rough", "rough", "flat"])
    result = Result((), Scored(), recording, {}, {"kind": kinds})  # pyright: ignore
    assert result.figures["by_kind"] == {
        "flat": {"episodes": 2, "survival": 1.0, "score": pytest.approx(0.8)},
        "rough": {"episodes": 2, "survival": 0.5, "score": pytest.approx(0.3)},
    }


def test_a_path_over_the_fields_edge_is_no_leap():
    """0.3 m/s at 5 W: the cost of transport is the one on an endless plain."""
    terrain = make_terrain(0.16)
    ticks = 500
    x = 0.3 * 0.02 * np.arange(ticks)
    qpos = np.zeros((ticks, 1, 19))
    qpos[:, 0, 0] = terrain.period[0] - 1.0 + x
    qpos[:, 0, :2] = terrain.wrapped(qpos[:, 0, :2])
    assert np.abs(np.diff(qpos[:, 0, 0])).max() > 10  # it was put back
    none = np.zeros((ticks, 1, 3))
    torque = np.full((ticks, 1, 12), 5 / 12)
    measures = WalkMeasures.of(
        Recording(
            0.02, np.ones(ticks, bool), np.ones((ticks, 1), bool), none, none, torque, torque,
            np.ones_like(torque), qpos, np.ones((1, 12)), np.full(1, 2.0),
            np.zeros((ticks, 1), bool), {}, terrain,
        ),
        0.05, 0.25,
    )  # fmt: skip
    assert measures.cost_of_transport[0] == pytest.approx(5 / (2.0 * 9.81 * 0.3), rel=1e-3)


def test_an_arm_has_no_terrain():
    with pytest.raises(UsageError, match="terrain: found a policy commanded by x y z, allowed is"):
        evaluate(stand, ReachEnv.commands, load_robot("arm"), episodes=1, terrain=True)


@pytest.fixture
def trained_there(tame_policy: Path, tmp_path: Path) -> Path:
    """The tame policy, whose file says that it was trained on terrain."""
    import onnx

    model = onnx.load(tame_policy)
    (entry,) = [p for p in model.metadata_props if p.key == KEY]
    table = json.loads(entry.value)
    table["training"]["terrain"] = True
    entry.value = json.dumps(table)
    path = tmp_path / "terrain.onnx"
    onnx.save(model, path)
    return path


def test_the_files_of_an_evaluation_on_terrain(
    short, trained_there: Path, tame_policy: Path, tmp_path: Path, monkeypatch, capsys
):
    def fail(*_arguments: object) -> None:
        raise RenderError("not here")

    monkeypatch.setattr(evaluation_report, "write_video", fail)
    report, values = tmp_path / "report.html", tmp_path / "values.csv"
    assert open_policy(trained_there, None).terrain and not open_policy(tame_policy, None).terrain
    words = ["evaluate", str(trained_there), "--episodes", "8", "--json"]
    assert main([*words, "--report", str(report), "--values", str(values)]) == 0
    out = capsys.readouterr().out
    assert "On terrain" in out and "slopes down" in out and "level 2" in out
    figures = json.loads(out.splitlines()[-1])
    assert figures["terrain"]["by_level"]["2"]["episodes"] == 1
    text = report.read_text()
    for words in ("What it leans on: beyond", "On terrain", "Command and motion: terrain"):
        assert f"<h2>{words}</h2>" in text
    with values.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 * 8
    by_condition = {name: [r for r in rows if r["condition"] == name] for name in figures}
    for name, own in by_condition.items():
        varied = name in ("randomised", "beyond")
        for row in own:
            assert 0.2 <= float(row["foot_friction"]) <= 1.4
            assert bool(row["stiffness.rear_left_knee"]) == bool(row["gyro_bias.x"]) == varied
            assert bool(row["ground_kind"]) == bool(row["ground_level"]) == (name == "terrain")
    payloads = {float(row["payload"]) for row in by_condition["beyond"]}
    assert len(payloads) == 8 and max(payloads) <= 1.75 * 0.2
    assert [row["ground_kind"] for row in by_condition["terrain"]][6:] == ["slopes_up", "flat"]
    assert all(len(row) == len(rows[0]) and None not in row for row in rows)


def test_terrain_is_asked_for_by_an_option(short, tame_policy: Path, capsys):
    words = ["evaluate", str(tame_policy), "--episodes", "1", "--json"]
    assert main([*words, "--terrain"]) == 0
    assert list(json.loads(capsys.readouterr().out.splitlines()[-1]))[-1] == "terrain"
