"""The command `surefoot`: what it says, and with which exit status it says it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from surefoot import __version__
from surefoot.__main__ import VERBS, main
from surefoot.models.robot_file import available_robots
from verbs import refuse, succeed

pytestmark = pytest.mark.usefixtures("folder_of_its_own")


# --- help -------------------------------------------------------------------------------------

UNITS = {
    "train": ["[min]", "environment steps", "--num-envs"],
    "evaluate": ["walk lasts 20 s", "0.5 m/s"],
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
    if "--robot" in text:
        assert all(name in text for name in available_robots())


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


# --- the other verbs' refusals ----------------------------------------------------------------


def test_emulate_refuses_a_robot_that_is_none(capsys):
    assert "there is no robot 'spot'" in refuse(capsys, "emulate", "spot")


def test_evaluate_refuses(capsys, policy: str):
    assert "none.onnx: found nothing, allowed is" in refuse(capsys, "evaluate", "none.onnx")
    Path("text.onnx").write_text("nothing")
    assert "text.onnx: not a policy" in refuse(capsys, "evaluate", "text.onnx")
    assert "--episodes: found 0" in refuse(capsys, "evaluate", policy, "--episodes", "0")
    assert "there is no robot" in refuse(capsys, "evaluate", policy, "--robot", "spot")


def test_train_refuses(capsys, tmp_path: Path):
    for flag, value in (
        ("--minutes", "0"), ("--minutes", "nan"), ("--minutes", "inf"), ("--steps", "0"),
        ("--num-envs", "0"), ("--horizon", "0"), ("--epochs", "0"), ("--num-minibatches", "-1"),
        ("--episodes", "-1"),
    ):  # fmt: skip
        line = refuse(capsys, "train", "walk", flag, value, "--run", "new")
        assert f"{flag}: found" in line
    assert "there is no robot" in refuse(capsys, "train", "walk", "--robot", "spot")
    assert "task: found fly, allowed are walk, " in refuse(capsys, "train", "fly")
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
    from surefoot.cli.demo_walk import WALK

    with _fresh(tmp_path / "demo", WALK.files) as folder:
        (folder / "walk.mcap").write_text("the first one's")
        assert "another demo" in refuse(capsys, "demo")
        assert (folder / "walk.mcap").read_text() == "the first one's"
    with _fresh(tmp_path / "demo", WALK.files) as folder:
        assert list(folder.iterdir()) == []


def test_a_stopped_demo_is_no_success(capsys, monkeypatch: pytest.MonkeyPatch):
    from surefoot.cli import deploy

    summary = SimpleNamespace(stopped="operator")
    monkeypatch.setattr(deploy, "deploy", lambda _arguments: (0, summary))
    assert main(["demo"]) == 130
    assert "Stopped by the operator" in capsys.readouterr().out
