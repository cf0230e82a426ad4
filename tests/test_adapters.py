"""Surefoot's walk as Stable-Baselines3 and rsl_rl see it: nothing lost in the packing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from gymnasium.spaces import Box
from gymnasium.vector import VectorEnv
from surefoot.models.errors import UsageError
from surefoot.sim.walk import WalkEnv

pytest.importorskip("stable_baselines3")
pytest.importorskip("rsl_rl")

if TYPE_CHECKING:
    from surefoot.sim.adapters.rsl_rl import RslRlEnv
    from surefoot.sim.adapters.stable_baselines import StableBaselinesEnv


def for_stable_baselines(env: VectorEnv) -> StableBaselinesEnv:
    from surefoot.sim.adapters.stable_baselines import StableBaselinesEnv

    return StableBaselinesEnv(env)


def for_rsl_rl(env: WalkEnv, seed: int = 0) -> RslRlEnv:
    from surefoot.sim.adapters.rsl_rl import RslRlEnv

    return RslRlEnv(env, seed)


def actions_of_a_drunkard(ticks: int, n: int) -> np.ndarray:
    """Shape (ticks, n, 12), each held for a while: robots under them fall soon."""
    drawn = np.random.default_rng(4).uniform(-4, 4, (ticks // 10, n, 12))
    return np.repeat(drawn, 10, axis=0).astype(np.float32)


class Scripted(VectorEnv):
    """Three rows; in the only step the first falls, the second runs out of time, the third both."""

    def __init__(self) -> None:
        self.num_envs = 3
        self.single_observation_space = Box(-np.inf, np.inf, (2,), np.float32)
        self.single_action_space = Box(-1.0, 1.0, (1,), np.float32)
        self.action_space = Box(-1.0, 1.0, (3, 1), np.float32)
        self.gravity = 9.81
        self.calls: list[Any] = []

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        self.calls.append(seed)
        return np.zeros((3, 2), np.float32), {}

    def step(self, actions: np.ndarray) -> tuple:
        final = np.arange(6, dtype=np.float32).reshape(3, 2)
        terminated, truncated = np.array([True, False, True]), np.array([False, True, True])
        return (
            np.full((3, 2), 9.0, np.float32),
            actions[:, 0],
            terminated,
            truncated,
            {"final_obs": final},
        )

    def call_me(self, number: int) -> int:
        self.calls.append(number)
        return number + 1

    def close_extras(self, **kwargs: Any) -> None:
        self.calls.append("closed")


# --- Stable-Baselines3 ------------------------------------------------------------------------


def test_an_end_by_the_clock_is_told_from_a_fall():
    env = for_stable_baselines(Scripted())
    env.reset()
    obs, reward, done, infos = env.step(np.array([[0.1], [0.2], [0.3]], np.float32))
    assert obs.tolist() == [[9, 9]] * 3  # of the next episode
    assert reward == pytest.approx([0.1, 0.2, 0.3])
    assert done.tolist() == [True] * 3
    assert [info["TimeLimit.truncated"] for info in infos] == [False, True, False]
    assert [info["terminal_observation"].tolist() for info in infos] == [[0, 1], [2, 3], [4, 5]]


def test_stable_baselines_sees_the_walk_step_by_step():
    plain, env = WalkEnv(3, nthread=1), for_stable_baselines(WalkEnv(3, nthread=1))
    env.seed(5)
    assert np.array_equal(plain.reset(seed=5)[0], env.reset())
    ends = 0
    for actions in actions_of_a_drunkard(100, 3):
        obs, reward, terminated, truncated, infos = plain.step(actions)
        seen, earned, done, rows = env.step(actions)
        assert np.array_equal(seen, obs) and np.array_equal(earned, reward)
        assert np.array_equal(done, terminated | truncated)
        for i, row in enumerate(rows):
            assert ("terminal_observation" in row) == done[i]
            if done[i]:
                assert np.array_equal(row["terminal_observation"], infos["final_obs"][i])
                assert not np.array_equal(row["terminal_observation"], seen[i])
                assert not row["TimeLimit.truncated"]
                ends += 1
    assert ends >= 3


def test_a_time_limit_of_the_walk_reaches_stable_baselines(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(WalkEnv, "episode_time", 0.1)  # 5 ticks: nobody falls so soon
    env = for_stable_baselines(WalkEnv(2, nthread=1))
    env.seed(0)
    env.reset()
    for tick in range(5):
        _, _, done, infos = env.step(np.zeros((2, 12), np.float32))
        assert done.tolist() == [tick == 4] * 2
        assert [info["TimeLimit.truncated"] for info in infos] == [tick == 4] * 2


def test_a_seed_counts_for_one_reset():
    inner = Scripted()
    env = for_stable_baselines(inner)
    env.seed(7)
    env.reset()
    env.reset()
    assert inner.calls == [7, None]


def test_one_object_answers_for_all_rows():
    inner = Scripted()
    env = for_stable_baselines(inner)
    assert env.get_attr("gravity") == [9.81] * 3
    assert env.get_attr("gravity", [0, 2]) == [9.81] * 2
    assert env.env_method("call_me", 4) == [5] * 3 and inner.calls == [4]
    env.set_attr("gravity", 3.7)
    assert inner.gravity == 3.7
    assert env.env_is_wrapped(object, 1) == [False]
    for ask in (
        lambda: env.set_attr("gravity", 1.6, 0),
        lambda: env.env_method("call_me", 4, indices=[0]),
    ):
        with pytest.raises(UsageError, match="allowed are all 3"):
            ask()
    env.close()
    assert inner.calls[-1] == "closed"


def test_the_monitor_of_stable_baselines_sums_the_rewards(monkeypatch: pytest.MonkeyPatch):
    from stable_baselines3.common.vec_env import VecMonitor

    monkeypatch.setattr(WalkEnv, "episode_time", 0.1)
    env = VecMonitor(for_stable_baselines(WalkEnv(2, nthread=1)))
    env.seed(1)
    env.reset()
    steps = [env.step(np.zeros((2, 12), np.float32)) for _ in range(5)]
    for i, info in enumerate(steps[-1][3]):
        assert info["episode"]["l"] == 5
        assert info["episode"]["r"] == pytest.approx(sum(step[1][i] for step in steps), abs=1e-4)


# --- rsl_rl -----------------------------------------------------------------------------------


def test_rsl_rl_sees_the_walk_step_by_step():
    import torch

    plain, env = WalkEnv(3, nthread=1), for_rsl_rl(WalkEnv(3, nthread=1), seed=5)
    obs, _ = plain.reset(seed=5)
    groups = env.get_observations()
    assert groups.batch_size == (3,) and set(groups.keys()) == {"policy", "critic"}
    assert np.array_equal(groups["policy"].numpy(), obs)
    assert np.array_equal(groups["critic"].numpy(), plain.privileged)
    assert env.num_actions == 12 and env.max_episode_length == 1000
    ends = 0
    for actions in actions_of_a_drunkard(100, 3):
        obs, reward, terminated, truncated, infos = plain.step(actions)
        groups, earned, done, extras = env.step(torch.from_numpy(actions))
        assert np.array_equal(groups["policy"].numpy(), obs)
        assert np.array_equal(groups["critic"].numpy(), plain.privileged)
        assert np.array_equal(earned.numpy(), reward)
        assert np.array_equal(done.numpy() > 0, terminated | truncated)
        assert not extras["time_outs"].any()
        assert np.array_equal(env.episode_length_buf.numpy(), plain.ticks)
        assert ("log" in extras) == bool(terminated.any())
        if terminated.any():
            track = infos["statistics"]["reward/track"][terminated].mean()
            assert extras["log"]["reward/track"] == pytest.approx(track)
            assert extras["log"]["end/fall"] == 1.0
        ends += terminated.sum()
    assert ends >= 3


def test_a_time_limit_of_the_walk_reaches_rsl_rl(monkeypatch: pytest.MonkeyPatch):
    import torch

    monkeypatch.setattr(WalkEnv, "episode_time", 0.1)
    env = for_rsl_rl(WalkEnv(2, nthread=1))
    for tick in range(5):
        _, _, done, extras = env.step(torch.zeros(2, 12))
        assert done.tolist() == [int(tick == 4)] * 2
        assert extras["time_outs"].tolist() == [tick == 4] * 2
    assert extras["log"]["end/fall"] == 0.0


def test_observations_are_not_overwritten_by_the_next_step():
    import torch

    env = for_rsl_rl(WalkEnv(2, nthread=1))
    before = env.get_observations()
    copy = before.clone()
    env.step(torch.ones(2, 12))
    assert all(torch.equal(before[name], copy[name]) for name in ("policy", "critic"))


def test_random_lengths_at_first_are_refused():
    """rsl_rl's `init_at_random_ep_len` would move the clock of the gait."""
    import torch

    env = for_rsl_rl(WalkEnv(2, nthread=1))
    with pytest.raises(UsageError, match="init_at_random_ep_len: found True, allowed is False"):
        env.episode_length_buf = torch.zeros(2)
