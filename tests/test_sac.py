"""SAC: its policy, its target, its bootstrap, its temperature, its learning, its resuming."""

from __future__ import annotations

import dataclasses
import itertools
import math
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from hypothesis import given
from hypothesis import strategies as st
from surefoot.control import train
from surefoot.control.checkpoint import load, load_policy
from surefoot.control.distributions import squashed_sample
from surefoot.control.envs import Envs
from surefoot.control.losses import soft_target
from surefoot.control.metrics import Metrics
from surefoot.control.policy import LOG_STD, SquashedGaussian, TwinQ
from surefoot.control.ppo import PPOConfig
from surefoot.control.replay_buffer import FOLDER, Batch
from surefoot.control.sac import Learner, SACConfig, update
from surefoot.models.errors import UsageError
from surefoot.models.task import Mirror, Reflection
from torch.distributions import AffineTransform, Normal, TanhTransform, TransformedDistribution
from toys import Counter, Point, Reach


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- the policy -------------------------------------------------------------------------------

LOW, HIGH = torch.tensor([-1.0, 0.0, -100.0]), torch.tensor([3.0, 0.5, 100.0])


def actor(**options: Any) -> SquashedGaussian:
    policy = SquashedGaussian(4, LOW, HIGH, (16,), generator=seeded(0), **options)
    with torch.no_grad():  # not nearly zero
        torch.nn.init.normal_(policy.network[-1].weight, std=0.5, generator=seeded(1))
    return policy.double()


def test_log_prob_agrees_with_torch_distributions():
    policy = actor()
    obs = torch.randn(50, 4, generator=seeded(2), dtype=torch.float64)
    noise = torch.randn(50, 3, generator=seeded(3), dtype=torch.float64)
    features = policy.features(obs)
    action, log_prob = policy.sample(features, noise)
    mean, log_std = policy.distribution(features)
    normal = Normal(mean, log_std.exp())
    squashed = TransformedDistribution(normal, [TanhTransform()])
    torch.testing.assert_close(log_prob, squashed.log_prob(action).sum(-1))
    # In the Box's own units the density is that, less the logarithm of the Box's half widths.
    half = 0.5 * (HIGH - LOW).double()
    in_box = TransformedDistribution(normal, [TanhTransform(), AffineTransform(LOW + half, half)])
    expected = in_box.log_prob(policy.to_box(action)).sum(-1)
    torch.testing.assert_close(log_prob - half.log().sum(), expected)


@given(st.floats(-50, 50), st.floats(-3, 3))
def test_log_prob_is_finite_and_exact_where_tanh_rounds_to_one(u: float, noise: float):
    mean, log_std = torch.tensor([[u]]) - torch.tensor([[noise]]), torch.zeros(1, 1)
    found = squashed_sample(mean, log_std, torch.tensor([[noise]]))[1].item()
    # 1 − tanh² u = 4 e^(−2|u|) / (1 + e^(−2|u|))²
    correction = math.log(4) - 2 * abs(u) - 2 * math.log1p(math.exp(-2 * abs(u)))
    expected = -0.5 * noise**2 - 0.5 * math.log(2 * math.pi) - correction
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-4)


def test_actions_fill_the_box_and_never_leave_it():
    policy = actor().float()
    noise = 10 * torch.randn(5000, 3, generator=seeded(4))
    action, _ = policy.sample(policy.features(torch.randn(5000, 4, generator=seeded(5))), noise)
    boxed = policy.to_box(action)
    assert (boxed >= LOW).all() and (boxed <= HIGH).all()
    torch.testing.assert_close(boxed.amin(0), LOW)
    torch.testing.assert_close(boxed.amax(0), HIGH)
    torch.testing.assert_close(policy.to_box(torch.zeros(3)), torch.tensor([1.0, 0.25, 0.0]))


def test_called_it_gives_the_mode_and_sigma_depends_on_the_state_within_bounds():
    policy = actor()
    obs = torch.randn(200, 4, generator=seeded(6), dtype=torch.float64)
    still, _ = policy.sample(policy.features(obs), torch.zeros(200, 3, dtype=torch.float64))
    torch.testing.assert_close(policy(obs), policy.to_box(still))
    _, log_std = policy.distribution(policy.features(100 * obs))
    assert log_std.std(0).min() > 0
    assert (log_std.min(), log_std.max()) == LOG_STD


def test_a_mirrored_policy_is_equivariant():
    def reflection(index: list[int], sign: list[int]) -> Reflection:
        return Reflection(np.array(index), np.array(sign, np.float32))

    observation, action = reflection([1, 0, 2, 3], [1, 1, -1, 1]), reflection([1, 0, 2], [1, 1, -1])
    policy = SquashedGaussian(
        4,
        -torch.ones(3),
        torch.ones(3),
        (16,),
        1.0,
        Mirror(observation, observation, action),
        seeded(0),
    )
    with torch.no_grad():
        torch.nn.init.normal_(policy.network[-1].weight, generator=seeded(1))
    obs = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    with torch.no_grad():
        here = policy.distribution(policy.features(torch.from_numpy(obs)))
        there = policy.distribution(policy.features(torch.from_numpy(observation(obs))))
    np.testing.assert_allclose(there[0].numpy(), action(here[0].numpy()), atol=1e-6)
    np.testing.assert_allclose(there[1].numpy(), here[1].numpy()[:, [1, 0, 2]], atol=1e-6)


def test_the_first_policy_has_the_spread_asked_for():
    policy = SquashedGaussian(4, LOW, HIGH, std=0.1, generator=seeded(0))
    mean, log_std = policy.distribution(policy.features(torch.randn(50, 4, generator=seeded(1))))
    assert mean.abs().max() < 0.1
    torch.testing.assert_close(log_std.exp(), torch.full((50, 3), 0.1), rtol=0.1, atol=0)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_the_two_critics_are_two_networks(layer_norm: bool):
    critic = TwinQ(3, 2, (8, 8), layer_norm, seeded(0))
    obs, action = torch.randn(5, 3, generator=seeded(1)), torch.randn(5, 2, generator=seeded(2))
    both = critic(obs, action)
    for index in range(2):
        layers: list[torch.nn.Module] = []
        for depth, weight in enumerate(critic.network.weights):
            linear = torch.nn.Linear(*weight.shape[1:])
            linear.weight.data, linear.bias.data = (
                weight.data[index].T,
                torch.zeros(len(weight[0].T)),
            )
            layers.append(linear)
            if depth < 2:
                layers += [torch.nn.LayerNorm(8)] if layer_norm else []
                layers.append(torch.nn.ReLU())
        one = torch.nn.Sequential(*layers)(torch.cat((obs, action), 1)).squeeze(1)
        torch.testing.assert_close(both[index], one)
    assert not torch.allclose(both[0], both[1])


# --- the algorithm ----------------------------------------------------------------------------


def test_soft_target_by_hand():
    target = soft_target(
        reward=torch.tensor([1.0, 1.0, 2.0]),
        discount=torch.tensor([0.5, 0.25, 0.0]),
        next_q=torch.tensor([[4.0, 8.0, float("nan")], [6.0, 2.0, 1.0]]),
        next_log_prob=torch.tensor([-1.0, 2.0, 0.0]),
        temperature=torch.tensor(0.5),
    )
    # 1 + 0.5  (min(4, 6) − 0.5·(−1)) = 1 + 0.5 · 4.5 = 3.25
    # 1 + 0.25 (min(8, 2) − 0.5·2)    = 1 + 0.25 · 1  = 1.25      two steps later
    # 2: beyond a fall lies nothing, not even a number
    assert target.tolist() == [3.25, 1.25, 2.0]


SMALL = SACConfig(
    num_envs=4,
    batch_size=32,
    buffer_size=2000,
    learning_starts=256,
    hidden=(16, 16),
    learning_rate=3e-3,
)
MODES = [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP]


@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize("mode", MODES)
def test_a_time_limit_does_not_shorten_the_value(mode: AutoresetMode, n_step: int):
    config = dataclasses.replace(
        SMALL, gamma=0.9, tau=0.05, n_step=n_step, temperature="fixed", initial_temperature=0.0,
        updates_per_step=4,
    )  # fmt: skip
    envs = Envs(SyncVectorEnv([Counter] * 4, autoreset_mode=mode), seed=0)
    learner = Learner.of(envs, config, seed=0)
    for _ in range(4):
        learner.iterate(envs, 0.0, lambda: 0.0)
    # Reward 1 for ever: Q = 1 / (1 − 0.9) = 10. Cut by its limit it would be 4.1 at most.
    with torch.no_grad():
        q = learner.critic(torch.ones(9, 1), torch.linspace(-1, 1, 9)[:, None])
    torch.testing.assert_close(q, torch.full((2, 9), 10.0), rtol=0.03, atol=0)


def batch_of(envs: Envs, size: int = 32) -> Batch:
    zero = torch.zeros(size)
    obs = torch.ones(size, envs.obs_dim)
    return Batch(obs, obs, torch.zeros(size, envs.action_dim), zero, zero + 0.9, obs, obs)


@pytest.mark.parametrize(("target_entropy", "sign"), [(5.0, 1), (-5.0, -1)])
def test_the_temperature_moves_towards_its_target_entropy(target_entropy: float, sign: int):
    # The entropy of one action in −1 … 1 is ln 2 at most: 5 is out of reach, −5 is exceeded.
    envs = Envs(SyncVectorEnv([Counter]), seed=0)
    config = dataclasses.replace(SMALL, num_envs=1, target_entropy=target_entropy)
    learner = Learner.of(envs, config, seed=0)
    temperatures = [float(update(learner, batch_of(envs)).temperature) for _ in range(20)]
    assert temperatures[0] == 1.0
    assert all(sign * (b - a) > 0 for a, b in itertools.pairwise(temperatures))


def test_a_fixed_and_an_annealed_temperature():
    envs = Envs(SyncVectorEnv([Counter] * 4), seed=0)
    found = []
    for mode in ("fixed", "annealed"):
        config = dataclasses.replace(
            SMALL, temperature=mode, initial_temperature=0.4, final_temperature=0.1
        )
        learner = Learner.of(envs, config, seed=0)
        learner.iterate(envs, 0.0, lambda: 0.0)  # nothing is learned yet
        iterations = [learner.iterate(envs, p, lambda: 0.0) for p in (0.0, 0.5, 1.0)]
        found += [it.diagnostics.temperature for it in iterations]
    assert found == pytest.approx([0.4, 0.4, 0.4, 0.4, 0.2, 0.1])


def test_the_policy_s_step_leaves_the_critics_alone_and_targets_follow_by_tau():
    envs = Envs(SyncVectorEnv([Counter]), seed=0)
    config = dataclasses.replace(SMALL, num_envs=1, tau=0.25)
    learner = Learner.of(envs, config, seed=0)
    before = [p.detach().clone() for p in learner.target.parameters()]
    update(learner, batch_of(envs))
    critic = [p.detach().clone() for p in learner.critic.network.parameters()]
    for old, new, now in zip(before, critic, learner.target.parameters(), strict=True):
        torch.testing.assert_close(now, 0.75 * old + 0.25 * new)
        assert not now.requires_grad
    # The critic's gradients are those of its own loss: another update of theirs starts at zero.
    assert any(not torch.equal(old, new) for old, new in zip(before, critic, strict=True))


def test_statistics_are_absorbed_between_iterations_only_and_only_if_asked():
    envs = Envs(Point(4), seed=0)
    for normalise in (True, False):
        learner = Learner.of(envs, dataclasses.replace(SMALL, normalise=normalise), seed=0)
        learner.iterate(envs, 0.0, lambda: 0.0)
        expected = 256 if normalise else 0
        assert learner.policy.normaliser.count == learner.critic.normaliser.count == expected


def test_learns_to_go_to_the_origin(tmp_path: Path):
    config = dataclasses.replace(SMALL, hidden=(32, 32), gamma=0.5, batch_size=64)
    seen: list[Metrics] = []
    trained = train.train(Point(4), config, tmp_path, steps=4096, seed=1, on_iteration=seen.append)
    obs = torch.tensor([[-0.8], [-0.3], [0.0], [0.25]])
    with torch.no_grad():
        assert (obs + 0.4 * trained.policy(obs)).abs().max() < 0.2  # of 0.8 it began with
    assert torch.equal(load_policy(tmp_path / "checkpoint.pt")(obs), trained.policy(obs))
    first, last = seen[0], seen[-1]
    assert first.diagnostics.critic_loss is None  # nothing was learned yet
    assert last.reward > 0.2 * first.reward  # both negative
    assert (last.steps, last.progress, last.learning_rate) == (4096, 1.0, 3e-3)
    assert last.diagnostics.temperature < 0.5  # from 1: the entropy was above its target


REACHING = SACConfig(
    num_envs=4, batch_size=128, buffer_size=20_000, learning_starts=500, hidden=(48, 48),
    gamma=0.95, learning_rate=2e-3, tau=0.02, updates_per_step=2, initial_temperature=0.2,
)  # fmt: skip


@pytest.mark.parametrize("hindsight", [4, pytest.param(0, marks=pytest.mark.slow)])
def test_hindsight_makes_goals_learnable_that_chance_never_reaches(hindsight: int, tmp_path: Path):
    env = SyncVectorEnv([Reach] * 4, autoreset_mode=AutoresetMode.SAME_STEP)
    config = dataclasses.replace(REACHING, hindsight=hindsight)
    trained = train.train(env, config, tmp_path, steps=3072, seed=0)
    envs = Envs(SyncVectorEnv([Reach] * 50), seed=9)
    for _ in range(20):
        with torch.no_grad():
            step = envs.step(trained.policy(torch.from_numpy(envs.obs)).numpy())
    reached = float(np.mean(step.reward == 0))
    assert reached > 0.8 if hindsight else reached < 0.3


def test_what_sac_cannot_learn_from_is_refused(tmp_path: Path):
    class Unbounded(Point):
        def __init__(self, num_envs: int) -> None:
            super().__init__(num_envs)
            self.single_action_space = type(self.single_action_space)(-np.inf, np.inf, (1,))

    def refused(env: VectorEnv, message: str, **options: Any) -> None:
        with pytest.raises(UsageError, match=message) as error:
            train.train(env, dataclasses.replace(SMALL, **options), tmp_path, steps=1)
        assert "\n" not in str(error.value)

    refused(Unbounded(4), "action space: found Box.*allowed for SAC is a bounded Box")
    refused(Point(4), "hindsight: found 4 for an environment without goals", hindsight=4)
    refused(Point(4), "initial_std: found 0, allowed is a number > 0", initial_std=0)
    refused(Point(4), "initial_temperature: found 0", initial_temperature=0)
    refused(Point(4), "final_temperature: found -1", temperature="fixed", final_temperature=-1)
    assert not list(tmp_path.iterdir())


# --- resuming ---------------------------------------------------------------------------------

RUN = dataclasses.replace(SMALL, n_step=3, buffer_size=1200, normalise=True)  # the ring goes round
STEPS = 8 * 256


class Unplugged(Exception):
    """The machine stops here."""


def run(path: Path, env: VectorEnv, stop_after: int | None = None, **options: Any) -> Any:
    """Eight iterations, or fewer where the machine stops."""

    def on_iteration(metrics: Metrics) -> None:
        if metrics.iteration == stop_after:
            raise Unplugged

    return train.train(env, RUN, path, steps=STEPS, seed=5, on_iteration=on_iteration, **options)


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


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Where the uninterrupted run arrives."""
    folder = tmp_path_factory.mktemp("whole")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    run(folder, Point(4))
    torch.set_num_threads(threads)
    return without_time(folder)


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(whole: dict[str, Any], tmp_path: Path):
    with pytest.raises(Unplugged):
        run(tmp_path, Point(4), stop_after=5, checkpoint_every=3)
    assert load(tmp_path / "checkpoint.pt")["progress"]["iterations"] == 3
    resumed = run(tmp_path, Point(4), resume=True)
    assert resumed.resumed_exactly is True
    assert equal(without_time(tmp_path), whole)


# A checkpoint syncs its part of the buffer, that folder, itself, and its own folder: four calls.
# The first is complete; the second one is stopped in the middle of each.
KILLED = """
import os, signal, sys
from pathlib import Path
import torch
import test_sac

torch.set_num_threads(1)
sync, left = os.fsync, int(sys.argv[2])

def fsync(descriptor):
    global left
    left -= 1
    if left == 0:
        if sys.argv[3] == "half":
            os.truncate(descriptor, os.fstat(descriptor).st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)
    sync(descriptor)

os.fsync = fsync
test_sac.run(Path(sys.argv[1]), test_sac.Point(4), checkpoint_every=3)
"""


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (5, "half"),
        pytest.param(6, "whole", marks=SLOW),
        pytest.param(7, "half", marks=SLOW),
        pytest.param(8, "whole", marks=SLOW),
    ],
)
def test_kill_9_in_the_middle_of_a_checkpoint_loses_nothing_before_it(
    call: int, what: str, whole: dict[str, Any], tmp_path: Path
):
    words = [sys.executable, "-c", KILLED, str(tmp_path), str(call), what]
    killed = subprocess.run(
        words, capture_output=True, text=True, cwd=Path(__file__).parent, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    updates = load(tmp_path / "checkpoint.pt")["progress"]["iterations"]
    assert updates == (6 if call == 8 else 3)  # its name was changed before the last call
    assert len(list((tmp_path / FOLDER).iterdir())) == 2  # one may be half a file
    resumed = run(tmp_path, Point(4), resume=True)
    assert resumed.resumed_exactly is True
    assert equal(without_time(tmp_path), whole)


@pytest.mark.parametrize("mode", MODES)
def test_environments_without_a_state_start_their_episodes_anew(
    mode: AutoresetMode, tmp_path: Path
):
    def counters() -> SyncVectorEnv:
        return SyncVectorEnv([Counter] * 4, autoreset_mode=mode)

    with pytest.raises(Unplugged):
        run(tmp_path, counters(), stop_after=7, checkpoint_every=6)
    resumed = run(tmp_path, counters(), resume=True)
    assert resumed.resumed_exactly is False
    assert resumed.iterations == 8
    assert load(tmp_path / "checkpoint.pt")["replay"]["cuts"] == [6 * 64 - 1]


def test_another_algorithm_s_run_is_not_resumed(tmp_path: Path):
    train.train(Point(4), SMALL, tmp_path, steps=1, seed=5)
    with pytest.raises(UsageError, match="found algorithm = ppo, allowed is the run's own sac"):
        train.train(Point(4), PPOConfig(num_envs=4), tmp_path, steps=1, seed=5, resume=True)
