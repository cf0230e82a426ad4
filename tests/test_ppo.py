"""PPO: its first ratio, its bootstrap, its learning, and resuming it bit for bit."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from surefoot.control import ppo, train
from surefoot.control.checkpoint import load, load_policy
from surefoot.control.envs import Envs, make
from surefoot.control.metrics import Metrics
from surefoot.control.ppo import Learner, PPOConfig, update
from surefoot.control.rollout import collect, empty_rollout
from surefoot.models.errors import UsageError
from surefoot.models.task import Mirror, Reflection

LIMIT = 5  # steps of an episode


class Points(VectorEnv):
    """N points in the plane, asked to go to the origin: the optimal action is −2.5 × position.

    It offers all that `TaskEnv` describes; reflecting y is its symmetry.
    """

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space = Box(-np.inf, np.inf, (2,), np.float32)
        self.single_action_space = Box(-np.inf, np.inf, (2,), np.float32)
        reflect = Reflection(np.array([0, 1]), np.array([1.0, -1.0], np.float32))
        privileged = Reflection(np.array([0, 1, 2]), np.array([1.0, -1.0, 1.0], np.float32))
        self.mirror = Mirror(reflect, privileged, reflect)
        self.position = np.zeros((num_envs, 2), np.float32)
        self.ticks = np.zeros(num_envs, np.int64)
        self.final_privileged = self.privileged

    @property
    def privileged(self) -> np.ndarray:
        return np.column_stack((self.position, self.ticks)).astype(np.float32)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.position = self.rng.uniform(-1, 1, (self.num_envs, 2)).astype(np.float32)
        self.ticks = self.rng.integers(0, LIMIT, self.num_envs)
        return self.position.copy(), {}

    def step(self, actions: np.ndarray) -> tuple:
        self.position += 0.4 * actions
        self.ticks += 1
        reward = -np.square(self.position).sum(1)
        terminated = np.abs(self.position).max(1) > 3
        truncated = (self.ticks >= LIMIT) & ~terminated
        done = terminated | truncated
        infos: dict[str, Any] = {}
        if done.any():
            infos["final_obs"] = self.position.copy()
            infos["statistics"] = {"end/away": terminated.astype(float)}
            self.final_privileged = self.privileged
            self.position[done] = self.rng.uniform(-1, 1, (done.sum(), 2))
            self.ticks[done] = 0
        return self.position.copy(), reward, terminated, truncated, infos

    def get_state(self) -> dict[str, Any]:
        return {
            "position": self.position.copy(),
            "ticks": self.ticks.copy(),
            "random": self.rng.bit_generator.state,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        self.position, self.ticks = state["position"].copy(), state["ticks"].copy()
        self.rng.bit_generator.state = state["random"]


class Clock(gymnasium.Env):
    """Pays 1 a step and never ends but for its time limit. The observation is the time."""

    observation_space = Box(0, LIMIT, (1,), np.float32)
    action_space = Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        self.time = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: np.ndarray) -> tuple:
        assert np.abs(action).max() <= 1, "outside the action space"
        self.time += 1
        return np.full(1, self.time, np.float32), 1.0, False, self.time == LIMIT, {}


class BlindClock(Clock):
    """The same, without sight of the time: every state looks alike."""

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        super().reset()
        return np.ones(1, np.float32), {}

    def step(self, action: np.ndarray) -> tuple:
        _, *rest = super().step(action)
        return np.ones(1, np.float32), *rest


def clocks(mode: AutoresetMode, n: int = 8, clock: type[Clock] = Clock) -> SyncVectorEnv:
    return SyncVectorEnv([clock] * n, autoreset_mode=mode)


SMALL = PPOConfig(num_envs=16, horizon=12, num_minibatches=3, hidden=(32, 32))
MODES = [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small only wait for a second thread, above all where tests run in parallel."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# --- environments -----------------------------------------------------------------------------


def test_same_step_shows_the_true_last_observation():
    envs = Envs(clocks(AutoresetMode.SAME_STEP), seed=0)
    steps = [envs.step(np.zeros((8, 1), np.float32)) for _ in range(LIMIT)]
    assert [step.next_obs[0, 0] for step in steps] == [1, 2, 3, 4, 5]
    assert [step.obs[0, 0] for step in steps] == [1, 2, 3, 4, 0]
    assert all(step.valid.all() for step in steps)
    assert [step.done.all() for step in steps] == [False] * 4 + [True]


def test_next_step_masks_the_step_that_only_resets():
    envs = Envs(clocks(AutoresetMode.NEXT_STEP), seed=0)
    steps = [envs.step(np.zeros((8, 1), np.float32)) for _ in range(LIMIT + 2)]
    assert [step.next_obs[0, 0] for step in steps] == [1, 2, 3, 4, 5, 0, 1]
    assert [bool(step.valid.all()) for step in steps] == [True] * 5 + [False, True]
    assert envs.pop_finished()["length"].tolist() == [LIMIT] * 8
    assert envs.pop_finished() == {}


def test_privileged_observation_and_episode_statistics_of_a_task():
    envs = Envs(Points(4), seed=0)
    assert (envs.obs_dim, envs.privileged_dim, envs.action_dim) == (2, 3, 2)
    ticks = envs.privileged[:, 2].copy()
    for _ in range(LIMIT):
        step = envs.step(np.zeros((4, 2), np.float32))
        ticks += 1
        np.testing.assert_array_equal(step.next_privileged[:, 2], ticks)
        ticks[ticks == LIMIT] = 0
        np.testing.assert_array_equal(step.privileged[:, 2], ticks)
    assert envs.pop_finished()["end/away"].tolist() == [0.0] * 4


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (clocks(AutoresetMode.DISABLED), "autoreset mode: found .*DISABLED"),
        ("CartPole-v1", r"action space: found Discrete\(2\)"),
        ("NoSuchTask-v0", "environment: .*NoSuchTask"),
        (clocks(AutoresetMode.SAME_STEP, 3), "environments: found 3, allowed is num_envs = 8"),
        (Clock(), "environment: found Clock"),
    ],
)
def test_what_cannot_be_learned_from_is_refused_in_one_line(env: Any, message: str):
    with pytest.raises(UsageError, match=message) as error:
        make(env, num_envs=8, seed=0)
    assert "\n" not in str(error.value)


# --- the algorithm ----------------------------------------------------------------------------


@pytest.mark.parametrize("num_minibatches", [1, 3, 7])
def test_first_ratio_is_exactly_one(num_minibatches: int, monkeypatch: pytest.MonkeyPatch):
    config = dataclasses.replace(SMALL, num_minibatches=num_minibatches)
    envs = Envs(Points(config.num_envs), seed=0)
    learner = Learner.of(envs, config, seed=0)
    rollout = empty_rollout(config.horizon, envs)
    ratios = []
    surrogate = ppo.clipped_surrogate

    def recorded(log_prob: torch.Tensor, old: torch.Tensor, *rest: Any) -> torch.Tensor:
        ratios.append((log_prob - old).exp().detach())
        return surrogate(log_prob, old, *rest)

    monkeypatch.setattr(ppo, "clipped_surrogate", recorded)
    for _ in range(3):  # with normalisers that have seen something, too
        ratios.clear()
        collect(envs, learner.policy, learner.value, rollout, learner.generator)
        sampled = rollout.log_prob.clone()
        update(learner, rollout, 1e-3)
        assert torch.equal(ratios[0], torch.ones_like(ratios[0]))
        assert not torch.equal(ratios[-1], torch.ones_like(ratios[-1]))
        torch.testing.assert_close(rollout.log_prob, sampled)  # the same policy drew the actions


@pytest.mark.parametrize("mode", MODES)
def test_a_time_limit_does_not_shorten_the_value(mode: AutoresetMode):
    config = PPOConfig(num_envs=8, horizon=16, epochs=2, num_minibatches=2, gamma=0.9, hidden=(16,))
    envs = Envs(clocks(mode, 8, BlindClock), seed=0)
    learner = Learner.of(envs, config, seed=0)
    rollout = empty_rollout(config.horizon, envs)
    for _ in range(100):
        collect(envs, learner.policy, learner.value, rollout, learner.generator)
        update(learner, rollout, 5e-3)
    # Reward 1 for ever: V = 1 / (1 − 0.9) = 10. Cut by its limit it would be 4.1 at most.
    with torch.no_grad():
        assert learner.value(torch.ones(1, 1)).item() == pytest.approx(10.0, rel=0.02)


def test_values_of_a_rollout_are_those_of_the_true_next_observations():
    envs = Envs(Points(4), seed=3)
    learner = Learner.of(envs, SMALL, seed=0)
    rollout = empty_rollout(12, envs)
    true_next = []
    step = envs.step

    def recorded(action: np.ndarray) -> Any:
        result = step(action)
        true_next.append(torch.from_numpy(result.next_privileged.copy()))
        return result

    envs.step = recorded  # type: ignore[method-assign]
    collect(envs, learner.policy, learner.value, rollout, learner.generator)
    assert rollout.done.any()
    with torch.no_grad():
        torch.testing.assert_close(rollout.next_value, learner.value(torch.stack(true_next)))
        torch.testing.assert_close(rollout.value, learner.value(rollout.privileged))


def test_learns_to_go_to_the_origin(tmp_path: Path):
    config = PPOConfig(
        num_envs=64, horizon=16, num_minibatches=2, hidden=(32, 32), learning_rate=5e-3
    )
    seen: list[Metrics] = []
    trained = train.train(
        Points(64), config, tmp_path, steps=40 * 64 * 16, seed=1, on_iteration=seen.append
    )
    obs = torch.tensor([[0.5, 0.0], [0.0, 0.5], [-0.3, 0.3]])
    with torch.no_grad():
        action = trained.policy(obs)
    torch.testing.assert_close(action, -2.5 * obs, rtol=0.1, atol=0.2)
    first, last = seen[0], seen[-1]
    assert last.reward > 0.1 * first.reward  # both negative
    assert last.steps == trained.steps == 40 * 64 * 16
    assert last.progress == 1.0
    assert last.diagnostics.kl < 0.05
    assert last.episode_length is not None
    assert last.episode == {"end/away": 0.0, "end/time_limit": 1.0}
    # The learning rate follows the budget.
    assert first.learning_rate == 5e-3
    assert last.learning_rate == pytest.approx(5e-5 + (5e-3 - 5e-5) / 40)
    assert torch.equal(load_policy(tmp_path / "checkpoint.pt")(obs), trained.policy(obs))
    assert json.loads((tmp_path / "config.json").read_text())["config"]["num_envs"] == 64


# --- sessions ---------------------------------------------------------------------------------


class Unplugged(Exception):
    """The machine stops here."""


def run(path: Path, env: VectorEnv, stop_after: int | None = None, **options: Any) -> Any:
    """Six updates, or fewer where the machine stops."""

    def on_iteration(metrics: Metrics) -> None:
        if metrics.iteration == stop_after:
            raise Unplugged

    steps = 6 * SMALL.num_envs * SMALL.horizon
    return train.train(env, SMALL, path, steps=steps, on_iteration=on_iteration, **options)


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    return np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b


def without_time(path: Path) -> dict[str, Any]:
    state = load(path / "checkpoint.pt")
    del state["progress"]["elapsed"]
    return state


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path: Path):
    run(tmp_path / "whole", Points(16), seed=5)
    with pytest.raises(Unplugged):
        run(tmp_path / "cut", Points(16), stop_after=5, seed=5, checkpoint_every=3)
    assert load(tmp_path / "cut" / "checkpoint.pt")["progress"]["iterations"] == 3
    resumed = run(tmp_path / "cut", Points(16), seed=5, resume=True)
    assert resumed.resumed_exactly is True
    assert resumed.iterations == 6
    assert equal(without_time(tmp_path / "cut"), without_time(tmp_path / "whole"))
    run(tmp_path / "other", Points(16), seed=6)
    other, whole = without_time(tmp_path / "other"), without_time(tmp_path / "whole")
    assert not equal(other["policy"], whole["policy"])


@pytest.mark.parametrize("mode", MODES)
def test_environments_without_a_state_start_their_episodes_anew(
    mode: AutoresetMode, tmp_path: Path
):
    with pytest.raises(Unplugged):
        run(tmp_path, clocks(mode, 16), stop_after=4, checkpoint_every=3)
    resumed = run(tmp_path, clocks(mode, 16), resume=True)
    assert resumed.resumed_exactly is False
    assert resumed.iterations == 6


def test_each_checkpoint_is_told_of_when_it_is_whole(tmp_path: Path):
    each = SMALL.num_envs * SMALL.horizon
    told: list[int] = []

    def on_checkpoint(steps: int) -> None:
        assert load(tmp_path / "run" / "checkpoint.pt")["progress"]["steps"] == steps
        told.append(steps)

    run(tmp_path / "run", Points(16), checkpoint_every=2, on_checkpoint=on_checkpoint)
    assert told == [2 * each, 4 * each, 6 * each]  # the last one once, though it is due twice
    with pytest.raises(UsageError, match="checkpoint_every: found 0, allowed is 1 or more"):
        run(tmp_path / "none", Points(16), checkpoint_every=0)


def test_a_budget_of_minutes_is_spent_by_the_clock_given(tmp_path: Path):
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 1.5  # four calls an update: 6 s
        return now

    rates: list[float] = []
    trained = train.train(
        Points(16),
        SMALL,
        tmp_path,
        minutes=0.5,
        clock=clock,
        on_iteration=lambda metrics: rates.append(metrics.learning_rate),
    )
    # After updates 1 … 5: 6, 12, 18, 24, 30 s of 30 s.
    assert (trained.iterations, trained.elapsed) == (5, 30.0)
    assert rates == pytest.approx([6e-4, 4.9e-4, 3.8e-4, 2.7e-4, 1.6e-4])


def test_a_session_that_makes_no_sense_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="budget: found none"):
        train.train(Points(16), SMALL, tmp_path)
    with pytest.raises(UsageError, match="found nothing, allowed is the checkpoint"):
        run(tmp_path, Points(16), resume=True)
    run(tmp_path, Points(16))
    with pytest.raises(UsageError, match="found a run, allowed is a new folder"):
        run(tmp_path, Points(16))
    with pytest.raises(UsageError, match="found seed = 1, allowed is the run's own 0"):
        run(tmp_path, Points(16), resume=True, seed=1)
    other = dataclasses.replace(SMALL, gamma=0.5)
    with pytest.raises(UsageError, match=r"found gamma = 0.5, allowed is the run's own 0.97"):
        train.train(Points(16), other, tmp_path, steps=1, resume=True)


def test_torch_s_settings_come_back(tmp_path: Path):
    before = torch.get_float32_matmul_precision(), torch.get_num_threads()
    run(tmp_path, Points(16))
    assert (torch.get_float32_matmul_precision(), torch.get_num_threads()) == before
