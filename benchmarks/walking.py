"""Time from nothing to a policy that walks, or reaches: ours beside rsl_rl's PPO and SB3's.

Wall time from the start of the process, imports included, to the first checkpoint that passes the
nominal condition of `surefoot evaluate`, with a seed of its own; the evaluations are off the clock
(walkers.py). Surefoot's runs learn what `surefoot train` learns with the words in the table. The
peers learn on the same environments with settings that are published for such tasks, for `CAP`
times as long as Surefoot took, and their policies are judged by the very same evaluation.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import tyro
from analysis import Table, near, verdict
from goals import GOALS, LOOK
from peer_settings import NUM_ENVS, rsl_rl_settings, sb3_settings
from records import RESULTS, Library, Record, Run, by_library, origin
from session import Session, measure_and_print
from surefoot.control.ppo import PPOConfig

CAP = 3.0  # times our median time
EVERY = 61_440  # steps from one checkpoint to the next, of all libraries
LONGEST = 3600.0  # of one of ours, which ends by its steps [s]
ENDLESS = 1_000_000_000  # steps: the time limit ends a peer
NAMES: dict[Library, str] = {
    "surefoot": "Surefoot",
    "rsl_rl": "rsl_rl PPO",
    "sb3": "Stable-Baselines3 PPO",
}
PEERS: tuple[Library, ...] = ("rsl_rl", "sb3")
SETTINGS = {"rsl_rl": rsl_rl_settings, "sb3": sb3_settings}


@dataclass(frozen=True)
class Arguments:
    """Wall time to a policy that passes the evaluation, by task, library and seed."""

    results: Path = RESULTS / "walking.json"
    """File of the records; what is in it is not measured again."""
    tasks: tuple[str, ...] = tuple(GOALS)
    """Of goals.py."""
    seeds: int = 5
    """Runs of each library on each task."""
    peers: tuple[Library, ...] = PEERS
    """Whom to compare with."""
    steps: int | None = None
    """Environment steps of our runs; the task's own budget if not given."""
    episodes: int = 256
    """Episodes of an evaluation."""
    cores: int = 2
    """Cores of the machine, for each library."""


def our_run(task: str, seed: int, arguments: Arguments) -> Run:
    """`surefoot train` with one seed."""
    goal = GOALS[task]
    steps = arguments.steps or goal.steps
    words = [goal.task, "--robot", goal.robot, "--steps", str(steps)]
    # The settings are the defaults of the day: with others, it is another run.
    config = {"words": words, "settings": asdict(PPOConfig()), "limit": LONGEST}
    return _run("surefoot", task, steps, seed, config, arguments)


def peer_run(library: Library, task: str, seed: int, limit: float, arguments: Arguments) -> Run:
    """A peer's training with one seed, for `limit` seconds."""
    settings = {"settings": SETTINGS[library](GOALS[task].task), "num_envs": NUM_ENVS}
    return _run(library, task, ENDLESS, seed, {**settings, "limit": limit}, arguments)


def _run(
    library: Library, task: str, steps: int, seed: int, config: dict[str, Any], arguments: Arguments
) -> Run:
    return Run(
        purpose="walking",
        library=library,
        algorithm="ppo",
        task=task,
        steps=steps,
        seed=seed,
        config={**config, "every": EVERY, "episodes": arguments.episodes},
        cores=arguments.cores,
    )


def plan(arguments: Arguments) -> list[Run]:
    """All runs; how long the peers' may last is not known before ours are over."""
    each = [(task, seed) for task in arguments.tasks for seed in range(arguments.seeds)]
    ours = [our_run(task, seed, arguments) for task, seed in each]
    return ours + [replace(run, library=library) for library in arguments.peers for run in ours]


def measure(arguments: Arguments, session: Session) -> None:
    """Make the runs that are missing: ours of a task first, for the peers' limit."""
    for task in arguments.tasks:
        seeds = range(arguments.seeds)
        found = [session.perform(our_run(task, seed, arguments)) for seed in seeds]
        ours = [record for record in found if record is not None]
        if not ours:
            continue
        took = statistics.median(r["seconds"] if r["passed"] else r["given"] for r in ours)
        limit = float(math.ceil(CAP * took))
        for seed in seeds:
            for library in arguments.peers:
                session.perform(peer_run(library, task, seed, limit, arguments))


# --- tables -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Times:
    """When the runs of one library passed [s], by seed; ∞ where one did not."""

    seconds: tuple[float, ...]
    most: float
    """How long those that did not pass were given, at least [s]; ∞ if all passed."""

    @classmethod
    def of(cls, records: Sequence[Record]) -> Times:
        seconds = (r["seconds"] if r["passed"] else math.inf for r in records)
        given = (r["given"] for r in records if not r["passed"])
        return cls(tuple(seconds), min(given, default=math.inf))

    @property
    def median(self) -> float:
        """∞ where half of them or more did not pass."""
        return statistics.median(self.seconds)

    def shown(self, seconds: float) -> str:
        """A time, or how long there was for it."""
        return f"> {near(self.most)}" if math.isinf(seconds) else near(seconds)


def tables(records: list[Record]) -> list[Table]:
    """A table for each task; then what each learned with."""
    walks = [record for record in records if record["run"]["purpose"] == "walking"]
    tasks = dict.fromkeys(record["run"]["task"] for record in walks)
    made = [_table(task, [r for r in walks if r["run"]["task"] == task]) for task in tasks]
    return [*made, _settings(walks)] if made else []


def _table(task: str, records: list[Record]) -> Table:
    compared: dict[Library, list[Record]] = {
        name: runs for name, runs in by_library(records, NAMES).items() if runs
    }
    times: dict[Library, Times] = {library: Times.of(runs) for library, runs in compared.items()}
    goal, shown = GOALS[task], [record for runs in compared.values() for record in runs]
    return Table(
        f"Time to a policy: {goal.task}, {goal.robot}",
        ("", "median s", "of each seed s", "passed", "million steps", f"best {goal.figure}"),
        tuple(_row(NAMES[name], runs, times[name]) for name, runs in compared.items()),
        (_asked(task, shown), *_verdicts(task, times), *origin(shown)),
    )


def _row(name: str, records: Sequence[Record], times: Times) -> tuple[str, ...]:
    passed = [record for record in records if record["passed"]]
    steps = statistics.median(record["steps"] for record in passed) if passed else math.nan
    busy = sum(record["busy"] for record in records)
    return (
        name,
        times.shown(times.median),
        ", ".join(times.shown(seconds) for seconds in times.seconds),
        f"{len(passed)} of {len(records)}" + (f", {busy} busy" if busy else ""),
        f"{steps / 1e6:.2f}" if passed else "–",
        _best(records),
    )


def _best(records: Sequence[Record]) -> str:
    """The best figure of a whole evaluation; where there is none, of first looks, and of how many.

    The best of many first looks is a lucky one: they only say that the goal was far.
    """
    looks = [look for record in records for look in record["looks"]]
    if not looks:
        return "–"
    episodes = max(look[4] for look in looks)
    best = max(look[2] for look in looks if look[4] == episodes)
    whole = episodes == records[0]["run"]["config"]["episodes"]
    return f"{best:.3f}" if whole else f"{best:.2f} in {episodes}"


def _asked(task: str, records: Sequence[Record]) -> str:
    goal, episodes = GOALS[task], records[0]["run"]["config"]["episodes"]
    return (
        f"Passed: {goal.figure} ≥ {goal.least:g} and falls < {100 * (1 - goal.survival):.0f} % in "
        f"{episodes} nominal episodes. Best: in as many, up to the first policy that passes; "
        f"“in {LOOK}”: none came near enough for more than a first look."
    )


def _verdicts(task: str, times: dict[Library, Times]) -> list[str]:
    if "surefoot" not in times:
        return []
    ours, goal = times["surefoot"], GOALS[task]
    reached = verdict(ours.median <= goal.seconds, len(ours.seconds))
    said = [
        f"Goal: ≤ {goal.seconds:g} s, the median of {len(ours.seconds)} seeds; "
        f"measured {ours.shown(ours.median)} s: {reached}."
    ]
    for library in PEERS:
        if library in times and math.isfinite(ours.median):
            theirs = times[library]
            never = math.isinf(theirs.median)
            times_ours = (theirs.most if never else theirs.median) / ours.median
            more = "more than " if never else ""
            said.append(f"{NAMES[library]} takes {more}{times_ours:.2f} × our median.")
    return said


def _settings(records: Sequence[Record]) -> Table:
    """What each learned with; the words and settings as they were recorded."""
    rows = []
    for library, name in NAMES.items():
        configs = {r["run"]["task"]: r["run"]["config"] for r in newest_of_tasks(records, library)}
        for task, config in configs.items():
            if library == "surefoot":
                rows.append((name, task, f"`surefoot train {' '.join(config['words'])}`"))
            else:
                simple = _flat(config["settings"])
                words = ", ".join(f"{key} {value}" for key, value in simple.items())
                rows.append((name, task, f"{config['num_envs']} environments; {words}"))
    return Table(
        "What each learned with",
        ("", "task", "settings"),
        tuple(rows),
        (
            "The peers' are Isaac Lab's for rsl_rl (Go1 flat; Franka reach) and for "
            "Stable-Baselines3 (A1, with the flat task's widths), observations normalised; "
            "published with 4096 environments, for a GPU. rsl_rl's critic sees what ours does, "
            "Stable-Baselines3's only what the actor does; neither mirrors. Their rewards are "
            "multiplied by the control period, as Isaac Lab's are. OpenMP's idle threads sleep for "
            "all.",
            "In Surefoot's favour: its settings were chosen on these tasks and such a machine, the "
            "peers' elsewhere; its learning rate falls over the steps in its words, each task's "
            "own, while rsl_rl's adapts and Stable-Baselines3's stays; its policy is mirrored, "
            "where the robot is.",
        ),
    )


def newest_of_tasks(records: Sequence[Record], library: Library) -> list[Record]:
    """A library's last record on each task."""
    by_task = {r["run"]["task"]: r for r in records if r["run"]["library"] == library}
    return list(by_task.values())


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings without their nesting; of two with one name, the last."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= _flat(value) if isinstance(value, dict) else {name: value}
    return found


def main(arguments: Arguments) -> int:
    """Measure what is missing, and print the tables."""
    call = partial(measure, arguments)
    return measure_and_print(arguments.results, plan(arguments), call, tables)


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Arguments)))
