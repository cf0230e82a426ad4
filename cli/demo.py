"""`surefoot demo`: the whole chain on an emulated robot, in about half a minute."""

from __future__ import annotations

import json as jsonlib
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ..deploy.log import RunLog, read_log
from ..deploy.replay import logged_robot, replay_policy, replay_sim
from ..deploy.truth import Truth, read_truth
from ..deploy.verdict import State
from ..models.errors import UsageError
from ..models.limits import Reason
from ..models.robot import MODELS, Robot, load_robot
from ..sim.video import RenderError, write_video
from . import deploy
from .plots import plot_joints, plot_walk
from .replay import FRAME_TIME, frames, report_policy, report_sim

SCHEDULE = """\
time,vx,vy,yaw_rate
0,0,0,0
1,0.35,0,0
9,0,0.2,0
13,0.15,0,0.7
19,0,0,0
"""  # stand, forward, sideways, turn, stop [s, m/s, m/s, rad/s]
DURATION = 20.0  # [s]
SETTLING = 1.0  # after a new command, left out of the errors [s]
ENOUGH = 3.0  # of path [m]
FALLEN = 1.0  # tilt [rad]


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
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("simulating", total=1.0)
        sim = replay_sim(log, robot, 0, lambda share: progress.update(bar, completed=share))
    report_sim(console, robot, sim)

    console.rule("[bold]The walk, by the emulator's truth")
    figures = judge(log, truth)
    console.print(_table(log, figures))
    plot_walk(robot, log, truth, folder / "walk.png")
    plot_joints(robot, sim, folder / "joints.png")
    if arguments.video:
        _film(console, robot, truth.between(log.ticks["start"][0], log.ticks["start"][-1]), folder)
    made = ", ".join(sorted(path.name for path in folder.iterdir()))
    console.print(f"In {folder}/: {made}", soft_wrap=True)

    enough = ENOUGH * min(1.0, arguments.seconds / DURATION)
    walked = status == 0 and figures["path"] >= enough and not figures["fell"] and policy.agrees
    verdict = "[green]It walked.[/green]" if walked else "[red]It did not walk as it should.[/red]"
    console.print(
        f"{verdict} {figures['path']:.2f} m of path, allowed is {enough:.1f} m or more, no fall"
    )
    if arguments.json:
        print(jsonlib.dumps({"walked": walked, **figures}))
    return 0 if walked else 1


def _film(console: Console, robot: Robot, truth: Truth, folder: Path) -> None:
    total = math.ceil((truth.time[-1] - truth.time[0]) / FRAME_TIME)
    try:
        with Progress(console=console, transient=True) as progress:
            bar = progress.add_task("rendering", total=total)
            states = frames(truth.time, truth.qpos)
            write_video(robot, states, folder / "walk.mp4", lambda: progress.advance(bar))
    except RenderError as error:  # the walk is no worse for it
        console.print(f"[yellow]No video: {error}[/yellow]", highlight=False)


def judge(log: RunLog, truth: Truth) -> dict[str, Any]:
    """Figures of the walk, as plain data: SI units, times in ms where the name says so."""
    ticks = log.ticks
    running = ticks[ticks["state"] == State.RUN]
    if not len(running):
        return {"path": 0.0, "fell": True}
    walk = truth.between(running["start"][0], running["start"][-1])
    steps = np.diff(walk.base_position[:, :2], axis=0)
    # The true velocity at each tick, against the command of that tick.
    rows = np.clip(np.searchsorted(truth.time, running["start"]), 0, len(truth.time) - 1)
    velocity = np.column_stack((truth.linear_velocity[rows, :2], truth.angular_velocity[rows, 2]))
    changed = np.r_[True, (np.diff(running["command"], axis=0) != 0).any(1)]
    since = (
        running["start"]
        - running["start"][np.maximum.accumulate(np.where(changed, np.arange(len(running)), 0))]
    )
    error = (velocity - running["command"])[since > SETTLING]
    period = np.diff(ticks["start"]) * 1e3
    compute = (running["inferred"] - running["read"]) * 1e3
    return {
        # Distances along a stride's mean: the sway of the trot is no path.
        "path": float(np.linalg.norm(_by_stride(walk.base_position[:, :2]), axis=1).sum()),
        "distance": float(np.linalg.norm(steps.sum(0))),
        "fell": bool((walk.tilt > FALLEN).any()),
        "largest_tilt": float(walk.tilt.max()),
        "rmse": dict(
            zip(
                ("vx", "vy", "yaw_rate"),
                np.sqrt(np.square(error).mean(0)).tolist(),
                strict=True,
            )
        ),
        "mean_error": dict(zip(("vx", "vy", "yaw_rate"), error.mean(0).tolist(), strict=True)),
        "torque_rms": float(np.sqrt(np.square(walk.joint_torque).mean())),
        "limits": {
            str(reason.name).lower(): float((running["reasons"] & reason > 0).mean())
            for reason in Reason
        },
        "period_ms": _spread(period),
        "compute_ms": _spread(compute),
        "bus_ms": _spread(running["bus_time"] * 1e3),
        "missed_deadlines": int(ticks["missed"][-1]),
        "wire_errors": int(ticks["wire_errors"][-1]),
        "records": len(ticks),
        "dropped": log.dropped,
    }


def _by_stride(position: np.ndarray, rows: int = 25) -> np.ndarray:
    """Displacements over strides of 0.5 s. Shape (T, 2) → (T / 25, 2)."""
    return np.diff(position[::rows], axis=0)


def _spread(values: np.ndarray) -> dict[str, float]:
    p50, p99, largest = np.percentile(values, (50, 99, 100))
    return {"p50": float(p50), "p99": float(p99), "max": float(largest)}


def _table(log: RunLog, figures: dict[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_header=False)
    table.add_row("path walked", f"{figures['path']:.2f} m")
    if "rmse" not in figures:
        return table
    units = {"vx": "m/s", "vy": "m/s", "yaw_rate": "rad/s"}
    for name, unit in units.items():
        table.add_row(
            f"{name} error",
            f"RMS {figures['rmse'][name]:.3f}, mean {figures['mean_error'][name]:+.3f} {unit}",
        )
    table.add_row("largest tilt", f"{math.degrees(figures['largest_tilt']):.1f}°")
    table.add_row("torque, RMS", f"{figures['torque_rms']:.2f} N·m")
    limits = ", ".join(f"{name} {share:.1%}" for name, share in figures["limits"].items())
    table.add_row("targets limited by", limits)
    for name, key in (("loop period", "period_ms"), ("policy", "compute_ms"), ("bus", "bus_ms")):
        spread = figures[key]
        table.add_row(
            name,
            f"p50 {spread['p50']:.2f}  p99 {spread['p99']:.2f}  max {spread['max']:.2f} ms",
        )
    table.add_row("deadlines missed", f"{figures['missed_deadlines']}")
    table.add_row("wire errors", f"{figures['wire_errors']}")
    table.add_row("records logged", f"{figures['records']}, {figures['dropped']} dropped")
    return table


def _fresh(folder: Path) -> Path:
    """The folder, without what an earlier demo left in it; never anything else's files."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out: found a file {folder}, allowed is a folder")
    if folder.exists() and not (folder / "schedule.csv").is_file() and any(folder.iterdir()):
        raise UsageError(f"--out: {folder} holds something else than a demo; allowed: a new folder")
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder
