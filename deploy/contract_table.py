"""What the table of a contract may hold: others than Surefoot write JSON, too.

What a value means is in `contract.py`. Here is which values are sound, and what a table of the
format before is in this one.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, get_args

import numpy as np

from ..models.errors import PolicyError
from ..models.limits import Output
from ..models.task import CommandPart

FORMAT = 2
OUTPUTS: tuple[Output, ...] = get_args(Output)
LARGEST = float(np.finfo(np.float32).max)  # number that a graph can be fed
LARGEST_TOLERANCE = 1e-3  # of the golden pairs: with more they would prove nothing
EQUAL = ("default_pose", "kp", "kd")
BOUNDS = {"lower": -1, "upper": 1, "torque_limit": 1, "rate_limit": 1}  # which side is wider
FRAMES = {
    "base": "x forward, y left, z up",
    "gyro": "angular velocity of the base, in the base frame [rad/s]",
    "gravity": "unit vector pointing down, in the base frame",
    "command": "velocities in the base's heading frame, places in the base frame",
    "joint": "angles and velocities as robot.toml and the MJCF define them [rad, rad/s]",
}
WALKING = "vx, vy [m/s] and yaw rate [rad/s] of the base, in its heading frame"  # in format 1


def checked(table: Any, keys: set[str]) -> dict[str, Any]:
    """A contract's table, of format 1 or this one, as a sound one of this format.

    Args:
        table: what the JSON holds.
        keys: that it must have, and no others.

    Raises:
        PolicyError: naming the key, what the policy has, and what is allowed.
    """
    if not isinstance(table, dict):
        raise PolicyError(f"the policy's contract is a {type(table).__name__}, not a table")
    found = table.get("format")
    if found == 1:
        table = _from_format_1(table)
    elif found != FORMAT:
        raise PolicyError(
            f"contract format: the policy has {found}, this version reads 1 and {FORMAT}"
        )
    if unknown := sorted(set(table) - keys):
        raise PolicyError(f"the policy's contract has unknown keys: {', '.join(unknown)}")
    if missing := sorted(keys - set(table)):
        raise PolicyError(f"the policy's contract lacks the keys: {', '.join(missing)}")
    for key, (sound, allowed) in _SOUND.items():
        if not sound(table[key]):
            raise PolicyError(f"{key}: the policy has {_found(table[key])}, allowed is {allowed}")
    scale, joints = table["action_scale"], len(table["joints"])
    if isinstance(scale, list) and len(scale) != joints:
        raise PolicyError(
            f"action_scale: the policy has {len(scale)} values, allowed is one, or one for each "
            f"of its {joints} joints"
        )
    for name in FRAMES | table["frames"]:
        found, known = table["frames"].get(name), FRAMES.get(name)
        if found != known:
            raise PolicyError(
                f"frames, {name}: the policy has {_found(found)}, allowed is {known!r}"
            )
    return table


def _from_format_1(table: dict[str, Any]) -> dict[str, Any]:
    """Format 1 knew walking by joint targets alone. Raises PolicyError where its range is none."""
    ranges: Any = table.get("command_range")
    frames = table.get("frames")
    if not (isinstance(ranges, list) and len(ranges) == 3 and all(map(_is_positive, ranges))):
        raise PolicyError(
            f"command_range: the policy has {_found(ranges)}, allowed is three finite numbers > 0"
        )
    if isinstance(frames, dict) and frames.get("command") == WALKING:
        frames = {**frames, "command": FRAMES["command"]}
    parts = zip(("vx", "vy", "yaw_rate"), ("m/s", "m/s", "rad/s"), ranges, strict=True)
    return {
        **{key: value for key, value in table.items() if key != "command_range"},
        "format": FORMAT,
        "output": "joint_target",
        "commands": [
            {"name": name, "unit": unit, "lower": -most, "upper": most}
            for name, unit, most in parts
        ],
        "frames": frames,
    }


def _found(value: Any) -> str:
    """A value in few words: of a list, what is not finite in it."""
    for index, number in enumerate(value if isinstance(value, list) else []):
        if isinstance(number, float) and not math.isfinite(number):
            return f"{number} at {index}"
    return f"{value!r:.60}"


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= sys.float_info.max  # JSON's integers may be larger


def _is_fed(value: Any) -> bool:
    """A vector of the graph's input: float32 makes infinity of what is larger."""
    return _is_vector(value) and all(abs(number) <= LARGEST for number in value)


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0


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


def _is_command_part(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {f.name for f in fields(CommandPart)}
        and isinstance(value["name"], str)
        and isinstance(value["unit"], str)
        and _is_fed([value["lower"], value["upper"]])
        and value["lower"] < value["upper"]
    )


_POSITIVE = (_is_positive, "a finite number > 0")
_VECTOR = (_is_vector, "a list of numbers, all finite")

# What a file may hold: others than Surefoot write JSON, too.
_SOUND: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "robot": (lambda value: isinstance(value, str), "a name"),
    "joints": (
        lambda value: isinstance(value, list) and all(isinstance(name, str) for name in value),
        "a list of names",
    ),
    **dict.fromkeys(("control_period", "clock_period"), _POSITIVE),
    **dict.fromkeys((*EQUAL, *BOUNDS), _VECTOR),
    "output": (lambda value: value in OUTPUTS, " or ".join(OUTPUTS)),
    "action_scale": (
        lambda value: all(map(_is_positive, value if isinstance(value, list) else [value])),
        "a finite number > 0, or one for each joint",
    ),
    "commands": (
        lambda value: isinstance(value, list) and all(map(_is_command_part, value)),
        "a list of parts with name, unit and lower < upper, both finite in float32",
    ),
    "terms": (_is_terms, "a list of terms, each with its input"),
    "initial_state": (
        lambda value: value is None or (_is_fed(value) and len(value) > 0),
        "null or a list of numbers, all finite in float32",
    ),
    "frames": (lambda value: isinstance(value, dict), f"a table of {', '.join(FRAMES)}"),
    "golden": (_is_golden, "a list of pairs of inputs and outputs"),
    "tolerance": (
        lambda value: _is_number(value) and 0 < value <= LARGEST_TOLERANCE,
        f"a number > 0 and <= {LARGEST_TOLERANCE:g}",
    ),
}
