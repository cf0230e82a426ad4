"""`surefoot demo`: the whole chain on an emulated robot."""

from __future__ import annotations

import fcntl
import json as jsonlib
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..deploy.controller import Controller
from ..deploy.log.reader import RunLog, read_log
from ..deploy.log.summary import summarise
from ..deploy.workstation.judge import AXES, Walk, judge
from ..deploy.workstation.replay import logged_robot, replay_policy
from ..hardware.truth import Truth, read_truth
from ..models.errors import RenderError, UsageError
from ..models.robot import Robot
from ..models.robot_file import MODELS, load_robot
from . import deploy
from .plots import plot_joints, plot_walk
from .progress import render, simulate
from .replay import report_policy, report_sim
from .terminal import open_console, require_folder

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
SCHEDULE_FILE, LOG_FILE, TRUTH_FILE = "schedule.csv", "walk.mcap", "truth.csv"
WALK_PLOT, JOINTS_PLOT, VIDEO, GIF = "walk.png", "joints.png", "walk.mp4", "walk.gif"
MADE = (SCHEDULE_FILE, LOG_FILE, TRUTH_FILE, WALK_PLOT, JOINTS_PLOT, VIDEO, GIF)


@dataclass(frozen=True)
class Arguments:
    """Walk an emulated robot over serial by a schedule, then replay and judge the run.

    Starts the emulator as its own process, checks the robot, stands it up, walks it, lays it down;
    replays the log; prints figures from the emulator's truth; draws plots and a video.
    It takes about a minute, most of it in real time, and the rest for the video.
    """

    out: Path = Path("demo")
    """Folder for log, truth, plots and video. What an earlier demo left there is replaced; a
    folder that holds anything else is refused."""
    policy: Path = MODELS / "quadruped" / "walk.onnx"
    """The policy, an .onnx file."""
    robot: str = "quadruped"
    """Robot: quadruped, go1, biped, arm, or the path of a robot.toml."""
    seconds: float = DURATION
    """How long the policy runs [s]; a shorter demo walks a shorter path."""
    seed: int = 0
    """Random seed, of the emulator's sensor noise and of its parts."""
    video: bool = True
    """Render the walk as a video; --no-video leaves that out."""
    gif: bool = False
    """Render it as an animated GIF, half as large."""
    json: bool = False
    """End with one JSON object on the last line."""


def run(arguments: Arguments) -> int:
    """Exit status 0 only if the robot walked, far enough and without a fall; 130 if stopped."""
    console = open_console()
    if not 4.0 <= arguments.seconds <= 60.0:
        raise UsageError(f"--seconds: found {arguments.seconds}, allowed is 4 to 60")
    Controller(arguments.policy, load_robot(arguments.robot))  # refused before anything is deleted
    with _fresh(arguments.out) as folder:
        return _demonstrate(console, arguments, folder)


def _demonstrate(console: Console, arguments: Arguments, folder: Path) -> int:
    schedule = folder / SCHEDULE_FILE
    schedule.write_text(SCHEDULE)
    console.rule(Text("Deploy: over serial, to an emulated robot", "bold"))
    status, summary = deploy.deploy(
        deploy.Arguments(
            policy=arguments.policy,
            robot=arguments.robot,
            emulated=True,
            seconds=arguments.seconds,
            schedule=schedule,
            log=folder / LOG_FILE,
            truth=folder / TRUTH_FILE,
            seed=arguments.seed,
            yes=True,
        )
    )
    if summary is None:
        return status
    if summary.stopped:
        console.print(f"Stopped by the {summary.stopped}: no walk to judge. The log: {folder}/")
        return 130

    console.rule(Text("Replay", "bold"))
    log = read_log(folder / LOG_FILE)
    truth = read_truth(folder / TRUTH_FILE)
    robot = logged_robot(log, load_robot(arguments.robot).directory)
    policy = replay_policy(log, robot)
    report_policy(console, policy)
    sim = simulate(console, log, robot)
    report_sim(console, robot, sim)

    console.rule(Text("The walk, by the emulator's truth", "bold"))
    walk = judge(log.ticks, truth)
    console.print(_table(walk))
    enough = ENOUGH * min(1.0, arguments.seconds / DURATION)
    walked = status == 0 and walk.path >= enough and not walk.fell and policy.agrees
    verdict = ("It walked.", "green") if walked else ("It did not walk as it should.", "red")
    figures = f" {walk.path:.2f} m of path, allowed is {enough:.1f} m or more, no fall"
    console.print(Text.assemble(verdict, figures))

    plot_walk(robot, log, truth, folder / WALK_PLOT)
    plot_joints(robot, sim, folder / JOINTS_PLOT)
    if arguments.video:
        _film(console, robot, log, truth, folder / (GIF if arguments.gif else VIDEO))
    made = ", ".join(sorted(path.name for path in folder.iterdir()))
    console.print(f"In {folder}/: {made}", soft_wrap=True)
    if arguments.json:
        figures = asdict(summarise(log.ticks, log.joint_names))
        print(jsonlib.dumps({"walked": walked, **asdict(walk), **figures, "dropped": log.dropped}))
    return 0 if walked else 1


def _film(console: Console, robot: Robot, log: RunLog, truth: Truth, path: Path) -> None:
    whole = truth.between(log.ticks["start"][0], log.ticks["start"][-1])
    try:
        render(console, robot, log, whole.time, whole.qpos, path)
    except RenderError as error:  # the walk is no worse for it
        console.print(f"No video: {error}", style="yellow", soft_wrap=True)


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


@contextmanager
def _fresh(folder: Path) -> Iterator[Path]:
    """The folder, without what an earlier demo made, for as long as this one works in it.

    Raises:
        UsageError: it holds anything else, or another demo is at work in it.
    """
    require_folder(folder, "--out")
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the folder's, not a file's
        except BlockingIOError:
            raise UsageError(f"--out: another demo is at work in {folder}") from None
        found = sorted(path.name for path in folder.iterdir() if path.name not in MADE)
        if found:
            words = "holds something else than a demo, give a new folder; found"
            raise UsageError(f"--out: {folder} {words} {', '.join(found[:3])}")
        for name in MADE:
            (folder / name).unlink(missing_ok=True)
        yield folder
    finally:
        os.close(descriptor)
