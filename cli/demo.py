"""`surefoot demo`: the whole chain on an emulated robot."""

from __future__ import annotations

import json as jsonlib
import math
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from ..deploy.judge import AXES, Walk, judge
from ..deploy.log import read_log
from ..deploy.replay import logged_robot, replay_policy
from ..deploy.summary import summarise
from ..hardware.truth import Truth, read_truth
from ..models.errors import RenderError, UsageError
from ..models.robot import Robot
from ..models.robot_file import MODELS, load_robot
from . import deploy
from .plots import plot_joints, plot_walk
from .progress import render, simulate
from .replay import report_policy, report_sim

SCHEDULE = """\
time,vx,vy,yaw_rate
0,0,0,0
1,0.45,0,0
9,0,0.25,0
13,0.2,0,0.8
19,0,0,0
"""  # stand, forward, sideways, turn, stop [s, m/s, m/s, rad/s]
DURATION = 20.0  # [s]
ENOUGH = 3.0  # of path [m]


@dataclass(frozen=True)
class Arguments:
    """Walk an emulated robot over serial by a schedule, then replay and judge the run.

    Starts the emulator as its own process, checks the robot, stands it up, walks it, lies it down;
    replays the log; prints figures from the emulator's truth; draws a plot and a video.
    """

    out: Path = Path("demo")
    """Folder for log, truth, plots and video; what an earlier demo left there is replaced."""
    policy: Path = MODELS / "quadruped" / "walk.onnx"
    """The policy, an .onnx file."""
    robot: str = "quadruped"
    """Name of a robot that Surefoot ships, or the path of a robot.toml."""
    seconds: float = DURATION
    """How long the policy runs [s]; a shorter demo walks a shorter path."""
    seed: int = 0
    """Of the emulator's sensor noise and of its parts."""
    video: bool = True
    """Render the walk."""
    json: bool = False
    """End with one JSON object on the last line."""


def run(arguments: Arguments) -> int:
    """Exit status 0 only if the robot walked, far enough and without a fall."""
    console = Console()
    if not 4.0 <= arguments.seconds <= 60.0:
        raise UsageError(f"--seconds: found {arguments.seconds}, allowed is 4 to 60")
    folder = _fresh(arguments.out)
    schedule = folder / "schedule.csv"
    schedule.write_text(SCHEDULE)

    console.rule("[bold]Deploy: over serial, to an emulated robot")
    status = deploy.run(
        deploy.Arguments(
            policy=arguments.policy,
            robot=arguments.robot,
            emulated=True,
            seconds=arguments.seconds,
            schedule=schedule,
            log=folder / "walk.mcap",
            truth=folder / "truth.csv",
            seed=arguments.seed,
            yes=True,
        )
    )
    if not (folder / "walk.mcap").is_file():
        return status

    console.rule("[bold]Replay")
    log = read_log(folder / "walk.mcap")
    truth = read_truth(folder / "truth.csv")
    robot = logged_robot(log, load_robot(arguments.robot).directory)
    policy = replay_policy(log, robot)
    report_policy(console, policy)
    sim = simulate(console, log, robot)
    report_sim(console, robot, sim)

    console.rule("[bold]The walk, by the emulator's truth")
    walk = judge(log.ticks, truth)
    console.print(_table(walk))
    plot_walk(robot, log, truth, folder / "walk.png")
    plot_joints(robot, sim, folder / "joints.png")
    if arguments.video:
        whole = truth.between(log.ticks["start"][0], log.ticks["start"][-1])
        _film(console, robot, whole, folder / "walk.mp4")
    made = ", ".join(sorted(path.name for path in folder.iterdir()))
    console.print(f"In {folder}/: {made}", soft_wrap=True)

    enough = ENOUGH * min(1.0, arguments.seconds / DURATION)
    walked = status == 0 and walk.path >= enough and not walk.fell and policy.agrees
    verdict = "[green]It walked.[/green]" if walked else "[red]It did not walk as it should.[/red]"
    console.print(
        f"{verdict} {walk.path:.2f} m of path, allowed is {enough:.1f} m or more, no fall"
    )
    if arguments.json:
        figures = asdict(summarise(log.ticks, log.joint_names))
        print(jsonlib.dumps({"walked": walked, **asdict(walk), **figures, "dropped": log.dropped}))
    return 0 if walked else 1


def _film(console: Console, robot: Robot, truth: Truth, path: Path) -> None:
    try:
        render(console, robot, truth.time, truth.qpos, path)
    except RenderError as error:  # the walk is no worse for it
        console.print(f"[yellow]No video: {error}[/yellow]", highlight=False)


def _table(walk: Walk) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_header=False)
    table.add_row("path walked", f"{walk.path:.2f} m")
    if walk.rmse and walk.mean_error:
        for axis, unit in zip(AXES, ("m/s", "m/s", "rad/s"), strict=True):
            rmse, mean = walk.rmse[axis], walk.mean_error[axis]
            table.add_row(f"{axis} error", f"RMS {rmse:.3f}, mean {mean:+.3f} {unit}")
    if walk.largest_tilt is not None:
        table.add_row("largest tilt", f"{math.degrees(walk.largest_tilt):.1f}°")
        table.add_row("torque, RMS", f"{walk.torque_rms:.2f} N·m")
    return table


def _fresh(folder: Path) -> Path:
    """The folder, without what an earlier demo left in it; never anything else's files."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out: found a file {folder}, allowed is a folder")
    if folder.exists() and not (folder / "schedule.csv").is_file() and any(folder.iterdir()):
        raise UsageError(f"--out: {folder} holds something else than a demo, give a new folder")
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder
