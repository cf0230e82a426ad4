"""`surefoot deploy`: run a policy on a robot, real or emulated."""

from __future__ import annotations

import json as jsonlib
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.console import Console
from rich.text import Text

from ..deploy.clock import RealClock
from ..deploy.controller import Controller
from ..deploy.log.format import POLICY_FILE, ROBOT_FILE, Level
from ..deploy.log.summary import RunSummary
from ..deploy.log.writer import LogSummary, LogWriter
from ..deploy.loop import run as run_loop
from ..deploy.preflight import advice, listen, preflight
from ..deploy.realtime import realtime
from ..deploy.safety import SafetyMonitor
from ..deploy.schedule import Schedule
from ..deploy.stop import StopRequest
from ..deploy.verdict import Fault
from ..hardware.drivers import why_not_given
from ..hardware.interface import Sample
from ..hardware.serial_robot import SerialRobot, open_robot
from ..models.errors import PolicyError, UsageError
from ..models.robot import Robot
from ..models.robot_file import load_robot
from .commands import check_commands, schedule_of
from .ports import open_ports, parse_ports
from .run_display import Display
from .spawn import emulated_robot
from .tables import checks_table, run_table, torque_warning
from .terminal import confirmed, open_console


@dataclass(frozen=True)
class Arguments:
    """Check the robot, ask, stand it up, run the policy, lay it down; log every tick.

    Ctrl-C lays the robot down; a second one, or Ctrl-\\, damps its joints at once. A software stop
    is not a safety function: have a switch that cuts the power in your hand. After a kill, or with
    a cable pulled, torque stays on until the power is cut, or `surefoot release` switches it off.
    """

    policy: Annotated[Path, tyro.conf.Positional]
    """The policy, an .onnx file."""
    robot: str = "quadruped"
    """Robot: quadruped, go1, biped, arm, or the path of a robot.toml."""
    port: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Serial port of a bus, BUS=/dev/…, once for each bus; robot.toml's own if not given."""
    emulated: bool = False
    """Start an emulated robot and use its ports."""
    seconds: float = 20.0
    """How long the policy runs [s]; standing up and lying down come on top."""
    command: tuple[float, ...] = ()
    """A number for each part of the policy's command: to walk, vx [m/s], vy [m/s] and yaw_rate
    [rad/s]; to reach, x, y, z of the goal in the base frame [m]. Middle of its range by default."""
    schedule: Path | None = None
    """Commands over time: a CSV file with the column time [s] and one for each part of the command,
    such as time,vx,vy,yaw_rate [s, m/s, m/s, rad/s]."""
    log: Path | None = None
    """The log to write, an .mcap file; runs/deploy-<time>.mcap if not given."""
    truth: Path | None = None
    """With --emulated: where the emulator writes the true motion, as CSV."""
    seed: int = 0
    """With --emulated: of the emulator's sensor noise and of its parts."""
    dry_run: bool = False
    """Torque stays off: sensors and policy live, would-be commands shown and logged."""
    yes: bool = False
    """Answer the question before the first torque."""
    json: bool = False
    """End with one JSON object on the last line."""


def run(arguments: Arguments) -> int:
    """Exit status: 0 the run went to its end, or to where an operator stopped it; 1 it ended in a
    fault, was declined, or torque may still be on.
    """
    return deploy(arguments)[0]


def deploy(arguments: Arguments) -> tuple[int, RunSummary | None]:
    """The exit status, and how the run went; None where nothing was run."""
    console = open_console()
    plan = _plan(console, arguments)
    with _open(plan) as hardware:
        sample, refusals = _check(console, plan.robot, hardware)
        if not arguments.dry_run:
            if not refusals and not (arguments.yes or _confirmed(console, plan.robot)):
                refusals = ["the operator said no"]
            if refusals:
                return _declined(console, arguments, refusals), None
        summary, logged, refusals = _run_logged(console, plan, hardware, sample)
    if summary is None:
        for line in refusals:
            _print_refusal(console, line)
        return _declined(console, arguments, refusals), None
    console.print(run_table(summary, logged))
    if arguments.json:
        about = {name: value for name, value in asdict(summary).items() if name != "figures"}
        about["fault"] = summary.fault.name
        log_figures = {**asdict(logged), "path": str(logged.path)}
        print(jsonlib.dumps({**about, **asdict(summary.figures), "log": log_figures}))
    return (1 if summary.fault or summary.torque_left_on else 0), summary


@dataclass(frozen=True)
class _Plan:
    """What a run is made of, found good before any port is opened."""

    arguments: Arguments
    robot: Robot
    controller: Controller
    schedule: Schedule
    ports: dict[str, str]
    log: Path


def _plan(console: Console, arguments: Arguments) -> _Plan:
    robot = load_robot(arguments.robot)
    controller = Controller(arguments.policy, robot)
    if why := why_not_given(controller.input_names):
        raise PolicyError(f"{arguments.policy}: {why}")
    schedule = schedule_of(arguments.command, arguments.schedule, controller.contract.commands)
    ports = parse_ports(arguments.port, robot)
    for line in controller.contract.tightened(robot):
        console.print(line, style="yellow", soft_wrap=True)
    check_commands(console, controller.contract.commands, schedule)
    if not 0 < arguments.seconds < math.inf:
        raise UsageError(f"--seconds: found {arguments.seconds}, allowed is a number > 0")
    if arguments.truth and not arguments.emulated:
        raise UsageError("--truth: only an emulated robot knows it; add --emulated")
    if ports and arguments.emulated:
        raise UsageError("--port: an emulated robot brings its own ports; leave out --emulated")
    return _Plan(arguments, robot, controller, schedule, ports, _log_path(arguments))


@contextmanager
def _open(plan: _Plan) -> Iterator[SerialRobot]:
    """The robot behind its ports, or an emulated one behind ports of its own."""
    arguments, robot, output = plan.arguments, plan.robot, plan.controller.contract.output
    with ExitStack() as stack:
        if arguments.emulated:
            emulated = emulated_robot(arguments.robot, arguments.truth, arguments.seed, output)
            hardware = open_robot(robot, stack.enter_context(emulated), output=output)
        else:
            otherwise = ", or --emulated for a robot of its own"
            hardware = open_ports(robot, plan.ports, otherwise, output)
        stack.callback(hardware.close)
        yield hardware


def _run_logged(
    console: Console, plan: _Plan, hardware: SerialRobot, sample: Sample
) -> tuple[RunSummary | None, LogSummary, list[str]]:
    """The run, its log, and what forbade it after all; a warning where torque may be left on."""
    robot, dry_run = plan.robot, plan.arguments.dry_run
    log = LogWriter(
        plan.log,
        robot.joint_names,
        [f"{part.name} [{part.unit}]" for part in plan.controller.contract.commands],
        attachments={ROBOT_FILE: robot.toml.encode(), POLICY_FILE: plan.controller.model},
        metadata={
            "robot": {"name": robot.name},
            "run": {name: str(value) for name, value in asdict(plan.arguments).items()},
            "initial_configuration": _initial_configuration(robot, sample),
        },
        contact_names=[sensor.name for sensor in robot.contact_sensors],
    )
    summary = None
    try:
        # An operator may have taken his time, and so has the start of the log.
        refusals = [] if dry_run else _refusals(robot, hardware)[1]
        if refusals:
            log.event(Level.ERROR, f"START_REFUSED: {'; '.join(refusals)}")
        else:
            summary = _drive(console, plan, hardware, log)
    finally:
        try:
            if hardware.torque_left_on:
                console.print(torque_warning(hardware.torque_left_on), soft_wrap=True)
        finally:
            logged = log.close()
    return summary, logged, refusals


def _drive(console: Console, plan: _Plan, hardware: SerialRobot, log: LogWriter) -> RunSummary:
    """The run itself, under a bar with the time left, or a table of what a dry run would do."""
    robot, seconds, dry_run = plan.robot, plan.arguments.seconds, plan.arguments.dry_run
    total = seconds + (0 if dry_run else 2 * robot.safety.stand_time)
    output = plan.controller.contract.output
    monitor = SafetyMonitor(robot, hardware, dry_run, output)
    display = Display(console, robot, total, dry_run)
    with display, StopRequest().on_signals() as stop, realtime() as notes:
        for note in notes:
            display.say(note)
        return run_loop(
            robot,
            hardware,
            plan.controller,
            monitor,
            plan.schedule,
            duration=seconds,
            clock=RealClock(),
            stop=stop,
            log=log,
            on_tick=display.show,
        )


# --- before the first torque --------------------------------------------------------------------


def _log_path(arguments: Arguments) -> Path:
    """Where the log goes; what is wrong with it is said before anything moves."""
    if arguments.log is None:
        Path("runs").mkdir(exist_ok=True)
        return Path("runs") / f"deploy-{datetime.now():%Y%m%d-%H%M%S}.mcap"
    if arguments.log.exists():
        raise UsageError(f"--log: found a file {arguments.log}, allowed is a new name")
    if not arguments.log.parent.is_dir():
        raise UsageError(f"--log: there is no folder {arguments.log.parent}")
    return arguments.log


def _check(console: Console, robot: Robot, hardware: SerialRobot) -> tuple[Sample, list[str]]:
    """Look, and say what was found: the newest sample and what forbids a start."""
    sample, refusals = _refusals(robot, hardware)
    console.print(checks_table(robot, sample))
    for line in refusals:
        _print_refusal(console, line)
    if hint := advice(robot, sample):
        console.print(hint, soft_wrap=True)
    if not refusals:
        console.print(Text.assemble(("✓", "green"), " ready"))
    return sample, refusals


def _refusals(robot: Robot, hardware: SerialRobot) -> tuple[Sample, list[str]]:
    """The newest sample after a second of listening, and what forbids a start."""
    sample, seen = listen(robot, hardware, RealClock())
    return sample, preflight(robot, sample) + seen


def _print_refusal(console: Console, line: str) -> None:
    console.print(Text.assemble(("✗", "red"), f" {line}"), soft_wrap=True)


def _confirmed(console: Console, robot: Robot) -> bool:
    warning = f"{robot.name} will now stand up and move."
    return confirmed(
        console, warning, "Is everyone clear of it, and your hand on the power switch?"
    )


def _declined(console: Console, arguments: Arguments, why: list[str]) -> int:
    fault = Fault.START_REFUSED
    console.print(Text.assemble((fault.name, "red"), ": nothing moved."))
    if arguments.json:
        about = {"stopped": "", "torque_left_on": [], "run_time": 0.0}
        print(jsonlib.dumps({"fault": fault.name, "cause": "; ".join(why), **about}))
    return 1


def _initial_configuration(robot: Robot, sample: Sample) -> dict[str, str]:
    """How the robot lay before it moved, for people: [rad], unit vector, [V]."""
    return {
        "joint_pos": jsonlib.dumps(sample.joint_pos.tolist()),
        **({"gravity": jsonlib.dumps(sample.gravity.tolist())} if robot.imu else {}),
        "voltage": jsonlib.dumps(np.nan_to_num(sample.health.voltage).tolist()),
    }
