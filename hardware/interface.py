"""What every robot can do: read a sample, write a command, close.

The serial robot, the simulated robot and test doubles implement `RobotInterface`; the real-time
loop knows nothing else. All arrays are float64 in the order of robot.toml's joints, n of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol

import numpy as np

from ..models.errors import UsageError, require_finite
from ..models.limits import Output


class Mode(IntEnum):
    """What the motors are asked for."""

    OFF = 0  # no torque: limp
    DAMP = 1  # resist motion, hold nothing
    HOLD = 2  # keep the last target
    TRACK = 3  # follow the target
    TORQUE = 4  # push with the torque


# What a robot takes that is driven by targets, or by torques. Under torques it keeps no position by
# itself, so nothing can hold it but whoever closes the loop.
MODES: dict[Output, tuple[Mode, ...]] = {
    "joint_target": (Mode.OFF, Mode.DAMP, Mode.HOLD, Mode.TRACK),
    "joint_torque": (Mode.OFF, Mode.DAMP, Mode.TORQUE),
}


ARRAYS = ("target", "torque_cap", "torque")  # of a command


@dataclass(frozen=True)
class Command:
    """One command to all motors. There is no other way to move a robot.

    It keeps read-only copies of its arrays, so a command that exists is one that may be sent.

    Raises:
        NonFiniteError: some target, torque or cap is NaN or infinite.
        UsageError: TRACK without a target, or TORQUE without a torque.
    """

    mode: Mode
    target: np.ndarray | None = None  # joint target, TRACK only [rad]. Shape (n,)
    torque_cap: np.ndarray | None = None  # of all modes but OFF [N·m]. Shape (n,)
    torque: np.ndarray | None = None  # joint torque, TORQUE only [N·m]. Shape (n,)

    def __post_init__(self) -> None:
        if self.mode == Mode.TRACK and self.target is None:
            raise UsageError("target: TRACK needs one, give a joint target")
        if self.mode == Mode.TORQUE and self.torque is None:
            raise UsageError("torque: TORQUE needs one, give a joint torque")
        for name in ARRAYS:
            if (given := getattr(self, name)) is not None:
                array = np.array(given, dtype=np.float64)
                require_finite(**{name: array})
                array.flags.writeable = False
                object.__setattr__(self, name, array)


def require_mode(command: Command, output: Output) -> None:
    """Raise `UsageError` for a mode that a robot driven so does not take (`MODES`)."""
    if command.mode not in MODES[output]:
        allowed = ", ".join(mode.name for mode in MODES[output])
        raise UsageError(f"mode: found {command.mode.name}, allowed under {output} is {allowed}")


def require_shape(command: Command, n: int) -> None:
    """Raise `UsageError` unless a command's arrays have shape (n,): every `write` begins so."""
    for name in ARRAYS:
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
    age: np.ndarray  # of these values at the sample's time; inf before the first [s]. Shape (n,)
    torque_on: np.ndarray  # torque is on, with the gains that were sent, bool. Shape (n,)

    @classmethod
    def unknown(cls, n: int) -> Health:
        """Nothing known about n motors."""
        nan = np.full(n, np.nan)
        tripped, torque_on = np.zeros(n, bool), np.zeros(n, bool)
        age = np.full(n, np.inf)
        return cls(nan, nan.copy(), np.zeros(n, np.uint8), tripped, age, torque_on)


@dataclass(frozen=True)
class Sample:
    """What the sensors say. What could not be read is the last good value, with its age."""

    time: float  # of this read, on the loop's clock [s]
    joint_pos: np.ndarray  # [rad]. Shape (n,)
    joint_vel: np.ndarray  # [rad/s]. Shape (n,)
    joint_torque: np.ndarray  # from the motor current [N·m]. Shape (n,)
    age: np.ndarray  # of each motor's values at `time`; inf before the first [s]. Shape (n,)
    alert: np.ndarray  # the motor reports a hardware error, bool. Shape (n,)
    encoder_jump: np.ndarray  # two or more implausible readings in a row, bool. Shape (n,)
    gyro: np.ndarray  # angular velocity in the base frame [rad/s]. Shape (3,)
    gravity: np.ndarray  # unit vector pointing down, in the base frame. Shape (3,)
    acceleration: np.ndarray  # specific force in the base frame [m/s²]. Shape (3,)
    imu_age: float  # of the IMU's values at `time`; inf before the first [s]
    imu_rate: float  # of its packets, over the last second or since opening; nan if unknown [Hz]
    # A robot without an IMU has NaN for the five above.
    health: Health
    # On each contact sensor [N]. Shape (s,); (0,) where nothing reads them.
    contact_force: np.ndarray = field(default_factory=lambda: np.zeros(0))
    bus_time: float = 0.0  # spent on the motor bus since the last sample [s]
    wire_errors: int = 0  # refused packets and missing replies so far
    wire_notes: tuple[str, ...] = field(default=())  # new since the last sample, for the log


NOWHERE = np.full(3, np.nan)
NOWHERE.flags.writeable = False
# Of a sample, for a robot without an IMU.
NO_IMU: Any = dict.fromkeys(("gyro", "gravity", "acceleration"), NOWHERE)
NO_IMU |= dict.fromkeys(("imu_age", "imu_rate"), math.nan)


class RobotInterface(Protocol):
    """A robot behind some wire, real or simulated. Opening one never moves it."""

    @property
    def found_torque_on(self) -> bool:
        """Torque was on when the robot was opened, so OFF may drop it."""
        ...

    @property
    def torque_left_on(self) -> tuple[str, ...]:
        """Joints whose torque was not seen off after the last OFF; empty if all were."""
        ...

    def read(self) -> Sample:
        """Read all sensors once. Missing replies show as ages, never as exceptions.

        So does an IMU whose port is gone: the motors on theirs are read all the same.

        Raises:
            DeviceError: a port of motors is gone.
        """
        ...

    def write(self, command: Command) -> None:
        """Send one command to all motors; the first one that is not OFF enables torque.

        What is not finite, TRACK without a target, TORQUE without a torque no `Command` can hold.
        A robot is opened for one output of a policy: for targets it holds them by itself; for
        torques it takes OFF, DAMP and TORQUE alone, and DAMP acts on readings that `write` makes
        sure of.

        Raises:
            UsageError: an array has another shape than (n,), or the robot is not driven by such
                commands (`MODES`); nothing is sent then.
            EnableRefused: a motor cannot be enabled, or torque is on already that is not from here.
                Only motors that this call switched on have been switched off again.
            DeviceError: a port is gone; the motors on the others have had the command.
        """
        ...

    def refresh(self) -> None:
        """Forget what waited in the inputs, and read all that there is to know anew.

        It takes the time that it takes: for before the first torque, never in the loop. What stays
        silent keeps its old values, and their ages tell.

        Raises:
            DeviceError: a port is gone.
        """
        ...

    def close(self) -> None:
        """Release the ports. Leaves the motors in the mode last commanded."""
        ...
