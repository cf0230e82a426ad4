"""The emulator's ground truth, for whoever judges a run: the host never sees it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..models.errors import UsageError


@dataclass(frozen=True)
class Truth:
    """What the emulated robot really did, T rows of 20 ms."""

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
        x, y = self.base_quaternion[:, 1], self.base_quaternion[:, 2]
        return np.arccos(np.clip(1 - 2 * (x**2 + y**2), -1, 1))

    @property
    def qpos(self) -> np.ndarray:
        """MuJoCo's positions. Shape (T, 7 + n)."""
        return np.hstack((self.base_position, self.base_quaternion, self.joint_pos))

    def between(self, start: float, end: float) -> Truth:
        """The rows from `start` to `end` [s]."""
        rows = (self.time >= start) & (self.time <= end)
        return Truth(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def read_truth(path: Path) -> Truth:
    """Read the CSV that `surefoot emulate --truth` writes; a cut last row is left out.

    Raises:
        UsageError: the file is missing, empty or of another kind.
    """
    if not path.is_file():
        raise UsageError(f"{path}: found nothing, allowed is the truth file of an emulator")
    try:
        header, *lines = path.read_text(encoding="ascii").split("\n")[:-1] or [""]
        names = header.split(",")
        table = np.array([line.split(",") for line in lines], dtype=np.float64)
    except ValueError:
        raise UsageError(f"{path}: found no table of numbers, this is no truth file") from None

    def columns(prefix: str) -> np.ndarray:
        found = [i for i, name in enumerate(names) if name.startswith(prefix)]
        if not found or table.shape != (len(lines), len(names)):
            raise UsageError(f"{path}: found no '{prefix}…', this is no truth file of an emulator")
        return table[:, found]

    time, *others = (columns(name) for name in Truth.__dataclass_fields__)
    return Truth(time[:, 0], *others)
