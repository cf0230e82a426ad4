"""`surefoot release`: switch off the torque of a robot that was left under it."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import tyro
from rich.console import Console
from rich.text import Text

from ..hardware.release import Found, Torque, find_torque, torque_off
from ..models.errors import DeviceError
from ..models.robot import Robot
from ..models.robot_file import load_robot
from .ports import give_ports, parse_ports
from .tables import torque_warning
from .terminal import confirmed, open_console


@dataclass(frozen=True)
class Arguments:
    """Say which joints are under torque, ask, and switch their torque off.

    For after a program that was killed, or a cable that was pulled: the motors keep their torque
    then, and no run starts on them. The robot goes limp at once: support it first. A silent motor
    or IMU, or a port that does not open, keeps it from no other motor.
    """

    robot: str = "quadruped"
    """Robot: quadruped, go1, biped, arm, or the path of a robot.toml."""
    port: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Serial port of a bus, BUS=/dev/…, once for each bus; robot.toml's own if not given."""
    yes: bool = False
    """Answer the question before torque goes off."""
    json: bool = False
    """End with one JSON object on the last line."""


def run(arguments: Arguments) -> int:
    """Exit status: 0 every motor says that it is off, 1 some do not, or the operator said no."""
    console = open_console()
    robot = load_robot(arguments.robot)
    before, after = release(console, robot, parse_ports(arguments.port, robot), arguments.yes)
    left = after.joints(Torque.ON, Torque.SILENT)
    if arguments.json:
        result = {
            "found_torque_on": before.joints(Torque.ON),
            "torque_left_on": left,
            "silent": after.joints(Torque.SILENT),
        }
        print(jsonlib.dumps(result))
    return 1 if left else 0


def release(
    console: Console, robot: Robot, ports: Mapping[str, str], yes: bool
) -> tuple[Found, Found]:
    """What the motors said of their torque before, and what they say now.

    Raises:
        DeviceError: no port of a motor bus opens.
        UsageError: nobody is there to answer the question.
    """
    before = find_torque(robot, ports)
    errors = [
        error + give_ports(robot, [bus] if bus not in ports else [])
        for bus, error in before.errors.items()
    ]
    if all(joint.motor.bus in before.errors for joint in robot.joints):
        raise DeviceError("; ".join(errors))
    for error in errors:
        console.print(error, soft_wrap=True)
    if not before.joints(Torque.ON, Torque.SILENT):
        console.print("No joint is under torque.")
        return before, before
    _tell(console, "Under torque", before.joints(Torque.ON))
    _tell(console, "No answer", before.joints(Torque.SILENT))
    if not (yes or _confirmed(console, robot)):
        console.print("Left as it is.")
        return before, before
    after = torque_off(robot, ports)
    for bus, error in after.errors.items():
        if error != before.errors.get(bus):
            console.print(error, soft_wrap=True)
    left = after.joints(Torque.ON, Torque.SILENT)
    if not left:
        console.print(Text.assemble(("✓", "green"), " torque is off, as every motor says"))
        return before, after
    _tell(console, "Off", after.joints(Torque.OFF), "green")
    _tell(console, "Still on", after.joints(Torque.ON))
    _tell(console, "No answer", after.joints(Torque.SILENT))
    console.print(torque_warning(left), soft_wrap=True)
    return before, after


def _tell(console: Console, what: str, joints: list[str], style: str = "yellow") -> None:
    if joints:
        console.print(Text.assemble((what, style), f": {', '.join(joints)}"), soft_wrap=True)


def _confirmed(console: Console, robot: Robot) -> bool:
    warning = f"{robot.name} will go limp at once."
    return confirmed(console, warning, "Is it supported, and everyone clear of it?")
