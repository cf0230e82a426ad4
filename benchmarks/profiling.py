"""Where a step's microseconds go, for the learner and the environment alone; see parts.py.

Not profile.py: beside it, Python's own `profile` could not be imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import tyro
from analysis import Table, near
from records import RESULTS, Record, Run, origin
from session import Session, measure_and_print
from speed import PPO_OURS, SAC_OURS, TASK

HORIZON = 512  # a quarter of the other benchmarks': the same minibatches, fewer of them
CONFIGS = {
    "ppo": {**PPO_OURS, "horizon": HORIZON, "num_minibatches": 8 * HORIZON // 64},
    "sac": SAC_OURS,
}


@dataclass(frozen=True)
class Arguments:
    """Where a step's microseconds go in PPO and SAC, against the floor of their arithmetic."""

    results: Path = RESULTS / "long.json"
    """File of the records; what is in it is not measured again."""
    ppo_steps: int = 3 * 8 * HORIZON
    """PPO's steps that are timed."""
    sac_steps: int = 2048
    """SAC's steps that are timed."""
    cores: int = 2
    """Cores of the machine."""


def plan(arguments: Arguments) -> list[Run]:
    """The runs, in their order."""
    warm_up = {"ppo": 8 * HORIZON, "sac": 1024}
    timed = {"ppo": arguments.ppo_steps, "sac": arguments.sac_steps}
    return [
        Run(
            purpose="profile",
            library="surefoot",
            algorithm=algorithm,
            task=TASK,
            steps=warm_up[algorithm] + timed[algorithm],
            seed=0,
            config=CONFIGS[algorithm],
            warm_up=warm_up[algorithm],
            cores=arguments.cores,
        )
        for algorithm in ("ppo", "sac")
    ]


def measure(arguments: Arguments, session: Session) -> None:
    """Make the runs that are missing."""
    for run in plan(arguments):
        session.perform(run)


def tables(records: list[Record]) -> list[Table]:
    """Two for each algorithm: a step by its parts, a gradient step by kinds of work."""
    newest = {r["run"]["algorithm"]: r for r in records if r["run"]["purpose"] == "profile"}
    return [table for record in newest.values() for table in (_of_step(record), _of_update(record))]


def _of_step(record: Record) -> Table:
    run, whole = record["run"], record["whole"]
    parts = sorted(record["parts"].items(), key=lambda item: -item[1])
    rest = whole - sum(record["parts"].values())
    rows = [*parts, ("the rest", max(rest, 0.0)), ("together", whole)]
    alone = record["environment_alone"]
    notes = [
        f"An environment alone, with random actions: {near(alone)} µs a step, "
        f"{near(1e6 / alone)} steps/s. {record['updates_per_step']:.3g} gradient steps a step."
    ]
    return Table(
        f"Where a step goes: {run['algorithm'].upper()} on {run['task']}",
        ("part", "µs a step", "%"),
        tuple((name, near(time), f"{100 * time / whole:.0f}") for name, time in rows),
        (*notes, *origin([record]), *_busy(record)),
    )


def _of_update(record: Record) -> Table:
    run, update, floor = record["run"], record["update"], record["floor"]
    shares = sorted(record["shares"].items(), key=lambda item: -item[1])
    notes = (
        f"Floor: {near(floor['mflop'])} MFLOP of matrix products a gradient step, which take "
        f"{near(floor['microseconds'])} µs alone ({near(floor['gflops'])} GFLOP/s at these "
        f"shapes, precision {record['precision']}, {record['torch_threads']} threads). A gradient "
        f"step takes {near(update / floor['microseconds'])} times that.",
        "Shares are torch.profiler's, which slows Python and small operations; the time is not.",
    )
    rows = [(name, near(share * update), f"{100 * share:.0f}") for name, share in shares if share]
    return Table(
        f"Where a gradient step goes: {run['algorithm'].upper()}",
        ("kind of work", "µs", "%"),
        (*rows, ("together", near(update), "100")),
        (*notes, *_busy(record)),
    )


def _busy(record: Record) -> tuple[str, ...]:
    return ("Others used the machine meanwhile: not a fair figure.",) if record["busy"] else ()


def main(arguments: Arguments) -> int:
    """Measure what is missing, and print the tables."""
    call = partial(measure, arguments)
    return measure_and_print(arguments.results, plan(arguments), call, tables)


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Arguments)))
