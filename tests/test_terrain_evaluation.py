"""Evaluation on ground that is not level, and what an evaluation writes down of each episode."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from surefoot.__main__ import main
from surefoot.cli import evaluation_report
from surefoot.cli.evaluation_plots import over_parts, plot_drawn
from surefoot.cli.train import write_drawn
from surefoot.cli.trained import open_policy
from surefoot.deploy.contract import KEY
from surefoot.models.errors import RenderError, UsageError
from surefoot.models.robot_file import load_robot
from surefoot.sim.evaluate import Result, evaluate
from surefoot.sim.gaits import GO1, QUADRUPED
from surefoot.sim.measures import Recording
from surefoot.sim.reach import ReachEnv
from surefoot.sim.statistics import by_chance, rank_correlation
from surefoot.sim.terrain import KINDS, LEVELS, make_terrain
from surefoot.sim.trials import walking, walking_on_terrain
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


# --- the condition ------------------------------------------------------------------------------


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
    assert rough.recording.command == pytest.approx(results["nominal"].recording.command)
    json.dumps(found, allow_nan=False)


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


def test_each_gait_is_pushed_and_varied_by_its_own_measure():
    trial = walking(load_robot("go1"), "joint_target")
    assert trial.training == GO1.randomisation
    assert trial.pushes[0].distribution.high == 0.7
    assert walking(ROBOT, "joint_target").pushes[0].distribution.high == 0.5


# --- what was drawn -----------------------------------------------------------------------------


def test_each_episode_keeps_what_was_drawn_for_it(short, monkeypatch: pytest.MonkeyPatch):
    """Who fell is drawn nothing more: what recurs is that of before."""
    resets: list[tuple[int, dict[str, np.ndarray]]] = []
    reset = WalkEnv._reset

    def told(env: WalkEnv, ids: np.ndarray) -> None:
        reset(env, ids)
        resets.append((len(ids), {name: v.copy() for name, v in env.drawn.items()}))

    monkeypatch.setattr(WalkEnv, "_reset", told)

    def fall(inputs, begins) -> np.ndarray:
        action = stand(inputs, begins)
        action[1] = np.tile([0.0, 4.0, -4.0], 4)  # legs in the air
        return action

    results = evaluate(fall, COMMANDS, ROBOT, "joint_target", 3, 0)
    result = results["randomised"]
    assert not result.recording.alive[-1, 1] and result.recording.alive[-1, [0, 2]].all()
    first = [drawn for count, drawn in resets if count == 3 and "payload" in drawn][0]  # noqa: RUF015
    for name in ("payload", "foot_friction"):
        np.testing.assert_array_equal(result.drawn[name], first[name][:, 0])
    trained = {v.name: v.distribution for v in QUADRUPED.randomisation}
    for name, values in result.drawn.items():
        there = values[np.isfinite(values)]
        span = trained[name.partition(".")[0]]
        assert ((there >= span.low) & (there <= span.high)).all(), name
        assert len(there) == 3 or name.startswith("push"), name
    assert len(results["nominal"].drawn) == 1 and len(results["randomised"].drawn) > 70


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


def test_a_training_writes_down_what_it_has_drawn(tmp_path: Path):
    env = WalkEnv(50, ROBOT, nthread=1)
    env.reset(seed=0)
    write_drawn(env, tmp_path / "randomisation.csv")
    with (tmp_path / "randomisation.csv").open(newline="") as file:
        rows = {row["what"]: row for row in csv.DictReader(file)}
    assert list(rows) == [v.name for v in env.randomisation]
    assert rows["push"]["mean"] == ""  # nobody was pushed yet
    for name in set(rows) - {"push"}:
        low, least, mean, most, high = (
            float(rows[name][key]) for key in ("low", "min", "mean", "max", "high")
        )
        assert low <= least < mean < most <= high, name
    friction = env.robots.field("geom_friction")[:, env.robots.foot_geoms[0], 0]
    assert float(rows["foot_friction"]["mean"]) == pytest.approx(friction.mean(), rel=1e-5)


# --- what is drawn of it ------------------------------------------------------------------------


def test_rank_correlations_by_hand():
    rising = np.array([1.0, 2.0, 3.0, 4.0])
    assert rank_correlation(rising, np.exp(rising)) == pytest.approx(1.0)
    assert rank_correlation(rising, -(rising**3)) == pytest.approx(-1.0)
    assert rank_correlation(rising, np.ones(4)) == 0.0
    # Ranks 1, 2.5, 2.5, 4 against 1 to 4: 4.5 / √(4.5 · 5).
    assert rank_correlation(np.array([0.0, 5.0, 5.0, 9.0]), rising) == pytest.approx(
        4.5 / np.sqrt(4.5 * 5.0)
    )


def test_rank_correlation_is_scipys():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, 40).astype(float), rng.standard_normal(40)
    assert rank_correlation(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)


def test_chance_exceeds_its_bound_as_often_as_it_says():
    rng = np.random.default_rng(1)
    beyond = 0
    for _ in range(200):
        merit, drawn = rng.standard_normal(60), rng.standard_normal((10, 60))
        largest = max(abs(rank_correlation(row, merit)) for row in drawn)
        beyond += largest > by_chance(10, 60)
    assert 1 <= beyond <= 22  # of 200 about 10


def test_parts_are_averaged_and_axes_are_not():
    drawn = {
        "payload": np.array([1.0, 2.0]),
        "stiffness.a": np.array([1.0, 3.0]),
        "stiffness.b": np.array([2.0, 5.0]),
        "gyro_bias.x": np.array([7.0, 8.0]),
    }
    found = over_parts(drawn)
    assert list(found) == ["payload", "stiffness, mean", "gyro_bias.x"]
    assert found["stiffness, mean"].tolist() == [1.5, 4.0]


def test_the_picture_shows_what_matters_first(short):
    result = evaluate(stand, COMMANDS, ROBOT, "joint_target", 30, 0)["randomised"]
    cause = result.measures.merit + 0.0
    made = Result(
        result.variations,
        result.measures,
        result.recording,
        {**result.drawn, "made_up": -cause, "constant": np.ones(30), "never": np.full(30, np.nan)},
    )
    axes = plot_drawn(made).axes
    assert axes[0].get_title() == "made up   ρ = -1.00"
    assert len(axes) == 9 and not any("never" in axis.get_title() for axis in axes)
