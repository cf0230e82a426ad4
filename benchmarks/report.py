"""RESULTS.md and its pictures, from the records.

Only what lies between two marks in RESULTS.md is written anew; what was tried is told by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import learning
import matplotlib
import profiling
import speed
import throughput
import tyro
import walking
import walking_plot
from analysis import Table
from learning import Times, target_of
from records import HERE, RESULTS, Record, curve, load, of_library
from records import conditions as conditions_of
from rich.console import Console

matplotlib.use("Agg")  # to a file, with or without a display
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import StrMethodFormatter

ALL = tuple(RESULTS / f"{name}.json" for name in ("walking", "throughput", "long"))
BEGIN, END = "<!-- made by report.py: begin -->", "<!-- made by report.py: end -->"
CURVES = "curves.png"
COLOURS = {"surefoot": "#dd6b20", "sb3": "#777777", "sbx": "#2b6cb0"}
FRAME = f"""# Results

{BEGIN}
{END}

## What was tried

Nothing is told here yet.
"""


@dataclass(frozen=True)
class Arguments:
    """Print the tables of all records, and write them into RESULTS.md with pictures."""

    results: tuple[Path, ...] = ALL
    """Files of the records; those that there are not are left out."""
    out: Path = HERE / "RESULTS.md"
    """Its part between the marks is written anew; the rest is left as it is."""
    write: bool = True
    """Write; without it, the tables are only printed."""


def tables(records: list[Record]) -> list[Table]:
    """All that the records have."""
    makers: tuple[Callable[[list[Record]], list[Table]], ...] = (
        walking.tables,
        throughput.tables,
        speed.tables,
        learning.tables,
        profiling.tables,
    )
    return [table for make in makers for table in make(records)]


def conditions(records: Sequence[Record]) -> Table:
    """The machine, the versions, and how many runs were disturbed."""
    rows = [
        *((name, ", ".join(values)) for name, values in conditions_of(records).items()),
        ("days", ", ".join(sorted({record["date"] for record in records}))),
        ("runs", str(len(records))),
        ("of these on a busy machine", str(sum(record["busy"] for record in records))),
        ("not known, since two at a time", str(sum(r["others"] is None for r in records))),
    ]
    return Table("Conditions", ("what", "found"), tuple(rows))


def fill(text: str, made: str) -> str:
    """Put what was made between the marks. Raises ValueError if there are none."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"found no marks, allowed is a text with {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{made.strip()}\n\n{END}{after}"


def plot(records: list[Record], path: Path) -> bool:
    """Return over wall time, a panel for each algorithm and task; False if there is nothing."""
    compared = [record for record in records if record["run"]["purpose"] == "learning"]
    about = [(record["run"]["algorithm"], record["run"]["task"]) for record in compared]
    if not about:
        return False
    algorithms, tasks = (list(dict.fromkeys(column)) for column in zip(*about, strict=True))
    size = 4.6 * len(tasks), 3.2 * len(algorithms) + 0.4
    figure, axes = plt.subplots(
        len(algorithms), len(tasks), figsize=size, squeeze=False, layout="constrained"
    )
    for row, algorithm in enumerate(algorithms):
        for column, task in enumerate(tasks):
            here = [r for r, key in zip(compared, about, strict=True) if key == (algorithm, task)]
            _panel(axes[row, column], here, f"{algorithm.upper()}, {task}")
        axes[row, 0].set_ylabel("return")
    for axis in axes[-1]:
        axis.set_xlabel("wall time without evaluations [min]")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5, frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return True


def _panel(axis: Axes, records: list[Record], title: str) -> None:
    """Thin: evaluations; thick: their means of ten; a dot where these reach the target."""
    target = target_of(of_library(records, "sb3"))
    for library, name in speed.NAMES.items():
        for index, record in enumerate(of_library(records, library)):
            points = curve(record)
            minutes = [point.seconds / 60 for point in points]
            scores = [point.score for point in points]
            window = learning.WINDOW
            ends = range(window, len(scores) + 1)
            means = [sum(scores[end - window : end]) / window for end in ends]
            colour = COLOURS[library]
            axis.plot(minutes, scores, lw=0.6, alpha=0.35, color=colour)
            label = name if index == 0 else None
            axis.plot(minutes[window - 1 :], means, lw=1.8, label=label, color=colour)
            if target is not None and library != "sb3":
                times = Times.of([record], target)
                if times.all_reached:
                    axis.plot(times.seconds[0] / 60, target, "o", ms=5, zorder=3, color=colour)
    if target is not None:
        axis.axhline(target, color="black", lw=0.8, ls="--", zorder=0, label="target")
    axis.set_title(title, fontsize=10)
    axis.set_xscale("log")  # one library's minute is another's hour
    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


PICTURES = (
    ("Learning to walk and to reach", walking_plot.plot, "walking.png", walking_plot.WORDS),
    (
        "Learning Gymnasium's tasks",
        plot,
        CURVES,
        "Thin: evaluations; thick: means of ten; dots: the target is reached.",
    ),
)


def main(arguments: Arguments) -> int:
    """Print, and write."""
    console = Console()
    records = [record for path in arguments.results for record in load(path)]
    if not records:
        files = ", ".join(map(str, arguments.results))
        console.print(f"{files}: found no records; run a benchmark first", style="red")
        return 2
    made = [*tables(records), conditions(records)]
    for table in made:
        table.print(console)
    if arguments.write:
        out = arguments.out
        out.parent.mkdir(parents=True, exist_ok=True)
        text = out.read_text() if out.exists() else FRAME
        sections = [table.as_markdown() for table in made]
        for title, draw, name, words in PICTURES:
            if draw(records, out.parent / name):
                sections.insert(-1, f"### {title}\n\n![{title}]({name})\n\n{words}\n")
        out.write_text(fill(text, "\n".join(sections)))
        console.print(f"Written: {out}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Arguments)))
