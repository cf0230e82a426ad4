"""The contract inside a policy file: everything that must agree before a robot moves.

One JSON string in the ONNX file's metadata, under the key `surefoot`, at full precision.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from ..hardware.outputs import why_not
from ..models.errors import PolicyError, first_line
from ..models.limits import Limits, Output
from ..models.robot import Robot
from ..models.task import CommandPart
from .checks import who
from .contract_table import BOUNDS, EQUAL, FORMAT, FRAMES, checked

KEY = "surefoot"
TOLERANCE = 1e-5  # between frameworks, and of the golden pairs, in parts of the largest action
MOST_TICKS = 1e6  # until the clock wraps: float32 could not tell more of them apart


def robot_facts(robot: Robot, output: Output = "joint_target") -> dict[str, Any]:
    """What a policy learns to move, as JSON holds it, by the names of `Contract`.

    The gains are those of whoever closes the loop: under joint torques, of the host.
    """
    limits = Limits.of(robot, output)
    columns = {key: getattr(robot, key) for key in (*EQUAL, *BOUNDS)}
    columns |= {"kp": limits.kp, "kd": limits.kd}
    return {
        "joints": list(robot.joint_names),
        "control_period": robot.control_period,
        **{key: column.tolist() for key, column in columns.items()},
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
    output: Output  # joint_target = default_pose + action_scale · action [rad],
    action_scale: float | list[float]  # or joint_torque = action_scale · action [N·m]
    commands: list[CommandPart]  # the columns of the input `command`
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
        except (ValueError, RecursionError) as error:  # of too many digits, of too deep a nest
            raise PolicyError(f"the policy's contract is not JSON: {first_line(error)}") from None
        table = checked(table, {f.name for f in fields(cls)})
        golden = [GoldenPair(**pair) for pair in table["golden"]]
        commands = [CommandPart(**part) for part in table["commands"]]
        return cls(**{**table, "golden": golden, "commands": commands})

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
        if why := why_not(robot, self.output):
            raise PolicyError(why)
        sensors = [sensor.name for sensor in robot.contact_sensors]
        for term in self.terms:
            if sensors and term["input"] == "contact_force" and term.get("sensors") != sensors:
                raise PolicyError(
                    f"contact sensors differ: the policy has {term.get('sensors')!r:.100}, "
                    f"robot.toml has {sensors}"
                )
        for key in EQUAL:
            self._require_column(key, robot, lambda here, there: here == there, "equal to")
        for key, wider in BOUNDS.items():
            self._require_column(
                key,
                robot,
                lambda here, there, wider=wider: wider * here <= wider * there,
                "at most" if wider > 0 else "at least",
            )

    def _require_column(
        self, key: str, robot: Robot, fits: Callable[[float, float], bool], allowed: str
    ) -> None:
        ours, theirs = robot_facts(robot, self.output)[key], getattr(self, key)
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
        for key in BOUNDS:
            ours, theirs = getattr(robot, key), np.array(getattr(self, key))
            if (tighter := ours != theirs).any():
                first = int(np.argmax(tighter))
                lines.append(
                    f"{key}, {who(robot.joint_names, tighter)}: tighter in robot.toml "
                    f"({ours[first]:g}) than in the policy's training ({theirs[first]:g})"
                )
        return lines


def _first_difference(ours: tuple[str, ...], theirs: list[str]) -> tuple[str, str]:
    for index in range(max(len(ours), len(theirs))):
        here = f"'{ours[index]}'" if index < len(ours) else "nothing"
        there = f"'{theirs[index]}'" if index < len(theirs) else "nothing"
        if here != there:
            return f"{here} at {index}", f"{there} at {index}"
    return "the same", "the same"
