"""The demo: what it asks of each task, how a reach is judged, and what it makes of a run.

The emulator is not started here: the simulated robot makes log and truth, on a clock that nobody
waits for.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from surefoot.cli import demo, demo_reach, deploy
from surefoot.cli.demo_reach import LEAST, REACH
from surefoot.cli.demo_walk import WALK
from surefoot.cli.exhibit import Exhibit
from surefoot.cli.progress import _goals
from surefoot.deploy.controller import Controller
from surefoot.deploy.log.format import tick_dtype
from surefoot.deploy.log.writer import LogWriter
from surefoot.deploy.loop import run
from surefoot.deploy.safety import SafetyMonitor
from surefoot.deploy.schedule import Schedule, read_schedule
from surefoot.deploy.verdict import Fault
from surefoot.deploy.workstation.judge_reach import Goal, commanded, judge_reach, tip_path
from surefoot.hardware.plant import PlantState
from surefoot.hardware.truth import Truth, TruthFile
from surefoot.models.robot_file import load_robot
from surefoot.sim.reach import SUCCESS, WORKSPACE
from surefoot.sim.simulated_robot import SimulatedRobot
from verbs import refuse, succeed, succeed_with_json

ARM = load_robot("arm")
PERIOD = 0.02
CapFd = pytest.CaptureFixture[str]

# --- what is asked ----------------------------------------------------------------------------


def schedule_of(exhibit: Exhibit, tmp_path: Path) -> Schedule:
    file = tmp_path / "schedule.csv"
    file.write_text(exhibit.schedule)
    return read_schedule(file, exhibit.schedule.partition("\n")[0].split(",")[1:])


@pytest.mark.parametrize("exhibit", [WALK, REACH], ids=lambda e: e.task)
def test_the_shipped_policy_takes_the_schedule(exhibit: Exhibit, tmp_path: Path):
    schedule = schedule_of(exhibit, tmp_path)
    assert schedule.times[0] == 0.0 and schedule.times[-1] < exhibit.seconds <= 60.0
    if not exhibit.policy.is_file():
        pytest.skip(f"{exhibit.policy.name} is not shipped")
    commands = Controller(exhibit.policy, load_robot(exhibit.robot)).contract.commands
    assert ["time", *(part.name for part in commands)] == exhibit.schedule.split("\n")[0].split(",")


def test_goals_lie_all_over_the_workspace(tmp_path: Path):
    schedule = schedule_of(REACH, tmp_path)
    lower, upper = np.array(list(WORKSPACE.values())).T
    place = (schedule.commands - lower) / (upper - lower)
    assert len(place) == 7 and (place >= 0).all() and (place <= 1).all()
    assert (place.min(0) <= 0.2).all() and (place.max(0) >= 0.8).all()
    shown = np.diff([*schedule.times, REACH.seconds])
    assert (shown == 3.0).all() and shown.min() > LEAST


# --- the judge --------------------------------------------------------------------------------


def ticks_of(goals: list[tuple[float, tuple[float, float, float]]]) -> Any:
    """One tick to stand, one of RUN in which nobody is asked yet, then goals for so long each."""
    counts = [round(seconds / PERIOD) for seconds, _ in goals]
    ticks = np.zeros(2 + sum(counts), tick_dtype(4, 3))
    ticks["start"] = 7.0 + PERIOD * np.arange(len(ticks))
    ticks["action"][:2] = np.nan
    places = np.reshape([place for _, place in goals], (-1, 3))
    ticks["command"][2:] = np.repeat(places, counts, axis=0)
    return ticks


def test_goals_are_those_that_the_policy_was_given():
    places, begins, ends = commanded(ticks_of([(1.0, (0.2, 0.0, 0.1)), (2.0, (0.1, 0.1, 0.1))]))
    assert places == pytest.approx(np.array([[0.2, 0.0, 0.1], [0.1, 0.1, 0.1]]))
    assert begins == pytest.approx([7.04, 8.04])
    assert ends == pytest.approx([8.04, 10.02]), "at the first tick of the next, at the last tick"
    assert [len(part) for part in commanded(ticks_of([]))] == [0, 0, 0]


def test_a_goal_is_reached_once_the_tip_stays():
    """Within 2 cm from 0.6 s on, out of it at 1.0 s, within again from 1.2 s on, 5 mm in the end"""
    ticks = ticks_of([(2.0, (0.2, 0.0, 0.1))])
    time = 7.04 + 0.2 * np.arange(10)
    left = [0.2, 0.1, 0.03, 0.02, 0.01, 0.021, 0.019, 0.01, 0.005, 0.005]  # [m]
    tip = np.array([0.2, 0.0, 0.1]) + np.array(left)[:, None] * [0.0, 0.6, 0.8]
    (goal,) = judge_reach(ticks, time, tip)
    assert goal.place == (0.2, 0.0, 0.1)
    assert goal.start_distance == pytest.approx(0.2)
    assert goal.distance == pytest.approx(0.005)
    assert goal.time_to_reach == pytest.approx(1.2) and goal.reached


def test_a_goal_that_the_tip_has_left_again_is_not_reached():
    ticks = ticks_of([(2.0, (0.2, 0.0, 0.1)), (2.0, (0.2, 0.0, 0.2))])
    time = 7.0 + 0.1 * np.arange(42)
    tip = np.tile([0.2, 0.0, 0.1], (len(time), 1))
    tip[20:, 2] = 0.1 + 1.01 * SUCCESS  # from 9.0 s on: the first goal's last row is that of 9.0 s
    first, second = judge_reach(ticks, time, tip)
    assert not first.reached and first.distance == pytest.approx(1.01 * SUCCESS)
    assert not second.reached and second.start_distance == pytest.approx(0.1 - 1.01 * SUCCESS)
    tip[20, 2] = 0.1  # a row later it left: that is the next goal's
    first, second = judge_reach(ticks, time, tip)
    assert first.reached and first.time_to_reach == pytest.approx(0.06), "the first row after it"


@pytest.mark.parametrize(
    ("shown", "seconds", "words", "good"),
    [
        ([3.0, 1.0], 4.0, "2 of 2 goals", True),
        ([3.0, 0.9], 3.9, "1 of 1 goals", True),  # less than a second is not asked for
        ([3.0, 1.0], 7.0, "2 of 3 goals", False),  # the run ended early
    ],
)
def test_every_goal_that_was_asked_for_counts(
    shown: list[float], seconds: float, words: str, good: bool, monkeypatch: pytest.MonkeyPatch
):
    places = [(0.2, 0.0, 0.1), (0.2, 0.0, 0.2)]
    ticks = ticks_of(list(zip(shown, places, strict=True)))
    tip = ticks["command"].astype(float)
    tip[2 + round(shown[0] / PERIOD)] = places[0]  # the row of both goals
    monkeypatch.setattr(demo_reach, "tip_path", lambda *_: tip)
    judged: Any = REACH.judge
    judgement = judged(
        ARM, SimpleNamespace(ticks=ticks), SimpleNamespace(time=ticks["start"]), seconds
    )
    assert judgement.words.startswith(words) and judgement.good is good


def test_a_goal_that_the_truth_knows_nothing_of_is_not_reached():
    ticks = ticks_of([(2.0, (0.2, 0.0, 0.1))])
    assert judge_reach(ticks, np.zeros(0), np.zeros((0, 3))) == [
        Goal((0.2, 0.0, 0.1), None, None, None)
    ]


def test_a_tip_that_is_nowhere_has_reached_nothing():
    ticks = ticks_of([(2.0, (0.2, 0.0, 0.1))])
    tip = np.full((len(ticks), 3), np.nan)
    (goal,) = judge_reach(ticks, ticks["start"], tip)
    assert not goal.reached


def test_the_tip_is_where_the_true_joints_put_it():
    """Stretched: 0.012 + 0.024 + 0.124 + 0.126 m forward, 0.017 + 0.0595 + 0.128 m high."""
    rows = np.array([[0.0, 0, 0, 0], [np.pi / 2, 0, 0, 0]])
    blank = np.zeros((2, 3))
    truth = Truth(np.arange(2.0), blank, np.zeros((2, 4)), blank, blank, rows, np.zeros((2, 4)))
    # A quarter turn about z through (0.012, 0): 0.274 m from that axis.
    expected = [[0.286, 0.0, 0.2045], [0.012, 0.274, 0.2045]]
    assert tip_path(ARM, truth) == pytest.approx(np.array(expected), abs=1e-9)


# --- the whole chain --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy for the arm that has learned nothing."""
    torch = pytest.importorskip("torch")
    from surefoot.control.policy import Gaussian
    from surefoot.deploy.workstation.export import export_policy
    from surefoot.sim.reach import ReachEnv

    task = ReachEnv(2, nthread=1)
    inputs = task.single_observation_space.shape[0]
    actor = Gaussian(inputs, 4, (8,), generator=torch.Generator().manual_seed(3))
    path = tmp_path_factory.mktemp("policy") / "untrained.onnx"
    export_policy(actor, task, path, {"seed": 3})
    return path


def simulated_deploy(arguments: deploy.Arguments) -> tuple[int, Any]:
    """What `deploy.deploy` leaves behind, of the simulated robot."""
    assert arguments.schedule and arguments.log and arguments.truth
    robot = load_robot(arguments.robot)
    controller, simulated = Controller(arguments.policy, robot), SimulatedRobot(robot)
    parts = controller.contract.commands
    log = LogWriter(
        arguments.log,
        robot.joint_names,
        [f"{part.name} [{part.unit}]" for part in parts],
        {"robot.toml": robot.toml.encode(), "policy.onnx": controller.model},
        {"robot": {"name": robot.name}},
        clock=simulated.now,
    )
    truth = TruthFile(arguments.truth, robot.joint_names)

    def write_truth(*_: object) -> None:
        joint_pos = simulated.robots.joint_pos[0]
        still, upright = np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0])
        state = PlantState(
            simulated.now(), joint_pos, joint_pos, still, upright, still, still, still, still
        )
        truth.record(simulated.now(), 0.0, state, simulated.robots.joint_torque[0])

    summary = run(
        robot, simulated, controller, SafetyMonitor(robot, simulated),
        read_schedule(arguments.schedule, [part.name for part in parts]),
        arguments.seconds, simulated, log=log, on_tick=write_truth,
    )  # fmt: skip
    truth.close()
    log.close()
    assert not summary.fault, summary.cause
    return 0, summary


@pytest.fixture
def in_simulation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(deploy, "deploy", simulated_deploy)


@pytest.mark.usefixtures("in_simulation")
def test_an_arm_that_has_learned_nothing_does_not_reach(capsys: CapFd, untrained: Path):
    words = ("demo", "reach", "--policy", str(untrained), "--seconds", "5", "--no-video")
    result = succeed_with_json(capsys, *words, status=1)
    assert result["reached"] is False and len(result["goals"]) == 2, "3 s and 2 s"
    goal = result["goals"][0]
    assert goal["place"] == [0.2, 0.0, 0.15] and goal["time_to_reach"] is None
    assert goal["distance"] > SUCCESS and goal["start_distance"] > SUCCESS
    assert result["states"]["RUN"] and result["dropped"] == 0
    made = {path.name for path in Path("demo-reach").iterdir()}
    assert made == set(REACH.files) - {"reach.mp4", "reach.gif"}
    assert Path("demo-reach/reach.png").stat().st_size > 20_000


@pytest.fixture
def ended(
    monkeypatch: pytest.MonkeyPatch, run_log: Path, tame_policy: Path, tmp_path: Path
) -> Callable[..., list[str]]:
    """The words of a demo whose run was made before: how it ended, how it is judged."""
    monkeypatch.chdir(tmp_path)

    def make(status: int = 0, good: bool = True, agrees: bool = True) -> list[str]:
        def copy(arguments: deploy.Arguments) -> tuple[int, Any]:
            assert arguments.log and arguments.truth
            shutil.copy(run_log, arguments.log)
            TruthFile(arguments.truth, load_robot("quadruped").joint_names).close()
            return status, SimpleNamespace(stopped="", run_time=1.0, fault=Fault(3 * status))

        judgement = SimpleNamespace(good=good, words="so it was", table="", figures={"far": 3})
        exhibit = replace(WALK, judge=lambda *_: judgement, plot=lambda *_: None)
        monkeypatch.setattr(demo, "WALK", exhibit)
        monkeypatch.setattr(demo, "plot_joints", lambda *_: None)
        monkeypatch.setattr(demo, "replay_policy", lambda *_: SimpleNamespace(agrees=agrees))
        monkeypatch.setattr(demo, "report_policy", lambda *_: None)
        monkeypatch.setattr(demo, "read_truth", lambda _path: None)
        monkeypatch.setattr(deploy, "deploy", copy)
        return ["demo", "--policy", str(tame_policy), "--no-video"]

    return make


def test_a_task_is_done_where_the_run_the_replay_and_the_judge_agree(capsys: CapFd, ended: Any):
    result = succeed_with_json(capsys, *ended())
    assert result["walked"] is True and result["far"] == 3
    assert "It walked. so it was" in succeed(capsys, *ended())
    assert "; the run ended in " in succeed(capsys, *ended(status=1), status=1)
    for less in ({"status": 1}, {"good": False}, {"agrees": False}):
        assert "It did not walk as it should." in succeed(capsys, *ended(**less), status=1)


def test_a_fault_before_the_policy_was_asked_is_no_misuse(
    capsys: CapFd, ended: Any, monkeypatch: Any
):
    words = ended()
    summary = SimpleNamespace(stopped="", run_time=0.0)
    monkeypatch.setattr(deploy, "deploy", lambda _arguments: (1, summary))
    assert "It never came to RUN: nothing to judge" in succeed(capsys, *words, status=1)


def test_a_video_shows_the_goals_that_the_policy_was_given():
    ticks = ticks_of([(2.0, (0.2, 0.0, 0.1))])[1:3]
    goals = _goals(ticks, ("x [m]", "y [m]", "z [m]"))
    assert goals[0] is None and goals[1] == pytest.approx([0.2, 0.0, 0.1])
    assert _goals(ticks, ("vx [m/s]", "vy [m/s]", "yaw_rate [rad/s]")) == []


# --- refusals ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("in_simulation")
def test_a_policy_of_another_task_is_refused_before_anything_is_deleted(
    capsys: CapFd, untrained: Path
):
    Path("demo").mkdir()
    Path("demo/walk.png").touch()
    line = refuse(capsys, "demo", "walk", "--robot", "arm", "--policy", str(untrained))
    assert "found a schedule of time,x,y,z for it, allowed to walk is time,vx,vy,yaw_rate" in line
    assert "quadruped" in refuse(capsys, "demo", "walk", "--policy", str(untrained))
    assert Path("demo/walk.png").exists()


@pytest.mark.usefixtures("in_simulation")
def test_the_two_demos_do_not_delete_one_anothers_files(capsys: CapFd, untrained: Path):
    Path("demo").mkdir()
    Path("demo/walk.png").touch()
    line = refuse(capsys, "demo", "reach", "--policy", str(untrained), "--out", "demo")
    assert "found walk.png" in line and Path("demo/walk.png").exists()
