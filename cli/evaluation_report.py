"""An evaluation as one HTML file that needs nothing else: figures, plots, videos, curves."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress

from ..models.errors import RenderError
from ..sim.evaluate import Result
from ..sim.randomisation import Variation, describe
from ..sim.statistics import LEVEL
from ..sim.trials import is_goal
from ..sim.video import frames, write_video
from .evaluation_plots import (
    learning_curves,
    plot_condition,
    plot_drawn,
    plot_learning,
    plot_overview,
)
from .tables import evaluation_rows, terrain_rows
from .trained import TrainedPolicy

DPI = 100
CLIP = 10.0  # length of a video [s]

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .8rem; text-align: right; border-bottom: 1px solid #e3e3e3; }
th:first-child, td:first-child { text-align: left; white-space: pre; }
img { max-width: 100%; } figure { display: inline-block; margin: 0 1rem 0 0; }
video { width: 29rem; max-width: 100%; } figcaption, .small { color: #666; font-size: .9em; }
"""


def write_report(
    policy: TrainedPolicy, results: Mapping[str, Result], seed: int, path: Path, console: Console
) -> None:
    """Write the report of an evaluation.

    Args:
        policy: that was evaluated.
        results: by condition.
        seed: of the evaluation.
        path: of the file to write.
        console: for a bar, and for what could not be shown.
    """
    figures = {name: result.figures for name, result in results.items()}
    still = next(iter(figures.values()))["standing_still"]
    still = still | {f"{name}_error": value for name, value in still.items()}
    sections = [
        _section("Figures", _table(evaluation_rows(figures)), _how_to_read(seed)),
        _section("Every episode", _image(plot_overview(results, policy.commands, still)), OVERVIEW),
        _section("In motion", _videos(policy, results, console)),
    ]
    for name, result in results.items():
        title = f"Command and motion: {name}"
        picture = _image(plot_condition(result, policy.commands))
        sections.append(_section(title, picture, _varied(result.variations)))
        if result.grounds:
            sections.append(_section("On terrain", _table(terrain_rows(figures[name])), TERRAIN))
        if len(result.drawn) >= MANY:
            title = f"What it leans on: {name}"
            sections.append(_section(title, _image(plot_drawn(result)), DRAWN))
    sections.append(_section("How it learned", _learning(policy.file.parent)))
    sections.append(_section("The policy", _about(policy)))
    title = f"Evaluation of {escape(str(policy.file))}"
    path.write_text(
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n"
        + "\n".join(sections)
        + "\n</body></html>\n",
        encoding="utf-8",
    )


OVERVIEW = (
    "A pale dot is an episode; the orange dot is the interquartile mean, the bar its interval; "
    "dashed: a robot that stands still under the same commands."
)


DRAWN = (
    "A dot is an episode: what was drawn for it, and how good it was (of a walk, the tracking "
    "score; of a reach, minus the distance), for the quantities that go along with that the most. "
    "ρ is Spearman's rank correlation; a title is grey where chance could give as much with so "
    "many quantities. Orange: episodes with a fall. A push is the last one."
)
TERRAIN = (
    "By what was under the robot when its episode began; it may have walked on to other tiles."
)
SAID = {  # of the training, and how the report calls it
    "task": "task",
    "terrain": "terrain",
    "history": "observations side by side",
    "algorithm": "algorithm",
    "steps": "steps",
    "seconds": "trained for",
    "seed": "seed",
    "commit": "commit",
}
MANY = 4  # drawn quantities, from which on it is worth asking which of them matters


def _how_to_read(seed: int) -> str:
    return (
        f"Deterministic policy, seed {seed}. Intervals: {LEVEL:.0%}, of shares by Wilson, of "
        "interquartile means by bootstrap over the episodes of this one policy; they say nothing "
        "of what another training would give. Definitions: docs/evaluation.md."
    )


def _section(title: str, content: str, small: str = "") -> str:
    words = f'<p class="small">{escape(small)}</p>' if small else ""
    return f"<h2>{escape(title)}</h2>\n{content}\n{words}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    lines = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"]
    lines += [
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in body
    ]
    return "<table>" + "\n".join(lines) + "</table>"


def _image(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    plt.close(figure)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="" src="data:image/png;base64,{data}">'


def _varied(variations: Sequence[Variation]) -> str:
    """What a condition varied, in words."""
    words = []
    for each in describe(variations):
        every = f" every {each['every'][0]:g} to {each['every'][1]:g} s" if each["every"] else ""
        name = each["what"].replace("_", " ")
        words.append(f"{name} {each['low']:.3g} to {each['high']:.3g}{every}")
    return f"Varied: {'; '.join(words)}." if words else "Nothing varied."


def _videos(policy: TrainedPolicy, results: Mapping[str, Result], console: Console) -> str:
    """The first condition's median episode, and the worst ones of the hardest, up to their ends."""
    first, *_ = results
    wanted = [(first, 0.5, "median episode"), ("beyond", 0.0, "worst episode")]
    wanted += [("terrain", 0.0, "worst episode")] if "terrain" in results else []
    clips = []
    for name, rank, which in wanted:
        order = np.argsort(results[name].measures.merit, kind="stable")
        clips.append((name, int(order[int(rank * len(order))]), which))
    try:
        return "\n".join(_video(policy, results[n], n, e, which, console) for n, e, which in clips)
    except RenderError as error:  # the figures are no worse for it
        console.print(f"No video: {error}", style="yellow", soft_wrap=True)
        return f"<p>No video: {escape(str(error))}</p>"


def _video(
    policy: TrainedPolicy, result: Result, name: str, episode: int, which: str, console: Console
) -> str:
    recording = result.recording
    end = max(2, int(recording.alive[:, episode].sum()))
    start = max(0, end - round(CLIP / recording.period))
    time = recording.period * np.arange(start, end)
    with (
        TemporaryDirectory() as folder,
        Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        path = Path(folder) / "clip.mp4"
        shown = start + frames(time, path)
        commands = recording.command[shown, episode]
        captions = [
            "   ".join(
                f"{part.name} {value + 0.0:.2f} {part.unit}"
                for part, value in zip(policy.commands, command.tolist(), strict=True)
            )
            for command in commands
        ]
        bar = progress.add_task(f"rendering {name}", total=len(shown))
        qpos = recording.qpos[shown, episode]
        write_video(
            policy.robot,
            qpos,
            path,
            captions,
            lambda: progress.advance(bar),
            recording.terrain,
            list(commands) if is_goal([part.name for part in policy.commands]) else [],
        )
        data = base64.b64encode(path.read_bytes()).decode()
    words = f"{name}: {which}, {time[0]:.0f} to {time[-1]:.0f} s"
    return (
        f'<figure><video controls loop muted src="data:video/mp4;base64,{data}"></video>'
        f"<figcaption>{escape(words)}</figcaption></figure>"
    )


def _learning(folder: Path) -> str:
    try:
        curves = learning_curves(folder)
    except ModuleNotFoundError:
        return "<p>There are curves, but TensorBoard is not installed here to read them.</p>"
    if not curves:
        return "<p>No curves: the policy does not lie in the folder of its run.</p>"
    if (figure := plot_learning(curves)) is None:
        return "<p>No curves: no episode had ended when the training did.</p>"
    return _image(figure)


def _about(policy: TrainedPolicy) -> str:
    contract = policy.controller.contract
    training = contract.training
    ranges = [f"{c.name} {c.lower:g} to {c.upper:g} {c.unit}" for c in policy.commands]
    rows = [
        ["", "as its file says"],
        ["robot", contract.robot],
        ["commands", ", ".join(ranges)],
        ["sha256", policy.controller.sha256],
        *([SAID[key], _in_words(key, training[key])] for key in SAID if key in training),
        *([key.replace("_", " "), f"{value}"] for key, value in training.get("config", {}).items()),
    ]
    return _table(rows)


def _in_words(key: str, value: Any) -> str:
    if key == "seconds":
        return f"{value:.0f} s"
    return f"{value:,}" if key == "steps" else f"{value}"
