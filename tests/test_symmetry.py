"""Left and right: reflecting observations, actions and states; physics in the mirror."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from surefoot.models.errors import UsageError
from surefoot.models.observation import input_widths, observe
from surefoot.models.robot_file import load_robot
from surefoot.models.task import Reflection
from surefoot.sim import robot_batch
from surefoot.sim.gaits import QUADRUPED
from surefoot.sim.symmetry import left_right_mirror
from surefoot.sim.walk import WalkEnv
from walk_bench import ROBOT, N, nominal, still


@pytest.mark.parametrize(
    ("which", "size"), [("observation", 47), ("privileged", 64), ("action", N)]
)
def test_reflecting_twice_is_the_identity(which: str, size: int):
    reflection: Reflection = getattr(nominal().mirror, which)
    assert sorted(reflection.index.tolist()) == list(range(size))
    vector = np.arange(1.0, size + 1).astype(np.float32)
    np.testing.assert_array_equal(reflection(reflection(vector)), vector)
    assert not np.array_equal(reflection(vector), vector)


def test_the_mirror_of_an_action_by_hand():
    reflected = nominal().mirror.action(np.arange(1.0, 13.0))
    # Legs FL, FR, RL, RR of roll, pitch, knee: left and right change places, roll its sign.
    assert reflected.tolist() == [-4, 5, 6, -1, 2, 3, -10, 11, 12, -7, 8, 9]


def test_the_mirror_follows_the_order_of_the_terms():
    """Whatever the order, a mirrored observation is the observation of mirrored inputs."""
    env = WalkEnv(1, ROBOT, nthread=1)
    rng = np.random.default_rng(0)
    widths = input_widths(ROBOT, 3)
    inputs = {name: rng.standard_normal((1, k)) for name, k in widths.items()}
    joints = env.mirror.action
    signs = {"gyro": [-1, 1, -1], "gravity": [1, -1, 1], "command": [1, -1, -1]}
    reflected = {
        name: value * signs[name] if name in signs else joints(value)
        for name, value in inputs.items()
        if name != "clock"
    }
    reflected["clock"] = inputs["clock"] + QUADRUPED.period / 2
    for terms in (env.terms, env.terms[::-1], env.terms[2:] + env.terms[:2]):
        privileged = ("foot_heights", "gravity", "linear_velocity")
        mirror = left_right_mirror(terms, privileged, ROBOT, QUADRUPED.feet)
        observation = observe(terms, inputs, np)
        np.testing.assert_allclose(
            mirror.observation(observation), observe(terms, reflected, np), atol=1e-6
        )
        heights, gravity, velocity = rng.standard_normal((3, 4))
        row = np.concatenate((observation[0], heights, gravity[:3], velocity[:3]))
        expected = (
            heights[[1, 0, 3, 2]], gravity[:3] * [1, -1, 1], velocity[:3] * [1, -1, 1]
        )  # fmt: skip
        found = mirror.privileged(row)[observation.shape[1] :]
        np.testing.assert_allclose(found, np.concatenate(expected))


def test_physics_observation_and_reward_are_the_same_in_the_mirror(
    monkeypatch: pytest.MonkeyPatch,
):
    """With a solver that converges: PGS with few iterations depends on the contacts' order."""
    training_model = robot_batch.training_model

    def converged(*words):
        model = training_model(*words)
        model.opt.iterations, model.opt.tolerance = 1000, 0.0
        return model

    monkeypatch.setattr(robot_batch, "training_model", converged)
    env = nominal(2)
    mirror = env.mirror
    for _ in range(20):  # onto the floor
        env.step(still(2))
    qpos, qvel = env.robots.qpos[0].copy(), env.robots.qvel[0].copy()
    qvel[:6] += [0.1, 0.2, 0.0, 0.3, -0.2, 0.4]
    mirrored_qpos = np.concatenate((qpos[:7] * [1, -1, 1, 1, -1, 1, -1], mirror.action(qpos[7:])))
    mirrored_qvel = np.concatenate((qvel[:6] * [1, -1, 1, -1, 1, -1], mirror.action(qvel[6:])))
    pair = np.stack((qpos, mirrored_qpos)), np.stack((qvel, mirrored_qvel))
    env.robots.reset(np.arange(2), *pair)
    env.target[:] = np.stack((env.target[0], mirror.action(env.target[0])))
    env.ticks = np.array([20.0, 32.5])  # half a gait period on: a mirrored trot
    env.feet_before[:] = env.robots.feet
    command = np.array([0.3, 0.1, 0.5])
    env.set_commands(np.stack((command, command * [1, -1, -1])))
    env.inputs["joint_pos"], env.inputs["joint_vel"] = pair[0][:, 7:], pair[1][:, 6:]
    rewards = []
    for tick in range(60):
        wave = 0.6 * np.sin(2 * np.pi * tick / 25 + np.arange(N))
        observation, reward, terminated, _, _ = env.step(
            np.stack((wave, mirror.action(wave))).astype(np.float32)
        )
        assert not terminated.any()
        np.testing.assert_allclose(mirror.observation(observation[0]), observation[1], atol=2e-4)
        np.testing.assert_allclose(
            mirror.privileged(env.privileged[0]), env.privileged[1], atol=2e-4
        )
        assert reward[0] == pytest.approx(reward[1], abs=1e-4)
        rewards.append(reward[0])
    assert np.ptp(rewards) > 0.1, "the reward says something"


def test_only_sensors_that_are_observed_pair_up():
    biped = load_robot("biped")
    lame = replace(biped, contact_sensors=biped.contact_sensors[:1])
    assert WalkEnv(1, lame, (), nthread=1).mirror
    with pytest.raises(UsageError, match="other side of 'left_heel' of biped, allowed are joints,"):
        WalkEnv(1, lame, (), nthread=1, output="joint_torque")
