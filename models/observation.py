"""What the actor sees: one declarative list of terms, read by the simulator and by the exporter.

Each term turns one named, physical input of the controller into columns of the observation. The
terms run on numpy arrays in simulation and on torch tensors when the ONNX graph is traced, so what
was trained is what is deployed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import pi
from typing import Any

from .robot import Robot

Array = Any  # a numpy array or a torch tensor
Namespace = Any  # the module `numpy` or the module `torch`


@dataclass(frozen=True)
class Deviation:
    """input − offset; an empty offset leaves the input as it is."""

    input: str
    offset: tuple[float, ...] = ()

    def __call__(self, inputs: Mapping[str, Array], xp: Namespace) -> Array:
        """Shape (N, width of the input)."""
        value = inputs[self.input]
        return value - xp.asarray(self.offset, dtype=value.dtype) if self.offset else value


@dataclass(frozen=True)
class Phase:
    """Sine and cosine of 2π · input / period."""

    input: str
    period: float  # [s]

    def __call__(self, inputs: Mapping[str, Array], xp: Namespace) -> Array:
        """Shape (N, 2)."""
        angle = inputs[self.input] * (2 * pi / self.period)
        return xp.concatenate((xp.sin(angle), xp.cos(angle)), -1)


Term = Deviation | Phase


def input_widths(robot: Robot, commands: int) -> dict[str, int]:
    """Every input that a robot's controller may have, and its width.

    joint_pos [rad], joint_vel [rad/s], gyro [rad/s] and gravity (unit vector, down) in the base
    frame, where the robot has an IMU; command, one column for each of so many parts of the task's
    command; previous_action (raw), clock [s].
    """
    n = len(robot.joints)
    return {
        "joint_pos": n,
        "joint_vel": n,
        **({"gyro": 3, "gravity": 3} if robot.imu else {}),
        "command": commands,
        "previous_action": n,
        "clock": 1,
    }


def observe(terms: Sequence[Term], inputs: Mapping[str, Array], xp: Namespace) -> Array:
    """The observation. Shape (N, sum of the terms' widths), float32 where the inputs are."""
    return xp.concatenate([term(inputs, xp) for term in terms], -1)


def width(terms: Sequence[Term], robot: Robot, commands: int) -> int:
    """Number of columns of the observation, for a command of so many parts."""
    widths = input_widths(robot, commands)
    return sum(2 if isinstance(term, Phase) else widths[term.input] for term in terms)


def describe(terms: Sequence[Term]) -> list[dict[str, Any]]:
    """The terms as plain data, for a policy's metadata."""
    return [{"term": type(term).__name__, **asdict(term)} for term in terms]
