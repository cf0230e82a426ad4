"""A loop with its robot, policy, log and clock in memory, for tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from kinematic_robot import FakeClock, KinematicRobot
from surefoot.deploy.log.format import Level
from surefoot.deploy.log.summary import Figures, RunSummary, Spread
from surefoot.deploy.loop import run
from surefoot.deploy.safety import SafetyMonitor
from surefoot.deploy.schedule import Schedule
from surefoot.deploy.stop import StopRequest
from surefoot.deploy.verdict import Decision, Verdict
from surefoot.hardware.interface import Sample
from surefoot.models.robot_file import load_robot

ROBOT = load_robot("quadruped")
N = len(ROBOT.joints)
PERIOD = ROBOT.control_period
STAND_TICKS = round(ROBOT.safety.stand_time / PERIOD) + 1
DAMP_TICKS = round(ROBOT.safety.damp_time / PERIOD) + 1
FORWARD = Schedule.constant([0.3, 0.0, 0.0])


class Policy:
    """Wants the standing pose; remembers what it was asked since it was reset; takes its time."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.asked: list[tuple[int, np.ndarray]] = []
        self.resets = 0
        self.delays: dict[int, float] = {}  # [s], by the number of the call
        self.always = 0.004  # [s]

    def reset(self) -> None:
        self.resets += 1
        self.asked.clear()

    def act(self, sample: Sample, command: np.ndarray, tick: int) -> Decision:
        self.clock.pass_by(self.delays.get(len(self.asked), self.always))
        self.asked.append((tick, command))
        inputs = {"clock": np.array([tick * PERIOD], np.float32)}
        return Decision(inputs, np.full(N, 0.25, np.float32), ROBOT.default_pose)


@dataclass
class MemoryLog:
    records: list[Any] = field(default_factory=list)
    events: list[tuple[int, str]] = field(default_factory=list)

    def require(self, dtype: np.dtype) -> None:
        pass

    def record(self, record: Any) -> None:
        self.records.append(record.copy())

    def event(self, level: Level, text: str) -> None:
        self.events.append((level, text))


class ReadOnly:
    """A robot without its write handle."""

    def __init__(self, robot: KinematicRobot) -> None:
        self.read = robot.read


class Bench:
    def __init__(self, dry_run: bool = False) -> None:
        self.clock = FakeClock()
        self.robot = KinematicRobot(ROBOT, self.clock)
        self.monitor = SafetyMonitor(ROBOT, self.robot, dry_run)
        self.policy = Policy(self.clock)
        self.log = MemoryLog()
        self.stop = StopRequest(self.clock.now)
        self.verdicts: list[Verdict] = []
        self.at: dict[int, Callable[[], None]] = {}  # what happens after a tick, by its number

    def on_tick(self, tick: int, _run_time: float, _sample: Sample, verdict: Verdict) -> None:
        self.verdicts.append(verdict)
        self.at.get(tick, lambda: None)()

    def run(self, duration: float = 1.0, schedule: Schedule = FORWARD) -> RunSummary:
        return run(
            ROBOT, ReadOnly(self.robot), self.policy, self.monitor, schedule, duration,
            self.clock, self.stop, self.log, self.on_tick,
        )  # fmt: skip

    @property
    def states(self) -> list[str]:
        passed = [verdict.state.name for verdict in self.verdicts]
        return [s for i, s in enumerate(passed) if i == 0 or passed[i - 1] != s]

    def column(self, name: str) -> np.ndarray:
        return np.array([record[name] for record in self.log.records])


def spread(figures: Figures, name: str) -> Spread:
    found = getattr(figures, name)
    assert found is not None
    return found
