"""The reaching task: its geometry, its numbers by hand, its goals and its torques."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from surefoot.control.envs import Envs
from surefoot.control.replay_buffer import ReplayBuffer
from surefoot.models.errors import RobotFileError, UsageError
from surefoot.models.limits import Reason
from surefoot.models.robot import Robot
from surefoot.models.robot_file import load_robot
from surefoot.sim.reach import SUCCESS, WORKSPACE, ReachEnv
from surefoot.sim.reach_goals import ReachGoalsEnv
from surefoot.sim.robot_batch import RobotBatch

ROBOT = load_robot("arm")
N = len(ROBOT.joints)


def nominal(num_envs: int = 1, **options) -> ReachEnv:
    env = ReachEnv(num_envs, ROBOT, randomisation=(), nthread=1, **options)
    env.reset(seed=0)
    return env


ENV = nominal()


def place(env: ReachEnv, joint_pos: np.ndarray) -> None:
    """Put every arm at rest into a pose, in the middle of its episode."""
    ids = np.arange(env.num_envs)
    pose = np.broadcast_to(joint_pos, (env.num_envs, N))
    env.robots.reset(ids, pose, np.zeros((env.num_envs, N)))
    env.target[:] = pose
    env.tip_before[:] = env.tip


def still(num_envs: int = 1) -> np.ndarray:
    return np.zeros((num_envs, N), np.float32)


def holding(env: ReachEnv, joint_pos: np.ndarray) -> np.ndarray:
    """The action whose target is a pose."""
    action = (joint_pos - ROBOT.default_pose) / env.action_scale
    return np.tile(action, (env.num_envs, 1)).astype(np.float32)


# --- geometry -------------------------------------------------------------------------------------


def tip_at(*joint_pos: float) -> np.ndarray:
    return ENV.tip_position({"joint_pos": np.array([joint_pos], float)}, np)[0]


def test_the_tip_by_hand():
    """The published lengths: 12 mm forward and 17 + 59.5 mm up to the shoulder, 24 mm and 128 mm to
    the elbow, 124 mm to the wrist, 126 mm to the tip."""
    np.testing.assert_allclose(tip_at(0, 0, 0, 0), [0.286, 0, 0.2045], atol=1e-12)
    # To the left, by a quarter turn about the base, which stands 12 mm before the origin.
    np.testing.assert_allclose(tip_at(np.pi / 2, 0, 0, 0), [0.012, 0.274, 0.2045], atol=1e-12)
    # The upper arm level, so that 24 mm become less height; forearm and hand hang down from there.
    np.testing.assert_allclose(
        tip_at(0, np.pi / 2, 0, 0), [0.012 + 0.128, 0, 0.0765 - 0.024 - 0.25], atol=1e-12
    )
    np.testing.assert_allclose(tip_at(0, 0, 0, np.pi / 2), [0.16, 0, 0.2045 - 0.126], atol=1e-12)


@given(st.lists(st.floats(-3, 3), min_size=N, max_size=N))
def test_the_tip_is_where_mujoco_says(joint_pos: list[float]):
    data = mujoco.MjData(ENV.robots.model)
    data.qpos[:] = joint_pos
    mujoco.mj_kinematics(ENV.robots.model, data)
    np.testing.assert_allclose(tip_at(*joint_pos), data.site("tip").xpos, atol=1e-12)


def test_every_goal_can_be_reached_with_the_arm_free():
    model, rng = ENV.robots.model, np.random.default_rng(0)
    data = mujoco.MjData(model)
    poses = rng.uniform(ROBOT.lower, ROBOT.upper, (200_000, N))
    tips = ENV.tip_position({"joint_pos": poses}, np)
    axes = [np.linspace(low, high, 5) for low, high in WORKSPACE.values()]
    for goal in np.stack(np.meshgrid(*axes), -1).reshape(-1, 3):
        distance = np.linalg.norm(tips - goal, axis=1)
        near = np.argsort(distance)[:200]
        free = []
        for pose in poses[near[distance[near] < SUCCESS]]:
            data.qpos[:] = pose
            mujoco.mj_kinematics(model, data)
            mujoco.mj_collision(model, data)
            free.append(data.ncon == 0)
        assert any(free), f"goal {goal}"


def test_an_episode_begins_where_nothing_is_touched():
    env = nominal(100)
    assert (env.robots.joint_pos >= ROBOT.lower).all()
    assert (env.robots.joint_pos <= ROBOT.upper).all()
    data = mujoco.MjData(env.robots.model)
    for pose in env.robots.joint_pos:
        data.qpos[:] = pose
        mujoco.mj_forward(env.robots.model, data)
        assert data.ncon == 0 and data.site("tip").xpos[2] > 0.02
    assert (np.ptp(env.robots.joint_pos, axis=0) > 0.7 * (ROBOT.upper - ROBOT.lower)).all()


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('site name="tip"', 'site name="toe"', "its sites toe, allowed is a robot without .* tip"),
        (
            '<body name="hand" pos="0.124 0 0">',
            '<body><site name="tip"/></body><body name="hand" pos="0.124 0 0">',
            "found the joints joint1, joint2, joint3 between base and tip",
        ),
    ],
)
def test_a_robot_that_cannot_reach_is_refused(
    tmp_path: Path, before: str, after: str, message: str
):
    text = ROBOT.mjcf.read_text()
    assert before in text
    if after.startswith("<body><site"):
        text = text.replace('<site name="tip"', '<site name="other"')
    (tmp_path / ROBOT.model).write_text(text.replace(before, after))
    with pytest.raises(UsageError, match=message):
        ReachEnv(1, replace(ROBOT, directory=tmp_path))


@pytest.mark.parametrize(
    ("robot", "message"),
    [
        (replace(ROBOT, imu=load_robot("quadruped").imu), "found 'joint1' as its first joint"),
        (replace(load_robot("quadruped"), imu=None), "found the freejoint 'base', allowed is none"),
        (replace(ROBOT, joints=ROBOT.joints[::-1]), "found the joints joint1, joint2"),
    ],
)
def test_a_body_that_is_not_as_the_robot_says_is_refused(robot: Robot, message: str):
    with pytest.raises(RobotFileError, match=message):
        RobotBatch(robot, 1)


# --- reward, observation and success by hand ------------------------------------------------------


def test_the_reward_at_the_goal_and_away_from_it():
    env = nominal(2)
    place(env, ROBOT.default_pose)
    env.inputs["joint_pos"], env.inputs["joint_vel"] = env.robots.joint_pos, env.robots.joint_vel
    for _ in range(100):
        env.step(still(2))
    away = env.tip + np.array([[0.0, 0.0, 0.0], [0.03, 0.0, 0.04]])  # 5 cm
    env.set_commands(away)
    before = env.reward_sums.copy()
    env.step(still(2))
    terms = dict(zip(env.reward_names, env.reward_sums - before, strict=True))
    np.testing.assert_allclose(terms["near"], [1.0, np.exp(-0.05 / 0.1)], rtol=1e-3)
    np.testing.assert_allclose(terms["there"], [1.0, np.exp(-6.25)], rtol=1e-2)  # (5 / 2)²
    for name in ("action_rate", "speed", "limited"):
        np.testing.assert_allclose(terms[name], 0.0, atol=1e-6)


def test_penalties_by_hand():
    env = nominal()
    place(env, ROBOT.default_pose)
    env.inputs["joint_pos"], env.inputs["joint_vel"] = env.robots.joint_pos, env.robots.joint_vel
    env.robots.qvel[0, 0] = -2.0
    before = env.reward_sums[:, 0].copy()
    tip = env.tip.copy()
    action = still()
    action[0, :2] = [3.0, -4.0]
    env.step(action)
    terms = dict(zip(env.reward_names, env.reward_sums[:, 0] - before, strict=True))
    assert terms["action_rate"] == pytest.approx(-0.1 * 25)  # 3² + 4²
    torque = env.robots.joint_torque[0]
    assert terms["torque"] == pytest.approx(-0.025 * (torque @ torque))
    # The first joint would need more than its torque to turn round; the second one gets there.
    assert terms["limited"] == pytest.approx(-0.005 * 1)
    velocity = (env.tip - tip)[0] / 0.02
    assert terms["speed"] == pytest.approx(-0.005 * (velocity @ velocity))
    assert np.linalg.norm(velocity) > 0.2, "0.2 m from the axis, turning"


def test_the_privileged_view_by_hand():
    env = nominal(2)
    tip = env.tip.copy()
    env.step(holding(env, ROBOT.default_pose + 0.3))
    expected = np.hstack((
        env.tip,
        (env.tip - tip) / 0.02,
        np.linalg.norm(env.tip - env.command, axis=1, keepdims=True),
    ))  # fmt: skip
    np.testing.assert_allclose(env.privileged[:, -7:], expected, atol=1e-5)
    np.testing.assert_allclose(env.privileged[:, -13:-10], env.tip, atol=1e-6)  # as it is measured
    np.testing.assert_allclose(env.privileged[:, -10:-7], env.command, atol=1e-6)


def test_success_is_to_be_within_two_centimetres_at_the_end(monkeypatch: pytest.MonkeyPatch):
    env = nominal(3)
    place(env, ROBOT.default_pose)
    off = np.array([[0.0, 0.0, 0.0], [0.0, 0.015, 0.0], [0.0, 0.025, 0.0]])
    env.set_commands(env.tip + off)
    monkeypatch.setattr(env, "episode_time", 0.1)
    env.ticks[:] = 4
    *_, infos = env.step(still(3))
    assert infos["statistics"]["success"].tolist() == [1.0, 1.0, 0.0]
    np.testing.assert_allclose(infos["statistics"]["distance"], [0.0, 0.015, 0.025], atol=3e-3)


def test_the_arm_holds_its_default_pose_and_rests_where_it_is_put():
    env = nominal()
    for _ in range(150):
        env.step(still())
    np.testing.assert_allclose(env.robots.joint_pos[0], ROBOT.default_pose, atol=0.04)
    rest = nominal()
    place(rest, ROBOT.rest_pose)
    rest.robots.field("actuator_forcerange")[:] = 0.0  # limp
    for _ in range(150):
        rest.robots.step(ROBOT.default_pose[None])
    np.testing.assert_allclose(rest.robots.joint_pos[0], ROBOT.rest_pose, atol=0.05)


# --- torques --------------------------------------------------------------------------------------


def test_an_action_of_one_is_a_third_of_the_torque_limit():
    env = nominal(output="joint_torque")
    assert env.action_scale == (0.5,) * N and env.action_limit == 3.0
    place(env, ROBOT.default_pose)
    env.inputs["joint_pos"], env.inputs["joint_vel"] = env.robots.joint_pos, env.robots.joint_vel
    env.step(np.array([[1.0, -0.5, 0.2, 0.0]], np.float32))
    np.testing.assert_allclose(env.robots.ctrl[0], [0.5, -0.25, 0.1, 0.0], rtol=1e-6)
    assert not env.reasons.any()
    np.testing.assert_allclose(env.target, env.robots.ctrl)


def test_torques_are_limited_as_on_the_robot():
    env = nominal(4, output="joint_torque")
    seen = np.uint8(0)
    rng = np.random.default_rng(0)
    for _ in range(60):
        env.step(rng.uniform(-3.5, 3.5, (4, N)).astype(np.float32))
        assert (np.abs(env.robots.ctrl) <= ROBOT.torque_limit).all()
        seen |= np.bitwise_or.reduce(env.reasons, axis=None)
    assert seen & Reason.TORQUE, "the limiter took part"


def test_without_torque_the_arm_falls():
    env = nominal(output="joint_torque")
    place(env, ROBOT.default_pose)
    for _ in range(100):
        env.step(still())
    assert env.tip[0, 2] < 0.1


# --- goals ----------------------------------------------------------------------------------------


def test_a_goal_environment_says_what_the_dense_one_says():
    goals, dense = ReachGoalsEnv(3, ROBOT, nthread=1), ReachEnv(3, ROBOT, nthread=1)
    parts = ("observation", "achieved_goal", "desired_goal")
    first, _ = goals.reset(seed=4)
    flat, _ = dense.reset(seed=4)
    np.testing.assert_array_equal(np.hstack([first[name] for name in parts]), flat)
    assert first in goals.observation_space
    goals.episode_time = dense.episode_time = 6 * 0.02
    rng = np.random.default_rng(0)
    for _ in range(8):
        action = rng.standard_normal((3, N)).astype(np.float32)
        observation, reward, terminated, truncated, infos = goals.step(action)
        flat, _, *ends, others = dense.step(action)
        np.testing.assert_array_equal(np.hstack([observation[name] for name in parts]), flat)
        np.testing.assert_array_equal([terminated, truncated], ends)
        last = infos.get("final_obs", observation)
        distance = np.linalg.norm(last["achieved_goal"] - last["desired_goal"], axis=1)
        np.testing.assert_array_equal(reward, np.where(distance > SUCCESS, -1.0, 0.0))
        if infos:
            final = np.hstack([infos["final_obs"][name] for name in parts])
            np.testing.assert_array_equal(final, others["final_obs"])


def test_the_sparse_reward_by_hand():
    goal = np.array([[0.2, 0.0, 0.1]] * 3)
    off = np.array([[0.0, 0.0, 0.0], [0.012, 0.0, 0.015], [0.0, 0.0201, 0.0]])
    reached = goal + off  # by 0, 19.2 and 20.1 mm
    assert ENV_GOALS.compute_reward(reached, goal).tolist() == [0.0, 0.0, -1.0]


ENV_GOALS = ReachGoalsEnv(2, ROBOT, randomisation=(), nthread=1)


def test_hindsight_takes_it():
    envs = Envs(ENV_GOALS, seed=0)
    assert envs.goal is not None and envs.goal.reward is not None
    assert (envs.goal.achieved, envs.goal.desired) == (slice(12, 15), slice(15, 18))
    replay = ReplayBuffer(envs, 1000, gamma=0.95, hindsight=4)
    assert replay.hindsight == 4
    state = envs.get_state()
    assert state is not None, "a resumed run goes on bit for bit"
    action = np.full((2, N), 0.5, np.float32)
    first = envs.step(action)
    envs.set_state(state, 0)
    np.testing.assert_array_equal(envs.step(action).next_obs, first.next_obs)
