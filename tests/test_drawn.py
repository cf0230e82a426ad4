"""What an evaluation, and a training, write down of what was drawn."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from surefoot.cli.evaluation_plots import over_parts, plot_drawn
from surefoot.cli.train import write_drawn
from surefoot.models.robot_file import load_robot
from surefoot.sim.evaluate import Result, evaluate
from surefoot.sim.gaits import QUADRUPED
from surefoot.sim.terrain import KINDS, LEVELS
from surefoot.sim.walk import WalkEnv

ROBOT = load_robot("quadruped")
COMMANDS = QUADRUPED.commands
ALL = len(KINDS) * LEVELS


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Episodes of two seconds, of which one counts."""
    monkeypatch.setattr(WalkEnv, "episode_time", 2.0)


def stand(inputs, begins) -> np.ndarray:
    return np.zeros((len(inputs["command"]), 12), np.float32)


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


def test_a_training_writes_down_what_it_has_drawn(tmp_path: Path):
    env = WalkEnv(50, ROBOT, nthread=1)
    env.reset(seed=0)
    assert not write_drawn(env, tmp_path / "randomisation.csv")
    with (tmp_path / "randomisation.csv").open(newline="") as file:
        rows = {row["what"]: row for row in csv.DictReader(file)}
    assert list(rows) == [v.name for v in env.randomisation]
    assert not rows["push"]["mean"]  # nobody was pushed yet
    assert [rows[name]["unit"] for name in ("payload", "mass_scale", "push")] == ["kg", "×", "m/s"]
    for name in set(rows) - {"push"}:
        low, least, mean, most, high = (
            float(rows[name][key]) for key in ("low", "min", "mean", "max", "high")
        )
        assert low <= least < mean < most <= high, name
    friction = env.robots.field("geom_friction")[:, env.robots.foot_geoms[0], 0]
    assert float(rows["foot_friction"]["mean"]) == pytest.approx(friction.mean(), rel=1e-5)
    env.drawn["push"][7] = 0.25  # and now somebody
    assert write_drawn(env, tmp_path / "randomisation.csv")
    assert "\npush,m/s,-0.3,0.3,0.25,0.25,0.25" in (tmp_path / "randomisation.csv").read_text()


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
