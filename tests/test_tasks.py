"""What every task for robots keeps to: one contract, the same for all of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from surefoot.models.errors import NonFiniteError, UsageError
from surefoot.models.observation import input_widths, observe
from surefoot.models.task import TaskEnv
from surefoot.sim.randomisation import describe
from surefoot.sim.reach import ReachEnv
from surefoot.sim.reach_goals import ReachGoalsEnv
from surefoot.sim.robot_env import RobotEnv
from surefoot.sim.single import SingleEnv
from surefoot.sim.tasks import TASKS, make_task
from surefoot.sim.walk import WalkEnv

Make = Callable[..., RobotEnv]  # N and options → environments


def reach_by_torques(num_envs: int, **options: Any) -> ReachEnv:
    return ReachEnv(num_envs, output="joint_torque", **options)


def walk_by_torques(num_envs: int, **options: Any) -> WalkEnv:
    return WalkEnv(num_envs, "biped", output="joint_torque", **options)


TASK = pytest.mark.parametrize("make", [WalkEnv, walk_by_torques, ReachEnv, reach_by_torques])


def actions(env: RobotEnv, ticks: int, scale: float = 0.5, seed: int = 5) -> np.ndarray:
    shape = (ticks, *(env.action_space.shape or ()))
    return scale * np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def everything(env: RobotEnv, step: tuple) -> list[np.ndarray]:
    observation, reward, terminated, truncated, infos = step
    final = []
    if infos:
        final = [infos["final_obs"], env.final_privileged, *infos["statistics"].values()]
    qpos = env.robots.qpos.copy()
    return [observation, reward, terminated, truncated, env.privileged, qpos, *final]


def assert_same(first: list[np.ndarray], second: list[np.ndarray]) -> None:
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def shortened(env: RobotEnv, ticks: int) -> RobotEnv:
    """Episodes of so many ticks, the first of them over at different ticks."""
    env.episode_time = ticks * env.period
    env.ticks[:] = np.arange(env.num_envs)
    return env


def test_the_table_of_tasks():
    assert list(TASKS.values()) == [WalkEnv, ReachEnv, ReachGoalsEnv]
    for name, task in TASKS.items():
        usual = inspect.signature(task).parameters.get("robot")
        assert usual is None or usual.default == task.usual_robot
        env = make_task(name, 2, nthread=1)
        assert type(env) is task and env.num_envs == 2
        assert env.robot.name == task.usual_robot
    assert make_task("reach", 1, output="joint_torque", randomisation=()).output == "joint_torque"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("fly", 1), "task: found fly, allowed are walk, reach, reach-goals"),
        (("walk", 1, None, "joint_speed"), "output: found joint_speed for walk, allowed is joint_"),
        (("walk", 1, None, "joint_torque"), "walk: found quadruped, without contact sensors"),
        (("walk", 1, "arm"), "walk: found arm, which has no feet, allowed is"),
        (("reach", 1, "quadruped"), "reach: found quadruped, with a free base"),
    ],
)
def test_what_no_task_can_be_made_of(words: tuple, message: str):
    with pytest.raises(UsageError) as caught:
        make_task(*words)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@TASK
def test_spaces_and_shapes(make: Make):
    env = make(3, nthread=1)
    n, columns = len(env.robot.joints), env.single_observation_space.shape[0]
    observation, infos = env.reset(seed=0)
    assert infos == {} and observation in env.observation_space
    assert env.action_space.shape == (3, n) and env.single_action_space.is_bounded()
    observation, reward, terminated, truncated, infos = env.step(actions(env, 1)[0])
    assert (observation.shape, observation.dtype) == ((3, columns), np.float32)
    assert (reward.shape, reward.dtype) == ((3,), np.float32)
    assert terminated.dtype == truncated.dtype == bool
    assert env.privileged.dtype == np.float32 and env.privileged.shape[1] > columns
    assert isinstance(env, TaskEnv) and isinstance(env, gymnasium.vector.VectorEnv)


@TASK
def test_the_bits_depend_on_the_seed_and_not_on_the_threads(make: Make):
    one, two = (make(6, nthread=k) for k in (1, 2))
    first = one.reset(seed=3)[0]
    np.testing.assert_array_equal(first, two.reset(seed=3)[0])
    shortened(one, 25), shortened(two, 25)
    for action in actions(one, 60):
        assert_same(everything(one, one.step(action)), everything(two, two.step(action)))
    np.testing.assert_array_equal(one.reset(seed=3)[0], first)
    assert not np.array_equal(one.reset(seed=4)[0], first)


@TASK
def test_a_restored_state_goes_on_bit_for_bit(make: Make):
    env, other = make(4, nthread=1), make(4, nthread=2)
    env.reset(seed=8)
    other.reset(seed=99)
    for task in (env, other):
        shortened(task, 30)
        for action in actions(task, 35):
            task.step(action)
    state = env.get_state()
    after = actions(env, 50, seed=7)
    straight = [everything(env, env.step(action)) for action in after]
    other.set_state(state)
    np.testing.assert_array_equal(other.privileged, state["arrays"]["privileged"])
    for expected, action in zip(straight, after, strict=True):
        assert_same(expected, everything(other, other.step(action)))


@TASK
def test_the_observation_is_made_of_the_inputs(make: Make):
    env = make(3, nthread=1)
    observation, _ = env.reset(seed=1)
    widths = input_widths(env.robot, len(env.commands))
    for action in actions(env, 5):
        assert {name: value.shape for name, value in env.inputs.items()} == {
            name: (3, width) for name, width in widths.items()
        }
        assert all(value.dtype == np.float32 for value in env.inputs.values())
        np.testing.assert_array_equal(observation, observe(env.terms, env.inputs, np))
        np.testing.assert_array_equal(env.privileged[:, : observation.shape[1]], observation)
        observation, *_ = env.step(action)
        np.testing.assert_array_equal(env.inputs["previous_action"], action)


@TASK
def test_time_truncates_and_the_next_episode_begins_in_the_same_step(make: Make):
    env = make(3, nthread=1, randomisation=())
    assert env.metadata["autoreset_mode"] is gymnasium.vector.AutoresetMode.SAME_STEP
    env.reset(seed=0)
    shortened(env, 10)
    columns = env.single_observation_space.shape[0]
    for action in actions(env, 7, 0.2):
        env.step(action)
    command = env.command.copy()
    last = actions(env, 1, 0.2)[0]
    observation, _, terminated, truncated, infos = env.step(last)  # the tenth of the last one
    assert not terminated.any()
    assert truncated.tolist() == infos["_final_obs"].tolist() == [False, False, True]
    assert env.ticks.tolist() == [8, 9, 0]
    final = infos["final_obs"]
    np.testing.assert_array_equal(final[:2], observation[:2])
    np.testing.assert_array_equal(env.final_privileged[:2], env.privileged[:2])
    np.testing.assert_array_equal(env.final_privileged[:, :columns], final)
    np.testing.assert_array_equal(env.privileged[:, :columns], observation)
    assert not np.array_equal(final[2], observation[2])
    np.testing.assert_array_equal(env.inputs["previous_action"][2], 0.0)
    assert (env.command[2] != command[2]).any()


@TASK
def test_statistics_tell_what_was_earned_and_what_ended_it(make: Make):
    env = make(2, nthread=1)
    env.reset(seed=0)
    env.episode_time = 5 * env.period
    terms = np.zeros(2)
    for tick, action in enumerate(actions(env, 5, 0.1)):
        before = terms
        _, reward, terminated, _, infos = env.step(action)
        if tick < 4:
            terms = env.reward_sums.sum(0)
        else:  # the sums are those of the next episode already
            means = [v for name, v in infos["statistics"].items() if name.startswith("reward/")]
            assert len(means) == len(env.reward_names)
            terms = 5 * np.sum(means, 0)
        np.testing.assert_allclose(reward, np.maximum(terms - before, 0.0), atol=1e-6)
    assert not terminated.any()
    assert all(values.shape == (2,) for values in infos["statistics"].values())
    ends = [v for name, v in infos["statistics"].items() if name.startswith("end/")]
    assert ends and not np.any(ends)


@TASK
def test_an_action_that_is_no_number_moves_nothing(make: Make):
    env = make(2, nthread=1)
    env.reset(seed=0)
    before = env.robots.qpos.copy()
    action = actions(env, 1)[0]
    action[1, 2] = np.nan
    with pytest.raises(NonFiniteError, match=r"\[1, 2\]: found nan"):
        env.step(action)
    np.testing.assert_array_equal(env.robots.qpos, before)


@pytest.mark.parametrize("ticks", [0, 1, 3])  # before it does
@TASK
def test_a_diverged_simulation_ends_and_hands_nobody_a_nan(
    make: Make, ticks: int, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)  # where MuJoCo leaves its warning
    env = make(2, nthread=1, randomisation=())
    env.reset(seed=0)
    for action in actions(env, ticks):
        env.step(action)
    env.robots.qvel[0, -1] = np.nan
    observation, reward, terminated, truncated, infos = env.step(0 * actions(env, 1)[0])
    assert (terminated.tolist(), truncated.tolist()) == ([True, False], [False, False])
    assert reward[0] == 0.0
    for array in (observation, infos["final_obs"], env.privileged, env.final_privileged):
        assert np.isfinite(array).all()
    assert all(np.isfinite(values).all() for values in infos["statistics"].values())


@TASK
def test_the_target_before_the_first_action_holds_the_pose_or_is_no_torque(make: Make):
    env = make(2, nthread=1, randomisation=())
    env.reset(seed=0)
    held = env.robots.joint_pos if env.output == "joint_target" else np.zeros_like(env.target)
    np.testing.assert_array_equal(env.target, held)


@TASK
def test_commands_are_within_what_the_task_says(make: Make):
    env = make(300, nthread=1)
    env.reset(seed=0)
    low, high = (np.array([getattr(p, end) for p in env.commands]) for end in ("lower", "upper"))
    assert (env.command >= low).all() and (env.command <= high).all()
    spread = np.ptp(env.command, axis=0) / (high - low)
    assert (spread > 0.9).all(), "and all of it is commanded"


@TASK
def test_a_command_from_outside_stays(make: Make):
    env = make(2, nthread=1, randomisation=())
    env.reset(seed=0)
    wanted = np.array(
        [[part.lower for part in env.commands], [part.upper for part in env.commands]]
    )
    env.set_commands(wanted)
    np.testing.assert_allclose(env.inputs["command"], wanted, rtol=1e-6)
    for action in actions(env, 10, 0.1):  # before anyone falls
        env.step(action)
        np.testing.assert_allclose(env.inputs["command"], wanted, rtol=1e-6)


@TASK
def test_actions_are_scaled_and_limited(make: Make):
    env = make(4, nthread=1, randomisation=())
    env.reset(seed=0)
    nothing = np.zeros((4, len(env.robot.joints)), np.float32)
    for _ in range(150):
        env.step(nothing)
    of_nothing = env.robot.default_pose if env.output == "joint_target" else 0 * nothing[0]
    stays = np.abs(env.target - of_nothing).max(1) < 1e-6
    assert stays.any(), "an action of 0 is the default pose, or no torque"
    wild = np.full_like(nothing, 50.0)
    env.step(wild)
    assert env.reasons.any()
    assert (np.abs(env.robots.joint_torque) <= env.robot.torque_limit + 1e-9).all()


@TASK
def test_the_task_says_what_it_varies(make: Make):
    env = make(1, nthread=1)
    names = [row["what"] for row in describe(env.randomisation)]
    assert len(names) == len(set(names)) > 5
    assert set(env.drawn) == set(names)
    assert make(1, nthread=1, randomisation=()).randomisation == ()


# --- one at a time --------------------------------------------------------------------------------


@pytest.mark.filterwarnings(
    "ignore:.*A Box observation space (minimum|maximum) value is -?infinity",
    "ignore:.*For Box action spaces, we recommend",
)
@pytest.mark.parametrize("name", ["Surefoot/Walk-v0", "Surefoot/Reach-v0"])
def test_gymnasium_makes_each_task(name: str):
    single = gymnasium.make(name)
    assert "TimeLimit" not in str(single)
    check_env(single.unwrapped, skip_render_check=True)
    envs = gymnasium.make_vec(name, num_envs=3, randomisation=())
    assert isinstance(envs, RobotEnv) and envs.num_envs == 3
    assert isinstance(single.unwrapped, SingleEnv)
    assert type(single.unwrapped.vector) is type(envs)

    single, vector = gymnasium.make(name), type(envs)(1)
    np.testing.assert_array_equal(single.reset(seed=11)[0], vector.reset(seed=11)[0][0])
    for action in actions(vector, 20):
        expected = vector.step(action)
        observation, reward, terminated, truncated, _ = single.step(action[0])
        np.testing.assert_array_equal(observation, expected[0][0])
        assert (reward, terminated, truncated) == tuple(float(x[0]) for x in expected[1:4])
