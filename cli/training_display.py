"""A training under way, for a person."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ..control import ppo, sac
from ..control.metrics import Metrics


def shown_count(number: float) -> str:
    """A number of steps, in thousands or in millions where it is large."""
    if number >= 1e6:
        return f"{number / 1e6:.2f} M"
    if number >= 1e4:
        return f"{number / 1e3:.0f} k"
    return f"{number / 1e3:.1f} k" if number >= 1e3 else f"{number:.0f}"


class TrainingDisplay:
    """A bar with the time left over the figures that matter; into a file, a line for each tenth."""

    def __init__(self, console: Console, first_words: str) -> None:
        self._console = console
        self._first_words = first_words
        self._interrupted = False
        self.seen: list[Metrics] = []
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
        )
        self._task = self._bar.add_task("training", total=1.0)
        self._returns: float | None = None
        self._falls: float | None = None
        self._told = -1.0  # the first one is told at once
        self.live = Live(self._bar, console=console, refresh_per_second=4, transient=True)

    @contextmanager
    def interrupts(self) -> Iterator[None]:
        """Let Ctrl-C wait for the end of an iteration, so that a resumed run differs in no bit.

        A second one doesn't wait.
        """

        def press(*_: object) -> None:
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True
            self._console.print("Stopping after this update; Ctrl-C again stops at once.")

        before = signal.signal(signal.SIGINT, press)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def update(self, metrics: Metrics) -> None:
        """Show one iteration."""
        if self._interrupted:
            raise KeyboardInterrupt
        if not self.seen:  # by now nothing can refuse any more
            self._console.print(self._first_words, soft_wrap=True)
        self.seen.append(metrics)
        if metrics.episode_return is not None:
            self._returns = metrics.episode_return
            self._falls = metrics.episode.get("end/fall", self._falls)
        figures = self._figures(metrics)
        self._bar.update(self._task, completed=metrics.progress)
        if self._console.is_terminal:
            grid = Table.grid(padding=(0, 3))
            grid.add_row(*(Text(name, style="dim") for name in figures))
            grid.add_row(*figures.values())
            self.live.update(Group(self._bar, grid))
        elif metrics.progress >= self._told + 0.1:
            self._told = metrics.progress
            words = ", ".join(f"{name} {value}" for name, value in figures.items())
            self._console.print(f"{metrics.progress:4.0%}  {words}", soft_wrap=True)

    def _figures(self, metrics: Metrics) -> dict[str, str]:
        figures = {
            "steps": shown_count(metrics.steps),
            "steps/s": shown_count(metrics.steps_per_second),
            "reward a step": f"{metrics.reward:.3f}",
            "episode return": "-" if self._returns is None else f"{self._returns:.0f}",
        }
        if self._falls is not None:
            figures["episodes that fall"] = f"{self._falls:.0%}"
        return figures | _of_algorithm(metrics.diagnostics)


def _of_algorithm(d: ppo.Diagnostics | sac.Diagnostics) -> dict[str, str]:
    if isinstance(d, ppo.Diagnostics):
        return {
            "σ": f"{d.std:.2f}",
            "KL": f"{d.kl:.4f}",
            "clipped": f"{d.clip_fraction:.0%}",
            "explained": f"{d.explained_variance:.2f}",
        }

    def number(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    return {
        "Q": number(d.q, ".1f"),
        "α": number(d.temperature, ".3f"),
        "entropy": number(d.entropy, ".1f"),
        "explained": number(d.explained_variance, ".2f"),
    }
