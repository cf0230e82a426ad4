"""The emulator's ground truth as CSV, written and read: the host never sees it.

It is for whoever judges a run. Columns: time (CLOCK_MONOTONIC, the log's clock) [s]; base position
in the world [m]; base quaternion, base to world, w x y z; linear [m/s] and angular [rad/s] velocity
in the base frame; for every joint its position [rad] and the torque of its motor [N·m].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..models.errors import UsageError
from ..models.rotation import tilt
from .plant import PlantState

PERIOD = 0.02  # of the rows [s]


@dataclass(frozen=True)
class Truth:
    """What the emulated robot really did, T rows of 20 ms. The fields are the file's columns."""

    time: np.ndarray  # CLOCK_MONOTONIC, the log's clock [s]. Shape (T,)
    base_position: np.ndarray  # [m]. Shape (T, 3)
    base_quaternion: np.ndarray  # base to world, w x y z. Shape (T, 4)
    linear_velocity: np.ndarray  # in the base frame [m/s]. Shape (T, 3)
    angular_velocity: np.ndarray  # in the base frame [rad/s]. Shape (T, 3)
    joint_pos: np.ndarray  # [rad]. Shape (T, n)
    joint_torque: np.ndarray  # [N·m]. Shape (T, n)

    @property
    def tilt(self) -> np.ndarray:
        """Angle between the base's z axis and up [rad]. Shape (T,)."""
        return tilt(self.base_quaternion)

    @property
    def qpos(self) -> np.ndarray:
        """MuJoCo's positions. Shape (T, 7 + n)."""
        return np.hstack((self.base_position, self.base_quaternion, self.joint_pos))

    def between(self, start: float, end: float) -> Truth:
        """The rows from `start` to `end` [s]."""
        rows = (self.time >= start) & (self.time <= end)
        return Truth(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


class TruthFile:
    """Writes a row every 20 ms, each flushed so that it survives a kill."""

    def __init__(self, path: Path, joint_names: Sequence[str]):
        """Raises UsageError: the file cannot be written."""
        try:
            self._file = path.open("w", encoding="ascii")
        except OSError as error:
            raise UsageError(f"--truth {path}: {error.strerror}") from None
        columns = ["time"]
        columns += [f"base_position_{axis}" for axis in "xyz"]
        columns += [f"base_quaternion_{axis}" for axis in "wxyz"]
        columns += [f"linear_velocity_{axis}" for axis in "xyz"]
        columns += [f"angular_velocity_{axis}" for axis in "xyz"]
        columns += [f"joint_pos_{name}" for name in joint_names]
        columns += [f"joint_torque_{name}" for name in joint_names]
        self._file.write(",".join(columns) + "\n")
        self._file.flush()
        self._next = 0.0

    def record(
        self, time: float, origin: float, state: PlantState, joint_torque: np.ndarray
    ) -> None:
        """Write a row if one is due.

        Args:
            time: since power-on [s].
            origin: of `time`, on CLOCK_MONOTONIC [s].
            state: of the plant.
            joint_torque: of the motors [N·m]. Shape (n,).
        """
        if time < self._next:
            return
        self._next += PERIOD
        parts = (state.base_position, state.base_quaternion, state.linear_velocity)
        parts += (state.angular_velocity, state.joint_pos, joint_torque)
        values = ",".join(f"{value:.6g}" for value in np.concatenate(parts))
        self._file.write(f"{origin + time:.6f},{values}\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file; again is harmless."""
        self._file.close()


def read_truth(path: Path) -> Truth:
    """Read the CSV that `surefoot emulate --truth` writes; a cut last row is left out.

    Raises:
        UsageError: the file is missing, empty or of another kind.
    """
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file; `surefoot emulate --truth` writes one")
    try:
        header, *lines = path.read_text(encoding="ascii").split("\n")[:-1] or [""]
        names = header.split(",")
        table = np.array([line.split(",") for line in lines], dtype=np.float64)
    except ValueError:
        raise UsageError(f"{path}: this is no truth file: it holds no table of numbers") from None

    def columns(prefix: str) -> np.ndarray:
        found = [i for i, name in enumerate(names) if name.startswith(prefix)]
        if not found or table.shape != (len(lines), len(names)):
            raise UsageError(f"{path}: this is no truth file: it holds no '{prefix}…'")
        return table[:, found]

    time, *others = (columns(name) for name in Truth.__dataclass_fields__)
    return Truth(time[:, 0], *others)
