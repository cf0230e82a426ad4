"""The logger: the process that turns frames from a pipe into an MCAP file.

`LogWriter` starts it as `python -m surefoot.deploy.log.process FD`, where FD is the open file.
Frames come on stdin until it ends, reports go to stdout, one JSON object a line: `{}` once the head
of the file is written, then `{"written": …, "error": …}` at the end.

It outlives the control process, whatever kills that: at the end of the pipe it writes what is left
and the footer. Messages are not chunked and each is flushed, so after the death of the logger
itself the file still reads to its last message; what a loss of power costs is `SYNC_PERIOD`.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BufferedWriter

import numpy as np
from foxglove_schemas_protobuf.JointStates_pb2 import JointStates
from foxglove_schemas_protobuf.Log_pb2 import Log
from google.protobuf.timestamp_pb2 import Timestamp
from mcap.well_known import MessageEncoding, SchemaEncoding
from mcap.writer import Writer
from mcap_protobuf.schema import build_file_descriptor_set

from .format import (
    JOINTS_TOPIC,
    LOG_TOPIC,
    TICK_MESSAGE,
    TICK_TOPIC,
    encode_tick,
    tick_dtype,
    tick_schema,
)

FRAME = struct.Struct("<BII")  # kind, sequence number, length of the payload that follows
START, TICK, EVENT, END = range(4)
EVENT_HEAD = struct.Struct("<dB")  # time on the loop's clock [s], level; then the text in UTF-8
SYNC_PERIOD = 1.0  # [s]


@dataclass(frozen=True)
class Start:
    """The first frame: a line of JSON with all but the attachments' bytes, then these in order."""

    joint_names: list[str]
    command_names: list[str]
    clock: float  # loop's clock at `wall` [s]
    wall: int  # [ns] since 1970
    metadata: dict[str, dict[str, str]]
    attachments: dict[str, bytes]
    contact_names: list[str] = field(default_factory=list)

    def pack(self) -> bytes:
        head = {
            "joint_names": self.joint_names,
            "command_names": self.command_names,
            "contact_names": self.contact_names,
            "clock": self.clock,
            "wall": self.wall,
            "metadata": self.metadata,
            "sizes": {name: len(data) for name, data in self.attachments.items()},
        }
        return json.dumps(head).encode() + b"\n" + b"".join(self.attachments.values())

    @classmethod
    def unpack(cls, payload: bytes) -> Start:
        line, _, data = payload.partition(b"\n")
        head = json.loads(line)
        attachments, offset = {}, 0
        for name, size in head.pop("sizes").items():
            attachments[name] = data[offset : offset + size]
            offset += size
        return cls(**head, attachments=attachments)

    def wall_time(self, time: float) -> int:
        """A time on the loop's clock [s] as [ns] since 1970; the start's where it is no time."""
        nanoseconds = (time - self.clock) * 1e9
        return self.wall + round(nanoseconds) if abs(nanoseconds) < 1e18 else self.wall


class Logger:
    """Writes the messages of one log into an open file."""

    def __init__(self, file: BufferedWriter, start: Start):
        self._file = file
        self._start = start
        contacts = len(start.contact_names)
        self._dtype = tick_dtype(len(start.joint_names), len(start.command_names), contacts)
        self._writer = writer = Writer(file, use_chunking=False)
        writer.start(profile="surefoot", library="surefoot")
        joint_states, log = build_file_descriptor_set(JointStates), build_file_descriptor_set(Log)
        self._tick = self._channel(TICK_TOPIC, TICK_MESSAGE, tick_schema(contacts))
        self._joints = self._channel(JOINTS_TOPIC, "foxglove.JointStates", joint_states)
        self._log = self._channel(LOG_TOPIC, "foxglove.Log", log)
        # The writer holds channels back until the metadata that follows.
        for name, table in start.metadata.items():
            writer.add_metadata(name, table)
        for name, data in start.attachments.items():
            kind = "application/toml" if name.endswith(".toml") else "application/octet-stream"
            writer.add_attachment(start.wall, start.wall, name, kind, data)
        file.flush()

    def _channel(self, topic: str, message: str, schema) -> int:
        data = schema.SerializeToString()
        schema_id = self._writer.register_schema(message, SchemaEncoding.Protobuf, data)
        return self._writer.register_channel(topic, MessageEncoding.Protobuf, schema_id)

    def tick(self, sequence: int, payload: bytes) -> None:
        """Write a tick and its joint states, from the bytes of a `tick_dtype` record."""
        record = np.frombuffer(payload, self._dtype)[0]
        wall = self._start.wall_time(float(record["start"]))
        joints = JointStates(timestamp=_timestamp(wall))
        columns = (record[key].tolist() for key in ("joint_pos", "joint_vel", "joint_torque"))
        for name, position, velocity, effort in zip(self._start.joint_names, *columns, strict=True):
            joints.joints.add(name=name, position=position, velocity=velocity, effort=effort)
        self._writer.add_message(self._tick, wall, encode_tick(record), wall, sequence)
        self._writer.add_message(self._joints, wall, joints.SerializeToString(), wall, sequence)
        self._file.flush()

    def event(self, sequence: int, payload: bytes) -> None:
        """Write an event."""
        time, level = EVENT_HEAD.unpack_from(payload)
        wall = self._start.wall_time(time)
        text = payload[EVENT_HEAD.size :].decode(errors="replace")
        log = Log(timestamp=_timestamp(wall), level=level, message=text, name="surefoot")
        self._writer.add_message(self._log, wall, log.SerializeToString(), wall, sequence)
        self._file.flush()

    def end(self, reason: str, written: int, dropped: int) -> None:
        """Write the reason of the end, how many frames were written and dropped, and the footer."""
        counts = {"written": str(written), "dropped": str(dropped)}
        self._writer.add_metadata("end", {"reason": reason, **counts})
        self._writer.finish()
        self._file.flush()
        self.sync()

    def sync(self) -> None:
        """Bring what is flushed onto the disk, lest the power goes."""
        os.fdatasync(self._file.fileno())


def frames(fd: int) -> Iterator[tuple[int, int, bytes] | None]:
    """Whole frames (kind, sequence, payload) until the pipe ends, None after a silent second."""
    buffer = bytearray()
    while True:
        if not select.select([fd], [], [], SYNC_PERIOD)[0]:
            yield None
            continue
        chunk = os.read(fd, 1 << 16)
        if not chunk:
            return  # a torn frame was never handed over
        buffer += chunk
        while len(buffer) >= FRAME.size:
            kind, sequence, length = FRAME.unpack_from(buffer)
            end = FRAME.size + length
            if len(buffer) < end:
                break
            yield kind, sequence, bytes(buffer[FRAME.size : end])
            del buffer[:end]


def main(log_fd: int) -> int:
    """Write the log behind `log_fd` from the frames on stdin. Exit status 1: it is cut off."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)  # the end of the pipe is the only end
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    os.nice(10)  # behind the control loop, always
    file = os.fdopen(log_fd, "wb")
    source = frames(sys.stdin.fileno())
    written = 0
    try:
        first = next((frame for frame in source if frame), None)
        if first is None:
            return 1
        logger = Logger(file, Start.unpack(first[2]))
        _report()
        offered, reason, synced = 0, "the control process died", time.monotonic()
        for frame in source:
            if frame:
                kind, sequence, payload = frame
                if kind == END:
                    offered, reason = sequence, "closed"
                else:
                    write = logger.tick if kind == TICK else logger.event
                    write(sequence, payload)
                    offered, written = sequence + 1, written + 1
            if time.monotonic() - synced > SYNC_PERIOD:
                logger.sync()
                synced = time.monotonic()
        logger.end(reason, written, dropped=offered - written)
        _report(written=written, error=None)
    except OSError as error:
        _report(written=written, error=error.strerror or str(error))
        os._exit(1)  # an orderly exit would flush the buffer once more
    return 0


def _timestamp(wall: int) -> Timestamp:
    return Timestamp(seconds=wall // 10**9, nanos=wall % 10**9)


def _report(**report: object) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody is left to read it
        sys.stdout.write(json.dumps(report) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
