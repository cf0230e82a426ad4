"""Score, or successes, over wall time as robots learn: a panel for each task."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # to a file, with or without a display
import matplotlib.pyplot as plt
from goals import GOALS
from matplotlib.axes import Axes
from records import Record, of_library
from walking import NAMES

COLOURS = {"surefoot": "#dd6b20", "rsl_rl": "#2b6cb0", "sb3": "#777777"}
WORDS = (
    "A line is a seed: the nominal condition's figure of each checkpoint that was looked at, in 16 "
    "episodes or in all. Dot: the first checkpoint that passes. Dashed: what that takes; dotted: "
    "the time aimed at."
)


def plot(records: list[Record], path: Path) -> bool:
    """Draw all runs; False if there are none."""
    walks = [record for record in records if record["run"]["purpose"] == "walking"]
    tasks = list(dict.fromkeys(record["run"]["task"] for record in walks))
    if not tasks:
        return False
    size = 4.6 * len(tasks), 3.6
    figure, axes = plt.subplots(1, len(tasks), figsize=size, squeeze=False, layout="constrained")
    for axis, task in zip(axes[0], tasks, strict=True):
        _panel(axis, task, [record for record in walks if record["run"]["task"] == task])
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return True


def _panel(axis: Axes, task: str, records: list[Record]) -> None:
    goal = GOALS[task]
    for library, name in NAMES.items():
        for index, record in enumerate(of_library(records, library)):
            seconds = [look[1] for look in record["looks"]]
            figures = [look[2] for look in record["looks"]]
            colour = COLOURS[library]
            label = name if index == 0 else None
            axis.plot(seconds, figures, lw=1.2, alpha=0.7, color=colour, label=label)
            if record["passed"]:  # the last one that was looked at
                axis.plot(seconds[-1], figures[-1], "o", ms=5, zorder=3, color=colour)
    axis.axhline(goal.least, color="black", lw=0.8, ls="--", zorder=0)
    axis.axvline(goal.seconds, color="black", lw=0.8, ls=":", zorder=0)
    axis.set_xlim(left=0)
    axis.set_ylim(0, 1)
    axis.set_title(f"{goal.task}, {goal.robot}", fontsize=10)
    axis.set_xlabel("wall time since the process began [s]")
    axis.set_ylabel(goal.figure)
