"""An emulated robot in a process of its own, for as long as it is wanted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..models.errors import DeviceError
from ..models.limits import Output

PATIENCE = 5.0  # for its end [s]


@contextmanager
def emulated_robot(
    robot: str, truth: Path | None, seed: int, output: Output = "joint_target"
) -> Iterator[dict[str, str]]:
    """Start `surefoot emulate` and yield its ports, by bus; it ends with the block, or with us.

    Raises:
        DeviceError: it did not start; its own words are on stderr.
    """
    words = [sys.executable, "-m", "surefoot", "emulate", robot, "--json", "--seed", str(seed)]
    words += ["--parent-pid", str(os.getpid()), "--output", output]
    words += ["--truth", str(truth)] if truth else []
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL, start_new_session=True
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise DeviceError("the emulator did not start")
        yield json.loads(line)["ports"]
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
