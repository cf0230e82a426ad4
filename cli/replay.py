"""`surefoot replay`: a logged run, once more, through its policy and through the simulation."""

from __future__ import annotations

import json as jsonlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from rich import box
from rich.console import Console
from rich.table import Table

from ..deploy.log import read_log
from ..deploy.replay import PolicyReplay, SimReplay, logged_robot, replay_policy
from ..models.errors import UsageError
from ..models.robot import Robot
from ..models.robot_file import load_robot
from ..sim.video import FORMATS
from .progress import render, simulate

PLOTS = (".png", ".svg", ".pdf")


@dataclass(frozen=True)
class Arguments:
    """Replay a logged run and report what differs.

    policy: re-run the logged policy on the logged inputs; on the same ONNX Runtime build and
    processor every bit must agree. sim: give the logged commands to the simulated robot, and
    compare joint by joint.
    """

    file: Annotated[Path, tyro.conf.Positional]
    """The log, an .mcap file."""
    mode: Literal["policy", "sim", "both"] = "both"
    """What to replay through."""
    robot: str | None = None
    """Robot whose MJCF to use; by default the shipped robot of the log's name."""
    video: Path | None = None
    """Render the simulated run, as .mp4 or .gif."""
    plot: Path | None = None
    """Plot every joint, logged and simulated, as .png or .svg."""
    seed: int = 0
    """Of the simulation's sensor noise."""
    json: bool = False
    """End with one JSON object on the last line."""


def run(arguments: Arguments) -> int:
    """Exit status 1 where the policy does not give what was logged."""
    console = Console()
    if arguments.mode == "policy" and (arguments.video or arguments.plot):
        raise UsageError("--video and --plot show the simulation: allowed modes are sim and both")
    _require_possible(arguments.video, "--video", FORMATS)
    _require_possible(arguments.plot, "--plot", PLOTS)
    log = read_log(arguments.file)
    if not log.complete:
        console.print(f"[yellow]{log.path} was cut off; replaying what is there.[/yellow]")
    name = log.metadata.get("robot", {}).get("name", "")
    robot = logged_robot(log, load_robot(arguments.robot or name).directory)
    result: dict[str, Any] = {}
    agrees = True
    if arguments.mode != "sim":
        policy = replay_policy(log, robot)
        agrees = policy.agrees
        result["policy"] = report_policy(console, policy)
    if arguments.mode != "policy":
        sim = simulate(console, log, robot, arguments.seed)
        result["sim"] = report_sim(console, robot, sim)
        _pictures(console, arguments, robot, sim)
    if arguments.json:
        print(jsonlib.dumps(result))
    return 0 if agrees else 1


def report_policy(console: Console, replay: PolicyReplay) -> dict[str, Any]:
    """Print how the policy's replay went; the same as plain data."""
    verdict = "[green]agrees[/green]" if replay.agrees else "[red]differs[/red]"
    how = (
        "bit by bit: same ONNX Runtime and processor"
        if replay.same_machine
        else f"within {replay.tolerance:g}: another ONNX Runtime or processor"
    )
    console.print(
        f"Policy {verdict} ({how}): {replay.identical} of {replay.ticks} ticks identical, "
        f"largest difference {replay.largest_difference:.3g}",
        highlight=False,
    )
    return {
        "agrees": replay.agrees,
        "ticks": replay.ticks,
        "identical": replay.identical,
        "largest_difference": replay.largest_difference,
        "compared": "bits" if replay.same_machine else "tolerance",
        "tolerance": replay.tolerance,
    }


def report_sim(console: Console, robot: Robot, replay: SimReplay) -> dict[str, Any]:
    """Print how far simulation and log part, joint by joint; the same as plain data."""
    if not replay.moving.any():
        console.print("Simulation: the log holds no tick under torque, there is nothing to compare")
        return {"rms": None, "joints": {}}
    table = Table(
        title="Simulation minus log, under torque", box=box.SIMPLE_HEAD, title_justify="left"
    )
    table.add_column("joint")
    table.add_column("RMS [rad]", justify="right")
    table.add_column("largest [rad]", justify="right")
    joints = {}
    for name, rms, largest in zip(robot.joint_names, replay.rms, replay.largest, strict=True):
        table.add_row(name, f"{rms:.3f}", f"{largest:.3f}")
        joints[name] = {"rms": float(rms), "largest": float(largest)}
    whole = math.sqrt(float(np.square(replay.rms).mean()))
    table.add_row("[bold]all[/bold]", f"[bold]{whole:.3f}[/bold]", f"{replay.largest.max():.3f}")
    console.print(table)
    return {"rms": whole, "joints": joints}


def _require_possible(path: Path | None, flag: str, endings: tuple[str, ...]) -> None:
    """Raise UsageError, before anything is simulated, where no picture can be written."""
    if path and path.suffix not in endings:
        raise UsageError(f"{flag}: found {path.name}, allowed are {', '.join(endings)}")
    if path and not path.parent.is_dir():
        raise UsageError(f"{flag}: there is no folder {path.parent}")


def _pictures(console: Console, arguments: Arguments, robot: Robot, sim: SimReplay) -> None:
    if arguments.plot:
        from .plots import plot_joints

        plot_joints(robot, sim, arguments.plot)
        console.print(f"Plot: {arguments.plot}", soft_wrap=True)
    if arguments.video:
        render(console, robot, sim.time, sim.qpos, arguments.video)
        console.print(f"Video: {arguments.video}", soft_wrap=True)
