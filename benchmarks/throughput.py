"""How fast robots are stepped, what memory they take, and where an iteration's time goes.

The Go1's walk with observation and reward, beside its own physics alone and beside EnvPool's Go1
(stepping.py); the turns are processes of their own, Surefoot and EnvPool in alternation. Then the
parts of one of PPO's iterations, at two numbers of environments (iteration.py).
"""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import tyro
from analysis import Table, median_range, near
from records import RESULTS, Library, Record, Run, alike
from session import Session, measure_and_print
from surefoot.control.ppo import PPOConfig

ROBOT = "go1"
LEAST_OF_PHYSICS = 0.85  # goal: ours, of its model's bare physics
TIMES_ENVPOOL = 2.0  # goal: ours, of EnvPool
MOST_MEMORY = 4 * 2**30  # goal [bytes]
NUM_ENVS = 1024
TRAINED = (512, NUM_ENVS)  # environments of an iteration
NAMES: dict[Library, tuple[str, str]] = {  # an environment, and its model
    "surefoot": ("Surefoot, Go1 walk", "its model in a bare Batch"),
    "envpool": ("EnvPool, Go1JoystickFlatTerrain", "its model in a bare Batch"),
}


@dataclass(frozen=True)
class Arguments:
    """Steps a second of the Go1's walk, and where the time of learning it goes."""

    results: Path = RESULTS / "throughput.json"
    """File of the records; what is in it is not measured again."""
    rounds: int = 5
    """How often each has its turn."""
    steps: int = 1_000_000
    """Environment steps that are timed in a turn, and in the iterations."""
    num_envs: int = NUM_ENVS
    """Environments stepped together."""
    cores: int = 2
    """Cores of the machine, and threads that step."""


def plan(arguments: Arguments) -> list[Run]:
    """The runs, in their order; EnvPool's where it is installed."""
    libraries: tuple[Library, ...] = ("surefoot", "envpool") if has_envpool() else ("surefoot",)
    turns = [
        _stepping(library, turn, arguments)
        for turn in range(arguments.rounds)
        for library in libraries
    ]
    return turns + [_iteration(num_envs, arguments) for num_envs in TRAINED]


def has_envpool() -> bool:
    """Whether it is installed."""
    return importlib.util.find_spec("envpool") is not None


def _stepping(library: Library, turn: int, arguments: Arguments) -> Run:
    return Run(
        purpose="throughput",
        library=library,
        algorithm="ppo",
        task=ROBOT,
        steps=arguments.steps,
        seed=turn,
        config={"num_envs": arguments.num_envs},
        cores=arguments.cores,
    )


def _iteration(num_envs: int, arguments: Arguments) -> Run:
    return Run(
        purpose="iteration",
        library="surefoot",
        algorithm="ppo",
        task=f"walk {ROBOT}",
        steps=arguments.steps,
        seed=0,
        config=asdict(PPOConfig(num_envs=num_envs)),
        cores=arguments.cores,
    )


def measure(arguments: Arguments, session: Session) -> None:
    """Make the runs that are missing."""
    if not has_envpool():
        session.console.print("EnvPool is not installed (pip install envpool): left out.")
    for run in plan(arguments):
        session.perform(run)


# --- tables -----------------------------------------------------------------------------------


def tables(records: list[Record]) -> list[Table]:
    """Steps a second; goals; the parts of an iteration."""
    stepped = [record for record in records if record["run"]["purpose"] == "throughput"]
    by_size = {
        record["run"]["config"]["num_envs"]: record
        for record in records
        if record["run"]["purpose"] == "iteration"
    }
    made = [_speeds(stepped), _goals(stepped, by_size)] if stepped else []
    return made + ([_parts(dict(sorted(by_size.items())))] if by_size else [])


def _speeds(records: list[Record]) -> Table:
    rows = []
    for library, (name, model) in NAMES.items():
        for what, key in ((name, "steps_per_second"), (model, "bare_steps_per_second")):
            if found := alike(records, library):
                last = found[-1]
                middle, low, high = median_range([record[key] for record in found])
                physics = f"{last['substeps']} × {1e3 * last['timestep']:g} ms"
                busy = sum(record["busy"] for record in found)
                rounds = f"{len(found)}" + (f", {busy} busy" if busy else "")
                span = f"{near(low)} to {near(high)}"
                rows.append((what, near(middle), span, physics, rounds))
    run = records[0]["run"]
    return Table(
        "Steps a second, in control periods of 20 ms of one robot",
        ("", "steps/s", "from, to", "substeps", "rounds"),
        tuple(rows),
        (
            f"{run['config']['num_envs']} robots, {run['cores']} threads, random actions; blocks "
            "of an environment and of its bare model in turn, medians. Bare: `Batch.step` alone, "
            "no observation, no reward, no randomisation.",
            "EnvPool has a MuJoCo of its own, and another Go1: position actuators without delay or "
            "torque-speed line, Euler's integrator, one iteration of Newton's solver.",
        ),
    )


def _goals(records: list[Record], by_size: dict[int, Record]) -> Table:
    ours, theirs = alike(records, "surefoot"), alike(records, "envpool")
    rows = []
    if ours:
        share = statistics.median(record["ratio"] for record in ours)
        rows.append(
            _goal("of the speed of our bare physics", "≥", LEAST_OF_PHYSICS, share, f"{share:.3f}")
        )
    if ours and theirs:
        ratio = _median(ours, "steps_per_second") / _median(theirs, "steps_per_second")
        rows.append(_goal("times EnvPool's speed", "≥", TIMES_ENVPOOL, ratio, f"{ratio:.2f}"))
        bare = _median(ours, "steps_per_second") / _median(theirs, "bare_steps_per_second")
        alone = 1 / _median(theirs, "ratio")
        for name, scale in (
            ("times EnvPool's model in a bare Batch", bare),
            ("EnvPool's model in a bare Batch, times EnvPool", alone),
        ):
            rows.append((name, "–", f"{scale:.2f}", "for scale"))
    if NUM_ENVS in by_size:
        peak = by_size[NUM_ENVS]["peak_memory"]
        name = f"peak memory of PPO with {NUM_ENVS} environments [GiB]"
        rows.append(_goal(name, "<", MOST_MEMORY / 2**30, peak / 2**30, f"{peak / 2**30:.2f}"))
    return Table("Goals of stepping the Go1", ("", "goal", "measured", "verdict"), tuple(rows))


def _goal(name: str, sign: str, goal: float, found: float, shown: str) -> tuple[str, ...]:
    reached = found < goal if sign == "<" else found >= goal
    return name, f"{sign} {goal:g}", shown, "reached" if reached else "not reached"


def _median(records: Sequence[Record], key: str) -> float:
    return statistics.median(record[key] for record in records)


ALL = "all of it"
GROUPS = {  # of the parts of an iteration, by the words that they begin with
    "physics": ("physics",),
    "environment's Python": ("environment",),
    "learner": ("update", "advantages"),
    "rollout: policy, values, storing": ("",),  # all that is in no other group
}


def _parts(by_size: dict[int, Record]) -> Table:
    """Microseconds of a step of one environment, by part, at each number of environments."""
    first = next(iter(by_size.values()))
    names = sorted(first["parts"], key=lambda name: -first["parts"][name])
    columns = [_column(record, names) for record in by_size.values()]
    notes = [
        f"{size} environments: {near(1e6 / record['whole'])} steps/s, "
        f"{record['peak_memory'] / 2**30:.2f} GiB at most, {record['torch_threads']} threads of "
        f"torch, {record['run']['cores']} of the physics."
        + (" Others used the machine meanwhile: not a fair figure." if record["busy"] else "")
        for size, record in by_size.items()
    ]
    rows = [
        (name, *(cell for column in columns for cell in _cells(column, name)))
        for name in columns[0]
    ]
    heads = (head for size in by_size for head in (f"µs a step, {size}", "%"))
    title = f"Where an iteration of PPO goes: {first['run']['task']}"
    return Table(title, ("part", *heads), tuple(rows), tuple(notes))


def _column(record: Record, names: Sequence[str]) -> dict[str, float]:
    """Parts, sums of groups of them, and the whole, by name [µs]."""
    parts = {name: record["parts"].get(name, 0.0) for name in names}
    parts["the rest"] = max(0.0, record["whole"] - sum(parts.values()))
    sums = dict.fromkeys((f"together: {group}" for group in GROUPS), 0.0)
    for name, time in parts.items():
        sums[f"together: {group_of(name)}"] += time
    return {**parts, **sums, ALL: record["whole"]}


def group_of(part: str) -> str:
    """The group that a part of an iteration belongs to."""
    return next(group for group, words in GROUPS.items() if part.startswith(words))


def _cells(column: dict[str, float], name: str) -> tuple[str, str]:
    return near(column[name]), f"{100 * column[name] / column[ALL]:.1f}"


def main(arguments: Arguments) -> int:
    """Measure what is missing, and print the tables."""
    call = partial(measure, arguments)
    return measure_and_print(arguments.results, plan(arguments), call, tables)


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Arguments)))
