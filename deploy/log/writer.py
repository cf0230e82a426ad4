"""The log's end in the control loop, which nothing keeps waiting.

    log = LogWriter("run.mcap", robot.joint_names, ("vx [m/s]", …), {"policy.onnx": policy})
    record = np.zeros((), tick_dtype(n, c))
    ...                                # each tick: fill the record, then
    log.record(record)                 # one write into a pipe: never blocks, never raises
    log.event(Level.ERROR, "fault: tilt")
    summary = log.close()              # what was written, what was dropped, and why

A logger process behind the pipe makes the MCAP file of it (`process.py`), so neither a slow disk
nor a full one, nor the death of either process, reaches the other.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ... import __version__
from ...models.errors import LogError, UsageError
from ...models.provenance import processor, versions
from .format import FORMAT, RESERVED, Level, tick_dtype, tick_widths
from .process import END, EVENT, EVENT_HEAD, FRAME, START, TICK, Start
from .reader import read_log

PIPE_SIZE = 1 << 20  # what Linux gives without privilege: some 20 s of a 12-joint robot at 50 Hz
TEXT_SIZE = 2000  # bytes of an event, so that its frame is below PIPE_BUF: all of it or nothing
PATIENCE = 30.0  # for the logger to start, and to finish [s]


@dataclass(frozen=True)
class LogSummary:
    """How a log ended."""

    path: Path
    written: int  # records and events that are in the file
    dropped: int  # records and events that are not
    error: str | None  # why the file is cut off, one line; None where it is whole


class LogWriter:
    """The control loop's end of the log: one non-blocking write into a pipe a tick."""

    def __init__(
        self,
        path: str | Path,
        joint_names: Sequence[str],
        command_names: Sequence[str],
        attachments: Mapping[str, bytes] | None = None,
        metadata: Mapping[str, Mapping[str, str]] | None = None,
        clock: Callable[[], float] = time.monotonic,
        contact_names: Sequence[str] = (),
    ):
        """Create the file, start the logger, and wait until the head of the log is written.

        Call it before the thread becomes a real-time one. The log adds metadata of its own: `log`
        (format, names, clocks), `versions`, and `sha256` of each attachment.

        Args:
            path: file to create; its folder exists and it does not.
            joint_names: in the order of the records' columns, n of them.
            command_names: of the command's parts, with their units, c of them.
            attachments: what replay needs, by file name: `ROBOT_FILE`, `POLICY_FILE`.
            metadata: tables of strings by name: the robot, the run's options, its initial
                configuration.
            clock: the loop's clock [s], on which the records' times are.
            contact_names: of the robot's contact sensors, s of them.

        Raises:
            UsageError: the file exists or cannot be created, or a name of metadata is taken.
            LogError: the logger did not start, or the disk is full already.
        """
        self.path = Path(path)
        self._dtype = tick_dtype(len(joint_names), len(command_names), len(contact_names))
        self._clock = clock
        self._offered = 0
        self._refused = 0
        self._rest = b""  # of a frame that the pipe took in part; nothing may come between
        self._summary: LogSummary | None = None
        names = {
            "joint_names": list(joint_names),
            "command_names": list(command_names),
            "contact_names": list(contact_names),
        }
        start = _start(names, attachments or {}, metadata or {}, clock)
        self._process, self._pipe = _open(self.path)
        error = self._send_start(start)
        if error:
            self._finish()
            self.path.unlink(missing_ok=True)  # it holds nothing
            raise LogError(f"{self.path}: the log cannot be started: {error}")
        os.set_blocking(self._pipe, False)

    @property
    def pid(self) -> int:
        """Process id of the logger."""
        return self._process.pid

    @property
    def dropped(self) -> int:
        """Records and events that the pipe refused so far; `close` knows of later losses too."""
        return self._refused

    def require(self, dtype: np.dtype) -> None:
        """Raise UsageError unless it takes records of this dtype and is open: before a run."""
        if self._summary is not None:
            raise UsageError(f"{self.path}: found the log closed, allowed is one that is open")
        if dtype != self._dtype:
            found, needed = (
                "{} joints, a command of {} and {} contact sensors".format(*tick_widths(of))
                for of in (self._dtype, dtype)
            )
            raise UsageError(f"{self.path}: found a log for {found}, allowed is one for {needed}")

    def record(self, record: np.ndarray | np.void) -> bool:
        """Hand over one tick, of `tick_dtype` and shape (). False where it was dropped.

        One of another robot's widths is dropped, too: no log is worth a fall.
        """
        if record.dtype != self._dtype or record.shape != ():
            self._offered += 1
            self._refused += 1
            return False
        return self._hand_over(TICK, record.tobytes())

    def event(self, level: Level, text: str) -> bool:
        """Hand over one event, stamped now. False where it was dropped."""
        return self._hand_over(
            EVENT,
            EVENT_HEAD.pack(self._clock(), level) + text.encode(errors="replace")[:TEXT_SIZE],
        )

    def close(self) -> LogSummary:
        """End the log and wait for the logger. Called again, it returns the same summary."""
        if self._summary is None:
            self._rest += FRAME.pack(END, self._offered, 0)
            with contextlib.suppress(OSError):  # the logger is gone: `_finish` says why
                self._drain(time.monotonic() + PATIENCE)
            report = self._finish()
            written, error = report.get("written"), report["error"]
            if written is None:
                written = _count(self.path)
            self._summary = LogSummary(self.path, written, self._offered - written, error)
        return self._summary

    def _hand_over(self, kind: int, payload: bytes) -> bool:
        """One write (below PIPE_BUF all or nothing), and one of what is left of the last frame."""
        if self._summary is not None:  # the pipe's number may be another file's by now: a port's
            return False
        frame = FRAME.pack(kind, self._offered, len(payload)) + payload
        self._offered += 1
        try:
            if self._rest:
                self._rest = self._rest[os.write(self._pipe, self._rest) :]
            if not self._rest:
                self._rest = frame[os.write(self._pipe, frame) :]
                return True
        except (BlockingIOError, BrokenPipeError):  # the pipe is full, or the logger is dead
            pass
        self._refused += 1
        return False

    def _drain(self, deadline: float) -> None:
        """Write what is left, waiting for the logger until `deadline`, by time.monotonic [s]."""
        while self._rest and (patience := deadline - time.monotonic()) > 0:
            if select.select([], [self._pipe], [], patience)[1]:
                with contextlib.suppress(BlockingIOError):
                    self._rest = self._rest[os.write(self._pipe, self._rest) :]

    def _send_start(self, start: Start) -> str | None:
        """Hand over the head of the log and wait until it is in the file; else, why not."""
        payload = start.pack()
        data = memoryview(FRAME.pack(START, 0, len(payload)) + payload)
        with contextlib.suppress(BrokenPipeError):
            while data:
                data = data[os.write(self._pipe, data) :]
        stdout = self._process.stdout
        assert stdout is not None
        if not select.select([stdout], [], [], PATIENCE)[0]:
            return f"the logger did not answer within {PATIENCE:.0f} s"
        line = stdout.readline()
        return json.loads(line).get("error") if line else "the logger died"

    def _finish(self) -> dict:
        """Close the pipe, wait for the logger, and return its last report."""
        os.close(self._pipe)
        try:
            output, _ = self._process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            return {"error": f"the logger did not finish within {PATIENCE:.0f} s"}
        if output:
            return json.loads(output.splitlines()[-1])
        return {"error": f"the logger died, exit status {self._process.returncode}"}


def _start(
    names: Mapping[str, list[str]],
    attachments: Mapping[str, bytes],
    metadata: Mapping[str, Mapping[str, str]],
    clock: Callable[[], float],
) -> Start:
    """The head of the log: what the caller gives, and what every log holds."""
    for name in metadata:
        if name in RESERVED:
            raise UsageError(f"metadata '{name}': the log writes its own, choose another name")
    now, wall = clock(), time.time_ns()
    own = {
        "log": {
            "format": FORMAT,
            **{kind: json.dumps(of_kind) for kind, of_kind in names.items()},
            "clock": repr(now),
            "wall": str(wall),
        },
        "versions": {  # what the bits of a replay depend on
            "surefoot": __version__,
            **versions("numpy", "onnxruntime"),
            "platform": platform.platform(),
            "processor": processor(),
        },
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in attachments.items()},
    }
    tables = {name: dict(table) for name, table in metadata.items()}
    return Start(
        **names, clock=now, wall=wall, metadata=own | tables, attachments=dict(attachments)
    )


def _open(path: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Create the file, and the logger behind a pipe: its process and the pipe's end to write."""
    try:
        file = path.open("xb")
    except FileExistsError:
        raise UsageError(f"{path}: found a file, allowed is a new name") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be created: {error.strerror}") from None
    out, pipe = os.pipe()
    with contextlib.suppress(OSError):  # the user's share of pipe memory is used up
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    with file:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "surefoot.deploy.log.process", str(file.fileno())],
            stdin=out,
            stdout=subprocess.PIPE,
            pass_fds=[file.fileno()],
            bufsize=0,  # so that no report hides in a buffer
            start_new_session=True,  # Ctrl-C is for the control process alone
        )
    os.close(out)
    return process, pipe


def _count(path: Path) -> int:
    """Records and events in the file that a dead logger left."""
    try:
        log = read_log(path)
    except LogError:
        return 0
    return len(log.ticks) + len(log.events)
