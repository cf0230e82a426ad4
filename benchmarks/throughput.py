"""How fast robots are stepped, what memory they take, and where an iteration's time goes.

The Go1's walk with observation and reward, beside its own physics alone and beside EnvPool's Go1
(stepping.py); the turns are processes of their own, Surefoot and EnvPool in alternation. Then the
parts of PPO's iterations, at two numbers of environments (iteration.py): those of the run whose
speed is the middle one.
"""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import tyro
from analysis import Table, median_range, near, verdict
from records import RESULTS, Library, Record, Run, by_library, of_library, origin
from session import Session, measure_and_print
from surefoot.control.ppo import PPOConfig

ROBOT = "go1"
LEAST_OF_PHYSICS = 0.85  # goal: ours, of its model's bare physics
TIMES_ENVPOOL = 2.0  # goal: ours, of EnvPool
MOST_MEMORY = 4 * 2**30  # goal [bytes]
NUM_ENVS = 1024
TRAINED = (PPOConfig().num_envs, NUM_ENVS)  # environments of an iteration
NAMES: dict[Library, tuple[str, str]] = {  # an environment, and its model
    "surefoot": ("Surefoot, Go1 walk", "its model in a bare Batch"),
    "envpool": ("EnvPool, Go1JoystickFlatTerrain", "its model in a bare Batch"),
}

SPEEDS = ("steps_per_second", "bare_steps_per_second")  # in a record: of the two


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
    return turns + [
        _iteration(num_envs, turn, arguments)
        for turn in range(arguments.rounds)
        for num_envs in TRAINED
    ]


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


def _iteration(num_envs: int, turn: int, arguments: Arguments) -> Run:
    return Run(
        purpose="iteration",
        library="surefoot",
        algorithm="ppo",
        task=f"walk {ROBOT}",
        steps=arguments.steps,
        seed=turn,
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
    compared = by_library(stepped, NAMES)
    iterated: dict[int, list[Record]] = {}  # by number of environments
    for record in records:
        if record["run"]["purpose"] == "iteration":
            iterated.setdefault(record["run"]["config"]["num_envs"], []).append(record)
    by_size = {size: of_library(iterated[size], "surefoot") for size in sorted(iterated)}
    made = [_speeds(compared), _goals(compared, by_size)] if stepped else []
    return made + ([_parts(by_size)] if by_size else [])


def _speeds(compared: dict[Library, list[Record]]) -> Table:
    measured = [record for found in compared.values() for record in found]
    rows = []
    for library, found in compared.items():
        for what, key in zip(NAMES[library], SPEEDS, strict=True):
            if found:
                last = found[-1]
                middle, low, high = median_range([record[key] for record in found])
                physics = f"{last['substeps']} × {1e3 * last['timestep']:g} ms"
                span = f"{near(low)} to {near(high)}"
                rows.append((what, near(middle), span, physics, _rounds(found)))
    run = measured[-1]["run"]
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
            *origin(measured),
        ),
    )


def _rounds(records: Sequence[Record]) -> str:
    busy = sum(record["busy"] for record in records)
    return f"{len(records)}" + (f", {busy} busy" if busy else "")


def _goals(compared: dict[Library, list[Record]], by_size: dict[int, list[Record]]) -> Table:
    ours, theirs = compared["surefoot"], compared["envpool"]
    rows = []
    if ours:
        share, runs = _median(ours, "ratio"), len(ours)
        name = "of the speed of our bare physics"
        rows.append(_goal(name, "≥", LEAST_OF_PHYSICS, share, f"{share:.3f}", runs))
    if ours and theirs:
        speed, runs = _median(ours, "steps_per_second"), min(len(ours), len(theirs))
        ratio = speed / _median(theirs, "steps_per_second")
        rows.append(_goal("times EnvPool's speed", "≥", TIMES_ENVPOOL, ratio, f"{ratio:.2f}", runs))
        for name, scale in (
            ("the same, counted in steps of the physics", ratio * _substeps(ours, theirs)),
            (
                "times EnvPool's model in a bare Batch",
                speed / _median(theirs, "bare_steps_per_second"),
            ),
            ("EnvPool's model in a bare Batch, times EnvPool", 1 / _median(theirs, "ratio")),
        ):
            rows.append((name, "–", f"{scale:.2f}", "for scale"))
    if large := by_size.get(NUM_ENVS):
        peak = max(record["peak_memory"] for record in large) / 2**30
        name = f"peak memory of PPO with {NUM_ENVS} environments, the most of all runs [GiB]"
        rows.append(_goal(name, "<", MOST_MEMORY / 2**30, peak, f"{peak:.2f}", len(large)))
    return Table("Goals of stepping the Go1", ("", "goal", "measured", "verdict"), tuple(rows))


def _goal(
    name: str, sign: str, goal: float, found: float, shown: str, runs: int
) -> tuple[str, ...]:
    reached = found < goal if sign == "<" else found >= goal
    return name, f"{sign} {goal:g}", shown, verdict(reached, runs)


def _median(records: Sequence[Record], key: str) -> float:
    return statistics.median(record[key] for record in records)


def _substeps(ours: Sequence[Record], theirs: Sequence[Record]) -> float:
    """Steps of the physics in a control period: ours, of theirs."""
    return ours[-1]["substeps"] / theirs[-1]["substeps"]


ALL = "all of it"
REST = "the rest"
GROUPS = {  # of the parts of an iteration, by the words that they begin with
    "physics": ("physics",),
    "environment's Python": ("environment",),
    "learner": ("update", "advantages"),
    REST: (REST,),
    "rollout: policy, values, storing": ("",),  # all that is in no other group
}


def _parts(by_size: dict[int, list[Record]]) -> Table:
    """Microseconds of a step of one environment, by part, at each number of environments."""
    middle = {size: _middle(records) for size, records in by_size.items()}
    first = next(iter(middle.values()))
    names = sorted(first["parts"], key=lambda name: -first["parts"][name])
    columns = [_column(record, names) for record in middle.values()]
    rows = [
        (name, *(cell for column in columns for cell in _cells(column, name)))
        for name in columns[0]
    ]
    heads = (head for size in by_size for head in (f"µs a step, {size}", "%"))
    notes = (_size_note(size, records) for size, records in by_size.items())
    measured = [record for records in by_size.values() for record in records]
    title = f"Where an iteration of PPO goes: {first['run']['task']}"
    return Table(title, ("part", *heads), tuple(rows), (*notes, *origin(measured)))


def _middle(records: Sequence[Record]) -> Record:
    """The run whose speed is the median; of an even number, the faster one in the middle."""
    return sorted(records, key=lambda record: record["whole"])[(len(records) - 1) // 2]


def _size_note(size: int, records: Sequence[Record]) -> str:
    record, times = _middle(records), [record["whole"] for record in records]
    speed, low, high = (near(1e6 / time) for time in (record["whole"], max(times), min(times)))
    return (
        f"{size} environments: {speed} steps/s, {low} to {high} in {_rounds(records)} rounds; "
        f"{max(r['peak_memory'] for r in records) / 2**30:.2f} GiB at most, "
        f"{record['torch_threads']} threads of torch, {record['run']['cores']} of the physics."
    )


def _column(record: Record, names: Sequence[str]) -> dict[str, float]:
    """Parts, sums of groups of them, and the whole, by name [µs]."""
    parts = {name: record["parts"].get(name, 0.0) for name in names}
    parts[REST] = max(0.0, record["whole"] - sum(parts.values()))
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
