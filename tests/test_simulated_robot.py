"""The loop, the safety monitor and a simulated robot in a closed circle, on simulated time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from surefoot.deploy.log.summary import RunSummary
from surefoot.deploy.loop import run
from surefoot.deploy.safety import SafetyMonitor
from surefoot.deploy.schedule import Schedule
from surefoot.deploy.verdict import Decision, Fault, Verdict
from surefoot.hardware.interface import Command, Mode, Sample
from surefoot.models.errors import RobotFileError
from surefoot.models.robot_file import load_robot
from surefoot.sim.randomisation import TRAINING, Uniform
from surefoot.sim.simulated_robot import SimulatedRobot
from surefoot.sim.world import build_spec, height_on_floor

ROBOT = load_robot("quadruped")
N = len(ROBOT.joints)
PERIOD = ROBOT.control_period
STANDING, LYING = 0.13, 0.09  # a base above the one stands, below the other lies [m]
Policy = Callable[[Sample, int], np.ndarray]  # sample, tick → joint target [rad]. Shape (n,)


def stand(_sample: Sample, _tick: int) -> np.ndarray:
    return ROBOT.default_pose


def kick(_sample: Sample, tick: int) -> np.ndarray:
    """A sine of 1 rad at 2 Hz: far beyond what the servos could follow within their torque."""
    return ROBOT.default_pose + np.sin(2 * np.pi * 2.0 * tick * PERIOD + np.arange(N))


class Circle:
    """A run, and what was seen of it in every tick."""

    def __init__(self, policy: Policy = stand, **options: Any) -> None:
        self.robot = SimulatedRobot(ROBOT, **options)
        self.monitor = SafetyMonitor(ROBOT, self.robot)
        self.policy = policy
        self.verdicts: list[Verdict] = []
        self.samples: list[Sample] = []
        self.heights: list[float] = []
        self.torques: list[np.ndarray] = []  # at the end of every tick [N·m]
        self.at: dict[int, Callable[[], None]] = {}  # what happens after a tick, by its number

    def reset(self) -> None:
        pass

    def act(self, sample: Sample, _command: np.ndarray, tick: int) -> Decision:
        target = self.policy(sample, tick)
        return Decision({}, (target - ROBOT.default_pose).astype(np.float32), target)

    def read(self) -> Sample:
        return self.robot.read()

    def on_tick(self, tick: int, _run_time: float, sample: Sample, verdict: Verdict) -> None:
        self.verdicts.append(verdict)
        self.samples.append(sample)
        self.heights.append(float(self.robot.robots.qpos[0, 2]))
        self.torques.append(self.robot.robots.joint_torque[0].copy())
        self.at.get(tick, lambda: None)()

    def run(self, duration: float = 1.0) -> RunSummary:
        forward = Schedule.constant([0.2, 0.0, 0.0])
        return run(
            ROBOT, self, self, self.monitor, forward, duration, self.robot, on_tick=self.on_tick
        )

    @property
    def states(self) -> list[str]:
        passed = [verdict.state.name for verdict in self.verdicts]
        return [s for i, s in enumerate(passed) if i == 0 or passed[i - 1] != s]

    def during(self, state: str) -> list[int]:
        return [i for i, verdict in enumerate(self.verdicts) if verdict.state.name == state]

    def turn_over(self) -> None:
        qpos = self.robot.robots.qpos.copy()
        qpos[0, 2:7] = [0.12, 0.0, 1.0, 0.0, 0.0]
        self.robot.robots.reset(np.array([0]), qpos, np.zeros((1, self.robot.robots.model.nv)))


def test_it_lies_settled_when_time_begins():
    robot = SimulatedRobot(ROBOT)
    assert robot.now() == 0.0
    sample = robot.read()
    np.testing.assert_allclose(sample.joint_pos, ROBOT.rest_pose, atol=0.1)
    np.testing.assert_array_equal(sample.joint_torque, 0.0)
    np.testing.assert_allclose(robot.robots.qvel, 0.0, atol=0.3)
    assert robot.robots.qpos[0, 2] < LYING
    assert SafetyMonitor(ROBOT, robot).preflight(sample) == []


def test_the_height_on_the_floor_is_that_of_the_lowest_geom(tmp_path: Path):
    box = '<geom type="box" size="0.3 0.1 0.02" pos="0 0 -0.05" contype="1"/>'
    (tmp_path / "box.xml").write_text(
        f"""<mujoco><worldbody><body name="base" pos="0 0 1"><freejoint/>{box}
        <geom type="sphere" size="0.9" contype="0" conaffinity="0"/></body></worldbody></mujoco>"""
    )
    model = build_spec(replace(ROBOT, directory=tmp_path, model="box.xml", joints=())).compile()
    assert height_on_floor(model, np.array([5, 5, 3, 1, 0, 0, 0])) == pytest.approx(0.07)
    # On its side, its longest edge points down.
    pitched = np.array([0, 0, 0, np.sqrt(0.5), 0, np.sqrt(0.5), 0])
    assert height_on_floor(model, pitched) == pytest.approx(0.3)
    model.geom_contype[:] = 0
    with pytest.raises(RobotFileError, match="found none with contype 1"):
        height_on_floor(model, pitched)


def test_time_is_physics():
    robot = SimulatedRobot(ROBOT)
    robot.sleep_until(0.1)
    assert robot.now() == pytest.approx(0.1)
    before = robot.robots.qpos.copy()
    robot.sleep_until(0.05)  # past: returns at once
    assert robot.now() == pytest.approx(0.1)
    np.testing.assert_array_equal(robot.robots.qpos, before)


def test_a_whole_run():
    circle = Circle()
    summary = circle.run(duration=1.0)
    assert circle.states == ["STAND", "RUN", "LIE", "DAMP", "OFF"]
    assert (summary.fault, summary.cause, summary.figures.missed_deadlines) == (Fault.NONE, "", 0)
    assert summary.run_time == pytest.approx(1.0)
    heights = np.array(circle.heights)
    assert heights[circle.during("RUN")].min() > STANDING
    assert heights[0] < LYING
    assert heights[-1] < LYING
    np.testing.assert_allclose(circle.samples[-1].joint_pos, ROBOT.rest_pose, atol=0.15)
    np.testing.assert_allclose(circle.robot.robots.qvel, 0.0, atol=0.3)
    circle.robot.sleep_until(circle.robot.now() + PERIOD)
    np.testing.assert_array_equal(circle.robot.read().joint_torque, 0.0)
    # Neither standing up nor lying down drops it or throws it.
    soft = circle.during("STAND") + circle.during("LIE")
    assert np.abs(np.diff(heights)[soft[1:-1]]).max() < 0.006  # 0.3 m/s
    assert np.abs([sample.joint_vel for sample in circle.samples]).max() < 4.0


def test_a_run_is_the_same_twice_and_another_with_another_seed():
    def observed(seed: int) -> np.ndarray:
        circle = Circle(kick, randomisation=TRAINING, seed=seed)
        circle.run(duration=0.3)
        return np.array([sample.joint_pos for sample in circle.samples])

    first = observed(1)
    np.testing.assert_array_equal(first, observed(1))
    other = observed(2)
    assert first.shape != other.shape or not np.array_equal(first, other)


@pytest.mark.parametrize("seed", range(3))
def test_a_run_of_a_randomised_robot(seed: int):
    circle = Circle(randomisation=TRAINING, seed=seed)
    summary = circle.run(duration=0.5)
    assert circle.states == ["STAND", "RUN", "LIE", "DAMP", "OFF"]
    assert not summary.fault, summary.cause
    assert min(circle.heights[i] for i in circle.during("RUN")) > STANDING


def test_a_policy_that_kicks_is_held_within_the_torque_limits():
    circle = Circle(kick)
    summary = circle.run(duration=2.0)
    running = circle.during("RUN")
    torque = summary.figures.reasons["TORQUE"]
    assert sum(torque.joints.values()) > 100, "the limiter had work"
    torque = np.abs([circle.torques[i] for i in running])
    assert (torque <= ROBOT.torque_limit + 1e-9).all()
    # What was asked for is at most the limit at the sample, whatever the policy wanted.
    for i in running:
        verdict, sample = circle.verdicts[i], circle.samples[i]
        asked = ROBOT.kp * (verdict.limited_target - sample.joint_pos) - ROBOT.kd * sample.joint_vel
        inside = (verdict.limited_target > ROBOT.lower) & (verdict.limited_target < ROBOT.upper)
        assert (np.abs(asked[inside]) <= ROBOT.torque_limit[inside] + 1e-9).all()
        assert (verdict.limited_target >= ROBOT.lower).all()
        assert (verdict.limited_target <= ROBOT.upper).all()
    assert np.abs([circle.samples[i].joint_pos for i in running]).max() < 3.0
    assert circle.states[-1] in ("OFF", "FAULT")
    assert circle.heights[-1] < LYING or summary.fault is Fault.TILT


def test_a_softer_cap_holds_too():
    robot = SimulatedRobot(ROBOT)
    cap = np.full(N, 0.5)
    for tick in range(50):
        robot.write(Command(Mode.TRACK, kick(robot.read(), tick), cap))
        robot.sleep_until((tick + 1) * PERIOD)
        assert (np.abs(robot.read().joint_torque) <= cap + 1e-12).all()


def test_turned_over_it_yields():
    circle = Circle()
    circle.at[130] = circle.turn_over  # standing up takes 101 ticks
    summary = circle.run(duration=5.0)
    assert summary.fault is Fault.TILT
    assert "found 3.1" in summary.cause
    assert circle.states == ["STAND", "RUN", "DAMP", "FAULT"]
    assert circle.verdicts[130].state.name == "RUN"
    assert circle.verdicts[131].mode is Mode.DAMP, "in the very next tick"
    circle.robot.sleep_until(circle.robot.now() + PERIOD)
    np.testing.assert_array_equal(circle.robot.read().joint_torque, 0.0)


def test_turned_over_before_the_start_it_is_refused():
    circle = Circle()
    circle.turn_over()
    summary = circle.run()
    assert summary.fault is Fault.START_REFUSED
    assert "tilt: found 3.1" in summary.cause
    assert {verdict.mode for verdict in circle.verdicts} == {Mode.OFF}


def test_away_from_the_rest_pose_it_is_refused():
    circle = Circle(joint_pos=ROBOT.default_pose)
    summary = circle.run()
    assert summary.fault is Fault.START_REFUSED
    assert "the rest pose" in summary.cause
    assert {verdict.mode for verdict in circle.verdicts} == {Mode.OFF}


def test_a_policy_that_gives_nan_ends_the_run_lying():
    circle = Circle(lambda _sample, tick: ROBOT.default_pose * (np.nan if tick > 20 else 1.0))
    summary = circle.run(duration=5.0)
    assert summary.fault is Fault.NON_FINITE
    assert circle.states == ["STAND", "RUN", "HOLD", "DAMP", "FAULT"]
    assert np.isfinite(
        [verdict.limited_target for verdict in circle.verdicts if verdict.mode > 1]
    ).all()
    assert circle.heights[-1] < LYING


def test_weaker_motors_and_wrong_encoders_are_felt():
    weak = [term for term in TRAINING if term.name in ("motor_strength", "encoder_offset")]
    values = {"motor_strength": Uniform(0.5, 0.5), "encoder_offset": Uniform(0.05, 0.05)}
    terms = [type(t)(t.vary, values[t.name], t.per) for t in weak]
    robot = SimulatedRobot(ROBOT, randomisation=terms)
    np.testing.assert_allclose(robot.read().joint_pos - robot.robots.joint_pos[0], 0.05)
    for tick in range(50):
        robot.write(Command(Mode.TRACK, kick(robot.read(), tick), ROBOT.torque_limit))
        robot.sleep_until((tick + 1) * PERIOD)
        assert (np.abs(robot.read().joint_torque) <= 1.0 + 1e-12).all()  # 0.5 · 2 N·m
    # Holding where the joints are seen to be leaves them where they are.
    robot.write(Command(Mode.OFF))
    robot.sleep_until(robot.now() + 1.0)
    before = robot.robots.joint_pos[0].copy()
    robot.write(Command(Mode.HOLD))
    robot.sleep_until(robot.now() + 0.5)
    np.testing.assert_allclose(robot.robots.joint_pos[0], before, atol=0.02)
