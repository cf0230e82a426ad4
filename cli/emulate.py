"""`surefoot emulate`: an emulated robot on pseudo-terminals, for want of a real one."""

from __future__ import annotations

import json as json_format
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ..hardware.emulated.process import Emulator, Pace
from ..hardware.emulated.robot import EmulatedRobot
from ..models.limits import Output
from ..models.robot import Robot
from ..models.robot_file import load_robot
from ..sim.plant import MujocoPlant
from .terminal import command, open_console, shown


@dataclass(frozen=True)
class Arguments:
    """Run a robot that speaks the real wire protocols, behind pseudo-terminals, until Ctrl-C.

    Its body and motors differ a little from the training model on purpose: friction, mass, delay,
    stiffness. It lies in its rest pose when it is switched on.
    """

    robot: Annotated[str, tyro.conf.Positional] = "quadruped"
    """Robot: quadruped, go1, biped, arm, or the path of a robot.toml."""
    truth: Path | None = None
    """Write the true motion here as CSV, a row every 20 ms; the host never sees it."""
    seed: int = 0
    """Random seed, of sensor noise and bias, and of each part's own friction and mass."""
    output: Output = "joint_target"
    """What its motors are set up for: joint_target is operating mode 5, joint_torque mode 0."""
    json: bool = False
    """First line on stdout: {"ports": {bus: device}}. Last line: how well it kept real time."""
    parent_pid: int | None = None
    """End a second after this process has ended, however it ended, and leave Ctrl-C to it."""


def run(arguments: Arguments) -> int:
    """Emulate until SIGINT, SIGTERM or the parent's end."""
    if arguments.parent_pid is not None and os.getpid() != os.getpgrp():
        os.setsid()  # a terminal's Ctrl-C is for the parent alone
    robot = load_robot(arguments.robot)
    plant = MujocoPlant(robot, arguments.seed)
    emulated = EmulatedRobot(robot, plant, arguments.seed, output=arguments.output)
    emulator = Emulator(emulated, arguments.truth, arguments.parent_pid)
    try:
        if arguments.json:
            print(json_format.dumps({"ports": emulator.ports}), flush=True)
        else:
            _greet(arguments, robot, emulator.ports)
        pace = emulator.run()
    finally:
        emulator.close()
    if arguments.json:
        print(json_format.dumps({"pace": asdict(pace)}), flush=True)
    else:
        _report(pace)
    return 0


def _greet(arguments: Arguments, robot: Robot, ports: dict[str, str]) -> None:
    console = open_console()
    console.print(f"{robot.name} is switched on and lies on its belly.", style="bold")
    for bus, device in ports.items():
        console.print(f"  {bus:10} {device}")
    options = " ".join(f"--port {bus}={device}" for bus, device in ports.items())
    policy = next(iter(sorted(robot.directory.glob("*.onnx"))), Path("POLICY.onnx"))
    console.print("In another terminal:")
    console.print(
        f"  {command()} deploy {shown(policy)} --robot {arguments.robot} {options}",
        soft_wrap=True,
    )
    console.print("Ctrl-C switches it off.")
    sys.stdout.flush()


def _report(pace: Pace) -> None:
    console = open_console()
    console.print(f"Switched off after {pace.time:.1f} s.")
    if pace.lost:
        console.print(f"It could not keep real time and lost {pace.lost:.2f} s.")
    if pace.late:
        console.print(f"Late {pace.late} times, by {pace.worst * 1e3:.0f} ms at worst.")
