"""`surefoot train`, and what becomes of a run: export, evaluation, another run."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.numpy_helper import to_array
from surefoot.__main__ import main
from surefoot.control import checkpoint
from surefoot.control.metrics import Metrics
from surefoot.deploy.controller import Controller
from surefoot.models.robot_file import MODELS, load_robot
from surefoot.sim.randomisation import ARM_TRAINING
from verbs import refuse, succeed, succeed_with_json

pytestmark = pytest.mark.usefixtures("folder_of_its_own")

ROBOT = load_robot("quadruped")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of the smallest kind, and what was said about it."""
    folder = tmp_path_factory.mktemp("train") / "run"
    words = ["-m", "surefoot", "train", "walk", "--run", str(folder), *SMALL, "--json"]
    run = subprocess.run(
        [sys.executable, *words, "--steps", "24000", "--episodes", "2"],
        capture_output=True,
        text=True,
        cwd=folder.parent,
    )
    assert run.returncode == 0, run.stderr
    return folder, run.stdout


SMALL = ("--num-envs", "64", "--horizon", "8", "--hidden", "16", "--epochs", "1")


def test_train_leaves_a_whole_run(trained: tuple[Path, str]):
    folder, out = trained
    result = json.loads(out.splitlines()[-1])
    assert result["steps"] == 24064  # 47 updates of 64 × 8
    assert result["policy"] == str(folder / "policy.onnx")
    assert list(result["evaluation"]) == ["nominal", "pushes", "randomised", "beyond"]
    names = {path.name for path in folder.iterdir()}
    assert {"policy.onnx", "config.json", "checkpoint.pt", "randomisation.csv"} <= names
    assert [name for name in names if name.startswith("events.out.tfevents")]
    config = json.loads((folder / "config.json").read_text())
    assert config["config"]["num_envs"] == 64 and config["about"]["task"] == "walk"
    contract = Controller(folder / "policy.onnx", ROBOT).contract
    assert contract.training["steps"] == 24064
    assert contract.training["config"]["hidden"] == [16]
    assert contract.evaluation == result["evaluation"]


def test_train_refuses_an_occupied_run_and_other_figures(capsys, trained: tuple[Path, str]):
    folder = str(trained[0])
    line = refuse(capsys, "train", "walk", "--run", folder, *SMALL, "--steps", "512")
    assert "found a run" in line
    for words, said in (
        (("--gamma", "0.9"), "--gamma: found 0.9, allowed is the run's own 0.97"),
        (("fly",), "--task: found fly, allowed is the run's own walk"),
        (("--algo", "sac"), "--algo: found sac, allowed is the run's own ppo"),
        (("--from", "other"), "--from: found other, allowed is the run's own None"),
        (("--run", "other"), f"--run: found other, allowed is the run's own {folder}"),
    ):
        assert said in refuse(capsys, "train", "--resume", folder, "--steps", "9", *words)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("wlak", "task: found wlak, allowed are walk, reach, reach-goals, the id of a Gymnasium"),
        (
            "HalfCheeta-v5",
            "module:Id of one of your own (Environment `HalfCheeta` doesn't exist. Did",
        ),
        ("", "task: found none, allowed are walk, reach, reach-goals"),
    ],
)
def test_a_task_that_there_is_not_is_told_what_there_is(capsys, task: str, said: str):
    assert said in refuse(capsys, "train", task, "--steps", "9")


def test_a_run_keeps_its_episodes_of_evaluation(capsys, trained, tmp_path: Path):
    folder = tmp_path / "copy"
    shutil.copytree(trained[0], folder)
    words = ("train", "--resume", str(folder), "--steps")
    result = succeed_with_json(capsys, *words, "24576")
    assert result["evaluation"]["nominal"]["episodes"] == 2  # as it was begun
    result = succeed_with_json(capsys, *words, "25088", "--episodes", "1")
    assert result["evaluation"]["nominal"]["episodes"] == 1


def test_a_policy_that_is_not_worth_it_is_trained_on(trained: tuple[Path, str]):
    """24 thousand steps are no walk."""
    folder, out = trained
    following = out.partition("Next:")[2].splitlines()[1:4]
    assert f"train --resume {folder.name} --steps 48128" in following[0]
    assert f"play {folder.name}/policy.onnx" in following[1] and "deploy" not in out
    assert " 50%\n" in out and "\n\n\n" not in out  # how far the evaluation is


def test_mujocos_warnings_leave_no_file(capfd, tmp_path: Path):
    succeed_with_json(
        capfd, "train", "HalfCheetah-v5", "--num-envs", "2", "--steps", "48", "--no-pool",
        "--episodes", "0", "--run", "run",
    )  # fmt: skip
    assert not Path("MUJOCO_LOG.TXT").exists() and "settotalmass" not in capfd.readouterr().err


def test_a_run_is_resumed_with_more_steps(capsys, trained: tuple[Path, str], tmp_path: Path):
    folder = tmp_path / "copy"
    shutil.copytree(trained[0], folder)
    result = succeed_with_json(
        capsys, "train", "--resume", str(folder), "--steps", "26000", "--episodes", "0"
    )
    assert result["steps"] == 26112  # 4 updates more
    assert "evaluation" not in result
    assert Controller(folder / "policy.onnx", ROBOT).contract.training["steps"] == 26112


def test_a_run_whose_budget_is_spent_says_so(capsys, trained: tuple[Path, str], tmp_path: Path):
    folder = tmp_path / "copy"
    shutil.copytree(trained[0], folder)
    for words in ((), ("--steps", "2e4")):  # its own budget, and less
        out = succeed(capsys, "train", "--resume", str(folder), *words, "--episodes", "0")
        assert "Nothing trained: the run has had 24 k steps" in out


def test_an_interrupted_training_goes_on_bit_for_bit(capsys, monkeypatch, tmp_path: Path):
    from surefoot.cli.training_display import TrainingDisplay
    from surefoot.control import checkpoint

    rate = ("--learning-rate", "0.00031415927")  # more digits than a person would read

    def train(name: str, status: int = 0) -> str:
        given = ("--run", name, *SMALL, *rate, "--steps", "4096", "--episodes", "0")
        assert main(["train", "walk", *given]) == status
        return capsys.readouterr().out

    train("whole")
    update = TrainingDisplay.update

    def press(display: TrainingDisplay, metrics: Metrics) -> None:
        if metrics.iteration == 3:
            signal.raise_signal(signal.SIGINT)
        update(display, metrics)

    monkeypatch.setattr(TrainingDisplay, "update", press)
    out = train("parts", status=130)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert "Is it learning?" in out
    resume = next(line for line in out.splitlines() if "To go on" in line)
    assert resume.endswith("train --resume parts") and "export parts" in out
    assert checkpoint.load(tmp_path / "parts" / "checkpoint.pt")["progress"]["iterations"] == 3
    assert "Going on in parts" in succeed(capsys, "train", "--resume", "parts", "--episodes", "0")
    one, other = (checkpoint.load(tmp_path / name / "checkpoint.pt") for name in ("whole", "parts"))
    assert one["progress"]["steps"] == other["progress"]["steps"] == 4096
    for key, value in one["policy"]["parameters"].items():
        assert (value == other["policy"]["parameters"][key]).all(), key


TINY_SAC = (
    "--algo", "sac", "--learning-starts", "200", "--batch-size", "8", "--hidden", "8",
    "--buffer-size", "999",
)  # fmt: skip


def test_sac_trains_any_task_of_gymnasium_and_goes_on(capsys, tmp_path: Path):
    folder = tmp_path / "run"
    words = ("train", "Pendulum-v1", *TINY_SAC, "--run", str(folder))
    result = succeed_with_json(capsys, *words, "--steps", "300")
    assert result["steps"] == 512  # in steps of 256
    assert result["checkpoint"] == str(folder / "checkpoint.pt")
    assert result["evaluation"]["episodes"] == len(result["evaluation"]["returns"]) == 10
    assert -2000 < result["evaluation"]["mean_return"] < 0
    assert not (folder / "policy.onnx").exists()
    assert json.loads((folder / "config.json").read_text())["algorithm"] == "sac"
    text = succeed(capsys, "train", "--resume", str(folder), "--steps", "600")
    assert "export to policy.onnx is for robots" in text and "their episodes restarted" in text
    assert "found task Pendulum-v1, allowed is walk" in refuse(capsys, "export", str(folder))
    line = refuse(capsys, "train", "--resume", str(folder), "--clip", "0.1")
    assert "--clip: found 0.1, allowed is the run's own sac, which has no such option" in line


def test_an_arm_learns_to_reach(capsys, tmp_path: Path):
    """The robot follows the task; what varied stays with the run."""
    given = ("--num-envs", "16", "--horizon", "8", "--hidden", "8", "--episodes", "0")
    result = succeed_with_json(capsys, "train", "reach", "--run", "run", *given, "--steps", "256")
    contract = Controller(Path(result["policy"]), load_robot("arm")).contract
    assert (contract.robot, contract.output) == ("arm", "joint_target")
    assert [part.name for part in contract.commands] == ["x", "y", "z"]
    state = checkpoint.load(Path("run/checkpoint.pt"))
    varied = state["about"]["randomisation"]
    assert [row["what"] for row in varied] == [v.name for v in ARM_TRAINING]
    varied[0]["high"] = 1.01  # as if training had varied the masses less, then
    checkpoint.save(Path("run/checkpoint.pt"), state)
    out = succeed(capsys, "train", "--resume", "run", "--steps", "512", "--episodes", "0")
    assert "--robot arm --emulated --command 0.226 0 0.145" in out
    again = Controller(Path("run/policy.onnx"), load_robot("arm")).contract
    assert again.training["randomisation"][0]["high"] == 1.01


def test_an_arm_learns_to_reach_by_torques(capsys, tmp_path: Path):
    given = ("--num-envs", "16", "--horizon", "8", "--hidden", "8", "--episodes", "0")
    words = ("--output", "joint_torque", "--steps", "256")
    result = succeed_with_json(capsys, "train", "reach", "--run", "run", *given, *words)
    controller = Controller(Path(result["policy"]), load_robot("arm"))
    assert controller.contract.output == "joint_torque"
    assert list(controller.contract.action_scale) == [0.5] * 4
    line = refuse(capsys, "train", "walk", *given, *words)
    assert "walk: found quadruped, without contact sensors, for output joint_torque" in line


def test_goals_that_sac_learned_with_hindsight_are_exported(capsys, tmp_path: Path):
    given = ("--num-envs", "16", "--steps", "512", "--hindsight", "4", "--episodes", "0")
    result = succeed_with_json(capsys, "train", "reach-goals", *TINY_SAC, *given, "--run", "run")
    contract = Controller(Path(result["policy"]), load_robot("arm")).contract
    assert contract.training["task"] == "reach-goals"
    assert [term["term"] for term in contract.terms][-2:] == ["TipPosition", "Deviation"]


def test_a_walk_that_sac_learned_is_exported(capsys, tmp_path: Path):
    result = succeed_with_json(
        capsys, "train", "walk", *TINY_SAC, "--num-envs", "16", "--steps", "512",
        "--run", str(tmp_path / "run"), "--episodes", "0",
    )  # fmt: skip
    contract = Controller(Path(result["policy"]), ROBOT).contract
    assert contract.training["algorithm"] == "sac"
    assert contract.training["config"]["temperature"] == "automatic"


def test_a_run_is_exported_again_to_the_same_function(capsys, trained, tmp_path: Path):
    folder = trained[0]
    out = tmp_path / "again.onnx"
    result = succeed_with_json(capsys, "export", str(folder), "--out", str(out))
    assert result == {"policy": str(out), "robot": "quadruped"}
    again, before = Controller(out, ROBOT), Controller(folder / "policy.onnx", ROBOT)
    assert again.contract.golden == before.contract.golden
    assert again.contract.training == before.contract.training
    assert "--out" in refuse(capsys, "export", str(folder), "--out", str(tmp_path))
    assert "--out" in refuse(capsys, "export", str(folder), "--out", "none/policy.onnx")
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(folder / "checkpoint.pt", copy)
    result = succeed_with_json(capsys, "export", str(copy / "checkpoint.pt"))
    assert result["policy"] == str(copy / "policy.onnx")


def test_a_run_is_that_of_the_robot_it_was_trained_on(capsys, tmp_path: Path):
    robot = tmp_path / "mine"
    shutil.copytree(MODELS / "quadruped", robot)
    words = ("--steps", "512", "--episodes", "0")
    succeed(capsys, "train", "walk", "--robot", str(robot), "--run", "run", *SMALL, *words)
    assert "kp" not in Controller(Path("run/policy.onnx"), ROBOT).contract.training
    text = (robot / "robot.toml").read_text()
    (robot / "robot.toml").write_text(re.sub(r"\bkp = [\d.]+", "kp = 12.0", text))
    line = refuse(capsys, "export", "run")
    assert "kp was [13.8, 13.8" in line and "is [12.0, 12.0" in line
    line = refuse(capsys, "train", "--resume", "run", "--steps", "1024")
    assert "resume: found kp = [12.0" in line


def test_evaluate_ends_with_json(capsys, trained: tuple[Path, str]):
    words = ("evaluate", str(trained[0] / "policy.onnx"), "--episodes", "2")
    table = succeed_with_json(capsys, *words)
    assert table == json.loads(trained[1].splitlines()[-1])["evaluation"]


# --- killed and resumed -----------------------------------------------------------------------


def weights(path: Path) -> dict[str, np.ndarray]:
    graph = onnx.load(path).graph
    return {initializer.name: to_array(initializer) for initializer in graph.initializer}


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        (SMALL, 20_480),  # 40 updates, a checkpoint every 25
        ((*TINY_SAC, "--num-envs", "16"), 20_480),  # 40 times 32 steps of 16 robots
    ],
    ids=["ppo", "sac"],
)
def test_a_killed_run_goes_on_to_the_same_policy(options: tuple[str, ...], steps: int):
    command = [sys.executable, "-m", "surefoot", "train", "--episodes", "0"]
    begin = [*command, "walk", *options, "--steps", str(steps), "--run"]
    with subprocess.Popen([*begin, "killed"], stdout=subprocess.DEVNULL) as training:
        while not Path("killed/checkpoint.pt").exists():
            assert training.poll() is None, "it ended before its first checkpoint"
            time.sleep(0.01)
        training.send_signal(signal.SIGKILL)
    done = checkpoint.load(Path("killed/checkpoint.pt"))["progress"]["steps"]
    assert 0 < done < steps
    assert not Path("killed/policy.onnx").exists()
    for words in ([*command, "--resume", "killed"], [*begin, "whole"]):
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    one, other = weights(Path("whole/policy.onnx")), weights(Path("killed/policy.onnx"))
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], name)


# --- from an earlier policy -------------------------------------------------------------------


def parameters(run: Path) -> dict[str, Any]:
    return checkpoint.load(run / "checkpoint.pt")["policy"]["parameters"]


@pytest.mark.parametrize("source", ["", "checkpoint.pt", "policy.onnx"])
def test_a_run_begins_from_an_earlier_policy(capsys, trained: tuple[Path, str], source: str):
    begun = trained[0] / source
    words = ("--from", str(begun), "--critic-warm-up", "2", "--episodes", "0")
    succeed(capsys, "train", "walk", "--run", "next", *SMALL, *words, "--steps", "1024")
    # Two updates: the critic alone has learned, the policy is what it was.
    before, after = parameters(trained[0]), parameters(Path("next"))
    for name, values in before.items():
        tolerance = 0 if source != "policy.onnx" else 1e-6  # spreads are computed back there
        if name != "normaliser.count":
            np.testing.assert_allclose(after[name], values, rtol=tolerance, err_msg=name)
    about = json.loads(Path("next/config.json").read_text())["about"]
    assert about["from"] == str(begun)
    # And from there on it learns, without --from being said again.
    succeed(capsys, "train", "--resume", "next", "--steps", "2048", "--episodes", "0")
    assert (parameters(Path("next"))["network.0.weight"] != before["network.0.weight"]).any()


def test_what_cannot_be_begun_from_is_refused(capsys, trained: tuple[Path, str]):
    run = str(trained[0])
    small = ("--run", "next", "--steps", "9")
    line = refuse(capsys, "train", "walk", *small, "--from", run)
    assert "found hidden (16,), allowed is (128, 128)" in line
    line = refuse(capsys, "train", "walk", "--algo", "sac", *small, "--from", run)
    assert "found kind Gaussian, allowed is SquashedGaussian" in line
    for source in (run, f"{run}/policy.onnx"):
        for words, allowed in (
            (("walk", "--history", "3"), "robot quadruped, output joint_target, history 3"),
            (("reach",), "robot arm, output joint_target, history 1"),
        ):
            line = refuse(capsys, "train", *words, *small, "--from", source)
            assert "found robot quadruped, output joint_target, history 1, allowed is" in line
            assert line.rstrip().endswith(allowed)
    line = refuse(capsys, "train", "Pendulum-v1", *small, "--from", f"{run}/policy.onnx")
    assert "allowed is a run's folder" in line
    assert "nothing" in refuse(capsys, "train", "walk", *small, "--from", "nowhere")
    assert "no policy file" in refuse(capsys, "train", "walk", *small, "--from", "nowhere.onnx")
    assert not Path("next").exists()
