"""The benchmarks of learning, in turn: the short version of 20 minutes, or the long one of hours.

Stopped, it goes on with what is missing; delete the file of records to measure anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import learning
import profiling
import report
import speed
import tyro
from records import RESULTS, load
from rich.console import Console
from session import Session


@dataclass(frozen=True)
class Arguments:
    """Measure speed, costs and learning; print the tables; the long version writes RESULTS.md."""

    short: bool = False
    """Few rounds, and one short comparison on HalfCheetah-v5: 20 minutes at most on two cores."""
    results: Path | None = None
    """File of the records; results/short.json or results/long.json if not given."""
    cores: int = 2
    """Cores of the machine, for each library."""


def parts(
    short: bool, results: Path, cores: int
) -> tuple[speed.Arguments, profiling.Arguments, learning.Arguments]:
    """What each of the benchmarks is asked for."""
    common = {"results": results, "cores": cores}
    speeds, costs = speed.Arguments(**common), profiling.Arguments(**common)
    learns = learning.Arguments(**common)
    if short:  # a test adds up the time
        speeds = replace(speeds, rounds=3, rollouts=1, sac_steps=1024)
        learns = replace(
            learns,
            tasks=("HalfCheetah-v5",),
            seeds=1,
            ppo_steps=200_000,
            sac_steps=8_000,
            evaluations=12,
            million=0,
        )
    return speeds, costs, learns


def main(arguments: Arguments) -> int:
    """Measure what is missing, then report."""
    short = arguments.short
    results = arguments.results or RESULTS / ("short.json" if short else "long.json")
    speeds, costs, learns = parts(short, results, arguments.cores)
    planned = [*speed.plan(speeds), *profiling.plan(costs), *learning.plan(learns)]
    console = Console()
    with Session(results, planned, console) as session:
        speed.measure(speeds, session)
        profiling.measure(costs, session)
        learning.measure(learns, session)
    if not load(results):
        return len(session.failed)
    files = (results,) if short or arguments.results else report.ALL
    return report.main(report.Arguments(files, write=not short)) or len(session.failed)


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Arguments)))
