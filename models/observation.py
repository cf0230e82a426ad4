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

    def width(self, widths: Mapping[str, int]) -> int:
        """Of the result, given those of the inputs."""
        return widths[self.input]


@dataclass(frozen=True)
class ContactForce:
    """Normal forces on a robot's contact sensors, in weights of the robot."""

    input: str
    sensors: tuple[str, ...]  # whose they are: a robot with others, or in another order, is refused
    weight: float  # [N]

    def __call__(self, inputs: Mapping[str, Array], xp: Namespace) -> Array:
        """Shape (N, sensors)."""
        return inputs[self.input] / self.weight

    def width(self, widths: Mapping[str, int]) -> int:
        """Of the result, given those of the inputs."""
        return widths[self.input]


@dataclass(frozen=True)
class Phase:
    """Sine and cosine of 2π · input / period."""

    input: str
    period: float  # [s]

    def __call__(self, inputs: Mapping[str, Array], xp: Namespace) -> Array:
        """Shape (N, 2)."""
        angle = inputs[self.input] * (2 * pi / self.period)
        return xp.concatenate((xp.sin(angle), xp.cos(angle)), -1)

    def width(self, widths: Mapping[str, int]) -> int:
        """Of the result, given those of the inputs."""
        return 2


Vector = tuple[float, float, float]


@dataclass(frozen=True)
class TipPosition:
    """Where a chain of hinges ends, in the base frame [m], from its joint angles in the input.

    The product of exponentials (Lynch and Park, Modern Robotics, 2017, section 4.1): from the last
    hinge to the first, each turns what lies beyond it about its axis of the zero pose.
    """

    input: str
    axes: tuple[Vector, ...]  # unit vectors, in the zero pose
    anchors: tuple[Vector, ...]  # a point of each axis, in the zero pose [m]
    tip: Vector  # in the zero pose [m]

    def __call__(self, inputs: Mapping[str, Array], xp: Namespace) -> Array:
        """Shape (N, 3)."""
        angles = inputs[self.input]

        def constant(value: Any) -> Array:
            return xp.asarray(value, dtype=angles.dtype)

        point = constant(self.tip)
        for index in reversed(range(len(self.axes))):
            (x, y, z), anchor = self.axes[index], constant(self.anchors[index])
            angle = angles[..., index : index + 1]
            arm = point - anchor
            across = arm @ constant([[0, z, -y], [-z, 0, x], [y, -x, 0]])  # axis × arm
            twice = across @ constant([[0, z, -y], [-z, 0, x], [y, -x, 0]])
            # Rodrigues' formula: only what is across the axis turns.
            point = anchor + arm + xp.sin(angle) * across + (1 - xp.cos(angle)) * twice
        return point

    def width(self, widths: Mapping[str, int]) -> int:
        """Of the result, given those of the inputs."""
        return 3


Term = Deviation | ContactForce | Phase | TipPosition


def input_widths(robot: Robot, commands: int) -> dict[str, int]:
    """Every input that a robot's controller may have, and its width.

    joint_pos [rad], joint_vel [rad/s], gyro [rad/s] and gravity (unit vector, down) in the base
    frame, where the robot has an IMU; contact_force, the normal force [N], one column for each of
    its contact sensors, where it has some; command, one column for each of so many parts of the
    task's command; previous_action (raw), clock [s].
    """
    n, contacts = len(robot.joints), len(robot.contact_sensors)
    return {
        "joint_pos": n,
        "joint_vel": n,
        **({"gyro": 3, "gravity": 3} if robot.imu else {}),
        **({"contact_force": contacts} if contacts else {}),
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
    return sum(term.width(widths) for term in terms)


def stack_observations(observation: Array, previous: Array, begins: Array, xp: Namespace) -> Array:
    """The last H observations of each episode side by side, the newest first.

    An episode's first observation stands for those that would lie before it. The simulator and the
    graph of a policy call this one function.

    Args:
        observation: the one now. Shape (N, D).
        previous: the H − 1 before it, the newest first. Shape (N, (H − 1)·D).
        begins: True where the episode begins with this observation. bool, shape (N, 1).
        xp: the module `numpy` or the module `torch`.

    Returns:
        Shape (N, H·D).
    """
    repeated = xp.tile(observation, (1, previous.shape[-1] // observation.shape[-1]))
    return xp.concatenate((observation, xp.where(begins, repeated, previous)), -1)


def describe(terms: Sequence[Term]) -> list[dict[str, Any]]:
    """The terms as plain data, for a policy's metadata."""
    return [{"term": type(term).__name__, **asdict(term)} for term in terms]
