"""A monitor with its robot, and the ways in which tests spoil what the robot reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from kinematic_robot import FakeClock, KinematicRobot
from surefoot.deploy.safety import SafetyMonitor
from surefoot.deploy.verdict import Decision, State, Verdict
from surefoot.hardware.interface import Sample
from surefoot.models.robot import Robot
from surefoot.models.robot_file import load_robot

ROBOT = load_robot("quadruped")
N = len(ROBOT.joints)
PERIOD = ROBOT.control_period
SAFETY = ROBOT.safety
BOLTED = replace(ROBOT, imu=None, buses={"motors": ROBOT.buses["motors"]})  # without an IMU
HALF = round(SAFETY.stand_time / PERIOD / 2)  # 50
STAND_TICKS = 2 * HALF + 1  # both ends included
DAMP_TICKS = round(SAFETY.damp_time / PERIOD) + 1
DOWN = np.array([0.0, 0.0, -1.0])
KNEE = ROBOT.rest_pose[2]
STEADY = np.array([0.0, 0.0, 9.8])
JUMP = np.eye(N)[2]  # 1 rad at one joint


def wanting(joint_target: np.ndarray) -> Decision:
    """A decision for this joint target."""
    return Decision({}, np.zeros(N), joint_target)


class Bench:
    """A monitor, its robot, and a policy that wants the standing pose."""

    def __init__(self, dry_run: bool = False, robot: Robot = ROBOT) -> None:
        self.clock = FakeClock()
        self.robot = KinematicRobot(robot, self.clock)
        self.monitor = SafetyMonitor(robot, self.robot, dry_run)
        self.decide: Callable[[], Decision | None] = lambda: wanting(ROBOT.default_pose)
        self.missed = 0

    def tick(self) -> Verdict:
        self.clock.pass_by(PERIOD)
        sample = self.robot.read()
        decision = self.decide() if self.monitor.wants_decision else None
        return self.monitor.tick(sample, decision, self.clock.now(), self.missed)

    def ticks(self, count: int) -> list[Verdict]:
        return [self.tick() for _ in range(count)]

    def until(self, state: State, most: int) -> list[Verdict]:
        """Tick until `state`, in at most so many ticks."""
        verdicts = []
        for _ in range(most):
            verdicts.append(self.tick())
            if verdicts[-1].state is state:
                return verdicts
        raise AssertionError(f"no {state.name} in {most} ticks: {verdicts[-1]}")

    def running(self) -> Bench:
        self.monitor.start()
        self.until(State.RUN, STAND_TICKS + 1)
        return self


def spoiled(**changes: object) -> Callable[[Sample], Sample]:
    return lambda sample: replace(sample, **changes)  # type: ignore[arg-type]


def states(verdicts: list[Verdict]) -> list[State]:
    """The states passed through, each once."""
    passed = [verdict.state for verdict in verdicts]
    return [s for i, s in enumerate(passed) if i == 0 or passed[i - 1] is not s]


def alerting(sample: Sample, joint: int, bits: int) -> Sample:
    """With the alert of one motor, whose error status says so much."""
    which = np.arange(N) == joint
    health = replace(sample.health, error_bits=np.where(which, bits, 0).astype(np.uint8))
    return replace(sample, alert=which, health=health)


def limp(sample: Sample, joint: int) -> Sample:
    """With one motor that has silently lost its torque."""
    health = replace(sample.health, torque_on=np.arange(N) != joint)
    return replace(sample, health=health)


def tripped(sample: Sample, joint: int) -> Sample:
    """With one motor that was stopped by its own watchdog."""
    health = replace(sample.health, watchdog_tripped=np.arange(N) == joint)
    return replace(sample, health=health)


def weaken(bench: Bench, **changes: np.ndarray) -> None:
    bench.robot.health = replace(bench.robot.health, **changes)
