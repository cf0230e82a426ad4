"""Reads a log, whole or cut off, and repairs one that is cut off.

A log is scanned record by record from its head (https://mcap.dev/spec), never through its index:
the messages are not chunked, so the scan is the only way in, and it reads a file whose writer was
killed as well as a whole one. What is incomplete at the end is left out.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from foxglove_schemas_protobuf.JointStates_pb2 import JointStates
from foxglove_schemas_protobuf.Log_pb2 import Log
from google.protobuf.message import DecodeError
from mcap.exceptions import InvalidMagic, McapError
from mcap.records import Attachment, Channel, Footer, McapRecord, Message, Metadata, Schema
from mcap.stream_reader import StreamReader
from mcap.writer import Writer

from ...models.errors import LogError, UsageError
from .format import (
    FORMAT,
    JOINTS_TOPIC,
    LOG_TOPIC,
    TICK_MESSAGE,
    TICK_TOPIC,
    Level,
    decode_ticks,
    is_tick,
    same_fields,
)

Names = tuple[str, ...]
TOPICS = (TICK_TOPIC, JOINTS_TOPIC, LOG_TOPIC)


@dataclass(frozen=True)
class Event:
    """A line of the log: a change of state, a fault, a note from the wire."""

    time: float  # on the loop's clock [s]
    level: Level
    text: str


@dataclass(frozen=True)
class RunLog:
    """A log, in memory."""

    path: Path
    joint_names: tuple[str, ...]
    command_names: tuple[str, ...]  # of the parts of `ticks["command"]`, with units
    contact_names: tuple[str, ...]  # of the robot's contact sensors
    ticks: np.ndarray  # of `tick_dtype`. Shape (T,)
    events: tuple[Event, ...]
    metadata: dict[str, dict[str, str]]
    attachments: dict[str, bytes]
    complete: bool  # the footer is there; else the file ends in the middle of the run
    dropped: int  # records and events that did not get into the file, as far as it shows

    @property
    def ending(self) -> str:
        """How the log ended, in words."""
        return self.metadata.get("end", {}).get("reason", "cut off")

    @property
    def wall_start(self) -> float:
        """When the log was started [s] since 1970."""
        return int(self.metadata["log"]["wall"]) / 1e9


def read_log(path: str | Path) -> RunLog:
    """Read a log, whole or cut off (`complete` says which).

    Raises:
        LogError: the file is missing, is no log of Surefoot, is of another version, or ends before
            its first tick could.
    """
    path = Path(path)
    messages: dict[str, list[Message]] = {topic: [] for topic in TOPICS}
    topics: dict[int, str] = {}
    metadata: dict[str, dict[str, str]] = {}
    attachments: dict[str, bytes] = {}
    complete = False
    for record in _records(path):
        if isinstance(record, Message):
            messages[topics[record.channel_id]].append(record)
        elif isinstance(record, Channel):
            topics[record.id] = record.topic
        elif isinstance(record, Metadata):
            metadata[record.name] = record.metadata
        elif isinstance(record, Attachment):
            attachments[record.name] = record.data
        elif isinstance(record, Footer):
            complete = True
    if "log" not in metadata:
        raise LogError(f"{path}: found no head of a Surefoot log")
    names = _names(path, metadata["log"])
    clock, wall = float(metadata["log"]["clock"]), int(metadata["log"]["wall"])
    data = [m.data for m in messages[TICK_TOPIC]]
    ticks = decode_ticks(data, *map(len, names))
    events = tuple(_event(m, clock, wall) for m in messages[LOG_TOPIC])
    sequences = [m.sequence for m in messages[TICK_TOPIC] + messages[LOG_TOPIC]]
    gaps = max(sequences) + 1 - len(sequences) if sequences else 0
    dropped = max(gaps, int(metadata.get("end", {}).get("dropped", 0)))
    return RunLog(path, *names, ticks, events, metadata, attachments, complete, dropped)


def repair_log(path: str | Path, out: str | Path) -> RunLog:
    """Rewrite a cut-off log as a whole file, with all that can be read of it, and read that back.

    Raises:
        LogError: `path` is no log that can be read, or is whole.
        UsageError: `out` exists or cannot be created.
    """
    path, out = Path(path), Path(out)
    log = read_log(path)
    if log.complete:
        raise LogError(f"{path}: found whole, there is nothing to repair")
    counts = {"written": str(len(log.ticks) + len(log.events)), "dropped": str(log.dropped)}
    try:
        with out.open("xb") as file:
            writer = Writer(file, use_chunking=False)
            writer.start(profile="surefoot", library="surefoot")
            _copy(path, writer)
            if "end" not in log.metadata:
                writer.add_metadata("end", {"reason": f"{log.ending}; repaired", **counts})
            writer.finish()
    except OSError as error:
        raise UsageError(f"{out}: cannot be created: {error.strerror}") from None
    return read_log(out)


def _records(path: Path) -> Iterator[McapRecord]:
    """All sound records in the order of the file, up to the cut; last a Footer where there is none.

    The cut is where the file ends early or a record does not decode: after a loss of power, blocks
    of zeros may stand where data was due.
    """
    footer, topics, widths = None, {}, (0, 0, 0)
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            for record in StreamReader(file, record_size_limit=size).records:
                if isinstance(record, Footer):
                    footer = record  # counts once the magic after it has been read, too
                    continue
                if isinstance(record, Metadata) and record.name == "log":
                    n, c, s = map(len, _names(path, record.metadata))
                    widths = n, c, s
                elif isinstance(record, Schema) and record.name == TICK_MESSAGE:
                    if not same_fields(record.data):
                        raise LogError(f"{path}: found other fields of a tick than this version's")
                elif isinstance(record, Channel):
                    topics[record.id] = record.topic
                elif isinstance(record, Message) and not _sound(record, topics, *widths):
                    return
                yield record
        if footer:
            yield footer
    except OSError as error:
        raise LogError(f"{path}: cannot be read: {error.strerror}") from None
    except InvalidMagic:
        if footer is None:
            raise LogError(f"{path}: found no MCAP file") from None
    except LogError:
        raise
    except (McapError, struct.error, ValueError):
        return


def _names(path: Path, head: dict[str, str]) -> tuple[Names, Names, Names]:
    """Of joints, the command's parts, contact sensors. Raises LogError for another format."""
    if head["format"] != FORMAT:
        raise LogError(f"{path}: found log format {head['format']}, allowed is {FORMAT}")

    def names(kind: str) -> Names:
        return tuple(json.loads(head.get(kind, "[]")))  # logs before contact sensors name none

    return names("joint_names"), names("command_names"), names("contact_names")


def _sound(message: Message, topics: dict[int, str], n: int, c: int, s: int) -> bool:
    """Whether the message decodes."""
    topic = topics.get(message.channel_id)
    if topic == TICK_TOPIC:
        return is_tick(message.data, n, c, s)
    schema = {JOINTS_TOPIC: JointStates, LOG_TOPIC: Log}.get(topic or "")
    if schema is None:
        return False
    try:
        schema.FromString(message.data)
    except DecodeError:
        return False
    return True


def _event(message: Message, clock: float, wall: int) -> Event:
    log = Log.FromString(message.data)
    return Event(clock + (message.log_time - wall) / 1e9, Level(log.level), log.message)


def _copy(path: Path, writer: Writer) -> None:
    """Copy every whole record of the log's data section."""
    schemas: dict[int, int] = {}
    channels: dict[int, int] = {}
    for record in _records(path):
        if isinstance(record, Schema) and record.id not in schemas:
            schemas[record.id] = writer.register_schema(record.name, record.encoding, record.data)
        elif isinstance(record, Channel) and record.id not in channels:
            channels[record.id] = writer.register_channel(
                record.topic, record.message_encoding, schemas[record.schema_id], record.metadata
            )
        elif isinstance(record, Message):
            writer.add_message(
                channels[record.channel_id],
                record.log_time,
                record.data,
                record.publish_time,
                record.sequence,
            )
        elif isinstance(record, Metadata):
            writer.add_metadata(record.name, record.metadata)
        elif isinstance(record, Attachment):
            writer.add_attachment(
                record.create_time, record.log_time, record.name, record.media_type, record.data
            )
