"""`surefoot demo`: the whole chain on an emulated robot."""

from __future__ import annotations

import fcntl
import json as jsonlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console
from rich.text import Text

from ..deploy.controller import Controller
from ..deploy.log.reader import RunLog, read_log
from ..deploy.log.summary import summarise
from ..deploy.workstation.replay import logged_robot, replay_policy
from ..hardware.truth import Truth, read_truth
from ..models.errors import RenderError, UsageError
from ..models.robot import Robot
from ..models.robot_file import load_robot
from . import deploy
from .demo_reach import REACH
from .demo_walk import WALK
from .exhibit import JOINTS_PLOT, SCHEDULE_FILE, TRUTH_FILE, Exhibit
from .plots import plot_joints
from .progress import render, simulate
from .replay import report_policy, report_sim
from .terminal import open_console, require_folder


@dataclass(frozen=True)
class Arguments:
    """Run a policy on an emulated robot over serial by a schedule, then replay and judge the run.

    A quadruped walks, or an arm brings its tip to goals. Starts the emulator as its own process,
    checks the robot, stands it up, runs it, lays it down; replays the log; prints figures from the
    emulator's truth; draws plots and a video. It takes about a minute, most of it in real time, and
    the rest for the video.
    """

    task: tyro.conf.Positional[Literal["walk", "reach"]] = "walk"
    """What the robot does."""
    out: Path | None = None
    """Folder for log, truth, plots and video; demo, or demo-reach, if not given. What an earlier
    demo of the task left there is replaced; a folder that holds anything else is refused."""
    policy: Path | None = None
    """The policy, an .onnx file; the shipped one of the task if not given."""
    robot: str | None = None
    """Robot: quadruped, go1, biped, arm, or the path of a robot.toml; the task's if not given:
    quadruped, or arm."""
    seconds: float | None = None
    """How long the policy runs [s]; as long as the task's schedule if not given. A shorter demo
    walks a shorter path, or reaches fewer goals."""
    seed: int = 0
    """Random seed, of the emulator's sensor noise and of its parts."""
    video: bool = True
    """Render the run as a video; --no-video leaves that out."""
    gif: bool = False
    """Render it as an animated GIF, half as large."""
    json: bool = False
    """End with one JSON object on the last line."""


def run(arguments: Arguments) -> int:
    """Exit status 0 only if the robot did its task to its end, by the emulator's truth, and the
    replay agrees; 130 if stopped.
    """
    console = open_console()
    exhibit = _exhibit(arguments)
    if not 4.0 <= exhibit.seconds <= 60.0:
        raise UsageError(f"--seconds: found {exhibit.seconds}, allowed is 4 to 60")
    # What can be refused is refused before anything is deleted.
    contract = Controller(exhibit.policy, load_robot(exhibit.robot)).contract
    found = ",".join(["time", *(part.name for part in contract.commands)])
    wanted = exhibit.schedule.partition("\n")[0]
    if found != wanted:
        raise UsageError(
            f"--policy: found a schedule of {found} for it, allowed to {exhibit.task} is {wanted}"
        )
    with _fresh(exhibit.out, exhibit.files) as folder:
        return _demonstrate(console, arguments, exhibit, folder)


def _exhibit(arguments: Arguments) -> Exhibit:
    """The task's, as far as nothing else was asked for."""
    usual = {"walk": WALK, "reach": REACH}[arguments.task]
    asked = {name: getattr(arguments, name) for name in ("out", "policy", "robot", "seconds")}
    return replace(usual, **{name: value for name, value in asked.items() if value is not None})


def _demonstrate(console: Console, arguments: Arguments, exhibit: Exhibit, folder: Path) -> int:
    schedule = folder / SCHEDULE_FILE
    schedule.write_text(exhibit.schedule)
    console.rule(Text("Deploy: over serial, to an emulated robot", "bold"))
    status, summary = deploy.deploy(
        deploy.Arguments(
            policy=exhibit.policy,
            robot=exhibit.robot,
            emulated=True,
            seconds=exhibit.seconds,
            schedule=schedule,
            log=folder / exhibit.log_file,
            truth=folder / TRUTH_FILE,
            seed=arguments.seed,
            yes=True,
        )
    )
    if summary is None:
        return status
    if summary.stopped or not summary.run_time:
        why = f"Stopped by the {summary.stopped}" if summary.stopped else "It never came to RUN"
        console.print(f"{why}: nothing to judge. The log: {folder}/")
        return 130 if summary.stopped else status

    console.rule(Text("Replay", "bold"))
    log = read_log(folder / exhibit.log_file)
    truth = read_truth(folder / TRUTH_FILE)
    robot = logged_robot(log, load_robot(exhibit.robot).directory)
    policy = replay_policy(log, robot)
    report_policy(console, policy)
    sim = simulate(console, log, robot)
    report_sim(console, robot, sim)

    console.rule(Text("What it did, by the emulator's truth", "bold"))
    judgement = exhibit.judge(robot, log, truth, exhibit.seconds)
    console.print(judgement.table)
    good = status == 0 and policy.agrees and judgement.good
    did_not = f"It did not {exhibit.task} as it should."
    verdict = (f"It {exhibit.done}.", "green") if good else (did_not, "red")
    fault = f"; the run ended in {summary.fault.name}" if summary.fault else ""
    console.print(Text.assemble(verdict, f" {judgement.words}{fault}"))

    exhibit.plot(robot, log, truth, folder / exhibit.plot_file)
    plot_joints(robot, sim, folder / JOINTS_PLOT)
    if arguments.video:
        _film(console, robot, log, truth, folder / exhibit.video_file(arguments.gif))
    made = ", ".join(sorted(path.name for path in folder.iterdir()))
    console.print(f"In {folder}/: {made}", soft_wrap=True)
    if arguments.json:
        figures = {**judgement.figures, **asdict(summarise(log.ticks, log.joint_names))}
        print(jsonlib.dumps({exhibit.done: good, **figures, "dropped": log.dropped}))
    return 0 if good else 1


def _film(console: Console, robot: Robot, log: RunLog, truth: Truth, path: Path) -> None:
    whole = truth.between(log.ticks["start"][0], log.ticks["start"][-1])
    qpos = whole.qpos if robot.imu else whole.joint_pos  # without an IMU it is bolted down
    try:
        render(console, robot, log, whole.time, qpos, path)
    except RenderError as error:  # the run is no worse for it
        console.print(f"No video: {error}", style="yellow", soft_wrap=True)


@contextmanager
def _fresh(folder: Path, files: Sequence[str]) -> Iterator[Path]:
    """The folder, without the files that a demo leaves, for as long as this one works in it.

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
        found = sorted(path.name for path in folder.iterdir() if path.name not in files)
        if found:
            words = "holds something else than a demo, give a new folder; found"
            raise UsageError(f"--out: {folder} {words} {', '.join(found[:3])}")
        for name in files:
            (folder / name).unlink(missing_ok=True)
        yield folder
    finally:
        os.close(descriptor)
