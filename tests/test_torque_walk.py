"""The walk by joint torques, from joints and contact forces: from the environment to its log."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from surefoot.__main__ import main
from surefoot.control.policy import Gaussian
from surefoot.deploy.controller import Controller
from surefoot.deploy.log.format import Level, encode_tick, fields_of, is_tick, tick_dtype
from surefoot.deploy.log.reader import RunLog, read_log, repair_log
from surefoot.deploy.log.writer import LogWriter
from surefoot.deploy.loop import run
from surefoot.deploy.safety import SafetyMonitor
from surefoot.deploy.schedule import Schedule
from surefoot.deploy.verdict import State
from surefoot.deploy.workstation.export import export_policy
from surefoot.deploy.workstation.replay import logged_robot, replay_policy, replay_sim
from surefoot.models.errors import PolicyError, UsageError
from surefoot.models.robot import Robot
from surefoot.models.robot_file import load_robot
from surefoot.sim.simulated_robot import SimulatedRobot
from surefoot.sim.tasks import make_task
from surefoot.sim.walk import WalkEnv
from verbs import refuse

ROBOT = load_robot("biped")
N = len(ROBOT.joints)
FEET = ("left_heel", "left_toe", "right_heel", "right_toe")
SMALL = ("--num-envs", "32", "--horizon", "8", "--hidden", "16", "--epochs", "1")


def by_torques(num_envs: int = 2, **options: Any) -> WalkEnv:
    env = WalkEnv(num_envs, ROBOT, nthread=1, output="joint_torque", **options)
    env.reset(seed=0)
    return env


# --- the environment ------------------------------------------------------------------------------


def test_torques_are_made_from_joints_and_contact_forces():
    env = by_torques(randomisation=())
    seen = [type(term).__name__ + " " + term.input for term in env.terms]
    assert seen == [
        "ContactForce contact_force",
        "Deviation joint_pos",
        "Deviation joint_vel",
        "Deviation previous_action",
        "Deviation command",
        "Phase clock",
    ]
    for _ in range(5):
        observation, *_ = env.step(np.zeros((2, N), np.float32))
    weight = 9.81 * env.robots.model.body_mass.sum()
    np.testing.assert_allclose(observation[:, :4], env.robots.contact_force / weight, atol=1e-6)
    assert observation[:, :4].any()
    assert make_task("walk", 1, "biped", "joint_torque").output == "joint_torque"


def test_joint_targets_are_made_without_contact_forces():
    terms = WalkEnv(1, ROBOT, nthread=1).terms
    assert {"gyro", "gravity"} < {term.input for term in terms}
    assert "contact_force" not in {term.input for term in terms}


def test_an_action_of_one_is_a_third_of_the_torque_limit():
    env = by_torques(1, randomisation=())
    assert (env.action_scale, env.action_limit) == ((1.0,) * N, 3.0)
    env.inputs["joint_pos"] = ROBOT.default_pose[None].astype(np.float32)  # far from all limits
    env.inputs["joint_vel"] = np.zeros((1, N), np.float32)
    action = np.linspace(-1, 1, N, dtype=np.float32)[None]
    env.step(action)
    np.testing.assert_allclose(env.robots.ctrl, action, rtol=1e-6)
    wild = np.full((1, N), 30.0, np.float32)
    env.step(wild)
    assert (np.abs(env.robots.ctrl) <= ROBOT.torque_limit).all() and env.reasons.all()


def test_in_a_mirror_the_feet_change_sides():
    env = by_torques()
    mirror = env.mirror
    assert mirror is not None
    observation = np.arange(39, dtype=np.float32)
    reflected = mirror.observation(observation)
    assert reflected[:4].tolist() == [2.0, 3.0, 0.0, 1.0]
    np.testing.assert_array_equal(mirror.observation(reflected), observation)


def test_servos_without_stiffness_are_not_varied_in_it():
    varied = {variation.name for variation in by_torques().randomisation}
    assert not varied & {"stiffness", "damping"} and {"sensor_noise", "push"} < varied


def test_a_robot_that_feels_nothing_is_refused():
    with pytest.raises(UsageError, match="found quadruped, without contact sensors, for output jo"):
        WalkEnv(1, output="joint_torque")


# --- the policy file ------------------------------------------------------------------------------


class Pushes:
    """The torque walk of a robot that lacks something; nothing of it is stepped."""

    def __init__(self, robot: Robot) -> None:
        env = by_torques()
        for name in ("terms", "output", "action_scale", "clock_period", "commands", "num_envs"):
            setattr(self, name, getattr(env, name))
        self.robot = robot


def test_export_refuses_motors_and_sensors_that_the_robot_lacks(tmp_path: Path):
    actor, path = Gaussian(39, N, (8,)), tmp_path / "policy.onnx"
    models = {k: replace(m, model_number=1060) for k, m in ROBOT.motor_models.items()}
    weak: Any = Pushes(replace(ROBOT, motor_models=models))
    with pytest.raises(PolicyError, match="joint_torque: the motor of left_hip_yaw is an XM430-W3"):
        export_policy(actor, weak, path, {})
    numb: Any = Pushes(replace(ROBOT, contact_sensors=()))
    with pytest.raises(PolicyError, match="asks for input 'contact_force'; biped gives joint_pos"):
        export_policy(actor, numb, path, {})
    assert not path.exists()


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two iterations of training leave: its torques are weak."""
    folder = tmp_path_factory.mktemp("train") / "run"
    words = ("train", "walk", "--robot", "biped", "--output", "joint_torque", "--run", str(folder))
    assert main([*words, *SMALL, "--steps", "512", "--episodes", "2"]) == 0
    return folder / "policy.onnx"


def test_the_contract_goes_round(policy: Path):
    controller = Controller(policy, ROBOT)
    contract = controller.contract
    assert contract.training["steps"] == 512 and contract.evaluation["nominal"]["episodes"] == 2
    assert {wire.name for wire in onnx.load(policy).graph.output} == {"action", "joint_torque"}
    assert contract.output == "joint_torque" and contract.action_scale == [1.0] * N
    term = contract.terms[0]
    assert (term["term"], term["input"]) == ("ContactForce", "contact_force")
    assert term["sensors"] == list(FEET) and term["weight"] == pytest.approx(29.43)
    assert "gyro" not in controller.input_names and "gravity" not in controller.input_names
    assert len(contract.golden[0].inputs["contact_force"]) == 4


def test_a_robot_with_other_sensors_or_none_is_refused_by_loading(policy: Path):
    with pytest.raises(PolicyError, match="asks for input 'contact_force'; this robot gives joint"):
        Controller(policy, replace(ROBOT, contact_sensors=()))
    for others in (ROBOT.contact_sensors[:3], ROBOT.contact_sensors[::-1]):
        with pytest.raises(PolicyError, match="sensors differ: the policy has"):
            Controller(policy, replace(ROBOT, contact_sensors=others))


def test_serial_lines_are_refused_before_a_port_is_opened(
    capsys: pytest.CaptureFixture[str], policy: Path, tmp_path: Path
):
    words = ("deploy", str(policy), "--robot", "biped", "--log", str(tmp_path / "run.mcap"))
    for more in (("--emulated",), ("--port", "motors=/dev/nowhere")):
        line = refuse(capsys, *words, *more)
        assert "asks for input 'contact_force', and no driver here reads contact sensors" in line
    assert not list(tmp_path.iterdir())


# --- a run of the simulated robot, and its log ----------------------------------------------------


def simulate(policy: Path, path: Path, robot: Robot = ROBOT, seconds: float = 0.2) -> RunLog:
    controller = Controller(policy, robot)
    output = controller.contract.output
    simulated = SimulatedRobot(robot, output=output)
    commands = [part.name for part in controller.contract.commands]
    log = LogWriter(
        path,
        robot.joint_names,
        commands,
        {"robot.toml": robot.toml.encode(), "policy.onnx": controller.model},
        clock=simulated.now,
        contact_names=[sensor.name for sensor in robot.contact_sensors],
    )
    monitor = SafetyMonitor(robot, simulated, output=output)
    still = Schedule.constant([0.0, 0.0, 0.0])
    summary = run(robot, simulated, controller, monitor, still, seconds, simulated, log=log)
    logged = log.close()
    assert summary.run_time == pytest.approx(seconds), summary.cause
    assert (logged.dropped, logged.error) == (0, None)
    return read_log(path)


@pytest.fixture(scope="module")
def log(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> RunLog:
    return simulate(policy, tmp_path_factory.mktemp("log") / "run.mcap")


def test_the_simulated_robot_stands_up_and_runs_it(log: RunLog):
    running = log.ticks[log.ticks["state"] == State.RUN]
    assert len(running) >= 10 and np.isfinite(running["action"][1:]).all()
    assert log.contact_names == FEET
    weight = 9.81 * 3.0
    standing = log.ticks[log.ticks["state"] == State.STAND][-1]
    assert standing["contact_force"].sum() == pytest.approx(weight, rel=0.1)


def test_the_log_is_replayed_bit_by_bit(log: RunLog):
    robot = logged_robot(log, ROBOT.directory)
    assert robot.contact_sensors == ROBOT.contact_sensors
    replay = replay_policy(log, robot)
    assert replay.agrees and replay.identical == replay.ticks >= 10
    assert replay_sim(log, robot).qpos.shape == (len(log.ticks), 7 + N)
    ticks = log.ticks.copy()
    row = int(np.flatnonzero(ticks["state"] == State.RUN)[5])
    ticks["contact_force"][row, 2] += 20.0
    assert replay_policy(replace(log, ticks=ticks), robot).identical == replay.ticks - 1


def test_a_tick_with_forces_goes_round(tmp_path: Path):
    assert [field.name for field in fields_of(4)][-1] == "contact_force"
    assert tick_dtype(2, 3, 0) == tick_dtype(2, 3) and fields_of(0) == fields_of(4)[:-1]
    record: Any = np.zeros((), tick_dtype(2, 3, 4))
    record["contact_force"] = [1.0, np.nan, 3.0, -0.0]
    message = encode_tick(record)
    assert is_tick(message, 2, 3, 4)
    assert not is_tick(message, 2, 3) and not is_tick(message, 2, 3, 3)
    path = tmp_path / "run.mcap"
    writer = LogWriter(path, ("hip", "knee"), ("vx", "vy", "turn"), contact_names=FEET)
    assert writer.record(record) and writer.event(Level.INFO, "felt")
    assert writer.close().error is None
    assert read_log(path).ticks[0].tobytes() == record.tobytes()
    (tmp_path / "cut.mcap").write_bytes(path.read_bytes()[:-40])
    repaired = repair_log(tmp_path / "cut.mcap", tmp_path / "whole.mcap")
    assert repaired.contact_names == FEET and repaired.complete
    assert repaired.ticks.tobytes() == record.tobytes()
