"""Runs, each in a process of its own, one after the other, under a bar with the time left.

Runs of which only the return counts may go side by side, each on a core of its own.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Any

from analysis import Table, near
from records import (
    BUSY,
    HERE,
    Record,
    Run,
    append,
    as_json,
    busy_seconds,
    find,
    load,
    machine,
    versions_of,
)
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SETTLE = 1.0  # between two runs [s]
START_UP = 6.0  # of a process: imports, environments [s]
EVALUATION = 1.2  # [s]
# The slowest that was measured on a machine with two cores, only to tell the time left: of a run on
# both of them, and of one on either while another run had the other.
STEPS_PER_SECOND = {
    ("surefoot", "ppo"): (4600, 2000),
    ("sb3", "ppo"): (2600, 850),
    ("sbx", "ppo"): (2700, 900),
    ("surefoot", "sac"): (150, 250),  # at one gradient step a step, and at a quarter
    ("sb3", "sac"): (107, 34),
    ("sbx", "sac"): (127, 40),
}
SCRIPTS = {  # what measures, by a run's purpose
    "profile": "parts.py",
    "walking": "walkers.py",
    "throughput": "stepping.py",
    "iteration": "iteration.py",
}
SECONDS = {
    "profile": 40.0,
    "walking": 300.0,
    "throughput": 60.0,
    "iteration": 60.0,
}  # of a run, roughly [s]
COLUMNS = ("[progress.description]{task.description}", "{task.fields[now]}")


class Session:
    """A benchmark on its way: its file of records, its bar, and what went wrong."""

    def __init__(self, results: Path, planned: Iterable[Run], console: Console) -> None:
        self.results, self.console = results, console
        self.failed: list[Run] = []
        self._total = sum(seconds(run) for run in planned)
        self._done = 0.0
        self._under_way: dict[str, float] = {}  # seconds of it done, by title
        self._lock = Lock()
        left, right = (TextColumn(text) for text in COLUMNS)
        times = TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn()
        # The rate of the last hour: runs of one kind come together and last long.
        self._progress = Progress(
            left, BarColumn(), *times, right, console=console, speed_estimate_period=3600
        )
        self._bar = self._progress.add_task("", total=self._total, now="")

    def __enter__(self) -> Session:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def perform(self, run: Run, target: float | None = None) -> Record | None:
        """The record of `run`: an earlier one, or that of running it now; None if it fails."""
        return self._perform(run, target, first_core=0, alone=True)

    def perform_side_by_side(self, runs: Iterable[Run], cores: int) -> list[Record]:
        """The records of runs of one core each, `cores` at a time: their times are not fair."""
        free: SimpleQueue[int] = SimpleQueue()
        for core in range(cores):
            free.put(core)

        def perform(run: Run) -> Record | None:
            core = free.get()
            try:
                return self._perform(run, None, first_core=core, alone=cores == 1)
            finally:
                free.put(core)

        with ThreadPoolExecutor(cores) as pool:
            return [record for record in pool.map(perform, runs) if record is not None]

    def _perform(
        self, run: Run, target: float | None, first_core: int, alone: bool
    ) -> Record | None:
        record = find(load(self.results), run, target)
        if record is not None:
            with self._lock:
                self._total -= seconds(run)  # it took no time: the rate must not profit
                self._progress.update(self._bar, total=self._total)
            return record
        record = self._measure(run, target, first_core, alone)
        with self._lock:
            if record is not None:
                append(self.results, record)
            self._under_way.pop(title(run), None)
            self._done += seconds(run)
        return record

    def _measure(
        self, run: Run, target: float | None, first_core: int, alone: bool
    ) -> Record | None:
        """Run it in a fresh process, and note what else the machine was doing."""
        time.sleep(SETTLE)
        load_before = os.getloadavg()[0]
        busy, used, began = busy_seconds(), _children_seconds(), time.perf_counter()
        asked = {"run": as_json(run), "target": target, "first_core": first_core}
        asked["began"] = time.time()
        script = SCRIPTS.get(run.purpose, "libraries.py")
        words = [sys.executable, str(HERE / script), json.dumps(asked)]
        with tempfile.TemporaryFile("w+") as errors:
            process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True)
            try:
                result = self._follow(process, run)
                failed = process.wait() != 0 or result is None
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
            errors.seek(0)
            if failed:
                last = (errors.read().splitlines() or ["no result"])[-1]
                self.console.print(f"{title(run)}: failed: {last}", style="red", markup=False)
                self.failed.append(run)
                return None
        took, others = time.perf_counter() - began, None
        if alone and busy is not None and (after := busy_seconds()) is not None:
            mine = _children_seconds() - used
            others = max(0.0, (after - busy - mine) / (took * (os.cpu_count() or 1)))
        record = {
            "run": as_json(run),
            **(result or {}),
            "alone": alone,
            "load_before": round(load_before, 2),
            "others": None if others is None else round(others, 3),
            "busy": others is not None and others > BUSY,
            "machine": machine(),
            "versions": versions_of(run.library),
            "date": time.strftime("%Y-%m-%d"),
        }
        if record["busy"]:
            words = f"{title(run)}: others used {100 * record['others']:.0f} % of the machine"
            self.console.print(f"{words}: flagged as busy", style="yellow")
        return record

    def _follow(self, process: subprocess.Popen[str], run: Run) -> dict[str, Any] | None:
        """Show how far the process is, until it ends; its result."""
        self._show(0.0, run, "")
        result = None
        for line in process.stdout or ():
            if not line.startswith("@"):
                continue
            facts = json.loads(line[1:])
            result = facts.get("result", result)
            if "steps" in facts:
                self._show(facts["steps"] / run.steps, run, f"score {near(facts['score'])}")
        return result

    def _show(self, part: float, run: Run, now: str) -> None:
        with self._lock:
            self._under_way[title(run)] = min(part, 1.0) * seconds(run)
            done = self._done + sum(self._under_way.values())
        self._progress.update(self._bar, completed=done, description=title(run), now=now)


def measure_and_print(
    results: Path,
    planned: Iterable[Run],
    measure: Callable[[Session], None],
    tables: Callable[[list[Record]], list[Table]],
) -> int:
    """One benchmark alone: what is missing, then its tables; how many runs failed."""
    console = Console()
    with Session(results, planned, console) as session:
        measure(session)
    for table in tables(load(results)):
        table.print(console)
    return len(session.failed)


def title(run: Run) -> str:
    """A run in few words."""
    vectoriser = "" if run.vectoriser == "gymnasium" else f" with {run.vectoriser}"
    return f"{run.purpose}: {run.library}{vectoriser} {run.algorithm} {run.task}, seed {run.seed}"


def seconds(run: Run) -> float:
    """Roughly what a run will take."""
    if run.purpose in SECONDS:
        return SECONDS[run.purpose]
    evaluations = run.steps / run.evaluate_every if run.evaluate_every else 0
    rate = STEPS_PER_SECOND[run.library, run.algorithm][run.cores == 1]
    return SETTLE + START_UP + run.steps / rate + EVALUATION * evaluations


def _children_seconds() -> float:
    """Processor time of the processes that were started here and are over [s]."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
