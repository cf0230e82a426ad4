"""A logged run, once more: through its policy, and through the simulation. Workstation only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from ...hardware.interface import Command, Mode
from ...models.errors import UsageError
from ...models.limits import Output
from ...models.provenance import processor
from ...models.robot import Robot
from ...models.robot_file import parse_robot
from ...sim.simulated_robot import SimulatedRobot
from ..controller import Controller
from ..log.format import POLICY_FILE, ROBOT_FILE
from ..log.reader import RunLog
from ..verdict import State

OTHER_MACHINE_TOLERANCE = 1e-4  # of actions, targets, torques, on another build or processor
WANTED: dict[Output, str] = {"joint_target": "joint_target", "joint_torque": "wanted_torque"}


@dataclass(frozen=True)
class PolicyReplay:
    """The policy, re-run on the logged inputs."""

    ticks: int  # that were compared
    not_compared: int  # where a policy with a state was asked after a gap in the log
    same_machine: bool  # same ONNX Runtime build and processor: then every bit counts
    identical: int  # ticks whose action and target, or torque, agree in every bit
    largest_difference: float  # of any action, target or torque [1, rad, N·m]

    @property
    def tolerance(self) -> float:
        """Allowed difference."""
        return 0.0 if self.same_machine else OTHER_MACHINE_TOLERANCE

    @property
    def agrees(self) -> bool:
        if self.same_machine:
            return self.identical == self.ticks
        return self.largest_difference <= self.tolerance


@dataclass(frozen=True)
class SimReplay:
    """The logged commands, given to the simulated robot from the logged start."""

    time: np.ndarray  # since the first tick [s]. Shape (T,)
    logged: np.ndarray  # joint angles [rad]. Shape (T, n)
    simulated: np.ndarray  # joint angles [rad]. Shape (T, n)
    qpos: np.ndarray  # of the simulation. Shape (T, 7 + n)
    moving: np.ndarray  # ticks under torque, bool. Shape (T,)

    @property
    def rms(self) -> np.ndarray:
        """Difference of each joint under torque, root mean square [rad]. Shape (n,)."""
        difference = (self.simulated - self.logged)[self.moving]
        return np.sqrt(np.square(difference).mean(0)) if len(difference) else np.zeros(0)

    @property
    def largest(self) -> np.ndarray:
        """Largest difference of each joint under torque [rad]. Shape (n,)."""
        difference = np.abs(self.simulated - self.logged)[self.moving]
        return difference.max(0) if len(difference) else np.zeros(0)


def logged_robot(log: RunLog, directory: Path) -> Robot:
    """The robot as it was described when the log was written; `directory` holds its MJCF.

    Raises:
        UsageError: the log holds no robot.toml.
        RobotFileError: it cannot be read any more.
    """
    text = _attachment(log, ROBOT_FILE).decode()
    return parse_robot(text, directory, source=f"{log.path}: {ROBOT_FILE}")


def replay_policy(log: RunLog, robot: Robot) -> PolicyReplay:
    """Run the logged policy on the logged inputs and compare what comes out.

    A log holds no state of the policy: it is carried along from where each run begins, by the
    controller's own rule. Where a record may be missing nobody knows it any more, so from there on
    to the run's end a policy with a state is not compared.

    Raises:
        UsageError: the log holds no policy, or no decision of it that can be compared.
        PolicyError: the policy in the log is broken, or doesn't fit the robot.
    """
    controller = Controller(_attachment(log, POLICY_FILE), robot)
    contract, wanted = controller.contract, WANTED[controller.contract.output]
    names = [name for name in controller.input_names if name != "state"]
    whole = contract.initial_state is None or not log.dropped
    compared, not_compared, identical, largest = 0, 0, 0, 0.0
    for run in _runs(log.ticks):
        known = run if whole else _before_gap(run)
        decisions = known[_asked(known)]
        compared += len(decisions)
        not_compared += int(_asked(run).sum()) - len(decisions)
        controller.reset()
        for tick in decisions:
            inputs = {name: np.atleast_1d(tick[name]) for name in names}
            decision = controller.decide(inputs, int(tick["tick"]))
            pairs = [
                (_as_logged(ours, tick[name]), tick[name])
                for ours, name in ((decision.action, "action"), (decision.wanted, wanted))
            ]
            identical += all(ours.tobytes() == theirs.tobytes() for ours, theirs in pairs)
            largest = max(largest, *(_difference(ours, theirs) for ours, theirs in pairs))
    if not compared:
        why = "a gap in the log comes before" if not_compared else "it never came to RUN"
        raise UsageError(f"{log.path}: found no decision of the policy to compare: {why}")
    versions = log.metadata.get("versions", {})
    same = (
        versions.get("onnxruntime") == onnxruntime.__version__
        and versions.get("processor") == processor()
    )
    return PolicyReplay(compared, not_compared, same, identical, largest)


def _runs(ticks: np.ndarray) -> list[np.ndarray]:
    """The ticks of each run in the log: a new one begins where their numbers fall back."""
    numbers = ticks["tick"].astype(np.int64)
    return np.split(ticks, np.flatnonzero(np.diff(numbers) <= 0) + 1)


def _asked(ticks: np.ndarray) -> np.ndarray:
    """Where the policy was asked, bool: its answer may be no number. Shape (T,)."""
    asked = ticks["inferred"] > ticks["read"]  # but a simulated clock may stand still meanwhile
    asked |= ~np.isnan(ticks["clock"])
    for name in ("previous_action", "action", *WANTED.values()):
        asked |= ~np.isnan(ticks[name]).all(1)
    return asked


def _before_gap(run: np.ndarray) -> np.ndarray:
    """A run's ticks before the first one that may follow upon a lost decision.

    Numbers that leap show a lost record or a skipped tick; while it stands up neither matters.
    """
    leaps = np.diff(run["tick"].astype(np.int64), prepend=-1) != 1
    gaps = np.flatnonzero(leaps & (run["state"] != State.STAND))
    return run[: gaps[0]] if len(gaps) else run


def _as_logged(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """As a record takes it: float32, and NaN where the shape is another than declared."""
    if ours.shape != theirs.shape:
        return np.full(theirs.shape, np.nan, np.float32)
    return ours.astype(np.float32)


def _difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest; infinite where only one is a number. Shapes (n,)."""
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    difference = np.subtract(ours, theirs, where=~same, out=np.zeros(ours.shape), dtype=np.float64)
    return float(np.nan_to_num(np.abs(difference), nan=np.inf).max())


def replay_sim(
    log: RunLog,
    robot: Robot,
    seed: int = 0,
    on_progress: Callable[[float], None] = lambda _share: None,
) -> SimReplay:
    """Give the logged commands to the simulated robot, in the log's time.

    Each run in the log begins with the robot as it lay then.

    Raises:
        UsageError: the log holds no tick.
    """
    ticks = log.ticks
    if not len(ticks):
        raise UsageError(f"{log.path}: found no tick")
    output: Output = "joint_torque" if Mode.TORQUE in ticks["mode"] else "joint_target"
    time, joint_pos, qpos = [], [], []
    for run in _runs(ticks):
        pose = np.clip(run["joint_pos"][0].astype(np.float64), robot.lower, robot.upper)
        simulated = SimulatedRobot(robot, seed=seed, joint_pos=pose, output=output)
        began = float(run["start"][0] - ticks["start"][0])
        for tick in run:
            since = (int(tick["tick"]) - int(run["tick"][0])) * robot.control_period
            simulated.sleep_until(since)
            time.append(began + since)
            joint_pos.append(simulated.robots.joint_pos[0].copy())
            qpos.append(simulated.robots.qpos[0].copy())
            simulated.write(_command(tick))
            on_progress(len(time) / len(ticks))
    return SimReplay(
        time=np.array(time),
        logged=ticks["joint_pos"].astype(np.float64),
        simulated=np.array(joint_pos),
        qpos=np.array(qpos),
        moving=np.isin(ticks["mode"], (Mode.TRACK, Mode.HOLD, Mode.TORQUE)),
    )


def _command(tick: np.void) -> Command:
    """The command that a record tells of."""
    mode = Mode(int(tick["mode"]))
    if mode is Mode.OFF:
        return Command(mode)
    cap = tick["torque_cap"].astype(np.float64)
    target = tick["limited_target"].astype(np.float64) if mode is Mode.TRACK else None
    torque = tick["limited_torque"].astype(np.float64) if mode is Mode.TORQUE else None
    return Command(mode, target, cap, torque)


def _attachment(log: RunLog, name: str) -> bytes:
    if name not in log.attachments:
        held = ", ".join(log.attachments) or "nothing"
        raise UsageError(f"{log.path}: found no {name} in it, only {held}")
    return log.attachments[name]
