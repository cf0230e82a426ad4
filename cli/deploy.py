"""`surefoot deploy`: run a policy on a robot, real or emulated."""

from __future__ import annotations

import json as jsonlib
import math
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ..deploy.controller import Controller
from ..deploy.log import LogWriter
from ..deploy.log_format import POLICY_FILE, ROBOT_FILE
from ..deploy.loop import RealClock, StopRequest
from ..deploy.loop import run as run_loop
from ..deploy.realtime import realtime
from ..deploy.safety import SafetyMonitor
from ..deploy.schedule import Schedule, read_schedule
from ..deploy.summary import RunSummary
from ..deploy.verdict import Fault, State, Verdict
from ..hardware.interface import Sample
from ..hardware.serial_robot import SerialRobot, open_robot
from ..models.errors import UsageError
from ..models.robot import Robot
from ..models.robot_file import load_robot
from .spawn import emulated_robot
from .tables import checks_table, run_table

LISTENING = 1.0  # to the sensors before the checks, at the control rate [s]


@dataclass(frozen=True)
class Arguments:
    """Check the robot, ask, stand it up, run the policy, lie it down; log every tick.

    Ctrl-C lies the robot down; a second Ctrl-C lets it yield at once. A software stop is not a
    safety function: have a switch that cuts the power in your hand.
    """

    policy: Annotated[Path, tyro.conf.Positional]
    """The policy, an .onnx file."""
    robot: str = "quadruped"
    """Name of a robot that Surefoot ships, or the path of a robot.toml."""
    port: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Serial port of a bus, BUS=/dev/…, once for each bus; robot.toml's own if not given."""
    emulated: bool = False
    """Start an emulated robot and use its ports."""
    seconds: float = 20.0
    """How long the policy runs [s]; standing up and lying down come on top."""
    command: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Forward and left speed [m/s] and yaw rate [rad/s]."""
    schedule: Path | None = None
    """Commands over time: a CSV file with the columns time,vx,vy,yaw_rate [s, m/s, m/s, rad/s]."""
    log: Path | None = None
    """The log to write, an .mcap file; runs/deploy-<time>.mcap if not given."""
    truth: Path | None = None
    """With --emulated: where the emulator writes the true motion, as CSV."""
    seed: int = 0
    """With --emulated: of the emulator's sensor noise and of its parts."""
    dry_run: bool = False
    """Torque stays off: sensors and policy live, would-be commands logged."""
    yes: bool = False
    """Answer the question before the first torque."""
    json: bool = False
    """End with one JSON object on the last line."""


def run(arguments: Arguments) -> int:
    """Exit status: 0 the run went to its end, 1 it ended in a fault or was declined."""
    console = Console()
    robot = load_robot(arguments.robot)
    controller = Controller(arguments.policy, robot)
    schedule = _schedule(arguments)
    _warn_of_fast_commands(console, controller, schedule)
    if not 0 < arguments.seconds < math.inf:
        raise UsageError(f"--seconds: found {arguments.seconds}, allowed is a number > 0")
    if arguments.truth and not arguments.emulated:
        raise UsageError("--truth: only an emulated robot knows it; add --emulated")
    path = _log_path(arguments)

    with ExitStack() as stack:
        ports = _ports(arguments.port)
        if arguments.emulated:
            ports = stack.enter_context(
                emulated_robot(arguments.robot, arguments.truth, arguments.seed)
            )
        hardware = open_robot(robot, ports)
        stack.callback(hardware.close)
        monitor = SafetyMonitor(robot, hardware, dry_run=arguments.dry_run)
        sample = _listen(hardware, robot)
        refusals = _report_checks(console, robot, monitor, sample, hardware)
        if refusals and not arguments.dry_run:
            return _declined(console, arguments, Fault.START_REFUSED, refusals)
        if not arguments.dry_run and not (arguments.yes or _confirmed(console, robot)):
            return _declined(console, arguments, Fault.START_REFUSED, ["the operator said no"])
        log = LogWriter(
            path,
            robot.joint_names,
            attachments={
                ROBOT_FILE: robot.toml.encode(),
                POLICY_FILE: controller.model,
            },
            metadata={
                "robot": {"name": robot.name},
                "run": {k: str(v) for k, v in asdict(arguments).items()},
                "initial_configuration": _initial_configuration(sample),
            },
        )
        try:
            summary = _drive(
                console, arguments, robot, hardware, controller, monitor, schedule, log
            )
        finally:
            logged = log.close()
    console.print(run_table(summary, logged))
    if arguments.json:
        about = {"fault": summary.fault.name, "cause": summary.cause, "run_time": summary.run_time}
        log_figures = {**asdict(logged), "path": str(logged.path)}
        print(jsonlib.dumps({**about, **asdict(summary.figures), "log": log_figures}))
    return 1 if summary.fault else 0


def _drive(
    console: Console,
    arguments: Arguments,
    robot: Robot,
    hardware: SerialRobot,
    controller: Controller,
    monitor: SafetyMonitor,
    schedule: Schedule,
    log: LogWriter,
) -> RunSummary:
    """The run itself, under a bar with the time left."""
    total = arguments.seconds + (0 if arguments.dry_run else 2 * robot.safety.stand_time)
    columns = (TextColumn("{task.description:8}"), BarColumn(), TimeRemainingColumn())
    refresh = round(0.25 / robot.control_period)
    with Progress(*columns, console=console, auto_refresh=False) as progress:
        bar = progress.add_task("", total=total)

        def show(tick: int, _run_time: float, verdict: Verdict) -> None:
            if verdict.message:
                progress.console.print(f"  {verdict.message}", highlight=False)
            if tick % refresh == 0:
                name = "dry run" if arguments.dry_run else State(verdict.state).name.lower()
                done = min(tick * robot.control_period, total)
                progress.update(bar, description=name, completed=done, refresh=True)

        with StopRequest().on_signals() as stop, realtime() as notes:
            for note in notes:
                progress.console.print(f"  {note}", style="dim", highlight=False)
            return run_loop(
                robot,
                hardware,
                controller,
                monitor,
                schedule,
                duration=arguments.seconds,
                clock=RealClock(),
                stop=stop,
                log=log,
                on_tick=show,
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


def _schedule(arguments: Arguments) -> Schedule:
    if arguments.schedule is None:
        return Schedule.constant(arguments.command)
    return read_schedule(arguments.schedule)


def _warn_of_fast_commands(console: Console, controller: Controller, schedule: Schedule) -> None:
    trained = np.array(controller.contract.command_range)
    fastest = np.abs(schedule.commands).max(0)
    if (fastest > trained + 1e-9).any():
        console.print(
            f"[yellow]The policy was trained for commands up to {trained.tolist()}; "
            f"these go up to {fastest.tolist()}.[/yellow]",
            highlight=False,
        )


def _ports(words: tuple[str, ...]) -> dict[str, str]:
    ports = {}
    for word in words:
        bus, separator, port = word.partition("=")
        if not (bus and separator and port):
            raise UsageError(f"--port: found '{word}', allowed is BUS=/dev/…")
        ports[bus] = port
    return ports


def _listen(hardware: SerialRobot, robot: Robot) -> Sample:
    """A sample after a while: long enough for the slow read to have been to every motor."""
    clock = RealClock()
    start = clock.now()
    ticks = max(math.ceil(LISTENING / robot.control_period), 5 * len(robot.joints))
    for tick in range(ticks):
        clock.sleep_until(start + tick * robot.control_period)
        sample = hardware.read()
    return sample


def _report_checks(
    console: Console, robot: Robot, monitor: SafetyMonitor, sample: Sample, hardware: SerialRobot
) -> list[str]:
    refusals = monitor.preflight(sample)
    console.print(checks_table(robot, sample, hardware.found_torque_on))
    for line in refusals:
        console.print(f"[red]✗[/red] {line}", highlight=False)
    if not refusals:
        console.print("[green]✓[/green] ready")
    return refusals


def _confirmed(console: Console, robot: Robot) -> bool:
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to say yes: this is no terminal; --yes answers instead")
    console.print(
        f"[bold]{robot.name} will now stand up and move.[/bold] "
        "Is everyone clear of it, and your hand on the power switch?"
    )
    return console.input("Type [bold]yes[/bold] to go on: ").strip().lower() == "yes"


def _declined(console: Console, arguments: Arguments, fault: Fault, why: list[str]) -> int:
    console.print(f"[red]{fault.name}[/red]: nothing moved.")
    if arguments.json:
        print(jsonlib.dumps({"fault": fault.name, "cause": "; ".join(why)}))
    return 1


def _initial_configuration(sample: Sample) -> dict[str, str]:
    """How the robot lay before it moved, for people: [rad], unit vector, [V]."""
    return {
        "joint_pos": jsonlib.dumps(sample.joint_pos.tolist()),
        "gravity": jsonlib.dumps(sample.gravity.tolist()),
        "voltage": jsonlib.dumps(np.nan_to_num(sample.health.voltage).tolist()),
    }
