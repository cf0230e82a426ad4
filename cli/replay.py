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
from rich.text import Text

from ..deploy.log.reader import RunLog, read_log
from ..deploy.workstation.replay import PolicyReplay, SimReplay, logged_robot, replay_policy
from ..models.errors import UsageError
from ..models.robot import Robot
from ..models.robot_file import load_robot
from ..sim.video import FORMATS
from .progress import render, simulate
from .terminal import open_console, require_file

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
    """Robot whose MJCF to use: quadruped, go1, biped, arm, or a path; by default the shipped
    robot of the log's name."""
    video: Path | None = None
    """Render the simulated run, as .mp4 or .gif."""
    plot: Path | None = None
    """Plot every joint, logged and simulated, as .png, .svg or .pdf; a dry run's, as logged."""
    seed: int = 0
    """Random seed, of the simulation's sensor noise."""
    json: bool = False
    """End with one JSON object on the last line."""


def run(arguments: Arguments) -> int:
    """Exit status 1 where the policy does not give what was logged."""
    console = open_console()
    if arguments.mode == "policy" and (arguments.video or arguments.plot):
        raise UsageError("--video and --plot show the simulation: allowed modes are sim and both")
    if arguments.video:
        require_file(arguments.video, "--video", FORMATS)
    if arguments.plot:
        require_file(arguments.plot, "--plot", PLOTS)
    log = read_log(arguments.file)
    if not log.complete:
        words = f"{log.path} was cut off; replaying what is there."
        console.print(words, style="yellow", soft_wrap=True)
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
        _pictures(console, arguments, robot, sim, log)
    if arguments.json:
        print(jsonlib.dumps(result))
    return 0 if agrees else 1


def report_policy(console: Console, replay: PolicyReplay) -> dict[str, Any]:
    """Print how the policy's replay went; the same as plain data."""
    verdict = ("agrees", "green") if replay.agrees else ("differs", "red")
    how = (
        "bit by bit: same ONNX Runtime and processor"
        if replay.same_machine
        else f"within {replay.tolerance:g}: another ONNX Runtime or processor"
    )
    figures = (
        f" ({how}): {replay.identical} of {replay.ticks} ticks identical, "
        f"largest difference {replay.largest_difference:.3g}"
    )
    console.print(Text.assemble("Policy ", verdict, figures))
    if replay.not_compared:
        console.print(
            f"{replay.not_compared} ticks not compared: records are missing before them, so what "
            "the policy remembered is not known.",
            style="yellow",
            soft_wrap=True,
        )
    return {
        "agrees": replay.agrees,
        "ticks": replay.ticks,
        "not_compared": replay.not_compared,
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
    table.add_row("all", f"{whole:.3f}", f"{replay.largest.max():.3f}", style="bold")
    console.print(table)
    return {"rms": whole, "joints": joints}


def _pictures(
    console: Console, arguments: Arguments, robot: Robot, sim: SimReplay, log: RunLog
) -> None:
    if arguments.plot:
        from .plots import plot_joints

        plot_joints(robot, sim, arguments.plot)
        console.print(f"Plot: {arguments.plot}", soft_wrap=True)
    if arguments.video and not sim.moving.any():
        console.print("No video: nothing was under torque, so the simulated robot only lies there.")
    elif arguments.video:
        render(console, robot, log, log.ticks["start"], sim.qpos, arguments.video)
        console.print(f"Video: {arguments.video}", soft_wrap=True)
