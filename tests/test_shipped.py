"""The policies that come with the robots: whole, judged, and as good as their files say."""

from __future__ import annotations

from typing import Any

import pytest
from surefoot.cli.trained import open_policy
from surefoot.models.robot_file import MODELS
from surefoot.sim.evaluate import record
from surefoot.sim.trials import trial_for

SHIPPED = {
    "quadruped": MODELS / "quadruped" / "walk.onnx",
    "go1": MODELS / "go1" / "walk.onnx",
    "biped": MODELS / "biped" / "walk.onnx",
    "arm": MODELS / "arm" / "reach.onnx",
}
CONDITIONS = ["nominal", "pushes", "randomised", "beyond"]
EPISODES = 8


@pytest.fixture(params=SHIPPED)
def robot(request: pytest.FixtureRequest) -> str:
    return request.param


def test_its_evaluation_is_inside(robot: str):
    policy = open_policy(SHIPPED[robot], None)
    assert policy.robot.name == robot
    found: dict[str, Any] = dict(policy.controller.contract.evaluation)
    assert list(found) == [name for name in CONDITIONS if robot != "arm" or name != "pushes"]
    assert all(figures["episodes"] == 256 for figures in found.values())
    assert policy.controller.contract.training["steps"] >= 3e6


def test_it_does_what_its_file_says(robot: str):
    """Other episodes than those of the file, and few: within what chance leaves."""
    policy = open_policy(SHIPPED[robot], None)
    trial = trial_for(policy.commands, policy.robot, policy.output)
    env = trial.make(EPISODES, policy.robot, trial.nominal)
    found = trial.measures(env)(record(policy.act, env, trial, policy.commands, 1)).figures()
    said = policy.controller.contract.evaluation["nominal"]
    measure = "success" if robot == "arm" else "score"
    fallen = round(EPISODES * (1 - found["survival"]))
    assert fallen <= (said["survival"] < 1.0), "two of eight, where two of a hundred do: p < 0.02"
    assert found[measure] == pytest.approx(said[measure], abs=0.05 + fallen / EPISODES)
    assert found[measure] > found["standing_still"][measure] + 0.5
