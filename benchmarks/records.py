"""What is measured, and where it is kept: one JSON record a run, in a file that is a list of them.

A record is written when its run is over. A benchmark that was stopped goes on with what is missing.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from surefoot.models.provenance import commit, processor, versions

HERE = Path(__file__).parent
RESULTS = HERE / "results"
WINDOW = 10  # evaluations of which the mean is a run's return
BUSY = 0.1  # part of the machine that others may use during a run before it is flagged
PACKAGES = {
    "surefoot": "surefoot",
    "sb3": "stable-baselines3",
    "sbx": "sbx-rl",
    "rsl_rl": "rsl-rl-lib",
    "envpool": "envpool",
}

Library = Literal["surefoot", "sb3", "sbx", "rsl_rl", "envpool"]
Algorithm = Literal["ppo", "sac"]
Purpose = Literal["speed", "learning", "million", "profile", "walking", "throughput", "iteration"]
Record = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One measurement, made in a process of its own. Equal runs are not made twice."""

    purpose: Purpose
    library: Library
    algorithm: Algorithm
    task: str
    steps: int
    """Environment steps at most."""
    seed: int
    config: Mapping[str, Any] = field(default_factory=dict)
    """Hyperparameters, by the library's own names; what is missing has the library's default."""
    vectoriser: str = "gymnasium"
    """What steps the environments: a key of `libraries.VECTORISERS`."""
    warm_up: int = 0
    """Environment steps before the clock of the speed starts, compilation among them."""
    evaluate_every: int = 0
    """Environment steps from one evaluation to the next; 0 for none."""
    cores: int = 2
    """Cores of the machine that the process may use."""


class Point(NamedTuple):
    """One evaluation on the way."""

    steps: int  # of the environments
    seconds: float  # of learning, evaluations left out
    score: float  # mean return of the evaluation's episodes


def as_json(run: Run) -> dict[str, Any]:
    """As it stands in a record: tuples are lists there."""
    return json.loads(json.dumps(asdict(run)))


def curve(record: Record) -> list[Point]:
    """A record's evaluations, in their order."""
    return [Point(*point) for point in record["curve"]]


def load(path: Path) -> list[Record]:
    """The records of a file; none if there is no file yet."""
    return json.loads(path.read_text()) if path.exists() else []


def append(path: Path, record: Record) -> None:
    """Add a record, so that a crash leaves the old file or the new one; one line each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(each) for each in [*load(path), record])
    temporary = path.with_suffix(".partial")
    temporary.write_text(f"[\n{lines}\n]\n")
    temporary.replace(path)


def find(records: list[Record], run: Run, target: float | None = None) -> Record | None:
    """The record of `run`, or None if it is missing or ended before reaching `target`."""
    wanted = as_json(run)
    for record in reversed(records):
        if record["run"] == wanted and not stopped_short(record, target):
            return record
    return None


def of_library(records: Sequence[Record], library: Library) -> list[Record]:
    """A library's records by seed: of those alike to its last one but for their seed, the newest.

    Records of earlier settings are left out. Versions and machines are not looked at, see `origin`.
    """
    found = [record for record in records if record["run"]["library"] == library]
    alike = [
        each for each in found if {**each["run"], "seed": 0} == {**found[-1]["run"], "seed": 0}
    ]
    by_seed = {record["run"]["seed"]: record for record in alike}
    return [by_seed[seed] for seed in sorted(by_seed)]


def by_library(
    records: Sequence[Record], libraries: Iterable[Library]
) -> dict[Library, list[Record]]:
    """`of_library` of each; the order is theirs."""
    return {library: of_library(records, library) for library in libraries}


def stopped_short(record: Record, target: float | None) -> bool:
    """It ended early, at another target that lay below this one."""
    if not record.get("stopped_early"):
        return False
    return target is None or time_to_return(curve(record), target) is None


def time_to_return(points: list[Point], target: float, window: int = WINDOW) -> Point | None:
    """The first evaluation at which the mean of the last `window` is `target` or more."""
    for last in range(window, len(points) + 1):
        if sum(point.score for point in points[last - window : last]) / window >= target:
            return points[last - 1]
    return None


# --- the machine ------------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    """What a figure depends on and no hyperparameter says."""
    return {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions_of(library: Library) -> dict[str, str]:
    """Of the library, of what it computes with, and of Surefoot, whose tasks and evaluations all
    learn by; with the commit."""
    known = ("torch", "jax", "numpy", "gymnasium", "mujoco", "envpool")
    found = versions("surefoot", PACKAGES[library], *known)
    if here := commit():
        found["surefoot"] += f" ({here})"
    return found


def conditions(records: Sequence[Record]) -> dict[str, list[str]]:
    """Machine and versions that records were made with: of each, all that there were."""
    found: dict[str, set[str]] = {}
    for record in records:
        for name, value in {**record["machine"], **record["versions"]}.items():
            found.setdefault(name, set()).add(str(value))
    return {name: sorted(values) for name, values in found.items()}


def origin(records: Sequence[Record]) -> tuple[str, ...]:
    """What stands below figures: whose they are, and what they should have had in common.

    Records are found again by their settings alone, so that a benchmark goes on after an update:
    they may be of several commits of ours, which is said, of several machines or versions of
    anything else, of which is warned.
    """
    found = conditions(records)
    libraries = ["surefoot", *(PACKAGES[record["run"]["library"]] for record in records)]
    whose = [
        f"{name} {', '.join(found[name])}" for name in dict.fromkeys(libraries) if name in found
    ]
    mixed = [
        f"{name} {' and '.join(values)}"
        for name, values in found.items()
        if len(values) > 1 and name != "surefoot"
    ]
    notes = (f"Measured: {'; '.join(whose)}.",)
    return (*notes, f"Mixed, not one comparison: {'; '.join(mixed)}.") if mixed else notes


def busy_seconds() -> float | None:
    """Time that all cores together have worked since the machine's start [s]; None off Linux."""
    try:
        ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    except OSError:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = ticks
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def peak_memory() -> int:
    """Most that this program has had resident [bytes].

    Not getrusage's: that is never less than what the process that started this one had.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
