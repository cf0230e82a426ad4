"""`surefoot log`: look into a log, or repair one that was cut off."""

from __future__ import annotations

import json as jsonlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..deploy.log.format import Level, fields_of
from ..deploy.log.reader import RunLog, read_log, repair_log
from ..deploy.log.summary import bounds, faults, holds, summarise
from .terminal import command, open_console, shown


@dataclass(frozen=True)
class Info:
    """What is in a log: duration, states, faults, limits that acted, joints, timing, health."""

    file: tyro.conf.Positional[Path]
    """The log, an .mcap file; one that was cut off is read as far as it goes."""
    all: bool = False
    """Show what is attached, too: options, versions, hashes, how the robot lay."""
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
    json: bool = False
    """End with one JSON object on the last line."""


Arguments = (
    Annotated[Info, tyro.conf.subcommand("info")]
    | Annotated[Repair, tyro.conf.subcommand("repair")]
)


def run(arguments: Info | Repair) -> int:
    """Print what is in a log, or repair it."""
    console = open_console()
    if isinstance(arguments, Repair):
        log = repair_log(arguments.file, arguments.out)
        console.print(
            f"{arguments.out}: {len(log.ticks)} ticks and {len(log.events)} events saved",
            soft_wrap=True,
        )
        if arguments.json:
            counts = {"ticks": len(log.ticks), "events": len(log.events), "dropped": log.dropped}
            print(jsonlib.dumps({"file": str(arguments.out), **counts}))
        return 0
    log = read_log(arguments.file)
    summary = _summary(log)
    _print(console, log, summary, arguments.all)
    if arguments.fields:
        console.print(_fields(len(log.contact_names)))
    if arguments.json:
        print(jsonlib.dumps(summary, allow_nan=False))
    return 0


def _summary(log: RunLog) -> dict[str, Any]:
    """What is in a log, ready for JSON, in SI units; None where nothing was measured.

    Times of faults, holds and events are from the first tick. `held` says why each hold began.
    """
    ticks = log.ticks
    first = float(ticks["start"][0]) if len(ticks) else 0.0
    return {
        "file": str(log.path),
        "started": datetime.fromtimestamp(log.wall_start, UTC).isoformat(),
        "complete": log.complete,
        "ending": log.ending,
        "dropped": log.dropped,
        **asdict(summarise(ticks, log.joint_names)),
        "faults": faults(ticks),
        "held": holds(ticks),
        "joint_pos": {
            name: bounds(ticks["joint_pos"][:, joint]) for joint, name in enumerate(log.joint_names)
        },
        "voltage": bounds(ticks["voltage"]),
        "temperature": bounds(ticks["temperature"]),
        "torque": bounds(np.abs(ticks["joint_torque"])),
        "attachments": {name: len(data) for name, data in log.attachments.items()},
        "metadata": log.metadata,
        "events": [
            {"time": event.time - first, "level": event.level.name, "text": event.text}
            for event in log.events
        ],
    }


# --- for people -------------------------------------------------------------------------------


def _print(console: Console, log: RunLog, summary: dict[str, Any], all_of_it: bool) -> None:
    table = Table(box=box.SIMPLE, show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in (*_rows(summary), *(_attached(summary) if all_of_it else ())):
        table.add_row(Text(name), Text(value))
    console.print(table)
    timing = Table("[ms]", "median", "99 %", "max", box=box.SIMPLE)
    for name in ("period", "late", "read", "infer", "busy", "bus"):
        if (spread := summary[name]) is not None:
            timing.add_row(name, *(f"{1e3 * spread[key]:.2f}" for key in ("p50", "p99", "max")))
    console.print(timing)
    console.print(_joints(summary["joint_pos"]))
    events = [event for event in summary["events"] if Level[event["level"]] >= Level.WARNING]
    for event in events[-20:]:
        line = f"{event['time']:9.3f} s  {event['level']}  {event['text']}"
        console.print(line, soft_wrap=True)
    if not log.complete:
        repair = f"{command()} log repair {shown(log.path)} OUT.mcap"
        console.print(f"The file is cut off; this makes it whole: {repair}", soft_wrap=True)


def _rows(summary: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """Name and value of all but timing, joints, events and attachments."""
    yield "log", summary["file"]
    yield "started", summary["started"][:19].replace("T", " ") + " UTC"
    yield "ended", summary["ending"]
    yield "duration", f"{summary['duration']:.2f} s, {summary['ticks']} ticks"
    yield "missed deadlines", str(summary["missed_deadlines"])
    yield "dropped records", str(summary["dropped"])
    yield "wire errors", str(summary["wire_errors"])
    states = summary["states"].items()
    yield "states", ", ".join(f"{name} {state['seconds']:.2f} s" for name, state in states)
    faults = [f"{f['fault']} at {f['time']:.2f} s" for f in summary["faults"]]
    yield "faults", ", ".join(faults) or "none"
    if summary["held"]:
        counts = Counter(hold["fault"] for hold in summary["held"])
        why = ", ".join(f"{fault} {count}" for fault, count in counts.items())
        seconds = summary["states"]["HOLD"]["seconds"]
        yield "held, and went on", f"{summary['holds']} times, {seconds:.2f} s in all: {why}"
    for name, reason in summary["reasons"].items():
        worst = max(reason["joints"], key=reason["joints"].__getitem__, default=None)
        most = f", most {worst} ({reason['joints'][worst]})" if worst else ""
        yield f"limited: {name.lower()}", f"{reason['ticks']} ticks{most}"
    for name, unit in (("voltage", "V"), ("temperature", "°C"), ("torque", "N·m")):
        if (found := summary[name]) is not None:
            yield name, f"{found[0]:.2f} to {found[1]:.2f} {unit}"


def _attached(summary: dict[str, Any]) -> Iterable[tuple[str, str]]:
    for name, size in summary["attachments"].items():
        yield "attachment", f"{name}, {size} bytes"
    for name, entries in summary["metadata"].items():
        if name not in ("log", "end"):  # said above
            yield name, ", ".join(f"{key} {value}" for key, value in entries.items())


def _joints(ranges: dict[str, list[float] | None]) -> Table:
    """Where each joint has been: of a robot that is moved by hand, signs and zeros show here."""
    table = Table("[rad]", "lowest", "highest", "moved", box=box.SIMPLE)
    for name, found in ranges.items():
        if found is not None:
            low, high = found
            table.add_row(name, f"{low:.3f}", f"{high:.3f}", f"{high - low:.3f}")
    return table


def _fields(contacts: int) -> Table:
    table = Table("field", "type", "width", "unit", "meaning", box=box.SIMPLE)
    for field in fields_of(contacts):
        kind = np.dtype(field.dtype).name
        table.add_row(field.name, kind, str(field.width), field.unit, field.meaning)
    return table
