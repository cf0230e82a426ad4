"""The walking task as Gymnasium makes it: one environment, or the vector by the same name."""

from __future__ import annotations

import subprocess
import sys

import gymnasium
import numpy as np
import pytest
import surefoot.sim
from gymnasium.utils.env_checker import check_env
from surefoot.models.errors import RenderError
from surefoot.models.robot_file import load_robot
from surefoot.sim.walk import WalkEnv

ROBOT = load_robot("quadruped")
N = len(ROBOT.joints)

# What Gymnasium recommends and its own MuJoCo tasks do otherwise: unbounded observations, and
# actions in the unit that the task gives them.
RECOMMENDED = (
    "ignore:.*A Box observation space (minimum|maximum) value is -?infinity",
    "ignore:.*For Box action spaces, we recommend",
)


def test_importing_sim_registers_without_loading_mujoco():
    assert surefoot.sim.__name__ == "surefoot.sim"
    code = (
        "import sys, surefoot.sim, gymnasium; gymnasium.spec('Surefoot/Walk-v0');"
        "assert not {'mujoco', 'torch', 'imageio'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.filterwarnings(*RECOMMENDED)
def test_gymnasium_accepts_the_single_environment():
    env = gymnasium.make("Surefoot/Walk-v0")
    assert "TimeLimit" not in str(env)
    check_env(env.unwrapped, skip_render_check=True)
    assert env.metadata["render_fps"] == 50
    assert env.unwrapped.render() is None, "no render mode, no picture"


@pytest.mark.filterwarnings(*RECOMMENDED)
def test_the_single_environment_renders():
    env = gymnasium.make("Surefoot/Walk-v0", render_mode="rgb_array")
    env.reset(seed=0)
    try:
        image = env.render()
    except RenderError as error:
        pytest.skip(str(error))
    assert (image.shape, image.dtype) == ((480, 640, 3), np.uint8)
    assert image.std() > 5, "there is something to see"
    check_env(env.unwrapped)
    env.close()


def test_gymnasium_makes_the_vector_environment():
    envs = gymnasium.make_vec("Surefoot/Walk-v0", num_envs=3, randomisation=())
    assert isinstance(envs, WalkEnv)
    assert envs.reset(seed=0)[0].shape == (3, 47)
    assert envs.observation_space.shape == (3, 47)


def test_the_single_environment_is_a_row_of_the_vector():
    single = gymnasium.make("Surefoot/Walk-v0")
    vector = WalkEnv(1, ROBOT)
    first, _ = single.reset(seed=11)
    np.testing.assert_array_equal(first, vector.reset(seed=11)[0][0])
    for action in 0.5 * np.random.default_rng(5).standard_normal((30, 1, N), np.float32):
        expected = vector.step(action)
        observation, reward, terminated, truncated, _ = single.step(action[0])
        np.testing.assert_array_equal(observation, expected[0][0])
        assert observation in single.observation_space
        assert (reward, terminated, truncated) == tuple(float(x[0]) for x in expected[1:4])
    single.unwrapped.vector.robots.qpos[0, 2:7] = [0.5, 0.0, 1.0, 0.0, 0.0]
    observation, _, terminated, _, _ = single.step(np.zeros(N, np.float32))
    assert terminated
    assert observation[5] > 0.5, "the true last observation: on its back"
    assert single.unwrapped.vector.robots.gravity[0, 2] > 0.5, "and so it would be rendered"
    assert single.reset()[0][5] < -0.9


def test_the_single_environment_truncates_by_itself():
    single = gymnasium.make("Surefoot/Walk-v0", randomisation=())
    single.reset(seed=0)
    for tick in range(1, 1001):
        _, _, terminated, truncated, _ = single.step(np.zeros(N, np.float32))
        assert (terminated, truncated) == (False, tick == 1000)
