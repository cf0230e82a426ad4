"""The benchmarks of learning, in turn: the short version, or the long one, which takes hours.

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
    """Few rounds, and one short comparison on HalfCheetah-v5."""
    results: Path | None = None
    """File of the records; results/short.json or results/long.json if not given."""
    cores: int = 2
    """Cores of the machine, for each library."""


def main(arguments: Arguments) -> int:
    """Measure what is missing, then report."""
    short = arguments.short
    results = arguments.results or RESULTS / ("short.json" if short else "long.json")
    common = {"results": results, "cores": arguments.cores}
    speeds, costs = speed.Arguments(**common), profiling.Arguments(**common)
    learns = learning.Arguments(**common)
    if short:
        speeds = replace(speeds, rounds=3, rollouts=2, sac_steps=2048)
        learns = replace(
            learns,
            tasks=("HalfCheetah-v5",),
            seeds=1,
            ppo_steps=200_000,
            sac_steps=20_000,
            evaluations=12,
            million=0,
        )
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
