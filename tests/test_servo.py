"""The simulated servos and sensors against the law and the faults of robot_batch.py."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from surefoot.models.robot_file import load_robot
from surefoot.sim.robot_batch import RobotBatch

ROBOT = load_robot("quadruped")
N = len(ROBOT.joints)
STANDING = np.concatenate(([0, 0, 1, 1, 0, 0, 0], ROBOT.default_pose))  # a metre up


def batch(num_envs: int) -> RobotBatch:
    """Robots at rest in the air, in the default pose."""
    robots = RobotBatch(ROBOT, num_envs, nthread=1)
    put(robots, 0.0)
    return robots


def put(robots: RobotBatch, velocity: np.ndarray | float) -> None:
    """Back to where `batch` puts them, their joints at some velocity [rad/s]."""
    qvel = np.zeros((robots.num_envs, 6 + N))
    qvel[:, 6:] = velocity
    ids = np.arange(robots.num_envs)
    robots.reset(ids, np.tile(STANDING, (robots.num_envs, 1)), qvel)


SERVO = batch(1)


def servo_torque(error: float | np.ndarray, velocity: float | np.ndarray) -> np.ndarray:
    """What the servos give at `error` rad from their target, moving at `velocity` rad/s."""
    put(SERVO, velocity)
    SERVO.qpos[:, 7:] -= error
    SERVO.batch.forward()
    return SERVO.joint_torque[0].copy()


@pytest.mark.parametrize(
    ("error", "velocity", "torque"),
    [
        (0.0, 0.0, 0.0),
        (0.1, 0.0, 1.38),  # 13.8 · 0.1
        (0.1, 1.0, 1.01),  # 1.38 − 0.37 · 1: back-EMF is compensated
        (-0.1, 1.0, -1.75),
        (0.5, 0.0, 2.0),  # the goal current's cap, not 6.9
        (-0.5, 0.0, -2.0),
        (0.5, 5.0, 1.1390),  # the torque-speed line: 3 · (1 − 5 / 8.06)
        (0.5, -5.0, 2.0),  # braking: the line is far away, the cap is not
        (0.5, 8.06, 0.0),  # no-load speed
        (0.0, 4.0, -1.48),  # damping alone
    ],
)
def test_the_servos_torque_by_hand(error: float, velocity: float, torque: float):
    np.testing.assert_allclose(servo_torque(error, velocity), torque, atol=1e-4)


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-12, 12)), min_size=N, max_size=N))
def test_the_servos_law(states: list[tuple[float, float]]):
    error, velocity = np.array(states).T
    line = 3.0 * (np.array([[-1], [1]]) - velocity / 8.06)  # of −12 V and of +12 V
    torque = np.clip(13.8 * error - 0.37 * velocity, *line)
    np.testing.assert_allclose(servo_torque(error, velocity), np.clip(torque, -2, 2), atol=1e-9)


# --- joint torques --------------------------------------------------------------------------------

ARM = load_robot("arm")
PUSHED = RobotBatch(ARM, 1, nthread=1, output="joint_torque")


def pushed_torque(torque: np.ndarray, velocity: np.ndarray) -> np.ndarray:
    """What the arm's motors give when they are told to, moving at `velocity` rad/s."""
    PUSHED.reset(np.array([0]), ARM.default_pose[None], velocity[None])
    PUSHED.ctrl[:] = torque
    PUSHED.delay_buffers[:, PUSHED._buffered_ctrl] = np.reshape(torque, (1, -1, 1))
    PUSHED.batch.forward()
    return PUSHED.joint_torque[0].copy()


@pytest.mark.parametrize(
    ("torque", "velocity", "given"),
    [
        (1.0, 0.0, 1.0),
        (1.0, 2.0, 1.0),  # no damping: back-EMF is compensated
        (2.0, 0.0, 1.5),  # the goal current's cap
        (-2.0, 0.0, -1.5),
        (1.5, 4.0, 0.697510),  # the torque-speed line: 4.1 · (1 − 4 / 4.82)
        (-1.5, 4.0, -1.5),  # braking: the line is far away, the cap is not
        (1.5, 4.82, 0.0),  # no-load speed
        (0.0, 4.0, 0.0),
    ],
)
def test_the_torque_motors_law_by_hand(torque: float, velocity: float, given: float):
    found = pushed_torque(np.full(4, torque), np.full(4, velocity))
    np.testing.assert_allclose(found, given, atol=1e-5)


@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-8, 8)), min_size=4, max_size=4))
def test_the_torque_motors_law(states: list[tuple[float, float]]):
    torque, velocity = np.array(states).T
    line = 4.1 * (np.array([[-1], [1]]) - velocity / 4.82)  # of −12 V and of +12 V
    expected = np.clip(np.clip(torque, *line), -1.5, 1.5)
    np.testing.assert_allclose(pushed_torque(torque, velocity), expected, atol=1e-9)


def test_torques_move_the_first_joint_by_newtons_law():
    """About a vertical axis gravity does nothing: acceleration = (torque − friction) / inertia."""
    import mujoco  # after surefoot.sim, which tells it how to render

    PUSHED.reset(np.array([0]), ARM.default_pose[None], np.zeros((1, 4)))
    data, inertia = mujoco.MjData(PUSHED.model), np.zeros((4, 4))
    data.qpos[:] = ARM.default_pose
    mujoco.mj_forward(PUSHED.model, data)
    mujoco.mj_fullM(PUSHED.model, data, inertia)
    PUSHED.field("actuator_delay")[:] = 0.0
    PUSHED.step(np.array([[0.5, 0.0, 0.0, 0.0]]))
    expected = (0.5 - 0.08) / inertia[0, 0] * 0.02
    assert PUSHED.joint_vel[0, 0] == pytest.approx(expected, rel=0.02)


def test_a_bolted_robot_has_no_imu():
    inputs = RobotBatch(ARM, 2, nthread=1).measure(np.random.default_rng(0))
    assert {name: value.shape for name, value in inputs.items()} == {
        "joint_pos": (2, 4), "joint_vel": (2, 4),
    }  # fmt: skip


# --- delay and sensors ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("delay", "share"),  # of the command that has arrived 10 and 20 ms after it was given
    [(0.005, (1.0, 1.0)), (0.01, (1.0, 1.0)), (0.015, (0.5, 1.0)), (0.02, (0.0, 1.0))],
)
def test_a_target_arrives_after_the_command_delay(delay: float, share: tuple[float, float]):
    robots = batch(1)
    robots.field("actuator_delay")[:] = delay
    put(robots, 0.0)
    robots.ctrl[:] = ROBOT.default_pose + 0.1
    torques = []
    for _ in range(3):
        robots.batch.step()  # of 10 ms; the torque is that at its beginning
        torques.append(robots.joint_torque[0, 0])
    np.testing.assert_allclose(torques[:2], [0.0, 1.38 * share[0]], atol=1e-6)


def test_sensors_by_hand():
    robots = batch(2)
    robots.reset(np.arange(2), np.tile(STANDING, (2, 1)), np.full((2, 6 + N), 0.3))
    target = np.tile(ROBOT.default_pose + 0.1, (2, 1))
    robots.step(target)
    before = robots.angular_velocity.copy()
    robots.step(target)
    now, wrong = robots.angular_velocity, robots.sensor_errors
    assert (now != before).all()
    wrong.imu_delay[:] = [[0.25], [0.0]]
    wrong.encoder_offset[:] = 0.02 * np.eye(2, N)
    wrong.gyro_bias[:] = [[0.0, 0.01, 0.0], [0.0, 0.0, 0.0]]
    inputs = robots.measure(np.random.default_rng(0))
    np.testing.assert_allclose(inputs["gyro"][0], 0.75 * now[0] + 0.25 * before[0] + [0, 0.01, 0])
    np.testing.assert_allclose(inputs["gyro"][1], now[1])
    np.testing.assert_allclose(inputs["joint_pos"] - robots.joint_pos, 0.02 * np.eye(2, N))


def test_a_crooked_imu_sees_a_little_of_down_along_y():
    robots = batch(1)
    robots.sensor_errors.mounting[:] = [0.03, 0.0, 0.0]  # 0.03 rad about x
    gravity = robots.measure(np.random.default_rng(0))["gravity"]
    np.testing.assert_allclose(gravity[0], [0, 0.03, -1] / np.hypot(0.03, 1), atol=1e-9)


def test_sensor_noise_has_the_deviations_it_says():
    robots = batch(4000)
    robots.sensor_errors.noise[:] = 2.0
    inputs = robots.measure(np.random.default_rng(0))
    expected = {"gyro": 0.1, "joint_pos": 0.004, "joint_vel": 0.2}
    for name, deviation in expected.items():
        assert inputs[name].std(0) == pytest.approx(deviation, rel=0.08)
    assert inputs["gravity"][:, :2].std(0) == pytest.approx(0.02, rel=0.08)
