"""From records to figures: medians, bootstrap intervals, tables. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table as RichTable

DRAWS = 10_000  # of a bootstrap
LEVEL = 0.95  # of its interval
VERDICT = 3  # runs at least, of which something is said to be reached or not


@dataclass(frozen=True)
class Table:
    """Words in rows and columns, with lines below."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def print(self, console: Console) -> None:
        """On a terminal."""
        table = RichTable(title=self.title, box=box.SIMPLE_HEAD, title_justify="left")
        for index, column in enumerate(self.columns):
            justify = "right" if self._is_number(index) else "left"
            table.add_column(column, justify=justify, no_wrap=index == 0)
        for row in self.rows:
            table.add_row(*row)
        console.print(table)
        for note in self.notes:
            console.print(note, markup=False, highlight=False)
        console.print()

    def as_markdown(self) -> str:
        """As a section of a Markdown file."""
        rules = ["---:" if self._is_number(i) else "---" for i in range(len(self.columns))]
        lines = ["| " + " | ".join(cells) + " |" for cells in (self.columns, rules, *self.rows)]
        notes = [line for note in self.notes for line in ("", note)]
        return "\n".join([f"### {self.title}", "", *lines, *notes, ""])

    def _is_number(self, index: int) -> bool:
        """Whether a column goes to the right; the first one has names."""
        return index > 0 and all(row[index][:1] in "0123456789−≥" for row in self.rows)


def near(number: float, digits: int = 3) -> str:
    """A number with about `digits` digits, thousands apart: 12345 → 12 300, 0.1234 → 0.123."""
    if number == 0 or not math.isfinite(number):
        return f"{number:g}"
    places = digits - 1 - math.floor(math.log10(abs(number)))
    text = f"{round(number, places):,.{max(places, 0)}f}".replace(",", " ")
    return text.replace("-", "−")


def whole(number: float) -> str:
    """To the nearest whole number, thousands apart: 12345.6 → 12 346."""
    return f"{round(number):,}".replace(",", " ").replace("-", "−")


def verdict(reached: bool, runs: int) -> str:
    """Whether a goal is reached; of few runs, none."""
    return ("reached" if reached else "not reached") if runs >= VERDICT else "too few runs"


def median_range(numbers: Sequence[float]) -> tuple[float, float, float]:
    """Median, smallest, largest; NaN of nothing."""
    if not numbers:
        return math.nan, math.nan, math.nan
    return float(np.median(numbers)), min(numbers), max(numbers)


def interval_of_mean(numbers: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean (Efron 1979), `LEVEL` of it."""
    return _interval(_means(numbers, np.random.default_rng(seed)))


def interval_of_ratio(
    numbers: Sequence[float], others: Sequence[float], seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the ratio of two means, drawn independently."""
    generator = np.random.default_rng(seed)
    return _interval(_means(numbers, generator) / _means(others, generator))


def _means(numbers: Sequence[float], generator: np.random.Generator) -> np.ndarray:
    """Means of samples drawn with replacement. Shape (DRAWS,)."""
    drawn = generator.integers(len(numbers), size=(DRAWS, len(numbers)))
    return np.asarray(numbers, float)[drawn].mean(1)


def _interval(draws: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
