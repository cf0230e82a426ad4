"""A run and its folder: what a resume refuses, what is saved when, what is never mixed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers.vector import NormalizeReward
from surefoot.control import ppo, sac
from surefoot.control.checkpoint import load, load_policy
from surefoot.control.envs import Envs, make
from surefoot.control.metrics import Metrics
from surefoot.control.ppo import PPOConfig
from surefoot.control.ranges import require_possible
from surefoot.control.replay_buffer import ReplayBuffer
from surefoot.control.sac import SACConfig
from surefoot.control.train import train
from surefoot.models.errors import Diverged, UsageError
from toys import Point, Reach

SMALL = PPOConfig(num_envs=4, horizon=8, num_minibatches=2, epochs=2, hidden=(8,))
SMALL_SAC = SACConfig(num_envs=4, batch_size=8, learning_starts=600, buffer_size=999, hidden=(8,))
STEPS = 4 * 8  # of an iteration of PPO's


class OtherPoint(Point):
    """The same spaces, another task."""


@pytest.mark.parametrize(("other", "name"), [(OtherPoint, "environment"), (Point, "robot")])
def test_another_task_is_not_resumed(other: type[Point], name: str, tmp_path: Path):
    train(Point(4), SMALL, tmp_path, steps=STEPS, about={"robot": "a", "commit": "1"})
    robot = "b" if name == "robot" else "a"
    with pytest.raises(UsageError, match=f"resume: found {name} = ") as refused:
        about = {"robot": robot, "commit": "2"}
        train(other(4), SMALL, tmp_path, steps=2 * STEPS, resume=True, about=about)
    assert "\n" not in str(refused.value)


class Interrupted(Point):
    """Ctrl-C comes while it steps."""

    calls = 0

    def step(self, actions: np.ndarray) -> tuple:
        self.calls += 1
        if self.calls == 30:  # of 8 an iteration: in the middle of the fourth
            raise KeyboardInterrupt
        return super().step(actions)


def test_an_iteration_that_was_cut_short_is_not_saved(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        train(Interrupted(4), SMALL, tmp_path / "a", steps=10 * STEPS)
    assert not (tmp_path / "a" / "checkpoint.pt").exists()

    def stop(metrics: Metrics) -> None:
        if metrics.iteration == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(Point(4), SMALL, tmp_path / "b", steps=10 * STEPS, on_iteration=stop)
    assert load(tmp_path / "b" / "checkpoint.pt")["progress"]["iterations"] == 3


class Broken(Point):
    """One reward is no number."""

    calls = 0

    def step(self, actions: np.ndarray) -> tuple:
        obs, reward, *rest = super().step(actions)
        self.calls += 1
        if self.calls == 20:
            reward[2] = math.nan
        return obs, reward, *rest


@pytest.mark.parametrize("config", [SMALL, SMALL_SAC], ids=["ppo", "sac"])
def test_what_is_no_longer_finite_is_never_saved(config: Any, tmp_path: Path):
    with pytest.raises(Diverged, match="learning has diverged after"):
        train(Broken(4), config, tmp_path, steps=100_000, checkpoint_every=1)
    for values in load_policy(tmp_path / "checkpoint.pt").state_dict().values():
        assert torch.isfinite(values).all()


def test_wrapped_tasks_are_known_not_to_resume_exactly(tmp_path: Path):
    def wrapped() -> VectorEnv:
        return NormalizeReward(Point(4))

    train(wrapped(), SMALL, tmp_path, steps=STEPS)
    trained = train(wrapped(), SMALL, tmp_path, steps=2 * STEPS, resume=True)
    assert trained.resumed_exactly is False


def test_each_resume_starts_other_episodes():
    envs = Envs(SyncVectorEnv([Reach] * 3), seed=7)
    starts = [envs.obs.copy()]
    for steps in (100, 200):
        assert envs.set_state(None, steps) is False
        starts.append(envs.obs.copy())
    assert not any(np.allclose(a, b) for i, a in enumerate(starts) for b in starts[:i])


def test_a_new_run_begins_with_an_empty_replay_buffer(tmp_path: Path):
    train(Point(4), SMALL_SAC, tmp_path, steps=500, seed=1)
    (tmp_path / "checkpoint.pt").unlink()
    train(Point(4), SMALL_SAC, tmp_path, steps=1000, seed=2)
    files = sorted(path.name for path in (tmp_path / "replay").iterdir())
    assert files == ["000000000006-000000000256.npz"]  # its own newest 250 rows, nothing else


# --- the critic's warm-up ---------------------------------------------------------------------


def test_the_first_steps_after_a_warm_up_are_no_longer_than_without(tmp_path: Path):
    def first_step(name: str, earlier: Any, iterations: int) -> torch.Tensor:
        config = PPOConfig(
            num_envs=4, horizon=8, num_minibatches=1, epochs=1, hidden=(8,), critic_warm_up=20,
            learning_rate=1e-3, final_learning_rate=1e-3,
        )  # fmt: skip
        steps = iterations * STEPS
        trained = train(Point(4), config, tmp_path / name, steps=steps, earlier=earlier)
        return torch.cat([p.detach().flatten() for p in trained.policy.parameters()])

    train(Point(4), PPOConfig(num_envs=4, horizon=8, num_minibatches=1, epochs=1, hidden=(8,)),
          tmp_path / "earlier", steps=STEPS)  # fmt: skip
    earlier = load_policy(tmp_path / "earlier" / "checkpoint.pt")
    before = torch.cat([p.detach().flatten() for p in earlier.parameters()])
    assert torch.equal(first_step("twenty", earlier, 20), before)
    # Adam's first step is one learning rate long in each number, however long the critic learned.
    moved = (first_step("one more", earlier, 21) - before).abs()
    assert 0 < moved.max() <= 1.001e-3


def test_sac_counts_only_the_iterations_that_learned(tmp_path: Path):
    earlier = train(Point(4), SMALL_SAC, tmp_path / "a", steps=256).policy
    config = SACConfig(**{**vars(SMALL_SAC), "critic_warm_up": 3})
    # 256 steps an iteration, learning from step 600 on: in the third iteration and later.
    train(Point(4), config, tmp_path / "b", steps=5 * 256, earlier=earlier)
    after = load_policy(tmp_path / "b" / "checkpoint.pt")
    for p, q in zip(earlier.parameters(), after.parameters(), strict=True):
        assert torch.equal(p, q)
    assert load(tmp_path / "b" / "checkpoint.pt")["progress"]["warm_up"] == 0
    train(Point(4), config, tmp_path / "b", steps=6 * 256, resume=True)
    after = load_policy(tmp_path / "b" / "checkpoint.pt")
    assert not torch.equal(next(earlier.parameters()), next(after.parameters()))


# --- hindsight --------------------------------------------------------------------------------


class Falls(Reach):
    """It falls at its third step, whatever the goal; being at the goal ends it, too."""

    def step(self, action: np.ndarray) -> tuple:
        obs, reward, _, _, infos = super().step(action)
        return obs, reward, self.ticks == 3, False, infos

    def compute_terminated(self, achieved: np.ndarray, desired: np.ndarray, info: dict) -> Any:
        return np.linalg.norm(achieved - desired, axis=-1) < 0.1


def test_a_fall_ends_the_episode_for_every_goal():
    modes = {"autoreset_mode": AutoresetMode.SAME_STEP}
    envs = Envs(SyncVectorEnv([Falls] * 2, **modes), seed=0)
    replay = ReplayBuffer(envs, 300, gamma=0.9, hindsight=4)
    generator = np.random.default_rng(0)
    for _ in range(90):
        obs = envs.obs.copy()
        action = generator.uniform(-1, 1, (2, 2)).astype(np.float32)
        step = envs.step(action)
        replay.add(obs, obs, torch.from_numpy(action), step)
    batch = replay.sample(2000, torch.Generator().manual_seed(0))
    rows = {tuple(x): bool(t) for x, t in zip(
        replay.arrays["next_obs"].flatten(0, 1)[:180, :2].tolist(),
        replay.arrays["terminated"].flatten()[:180].tolist(), strict=True,
    )}  # fmt: skip
    fell = torch.tensor([rows[tuple(x)] for x in batch.next_obs[:, :2].tolist()])
    assert fell.any() and (batch.discount[fell] == 0).all()
    near = (batch.next_obs[:, 2:4] - batch.next_obs[:, 4:6]).norm(dim=1) < 0.1
    assert (batch.discount[near] == 0).all()
    on = ~near & ~fell
    assert on.any() and torch.allclose(batch.discount[on], torch.tensor(0.9))


# --- figures that nothing can be learned with ---------------------------------------------------


def test_minibatches_of_nothing_are_refused():
    envs = Envs(Point(1), seed=0)
    with pytest.raises(UsageError, match="num_minibatches: found 4, allowed is 1"):
        ppo.Learner.of(envs, PPOConfig(num_envs=1, horizon=2, num_minibatches=4), 0)


def test_a_negative_hindsight_is_refused():
    envs = Envs(SyncVectorEnv([Reach]), seed=0)
    with pytest.raises(UsageError, match="hindsight: found -1"):
        sac.Learner.of(envs, SACConfig(hindsight=-1), 0)


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (PPOConfig(gamma=1.5), "gamma: found 1.5, allowed is 0 to 1"),
        (PPOConfig(gamma=math.nan), "gamma: found nan, allowed is 0 to 1"),
        (PPOConfig(learning_rate=-1.0), "learning_rate: found -1.0, allowed is a number > 0"),
        (PPOConfig(learning_rate=math.inf), "learning_rate: found inf, allowed is a number > 0"),
        (PPOConfig(hidden=(16, 0)), "hidden: found 16 0, allowed is widths of 1 or more"),
        (PPOConfig(epochs=0), "epochs: found 0, allowed is 1 or more"),
        (SACConfig(tau=2.0), "tau: found 2.0, allowed is a number > 0, at most 1"),
        (SACConfig(buffer_size=1), "buffer_size: found 1, allowed is 2 or more"),
    ],
)
def test_hyperparameters_out_of_range_are_refused(config: Any, line: str, tmp_path: Path):
    with pytest.raises(UsageError) as refused:
        train(Point(4), config, tmp_path / "run", steps=1)
    assert str(refused.value) == line
    assert not (tmp_path / "run").exists()


def test_the_defaults_are_possible_and_every_field_has_been_thought_of():
    for config in (PPOConfig(), SACConfig()):
        require_possible(config)
        for name, value in vars(config).items():
            if isinstance(value, float) and not isinstance(value, bool):
                with pytest.raises(UsageError):
                    require_possible(type(config)(**{name: math.nan}))


def test_a_buffer_beyond_memory_is_refused(monkeypatch):
    def room(self: ReplayBuffer, envs: Envs) -> None:
        raise MemoryError("Unable to allocate 16.7 PiB")

    monkeypatch.setattr(ReplayBuffer, "_room", room)
    with pytest.raises(UsageError, match="buffer_size: found 99, allowed is what fits into memory"):
        ReplayBuffer(Envs(Point(2), seed=0), 99, gamma=0.9)


def test_tasks_of_a_module_are_found_and_what_cannot_be_made_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "mytasks.py").write_text(
        "import gymnasium\n"
        "class Broken(gymnasium.Env):\n"
        "    def __init__(self): raise AssertionError('no such thing\\nand more')\n"
        "gymnasium.register('Mine-v0', 'toys:Reach')\n"
        "gymnasium.register('Broken-v0', Broken)\n"
    )
    monkeypatch.chdir(tmp_path)
    envs = make("mytasks:Mine-v0", 2, 0)
    assert envs.goal is not None
    with pytest.raises(UsageError, match=r"^environment: mytasks:Broken-v0: no such thing$"):
        make("mytasks:Broken-v0", 2, 0)
    with pytest.raises(UsageError, match=r"^environment: nowhere:Mine-v0: No module named"):
        make("nowhere:Mine-v0", 2, 0)
