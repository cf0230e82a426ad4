"""`surefoot release`: switch off the torque of a robot that was left under it."""

from __future__ import annotations

import json as jsonlib
from dataclasses import dataclass
from typing import Annotated

import tyro
from rich.console import Console
from rich.text import Text

from ..deploy.checks import SLOW_STALE
from ..hardware.interface import Command, Mode, RobotInterface, Sample
from ..models.errors import DeviceError
from ..models.robot import Robot
from ..models.robot_file import load_robot
from .ports import open_ports, parse_ports
from .tables import torque_warning
from .terminal import confirmed, open_console


@dataclass(frozen=True)
class Arguments:
    """Say which joints are under torque, ask, and switch their torque off.

    For after a program that was killed, or a cable that was pulled: the motors keep their torque
    then, and no run starts on them. The robot goes limp at once: support it first.
    """

    robot: str = "quadruped"
    """Name of a robot that Surefoot ships, or the path of a robot.toml."""
    port: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Serial port of a bus, BUS=/dev/…, once for each bus; robot.toml's own if not given."""
    yes: bool = False
    """Answer the question before torque goes off."""
    json: bool = False
    """End with one JSON object on the last line."""


def run(arguments: Arguments) -> int:
    """Exit status: 0 no joint is under torque now, 1 some may be, or the operator said no."""
    console = open_console()
    robot = load_robot(arguments.robot)
    hardware = open_ports(robot, parse_ports(arguments.port, robot))
    try:
        hardware.refresh()
        on, left = release(console, robot, hardware, arguments.yes)
    finally:
        hardware.close()
    if arguments.json:
        print(jsonlib.dumps({"found_torque_on": on, "torque_left_on": left}))
    return 1 if left else 0


def release(
    console: Console, robot: Robot, hardware: RobotInterface, yes: bool
) -> tuple[list[str], list[str]]:
    """The joints that were under torque, and those that may still be."""
    sample = hardware.read()
    on = _under_torque(robot, sample)
    if not on:
        console.print("No joint is under torque.")
        return on, on
    console.print(Text.assemble(("Under torque", "yellow"), f": {', '.join(on)}"), soft_wrap=True)
    if not (yes or _confirmed(console, robot)):
        console.print("Left as it is.")
        return on, on
    try:
        hardware.write(Command(Mode.OFF))
        hardware.refresh()
        left = _under_torque(robot, hardware.read())
    except DeviceError as error:
        console.print(str(error), soft_wrap=True)
        left = []
    left = [name for name in robot.joint_names if name in {*left, *hardware.torque_left_on}]
    if left:
        console.print(torque_warning(left), soft_wrap=True)
    else:
        console.print(Text.assemble(("✓", "green"), " torque is off, as every motor says"))
    return on, left


def _under_torque(robot: Robot, sample: Sample) -> list[str]:
    """Joints whose motor says so, or says nothing."""
    on = sample.health.torque_on | ~(sample.health.age <= SLOW_STALE)
    return [name for name, is_on in zip(robot.joint_names, on, strict=True) if is_on]


def _confirmed(console: Console, robot: Robot) -> bool:
    warning = f"{robot.name} will go limp at once."
    return confirmed(console, warning, "Is it supported, and everyone clear of it?")
