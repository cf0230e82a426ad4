"""surefoot log: look into a log, or repair one that was cut off."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..deploy.log import Level, RunLog, read_log, repair_log
from ..deploy.log_format import FIELDS
from ..deploy.safety import Fault, State
from ..models.limits import Reason


@dataclass(frozen=True)
class Info:
    """What is in a log: duration, states, faults, limits that acted, timing, health."""

    file: tyro.conf.Positional[Path]
    """The log, an .mcap file; one that was cut off is read as far as it goes."""
    fields: bool = False
    """List the fields of a tick with their units, too."""
    json: bool = False
    """End with one JSON object on the last line."""


@dataclass(frozen=True)
class Repair:
    """Rewrite a log that was cut off as a whole file."""

    file: tyro.conf.Positional[Path]
    """The log that was cut off."""
    out: tyro.conf.Positional[Path]
    """The file to create."""


Arguments = (
    Annotated[Info, tyro.conf.subcommand("info")]
    | Annotated[Repair, tyro.conf.subcommand("repair")]
)


def run(arguments: Info | Repair) -> int:
    """Print what is in a log, or repair it."""
    console = Console()
    if isinstance(arguments, Repair):
        log = repair_log(arguments.file, arguments.out)
        console.print(
            f"{arguments.out}: {len(log.ticks)} ticks and {len(log.events)} events saved",
            soft_wrap=True,
        )
        return 0
    log = read_log(arguments.file)
    summary = summarise(log)
    _print(console, log, summary)
    if arguments.fields:
        console.print(_fields())
    if arguments.json:
        print(jsonlib.dumps(summary, allow_nan=False))
    return 0


def summarise(log: RunLog) -> dict[str, Any]:
    """The figures of a log, ready for JSON: SI units but for the milliseconds in keys `…_ms`.

    Times of faults and events are from the first tick. Where nothing was measured stands None.
    """
    ticks = log.ticks
    first = float(ticks["start"][0]) if len(ticks) else 0.0
    inferred = ticks["inferred"] > ticks["read"]  # the policy answers in some states only
    return {
        "file": str(log.path),
        "started": datetime.fromtimestamp(log.wall_start, UTC).isoformat(),
        "complete": log.complete,
        "ending": log.ending,
        "ticks": len(ticks),
        "dropped": log.dropped,
        "missed_deadlines": int(ticks["missed"].max(initial=0)),
        "wire_errors": int(ticks["wire_errors"].max(initial=0)),
        "duration": float(ticks["start"][-1]) - first if len(ticks) else 0.0,
        "states": _states(ticks),
        "faults": [
            {"tick": int(tick["tick"]), "time": float(tick["start"]) - first, "fault": name}
            for tick, name in _new_faults(ticks)
        ],
        "reasons": _reasons(log),
        "period_ms": _percentiles(np.diff(ticks["start"])),
        "late_ms": _percentiles(ticks["start"] - ticks["deadline"]),
        "read_ms": _percentiles(ticks["read"] - ticks["start"]),
        "compute_ms": _percentiles((ticks["inferred"] - ticks["read"])[inferred]),
        "busy_ms": _percentiles(ticks["written"] - ticks["start"]),
        "bus_ms": _percentiles(ticks["bus_time"].astype(np.float64)),
        "voltage": _range(ticks["voltage"]),
        "temperature": _range(ticks["temperature"]),
        "torque": _range(np.abs(ticks["joint_torque"])),
        "attachments": {name: len(data) for name, data in log.attachments.items()},
        "metadata": log.metadata,
        "events": [
            {"time": event.time - first, "level": event.level.name, "text": event.text}
            for event in log.events
        ],
    }


def _states(ticks: np.ndarray) -> dict[str, dict[str, float]]:
    """Ticks and seconds in each state, in the order of their first appearance."""
    lengths = np.append(np.diff(ticks["start"]), 0.0)[: len(ticks)]  # the last tick has no end
    values, first = np.unique(ticks["state"], return_index=True)
    states = {}
    for value in values[np.argsort(first)]:
        inside = ticks["state"] == value
        seconds = float(lengths[inside].sum())
        states[_name(State, int(value))] = {"ticks": int(inside.sum()), "seconds": seconds}
    return states


def _new_faults(ticks: np.ndarray) -> Iterable[tuple[np.void, str]]:
    """The ticks at which a fault appeared, and its name."""
    before = 0
    for tick in ticks:
        fault = int(tick["fault"])
        if fault not in (0, before):
            yield tick, _name(Fault, fault)
        before = fault


def _reasons(log: RunLog) -> dict[str, dict[str, Any]]:
    """For each reason, in how many ticks it acted on any joint, and on which joint how often."""
    reasons = {}
    for reason in Reason:
        acted = (log.ticks["reasons"] & reason.value) != 0
        counts = zip(log.joint_names, acted.sum(axis=0).tolist(), strict=True)
        joints = {name: count for name, count in counts if count}
        reasons[reason.name] = {"ticks": int(acted.any(axis=1).sum()), "joints": joints}
    return reasons


def _percentiles(seconds: np.ndarray) -> dict[str, float] | None:
    """Median, 99th percentile and maximum of durations [s], in [ms]."""
    finite = seconds[np.isfinite(seconds)] * 1e3
    if not len(finite):
        return None
    p50, p99 = np.percentile(finite, [50, 99])
    return {"p50": float(p50), "p99": float(p99), "max": float(finite.max())}


def _range(values: np.ndarray) -> list[float] | None:
    finite = values[np.isfinite(values)]
    return [float(finite.min()), float(finite.max())] if len(finite) else None


def _name(enum: type[IntEnum], value: int) -> str:
    """Name of a member, or the number in a log of another version."""
    return enum(value).name if value in list(enum) else str(value)


# --- for people -------------------------------------------------------------------------------


def _print(console: Console, log: RunLog, summary: dict[str, Any]) -> None:
    table = Table(box=box.SIMPLE, show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in _rows(summary):
        table.add_row(Text(name), Text(value))
    console.print(table)
    timing = Table("[ms]", "median", "99 %", "max", box=box.SIMPLE)
    for name in ("period", "late", "read", "compute", "busy", "bus"):
        if (figures := summary[f"{name}_ms"]) is not None:
            timing.add_row(name, *(f"{figures[key]:.2f}" for key in ("p50", "p99", "max")))
    console.print(timing)
    events = [event for event in summary["events"] if Level[event["level"]] >= Level.WARNING]
    for event in events[-20:]:
        line = f"{event['time']:9.3f} s  {event['level']}  {event['text']}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if not log.complete:
        console.print("The file is cut off; surefoot log repair makes a whole one of it.")


def _rows(summary: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """Name and value of all but timing and events."""
    yield "log", summary["file"]
    yield "started", summary["started"]
    yield "ended", summary["ending"]
    yield "duration", f"{summary['duration']:.2f} s, {summary['ticks']} ticks"
    yield "missed deadlines", str(summary["missed_deadlines"])
    yield "dropped records", str(summary["dropped"])
    yield "wire errors", str(summary["wire_errors"])
    states = summary["states"].items()
    yield "states", ", ".join(f"{name} {state['seconds']:.2f} s" for name, state in states)
    faults = [f"{f['fault']} at {f['time']:.2f} s" for f in summary["faults"]]
    yield "faults", ", ".join(faults) or "none"
    for name, reason in summary["reasons"].items():
        worst = max(reason["joints"], key=reason["joints"].__getitem__, default=None)
        most = f", most {worst} ({reason['joints'][worst]})" if worst else ""
        yield f"limited: {name.lower()}", f"{reason['ticks']} ticks{most}"
    for name, unit in (("voltage", "V"), ("temperature", "°C"), ("torque", "N·m")):
        if (bounds := summary[name]) is not None:
            yield name, f"{bounds[0]:.2f} to {bounds[1]:.2f} {unit}"
    for name, size in summary["attachments"].items():
        yield "attachment", f"{name}, {size} bytes"
    for name, entries in summary["metadata"].items():
        if name not in ("log", "end"):  # said above
            yield name, ", ".join(f"{key} {value}" for key, value in entries.items())


def _fields() -> Table:
    table = Table("field", "type", "width", "unit", "meaning", box=box.SIMPLE)
    for field in FIELDS:
        kind = np.dtype(field.dtype).name
        table.add_row(field.name, kind, str(field.width), field.unit, field.meaning)
    return table
