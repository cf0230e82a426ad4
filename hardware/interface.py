"""What every robot can do: read a sample, write a command, close.

The serial robot, the simulated robot and test doubles implement `RobotInterface`; the real-time
loop knows nothing else. All arrays are float64 in the order of robot.toml's joints, n of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

import numpy as np

from ..models.errors import UsageError, require_finite


class Mode(IntEnum):
    """What the motors are asked for."""

    OFF = 0  # no torque: limp
    DAMP = 1  # resist motion, hold nothing
    HOLD = 2  # keep the last target
    TRACK = 3  # follow the target


@dataclass(frozen=True)
class Command:
    """One command to all motors. There is no other way to move a robot.

    It keeps read-only copies of its arrays, so a command that exists is one that may be sent.

    Raises:
        NonFiniteError: some target or cap is NaN or infinite.
        UsageError: TRACK without a target.
    """

    mode: Mode
    target: np.ndarray | None = None  # joint target, TRACK only [rad]. Shape (n,)
    torque_cap: np.ndarray | None = None  # TRACK, HOLD and DAMP [N·m]. Shape (n,)

    def __post_init__(self) -> None:
        if self.mode == Mode.TRACK and self.target is None:
            raise UsageError("target: TRACK needs one, give a joint target")
        for name in ("target", "torque_cap"):
            if (given := getattr(self, name)) is not None:
                array = np.array(given, dtype=np.float64)
                require_finite(**{name: array})
                array.flags.writeable = False
                object.__setattr__(self, name, array)


def require_shape(command: Command, n: int) -> None:
    """Raise `UsageError` unless a command's arrays have shape (n,): every `write` begins so."""
    for name in ("target", "torque_cap"):
        array = getattr(command, name)
        if array is not None and array.shape != (n,):
            raise UsageError(f"{name}: found shape {array.shape}, allowed is ({n},)")


@dataclass(frozen=True)
class Health:
    """What the slow, rotating read has gathered so far; NaN where nothing is known yet."""

    voltage: np.ndarray  # [V]. Shape (n,)
    temperature: np.ndarray  # [°C]. Shape (n,)
    error_bits: np.ndarray  # hardware error status of the device, uint8. Shape (n,)
    watchdog_tripped: np.ndarray  # bool. Shape (n,)

    @classmethod
    def unknown(cls, n: int) -> Health:
        """Nothing known about n motors."""
        nan = np.full(n, np.nan)
        return cls(nan, nan.copy(), np.zeros(n, np.uint8), np.zeros(n, bool))


@dataclass(frozen=True)
class Sample:
    """What the sensors say. What could not be read is the last good value, with its age."""

    time: float  # of this read, on the loop's clock [s]
    joint_pos: np.ndarray  # [rad]. Shape (n,)
    joint_vel: np.ndarray  # [rad/s]. Shape (n,)
    joint_torque: np.ndarray  # from the motor current [N·m]. Shape (n,)
    age: np.ndarray  # of each motor's values at `time`; inf before the first [s]. Shape (n,)
    alert: np.ndarray  # the motor reports a hardware error, bool. Shape (n,)
    gyro: np.ndarray  # angular velocity in the base frame [rad/s]. Shape (3,)
    gravity: np.ndarray  # unit vector pointing down, in the base frame. Shape (3,)
    acceleration: np.ndarray  # specific force in the base frame [m/s²]. Shape (3,)
    imu_age: float  # of the IMU's values at `time`; inf before the first [s]
    health: Health
    bus_time: float = 0.0  # spent on the motor bus since the last sample [s]
    wire_errors: int = 0  # refused packets and missing replies so far
    wire_notes: tuple[str, ...] = field(default=())  # new since the last sample, for the log


class RobotInterface(Protocol):
    """A robot behind some wire, real or simulated. Opening one never moves it."""

    def read(self) -> Sample:
        """Read all sensors once. Missing replies show as ages, never as exceptions.

        Raises:
            DeviceError: the port itself is gone.
        """
        ...

    def write(self, command: Command) -> None:
        """Send one command to all motors; the first one that is not OFF enables torque.

        What is not finite, and TRACK without a target, no `Command` can hold.

        Raises:
            UsageError: an array has another shape than (n,); nothing is sent then.
            DeviceError: the port is gone, or a motor refused to be enabled.
        """
        ...

    def close(self) -> None:
        """Release the ports. Leaves the motors in the mode last commanded."""
        ...
