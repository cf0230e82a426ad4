"""Pictures of an evaluation and of a training, with matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")  # to a file, with or without a display
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..models.task import CommandPart
from ..sim.evaluate import Result
from ..sim.measures import Recording
from ..sim.quantities import unit_of
from ..sim.statistics import (
    by_chance,
    interquartile_interval,
    interquartile_mean,
    rank_correlation,
)
from ..sim.trials import is_goal

COMMAND, ACHIEVED, EPISODE, MARK = "#777777", "#2b6cb0", "#90bde8", "#dd6b20"
SMOOTHING = 0.5  # [s]
LAST = 1.0  # of a command, over which its error is averaged [s]
COLUMNS = 3  # of the overview, and of what was drawn
DRAWN = 9  # quantities shown, at most
UNITS = {"torque": "N·m", "distance": "m", "time_to_reach": "s"}  # of measures that have one
NUMBERS = {"disturbances": "disturbances, number", "recovered": "of these recovered from, number"}


def plot_overview(
    results: Mapping[str, Result], parts: Sequence[CommandPart], still: Mapping[str, float]
) -> Figure:
    """Every measure under every condition: the episodes, interquartile mean and its interval.

    Args:
        results: by condition.
        parts: of the command.
        still: figures of a robot that stands still, by name, for those measures that it has.
    """
    conditions = list(results)
    units = UNITS | {f"{part.name}_error": part.unit for part in parts}
    values = {name: result.measures.values() for name, result in results.items()}
    names = [name for name, v in values[conditions[0]].items() if v.dtype != bool]
    rows = -(-len(names) // COLUMNS)
    size = (13, (0.34 * len(conditions) + 0.85) * rows)
    figure, grid = plt.subplots(rows, COLUMNS, figsize=size, layout="constrained", squeeze=False)
    jitter = np.random.default_rng(0)
    for axis, name in zip(grid.flat, names, strict=False):
        for row, condition in enumerate(conditions):
            found = values[condition][name]
            found = found[np.isfinite(found)]
            if len(found):
                where = row + jitter.uniform(-0.25, 0.25, len(found))
                axis.plot(found, where, ".", ms=5, color=EPISODE, alpha=0.8, mew=0)
                low, high = interquartile_interval(found)
                axis.plot([low, high], [row, row], color=MARK, lw=3, solid_capstyle="butt")
                axis.plot(interquartile_mean(found), row, "o", color=MARK, ms=5)
        if name in still:
            axis.axvline(still[name], color=COMMAND, lw=1, ls="--")
        unit = f" [{units[name]}]" if name in units else ""
        axis.set_title(NUMBERS.get(name, name.replace("_", " ")) + unit, fontsize=10)
        axis.set_yticks(range(len(conditions)), conditions)
        axis.set_ylim(len(conditions) - 0.5, -0.5)
        axis.label_outer(remove_inner_ticks=False)
        axis.tick_params(labelbottom=True)
    for axis in grid.flat[len(names) :]:
        axis.axis("off")
    return figure


def plot_condition(result: Result, parts: Sequence[CommandPart]) -> Figure:
    """What was commanded and what came of it: a usual episode, the worst one, and all errors."""
    recording = result.recording
    # A gait sways about the velocity that it follows; a tip that comes to its goal does not.
    smoothing = None if is_goal([part.name for part in parts]) else SMOOTHING
    order = np.argsort(result.measures.merit, kind="stable")
    shown = {"median episode": order[len(order) // 2], "worst episode": order[0]}
    size = (13, 2.3 * (len(shown) + 1))
    figure, grid = plt.subplots(
        len(shown) + 1, len(parts), figsize=size, layout="constrained", squeeze=False
    )
    for row, (name, episode) in zip(grid, shown.items(), strict=False):
        for index, (axis, part) in enumerate(zip(row, parts, strict=True)):
            _follow(axis, recording, int(episode), index, smoothing)
            axis.set_ylabel(part.unit)
            axis.set_title(f"{part.name}, {name}" if index == 0 else part.name, fontsize=10)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2, fontsize=8, frameon=False)
    command, error = last_errors(recording)
    for index, (axis, part) in enumerate(zip(grid[-1], parts, strict=True)):
        axis.axhline(0, color=COMMAND, lw=1)
        axis.plot(command[:, index], error[:, index], ".", ms=5, color=ACHIEVED, alpha=0.5, mew=0)
        axis.set_xlabel(f"commanded {part.name} [{part.unit}]")
        axis.set_ylabel(f"mean error [{part.unit}]")
    grid[-1, 0].set_title(f"all episodes, last {LAST:g} s of each command", fontsize=10)
    return figure


def plot_drawn(result: Result) -> Figure:
    """The drawn quantities that go along with how good an episode was the most."""
    merit, alive = result.measures.merit, result.recording.alive[-1]
    quantities = over_parts(result.drawn).items()
    drawn = {name: (v, np.isfinite(v) & np.isfinite(merit)) for name, v in quantities}
    drawn = {name: (v, there) for name, (v, there) in drawn.items() if there.sum() > 2}
    found = {name: rank_correlation(v[there], merit[there]) for name, (v, there) in drawn.items()}
    shown = sorted(found, key=lambda name: -abs(found[name]))[:DRAWN]
    sure = {
        name for name in shown if abs(found[name]) > by_chance(len(found), drawn[name][1].sum())
    }
    rows = max(1, -(-len(shown) // COLUMNS))
    figure, grid = plt.subplots(
        rows,
        COLUMNS,
        figsize=(13, 2.4 * rows + 0.3),
        layout="constrained",
        sharey=True,
        squeeze=False,
    )
    for axis, name in zip(grid.flat, shown, strict=False):
        value, there = drawn[name]
        for who, colour in ((there & alive, EPISODE), (there & ~alive, MARK)):
            axis.plot(value[who], merit[who], ".", ms=7, color=colour, alpha=0.8, mew=0)
        title = f"{name.replace('_', ' ')}   ρ = {found[name]:+.2f}"
        axis.set_title(title, fontsize=10, color="black" if name in sure else COMMAND)
        axis.set_xlabel(unit_of(name.partition(".")[0].partition(",")[0]), fontsize=9)
        axis.xaxis.set_major_locator(MaxNLocator(5))  # so that no two numbers touch
    for axis in grid[:, 0]:
        axis.set_ylabel("score" if "score" in result.measures.values() else "− distance [m]")
    if not sure:
        words = f"With {len(merit)} episodes, chance alone could give any of these: evaluate more."
        figure.suptitle(words, fontsize=10, color=COMMAND)
    for axis in grid.flat[len(shown) :]:
        axis.axis("off")
    return figure


def over_parts(drawn: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Means over a robot's joints, or its bodies; axes stay apart. Each (N,)."""
    groups: dict[str, list[np.ndarray]] = {}
    for name, values in drawn.items():
        quantity, _, part = name.partition(".")
        apart = part in ("", "x", "y", "z")
        groups.setdefault(name if apart else f"{quantity}, mean", []).append(values)
    return {name: np.mean(values, axis=0) for name, values in groups.items()}


def _follow(
    axis: Axes, recording: Recording, episode: int, part: int, smoothing: float | None
) -> None:
    """One episode's command and what came of it, until a fall; smoothed over `smoothing` [s]."""
    ticks = int(recording.alive[:, episode].sum())
    time = recording.period * np.arange(1, len(recording.alive) + 1)
    axis.plot(time, recording.command[:, episode, part], color=COMMAND, lw=2.5, label="command")
    achieved = recording.achieved[:ticks, episode, part]
    if smoothing is None:
        axis.plot(time[:ticks], achieved, color=ACHIEVED, lw=1.5, label="true")
    else:
        smooth = smoothed(achieved, round(smoothing / recording.period))
        axis.plot(time[:ticks], achieved, color=EPISODE, lw=0.6)
        axis.plot(time[:ticks], smooth, color=ACHIEVED, lw=1.5, label=f"true, over {smoothing:g} s")
    if ticks < len(time):
        axis.axvline(time[ticks], color=MARK, lw=1.5)
        words = {"transform": axis.get_xaxis_transform(), "va": "top", "color": MARK, "fontsize": 8}
        axis.text(time[ticks], 0.97, " fell", **words)
    axis.set_xlim(0, time[-1])
    axis.set_xlabel("time [s]")


def last_errors(recording: Recording) -> tuple[np.ndarray, np.ndarray]:
    """Each command, and the mean of what was achieved less it over its last `LAST` seconds.

    Without those during which the robot fell. Shapes (M, c).
    """
    starts = np.flatnonzero(np.diff(recording.settled.astype(int), append=0) < 0) + 1
    ticks = round(LAST / recording.period)
    command, error = [], []
    for end in starts:
        whole = recording.alive[end - 1]
        window = slice(end - ticks, end)
        wanted = recording.command[end - 1, whole]
        command.append(wanted)
        error.append(recording.achieved[window, whole].mean(0) - wanted)
    return np.concatenate(command), np.concatenate(error)


def plot_learning(curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure | None:
    """The curves of a training by name, steps and values; None where no episode ended."""
    groups = {
        "return of an episode": ["episode/return"],
        "length of an episode [steps]": ["episode/length"],
        "reward by term, mean of a step": [name for name in curves if name.startswith("reward/")],
        "how episodes ended, share": [name for name in curves if name.startswith("end/")],
    }
    groups = {title: [n for n in names if n in curves] for title, names in groups.items()}
    groups = {title: names for title, names in groups.items() if names}
    if not groups:
        return None
    figure, grid = plt.subplots(
        1, len(groups), figsize=(13, 3.2), layout="constrained", squeeze=False
    )
    for axis, (title, names) in zip(grid.flat, groups.items(), strict=True):
        # The largest terms get a colour and a name, the others are there.
        by_size = sorted(names, key=lambda n: -abs(curves[n][1]).max())
        for rank, name in enumerate(by_size):
            steps, values = curves[name]
            style = {"label": name.partition("/")[2]} if rank < 6 else {"color": EPISODE, "lw": 0.6}
            axis.plot(steps / 1e6, values, **style)
        if len(names) > 1:
            axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("million steps")
    return figure


def learning_curves(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """TensorBoard's curves in a run's folder: steps and values by name; none if there are none.

    Raises:
        ModuleNotFoundError: there are events, but TensorBoard is not installed.
    """
    if not any(folder.glob("events.out.tfevents.*")):
        return {}
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})  # 0: all of them
    events.Reload()
    curves = {}
    for name in events.Tags()["scalars"]:
        points = events.Scalars(name)
        curves[name] = (np.array([p.step for p in points]), np.array([p.value for p in points]))
    return curves


def smoothed(values: np.ndarray, width: int) -> np.ndarray:
    """Mean over `width` values about each; over those that there are at the ends. Shape (T,)."""
    if not len(values):
        return values
    weights = np.ones(min(width, len(values)))
    counts = np.convolve(np.ones(len(values)), weights, "same")
    return np.convolve(values, weights, "same") / counts
