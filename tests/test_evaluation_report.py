"""The report of an evaluation: one HTML file that holds all of it."""

from __future__ import annotations

import base64
import csv
import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from surefoot.__main__ import main
from surefoot.cli import evaluation_report as module
from surefoot.cli.evaluate import shortcoming
from surefoot.cli.evaluation_plots import (
    _follow,
    last_errors,
    learning_curves,
    plot_learning,
    smoothed,
)
from surefoot.cli.tables import evaluation_table
from surefoot.deploy.controller import Controller
from surefoot.models.errors import RenderError
from surefoot.models.robot_file import MODELS, load_robot
from surefoot.sim.measures import Recording
from surefoot.sim.walk import WalkEnv
from verbs import refuse

WALK = MODELS / "quadruped" / "walk.onnx"
VOID = {"img", "meta"}


class Page(HTMLParser):
    """Its text, its sources, and that every tag is closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def evaluated(
    tame_policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> tuple[Page, list[dict[str, str]], dict, str]:
    """A short evaluation: its page, its values, its JSON and what was printed."""
    monkeypatch.setattr(WalkEnv, "episode_time", 6.0)
    monkeypatch.setattr(module, "CLIP", 0.4)
    report, values = tmp_path / "report.html", tmp_path / "values.csv"
    words = ["evaluate", str(tame_policy), "--episodes", "3", "--json"]
    assert main([*words, "--report", str(report), "--values", str(values)]) == 0
    out = capsys.readouterr().out
    with values.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return Page(report.read_text()), rows, json.loads(out.splitlines()[-1]), out


def test_the_report_needs_nothing_else(evaluated, tmp_path: Path):
    page, _, figures, out = evaluated
    assert all(source.startswith("data:") for source in page.sources)
    pictures = [base64.b64decode(s.split(",")[1]) for s in page.sources if "image/png" in s]
    # The overview, one of each condition, and what matters of those that vary much.
    assert len(pictures) == 7
    for picture in pictures:
        image = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
        assert image.shape[1] == 1300 and image.std() > 10
    for condition in ("nominal", "pushes", "randomised", "beyond"):
        assert f"Command and motion: {condition}" in page.text
        assert f"{figures[condition]['score']:.3f}" in page.text
    assert "push -0.5 to 0.5 every 2 to 4 s" in page.text
    assert "{" not in page.text.partition("The policy")[2]  # nothing raw
    assert "No curves" in page.text
    videos = [base64.b64decode(s.split(",")[1]) for s in page.sources if "video/mp4" in s]
    if not videos:
        assert "No video:" in page.text and "No video:" in out
        pytest.skip("this machine cannot render")
    assert len(videos) == 2
    for video in videos:
        path = tmp_path / "clip.mp4"
        path.write_bytes(video)
        with imageio.get_reader(path) as reader:
            frames = [reader.get_data(0)]  # pyright: ignore
        assert frames and np.asarray(frames[0]).std() > 10


def test_the_values_are_those_of_every_episode(evaluated):
    _, rows, figures, _ = evaluated
    assert len(rows) == 12
    nominal = [row for row in rows if row["condition"] == "nominal"]
    assert [row["episode"] for row in nominal] == ["0", "1", "2"]
    score = np.mean([float(row["score"]) for row in nominal])
    assert score == pytest.approx(figures["nominal"]["score"])
    assert {row["survived"] for row in rows} <= {"True", "False"}
    assert all(row["cost_of_transport"] == "" for row in nominal)  # it goes nowhere


def test_without_a_renderer_there_is_all_but_the_video(
    tame_policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    def fail(*_arguments: object) -> None:
        raise RenderError("this machine cannot render <at all>")

    monkeypatch.setattr(WalkEnv, "episode_time", 6.0)
    monkeypatch.setattr(module, "write_video", fail)
    report = tmp_path / "report.html"
    words = ("evaluate", str(tame_policy), "--episodes", "1", "--report", str(report))
    assert main(list(words)) == 0
    assert "No video: this machine cannot render <at all>" in capsys.readouterr().out
    assert "No video: this machine cannot render <at all>" in Page(report.read_text()).text


def test_evaluate_refuses_files_that_it_cannot_write(capsys, tame_policy: Path, tmp_path: Path):
    policy = str(tame_policy)
    for flag, name, said in (
        ("--report", "report.pdf", "--report: found report.pdf, allowed are .html"),
        ("--values", "values.txt", "--values: found values.txt, allowed are .csv"),
        ("--report", "none/report.html", "there is no folder"),
    ):
        assert said in refuse(capsys, "evaluate", policy, flag, str(tmp_path / name))
    assert "--episodes: found 5000, allowed is 1 to 4096" in refuse(
        capsys, "evaluate", policy, "--episodes", "5000"
    )
    assert "--seed: found -1" in refuse(capsys, "evaluate", policy, "--seed", "-1")
    assert "policy.onnx" in refuse(capsys, "evaluate", str(tmp_path))


# --- what is drawn ----------------------------------------------------------------------------


def test_the_last_errors_of_each_command_by_hand():
    ticks, period = 400, 0.02  # two commands of 4 s, each settled after 1 s
    command = np.zeros((ticks, 2, 1))
    command[:200], command[200:, 0], command[200:, 1] = 1.0, 2.0, 3.0
    achieved = command + 9.0
    achieved[150:200] = command[150:200] + np.array([[[0.1], [0.2]]])
    achieved[350:400] = command[350:400] - 0.5
    alive = np.ones((ticks, 2), bool)
    alive[380:, 1] = False  # it falls during its second command
    none = np.zeros((ticks, 2, 1))
    settled = np.arange(ticks) % 200 >= 50
    recording = Recording(
        period, settled, alive, command, achieved, none, none, none, none, none[0], none[0, :, 0],
        ~alive,
    )  # fmt: skip
    found, error = last_errors(recording)
    assert found[:, 0].tolist() == [1.0, 1.0, 2.0]
    assert error[:, 0] == pytest.approx([0.1, 0.2, -0.5])


def test_smoothing_is_a_mean_of_what_there_is():
    assert smoothed(np.array([1.0, 2.0, 6.0, 3.0]), 3) == pytest.approx([1.5, 3.0, 11 / 3, 4.5])
    assert smoothed(np.array([5.0]), 25) == pytest.approx([5.0])
    assert len(smoothed(np.array([]), 25)) == 0


def test_learning_curves_are_tensorboards(tmp_path: Path):
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    assert learning_curves(tmp_path) == {} and plot_learning({}) is None
    writer = tensorboard.SummaryWriter(str(tmp_path))
    for step in range(1500):  # more than TensorBoard would keep by itself
        writer.add_scalar("episode/return", 2.0 * step, 100 * step)
        writer.add_scalar("reward/track", 0.5, 100 * step)
    writer.close()
    curves = learning_curves(tmp_path)
    steps, values = curves["episode/return"]
    assert steps.tolist() == list(range(0, 150_000, 100))
    assert values == pytest.approx(np.arange(0, 3000, 2))
    figure = plot_learning(curves)
    assert figure is not None
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["return of an episode", "reward by term, mean of a step"]
    ends = {f"end/{name}": (steps, values) for name in ("fall", "time_limit")}
    figure = plot_learning(ends)
    assert figure and figure.axes[0].get_title() == "how episodes ended, share"


def test_a_tip_on_its_way_is_not_smoothed():
    def shown(smoothing: float | None) -> np.ndarray:
        figure, axis = plt.subplots()
        _follow(axis, recording, 0, 0, smoothing)
        line = next(line for line in axis.lines if str(line.get_label()).startswith("true"))
        plt.close(figure)
        return np.asarray(line.get_ydata())

    way = np.linspace(0.3, 0.1, 50)
    none = np.zeros((50, 1, 1))
    recording = Recording(
        0.02, np.ones(50, bool), np.ones((50, 1), bool), none, way[:, None, None], none, none,
        none, none, none[0], none[0, :, 0], np.zeros((50, 1), bool),
    )  # fmt: skip
    assert shown(None) == pytest.approx(way)
    assert shown(0.5)[0] < 0.28  # the mean of what comes after


def test_a_run_in_which_no_episode_ended_is_told_from_none(tmp_path: Path):
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    assert "does not lie in the folder of its run" in module._learning(tmp_path)
    with tensorboard.SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalar("train/reward", 0.5, 100)
    assert "no episode had ended" in module._learning(tmp_path)


STILL = {"score": 0.24, "success": 0.01, "distance": 0.332}


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({"survival": 1.0, "score": 0.3}, ""),
        ({"survival": 1.0, "score": 0.28}, "follows commands hardly better than a robot that"),
        ({"survival": 0.1, "score": 0.12}, "It falls in 90% of the nominal episodes"),
        ({"survival": 0.1, "score": 0.45}, "It falls in 90% of the nominal episodes"),
        ({"survival": 1.0, "success": 0.3, "distance": 0.05}, ""),
        (
            {"survival": 1.0, "success": 0.0, "distance": 0.118},
            "comes nearer to its goals, 0.118 m ",
        ),
        ({"survival": 1.0, "success": 0.0, "distance": 0.31}, "comes hardly nearer to its goals"),
        ({"survival": 1.0, "success": 0.0, "distance": None}, "comes hardly nearer to its goals"),
    ],
)
def test_what_a_policy_cannot_do_yet_is_said(figures: dict[str, Any], said: str):
    found = {**figures, "standing_still": STILL}
    words = shortcoming({"nominal": found, "beyond": found})
    assert said in words and bool(said) == bool(words)


def test_the_table_fits_eighty_columns_and_older_figures_are_still_shown():
    evaluation = Controller(WALK, load_robot("quadruped")).contract.evaluation
    console = Console(width=80, file=io.StringIO())
    console.print(evaluation_table(evaluation, "walk.onnx"))
    assert f"{evaluation['nominal']['score']:.3f}" in console.file.getvalue()  # pyright: ignore
    interval = {"survival_interval": [0.9852, 1.0], "interquartile": {"score": [0.9, 0.89, 0.91]}}
    figures = {**evaluation["nominal"], **interval, "cost_of_transport": 0.85}
    names = ("nominal", "pushes", "randomised", "beyond", "terrain")
    conditions = dict.fromkeys(names, figures)
    console = Console(width=80, file=io.StringIO())
    console.print(evaluation_table(conditions, "walk.onnx"))
    text = console.file.getvalue()  # pyright: ignore
    assert "…" not in text and all(name in text for name in conditions)
    assert text.count("98.5–100") == text.count(".890–.910") == 5
