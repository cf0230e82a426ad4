"""Policies that see their last observations: in simulation, in the file, on the robot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from conftest import MakeLog
from surefoot.cli.play import RESET, Session
from surefoot.cli.trained import TrainedPolicy, open_policy
from surefoot.control.policy import Gaussian
from surefoot.control.ppo import PPOConfig
from surefoot.control.sac import SACConfig
from surefoot.control.train import train
from surefoot.deploy.controller import Controller
from surefoot.deploy.log.reader import read_log
from surefoot.deploy.workstation.export import export_policy
from surefoot.deploy.workstation.replay import replay_policy
from surefoot.models.errors import PolicyError, UsageError
from surefoot.models.observation import stack_observations
from surefoot.models.robot_file import load_robot
from surefoot.models.task import Reflection
from surefoot.sim.evaluate import record
from surefoot.sim.reach import ReachEnv
from surefoot.sim.robot_env import RobotEnv
from surefoot.sim.tasks import make_task
from surefoot.sim.trials import walking
from surefoot.sim.walk import WalkEnv
from torch import nn
from verbs import refuse, succeed_with_json

ROBOT = load_robot("quadruped")
COLUMNS = 47  # of one of the walk's observations
HISTORY = 3

TASK = pytest.mark.parametrize("make", [WalkEnv, ReachEnv])
Make = Callable[..., RobotEnv]


def actions(env: RobotEnv, ticks: int, seed: int = 5) -> np.ndarray:
    shape = (ticks, *(env.action_space.shape or ()))
    return 0.5 * np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def played(env: RobotEnv, seed: int) -> RobotEnv:
    """In the middle of the third episode of each, of 5 steps."""
    env.episode_time = 5 * env.period
    env.reset(seed=seed)
    for action in actions(env, 12):
        env.step(action)
    return env


# --- in simulation ----------------------------------------------------------------------------


def test_the_stacked_observations_of_two_robots_by_hand():
    observation = np.array([[1.0, 2.0], [3.0, 4.0]])
    previous = np.array([[5.0, 6.0, 7.0, 8.0], [9.0, 9.0, 9.0, 9.0]])
    begins = np.array([[False], [True]])
    wanted = [[1, 2, 5, 6, 7, 8], [3, 4, 3, 4, 3, 4]]
    assert stack_observations(observation, previous, begins, np).tolist() == wanted
    tensors = (torch.from_numpy(array) for array in (observation, previous, begins))
    assert stack_observations(*tensors, torch).tolist() == wanted
    alone = stack_observations(observation, previous[:, :0], begins, np)
    assert alone.tolist() == observation.tolist()


@TASK
def test_each_frame_is_the_observation_of_its_step_in_this_episode(make: Make):
    """The same robots with and without a history: the same bits, side by side."""
    single, env = make(3, nthread=1), make(3, nthread=1, history=HISTORY)
    width = single.single_observation_space.shape[0]
    assert env.observation_space.shape == (3, HISTORY * width)
    assert env.privileged.shape == single.privileged.shape
    for task in (single, env):
        task.episode_time = 5 * task.period
    rows = [[obs] * HISTORY for obs in single.reset(seed=1)[0]]
    ticks = np.arange(3)
    observation = env.reset(seed=1)[0]
    for task in (single, env):
        task.ticks[:] = ticks
    for action in actions(env, 17):
        assert np.array_equal(observation, [np.concatenate(row) for row in rows])
        now, _, terminated, truncated, infos = single.step(action)
        observation, *_, found = env.step(action)
        done = terminated | truncated
        np.testing.assert_array_equal(env.privileged, single.privileged)
        if done.any():
            finals = infos["final_obs"]
            for row, final, last in zip(rows, finals, found["final_obs"], strict=True):
                np.testing.assert_array_equal(last, np.concatenate([final, *row[:-1]]))
            np.testing.assert_array_equal(env.final_privileged, single.final_privileged)
        rows = [
            [new] * HISTORY if ended else [new, *row[:-1]]
            for row, new, ended in zip(rows, now, done, strict=True)
        ]
    assert env.ticks.max() < 5 and env.ticks.min() >= 0


def test_a_learner_may_overwrite_what_it_was_given():
    env, other = WalkEnv(2, nthread=1, history=2), WalkEnv(2, nthread=1, history=2)
    first, second = env.reset(seed=1)[0], other.reset(seed=1)[0]
    for action in actions(env, 3):
        first[:] = np.nan
        first, second = env.step(action)[0], other.step(action)[0]
        np.testing.assert_array_equal(first, second)


@TASK
def test_a_restored_history_goes_on_bit_for_bit(make: Make):
    env, other = (make(3, nthread=1, history=HISTORY) for _ in range(2))
    other = played(other, seed=9)
    other.set_state(played(env, seed=1).get_state())
    for action in actions(env, 8, seed=6):
        np.testing.assert_array_equal(env.step(action)[0], other.step(action)[0])


def test_every_frame_is_mirrored_by_itself():
    one, three = WalkEnv(1, nthread=1), WalkEnv(1, nthread=1, history=HISTORY)
    assert one.mirror and three.mirror
    frames = np.random.default_rng(0).standard_normal((HISTORY, COLUMNS)).astype(np.float32)
    mirrored = three.mirror.observation(frames.ravel()).reshape(frames.shape)
    np.testing.assert_array_equal(mirrored, one.mirror.observation(frames))
    for before, after in ((one.mirror.privileged, three.mirror.privileged),):
        np.testing.assert_array_equal(before.index, after.index)
    by_hand = Reflection(np.array([1, 0]), np.array([-1.0, -1.0])).repeated(2)
    assert by_hand.index.tolist() == [1, 0, 3, 2] and by_hand.sign.tolist() == [-1.0] * 4


@pytest.mark.parametrize(
    ("task", "history", "message"),
    [
        ("walk", 0, "history: found 0, allowed is 1 to 100"),
        ("reach", 101, "history: found 101, allowed is 1 to 100"),
        ("reach-goals", 2, "history: found 2 of a task of goals, allowed is 1"),
    ],
)
def test_histories_that_cannot_be(task: str, history: int, message: str):
    with pytest.raises(UsageError, match=message):
        make_task(task, 1, history=history)


# --- learning ---------------------------------------------------------------------------------

RATE = {"learning_rate": 5e-4, "final_learning_rate": 5e-4}  # whatever the budget
PPO = PPOConfig(num_envs=4, horizon=6, epochs=2, num_minibatches=2, hidden=(16,), **RATE)
SAC = SACConfig(
    num_envs=4, batch_size=8, learning_starts=16, buffer_size=400, hidden=(16,), updates_per_step=1
)


@pytest.mark.parametrize("config", [PPO, SAC], ids=["ppo", "sac"])
def test_a_resumed_training_is_bit_identical(config: PPOConfig | SACConfig, tmp_path: Path):
    def session(folder: Path, steps: int, resume: bool = False) -> nn.Module:
        env = WalkEnv(4, nthread=1, history=HISTORY)
        env.episode_time = 8 * env.period
        return train(env, config, folder, steps=steps, seed=1, resume=resume).policy

    straight = session(tmp_path / "straight", 96)
    session(tmp_path / "halted", 48)
    resumed = session(tmp_path / "halted", 96, resume=True)
    first, second = straight.state_dict(), resumed.state_dict()
    for name, values in first.items():
        assert torch.equal(values, second[name]), name
    assert first["normaliser.mean"].shape == (HISTORY * COLUMNS,)


# --- the policy file --------------------------------------------------------------------------


def actor_of(task: WalkEnv) -> Gaussian:
    """A policy to which every frame matters, with actions of order 1."""
    generator = torch.Generator().manual_seed(5)
    actor = Gaussian(HISTORY * COLUMNS, 12, (16,), mirror=task.mirror, generator=generator)
    last = actor.network[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.mul_(20.0)
    return actor


@pytest.fixture(scope="module")
def task() -> WalkEnv:
    return WalkEnv(4, nthread=1, history=HISTORY)


@pytest.fixture(scope="module")
def exported(task: WalkEnv, tmp_path_factory: pytest.TempPathFactory) -> tuple[Gaussian, Path]:
    actor = actor_of(task)
    path = tmp_path_factory.mktemp("history") / "policy.onnx"
    export_policy(actor, task, path, {"history": HISTORY})
    return actor, path


def test_the_file_acts_as_the_actor_did_in_training_through_resets(exported, monkeypatch):
    """The actor sees the environment's observations, the file the sensors and its own state."""
    actor, path = exported
    monkeypatch.setattr(WalkEnv, "episode_time", 0.5)
    task = WalkEnv(4, nthread=1, history=HISTORY)
    policy = open_policy(path, None)
    observation, _ = task.reset(seed=3)
    begins, ends = np.ones(4, bool), 0
    for _ in range(80):
        action = policy.act(task.inputs, begins)
        with torch.no_grad():
            expected = actor(torch.from_numpy(observation)).numpy()
        assert np.abs(action - expected).max() <= 1e-5
        observation, _, terminated, truncated, _ = task.step(action)
        begins = terminated | truncated
        ends += begins.sum()
    assert ends >= 12
    assert np.abs(expected).max() > 0.1  # it was no comparison of zeros


def test_the_state_and_its_beginning_are_in_the_contract(exported):
    _, path = exported
    controller = Controller(path, ROBOT)
    contract = controller.contract
    assert contract.initial_state == [0.0] * (1 + 2 * COLUMNS)
    assert controller.input_names[-1] == "state"
    first, second = contract.golden[:2]  # of ticks 0 and 7
    assert first.inputs["state"] == contract.initial_state
    assert second.inputs["state"][0] == 1.0
    for pair in (first, second):
        frame = np.array(pair.outputs["next_state"])[1 : 1 + COLUMNS]
        np.testing.assert_array_equal(frame[:3], np.float32(pair.inputs["gyro"]))
        older = pair.outputs["next_state"][1 + COLUMNS :]
        wanted = frame if pair is first else pair.inputs["state"][1 : 1 + COLUMNS]
        np.testing.assert_array_equal(older, wanted)


def test_a_wrong_state_in_the_file_is_refused(exported, tmp_path: Path):
    """A graph that keeps its frames in another order than it gave its golden pairs."""
    _, path = exported
    model = onnx.load(path)
    text = model.metadata_props[0].value
    model.metadata_props[0].value = text.replace('"next_state": [1.0', '"next_state": [0.5', 1)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(model.SerializeToString())
    with pytest.raises(PolicyError, match="output 'next_state' is off by"):
        Controller(broken, ROBOT)


# --- on the robot, and after ------------------------------------------------------------------


def test_a_run_is_replayed_bit_by_bit(exported, make_log: MakeLog):
    _, path = exported
    log = read_log(make_log(policy=path.read_bytes(), seconds=0.6))
    replay = replay_policy(log, ROBOT)
    assert replay.ticks == replay.identical == 30
    # Not because it forgot: without its past it acts otherwise.
    ran = log.ticks[~np.isnan(log.ticks["action"]).all(1)]
    controller = Controller(path, ROBOT)
    last = {name: np.atleast_1d(ran[-1][name]) for name in controller.input_names[:-1]}
    first = np.array(controller.contract.initial_state, np.float32)
    forgetful = controller.infer(last | {"state": first})["action"]
    assert np.abs(forgetful - ran[-1]["action"]).max() > 1e-3


def test_robots_evaluated_together_act_as_each_alone(exported, monkeypatch):
    _, path = exported
    monkeypatch.setattr(WalkEnv, "episode_time", 0.6)
    policy, alone = open_policy(path, None), [open_policy(path, None) for _ in range(3)]
    seen: list[float] = []

    def both(inputs, begins) -> np.ndarray:
        begins = begins | (env.ticks == [99, 15, 99])  # one is told to forget between the others
        together = policy.act(inputs, begins)
        for row, one in enumerate(alone):
            single = one.act({k: v[row : row + 1] for k, v in inputs.items()}, begins[row][None])
            seen.append(float(np.abs(single[0] - together[row]).max()))
        return together

    env = WalkEnv(3, ROBOT, ())
    record(both, env, walking(env.robot, "joint_target"), policy.commands, seed=1)
    assert len(seen) == 3 * 29 and max(seen) <= 1e-5


def test_play_begins_with_an_empty_memory_and_again_at_a_reset(exported):
    _, path = exported
    policy = open_policy(path, None)
    session = Session(policy, seed=2)
    for _ in range(3):
        session.step()
    assert policy._state[0, 0] == 1.0 and np.ptp(_frames(policy), axis=0).max() > 0
    session.press(RESET)
    session.step()
    assert np.ptp(_frames(policy), axis=0).max() == 0  # all are the first


def _frames(policy: TrainedPolicy) -> np.ndarray:
    return policy._state[0, 1:].reshape(-1, COLUMNS)


def test_what_another_library_learned_with_a_history_is_exported(capsys, tmp_path: Path):
    library = pytest.importorskip("stable_baselines3")
    from surefoot.sim.adapters.stable_baselines import StableBaselinesEnv

    env = StableBaselinesEnv(WalkEnv(2, nthread=1, history=2))
    network = {"net_arch": [8]}
    model = library.PPO(
        "MlpPolicy", env, n_steps=8, batch_size=16, policy_kwargs=network, device="cpu", seed=1
    )
    model.save(tmp_path / "model.zip")
    line = refuse(capsys, "export", str(tmp_path / "model.zip"))
    assert "found observations in a Box of shape [94], allowed is the task's Box of" in line
    words = ("export", str(tmp_path / "model.zip"), "--history", "2")
    path = Path(succeed_with_json(capsys, *words)["policy"])
    assert len(Controller(path, ROBOT).contract.initial_state or []) == 48


# --- by the verbs -----------------------------------------------------------------------------


def test_the_verbs_know_of_the_history(capsys, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(ReachEnv, "episode_time", 0.4)
    run = str(tmp_path / "run")
    small = ("--num-envs", "4", "--horizon", "4", "--hidden", "8", "--epochs", "1")
    words = ("--steps", "64", "--episodes", "2", *small)
    result = succeed_with_json(capsys, "train", "reach", "--history", "4", "--run", run, *words)
    contract = Controller(result["policy"], load_robot("arm")).contract
    assert contract.training["history"] == 4
    assert len(contract.initial_state or []) == 1 + 3 * (4 + 4 + 4 + 3 + 3)
    figures = succeed_with_json(capsys, "evaluate", run, "--episodes", "2")
    assert figures == result["evaluation"]

    more = ("--steps", "128", "--episodes", "0")
    assert succeed_with_json(capsys, "train", "--resume", run, *more)["steps"] == 128
    line = refuse(capsys, "train", "--resume", run, "--history", "2", *more)
    assert "--history: found 2, allowed is the run's own 4" in line
    other = ("train", "reach", "--from", run, "--run", str(tmp_path / "other"), *words)
    assert "history 4, allowed is robot arm, " in refuse(capsys, *other)
    line = refuse(capsys, "train", "Pendulum-v1", "--history", "2", *words)
    assert "--history: found 2 for Pendulum-v1, allowed is 1" in line
