"""The contract inside a policy file: everything that must agree before a robot moves.

One JSON string in the ONNX file's metadata, under the key `surefoot`, at full precision.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from ..models.errors import PolicyError
from ..models.robot import Robot
from .checks import who

FORMAT = 1
KEY = "surefoot"
TOLERANCE = 1e-5  # between frameworks, and of the golden pairs
LARGEST_TOLERANCE = 1e-3  # of the golden pairs: with more they would prove nothing
MOST_TICKS = 1e6  # until the clock wraps: float32 could not tell more of them apart
_EQUAL = ("default_pose", "kp", "kd")
_BOUNDS = {"lower": -1, "upper": 1, "torque_limit": 1, "rate_limit": 1}  # which side is wider
FRAMES = {
    "base": "x forward, y left, z up",
    "gyro": "angular velocity of the base, in the base frame [rad/s]",
    "gravity": "unit vector pointing down, in the base frame",
    "command": "vx, vy [m/s] and yaw rate [rad/s] of the base, in its heading frame",
    "joint": "angles and velocities as robot.toml and the MJCF define them [rad, rad/s]",
}


def robot_facts(robot: Robot) -> dict[str, Any]:
    """What a policy learns to move, as JSON holds it, by the names of `Contract`."""
    return {
        "joints": list(robot.joint_names),
        "control_period": robot.control_period,
        **{key: getattr(robot, key).tolist() for key in (*_EQUAL, *_BOUNDS)},
    }


@dataclass(frozen=True)
class GoldenPair:
    """Inputs and outputs of one call, by name, each of shape (width,)."""

    inputs: Mapping[str, list[float]]
    outputs: Mapping[str, list[float]]


@dataclass(frozen=True)
class Contract:
    """What a policy was made for. Lists follow the order of `joints`."""

    robot: str
    joints: list[str]
    control_period: float  # [s]
    clock_period: float  # at which the input `clock` wraps [s]
    default_pose: list[float]  # [rad]
    lower: list[float]  # [rad]
    upper: list[float]  # [rad]
    torque_limit: list[float]  # [N·m]
    rate_limit: list[float]  # [rad/s]
    kp: list[float]  # [N·m/rad]
    kd: list[float]  # [N·m·s/rad]
    action_scale: float  # joint_target = default_pose + action_scale · action [rad]
    command_range: list[float]  # ± vx [m/s], vy [m/s], yaw rate [rad/s] it was trained for
    terms: list[dict[str, Any]]  # of the observation, in order
    initial_state: list[float] | None = None  # of the input `state`, where there is one
    frames: Mapping[str, str] = field(default_factory=lambda: dict(FRAMES))
    training: Mapping[str, Any] = field(default_factory=dict)  # config, seed, steps, commit
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    golden: list[GoldenPair] = field(default_factory=list)
    tolerance: float = TOLERANCE
    format: int = FORMAT

    def to_json(self) -> str:
        """One line; floats keep every bit. Raises ValueError where a number isn't finite."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Contract:
        """Raises PolicyError where the text is no contract of this format."""
        try:
            table = json.loads(text)
        except json.JSONDecodeError as error:
            raise PolicyError(f"the policy's contract is not JSON: {error}") from None
        if not isinstance(table, dict):
            raise PolicyError(f"the policy's contract is a {type(table).__name__}, not a table")
        found = table.get("format")
        if found != FORMAT:
            raise PolicyError(
                f"contract format: the policy has {found}, this version reads {FORMAT}"
            )
        names = {f.name for f in fields(cls)}
        if unknown := sorted(set(table) - names):
            raise PolicyError(f"the policy's contract has unknown keys: {', '.join(unknown)}")
        if missing := sorted(names - set(table)):
            raise PolicyError(f"the policy's contract lacks the keys: {', '.join(missing)}")
        for key, (sound, allowed) in _SOUND.items():
            if not sound(table[key]):
                raise PolicyError(
                    f"{key}: the policy has {_found(table[key])}, allowed is {allowed}"
                )
        for name in FRAMES | table["frames"]:
            found, known = table["frames"].get(name), FRAMES.get(name)
            if found != known:
                raise PolicyError(
                    f"frames, {name}: the policy has {_found(found)}, allowed is {known!r}"
                )
        return cls(**{**table, "golden": [GoldenPair(**pair) for pair in table["golden"]]})

    def require_robot(self, robot: Robot) -> None:
        """Raise PolicyError, naming both sides, where the policy was made for another robot.

        Limits may be tighter in robot.toml than they were in training, and no wider.
        """
        if self.robot != robot.name:
            raise PolicyError(f"the policy is for robot '{self.robot}', this is '{robot.name}'")
        if list(self.joints) != list(robot.joint_names):
            here, there = _first_difference(robot.joint_names, self.joints)
            raise PolicyError(f"joint order differs: the policy has {there}, robot.toml has {here}")
        if self.control_period != robot.control_period:
            raise PolicyError(
                f"control period differs: the policy has {self.control_period} s, "
                f"robot.toml has {robot.control_period} s"
            )
        ticks = self.clock_period / robot.control_period
        if not (0.5 < ticks < MOST_TICKS and abs(ticks - round(ticks)) <= 1e-6):
            raise PolicyError(
                f"clock_period: the policy has {self.clock_period} s, allowed is a whole "
                f"multiple of robot.toml's control period, {robot.control_period} s"
            )
        for key in _EQUAL:
            self._require_column(key, robot, lambda here, there: here == there, "equal to")
        for key, wider in _BOUNDS.items():
            self._require_column(
                key,
                robot,
                lambda here, there, wider=wider: wider * here <= wider * there,
                "at most" if wider > 0 else "at least",
            )

    def _require_column(
        self, key: str, robot: Robot, fits: Callable[[float, float], bool], allowed: str
    ) -> None:
        ours, theirs = getattr(robot, key).tolist(), getattr(self, key)
        if len(theirs) != len(ours):
            raise PolicyError(
                f"{key}: the policy has {len(theirs)} values, robot.toml has {len(ours)}"
            )
        for joint, here, there in zip(robot.joint_names, ours, theirs, strict=True):
            if not fits(here, there):
                raise PolicyError(
                    f"{key} of {joint} differs: robot.toml has {here}, allowed is {allowed} the "
                    f"policy's {there}"
                )

    def tightened(self, robot: Robot) -> list[str]:
        """Limits of a robot that fits that are tighter than in training: one line for each kind."""
        lines = []
        for key in _BOUNDS:
            ours, theirs = getattr(robot, key), np.array(getattr(self, key))
            if (tighter := ours != theirs).any():
                first = int(np.argmax(tighter))
                lines.append(
                    f"{key}, {who(robot.joint_names, tighter)}: tighter in robot.toml "
                    f"({ours[first]:g}) than in the policy's training ({theirs[first]:g})"
                )
        return lines


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= sys.float_info.max  # JSON's integers may be larger


def _is_vector(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_number, value))


def _is_vectors(value: Any) -> bool:
    """Whether a float is finite, the controller asks, who can name the pair."""
    return isinstance(value, dict) and all(
        isinstance(vector, list) and all(isinstance(x, float) or _is_number(x) for x in vector)
        for vector in value.values()
    )


def _is_golden(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(pair, dict)
        and pair.keys() == {"inputs", "outputs"}
        and all(map(_is_vectors, pair.values()))
        for pair in value
    )


def _is_terms(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(term, dict) and isinstance(term.get("input"), str) for term in value
    )


_POSITIVE = (lambda value: _is_number(value) and value > 0, "a finite number > 0")
_VECTOR = (_is_vector, "a list of numbers, all finite")

# What a file may hold: others than Surefoot write JSON, too.
_SOUND: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "robot": (lambda value: isinstance(value, str), "a name"),
    "joints": (
        lambda value: isinstance(value, list) and all(isinstance(name, str) for name in value),
        "a list of names",
    ),
    **dict.fromkeys(("control_period", "clock_period", "action_scale"), _POSITIVE),
    **dict.fromkeys((*_EQUAL, *_BOUNDS), _VECTOR),
    "command_range": (
        lambda value: _is_vector(value) and len(value) == 3 and min(value) > 0,
        "three finite numbers > 0",
    ),
    "terms": (_is_terms, "a list of terms, each with its input"),
    "initial_state": (
        lambda value: value is None or (_is_vector(value) and len(value) > 0),
        "null or a list of numbers, all finite",
    ),
    "frames": (lambda value: isinstance(value, dict), f"a table of {', '.join(FRAMES)}"),
    "golden": (_is_golden, "a list of pairs of inputs and outputs"),
    "tolerance": (
        lambda value: _is_number(value) and 0 < value <= LARGEST_TOLERANCE,
        f"a number > 0 and <= {LARGEST_TOLERANCE:g}",
    ),
}


def _found(value: Any) -> str:
    """A value in few words: of a list, what is not finite in it."""
    for index, number in enumerate(value if isinstance(value, list) else []):
        if isinstance(number, float) and not math.isfinite(number):
            return f"{number} at {index}"
    return f"{value!r:.60}"


def _first_difference(ours: tuple[str, ...], theirs: list[str]) -> tuple[str, str]:
    for index in range(max(len(ours), len(theirs))):
        here = f"'{ours[index]}'" if index < len(ours) else "nothing"
        there = f"'{theirs[index]}'" if index < len(theirs) else "nothing"
        if here != there:
            return f"{here} at {index}", f"{there} at {index}"
    return "the same", "the same"
