"""Normaliser, Gaussian and value function against numpy, torch.distributions and symmetry."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from surefoot.control.networks import CLIP, SMALLEST_STD, Normaliser
from surefoot.control.policy import Gaussian, Value
from surefoot.models.task import Mirror, Reflection


def reflection(index: list[int], sign: list[float]) -> Reflection:
    return Reflection(np.array(index), np.array(sign, np.float32))


MIRROR = Mirror(
    observation=reflection([1, 0, 2, 4, 3], [1, 1, -1, -1, -1]),
    privileged=reflection([0], [1]),
    action=reflection([1, 0, 2], [1, 1, -1]),
)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.lists(st.integers(0, 40), min_size=1, max_size=5))
def test_normaliser_merges_like_numpy_on_everything_at_once(seed: int, sizes: list[int]):
    rng = np.random.default_rng(seed)
    batches = [rng.normal(rng.normal(size=3) * 100, 5, (size, 3)) for size in sizes]
    everything = np.concatenate(batches)
    normaliser = Normaliser(3)
    for batch in batches:
        normaliser.update(torch.from_numpy(batch))
    assert normaliser.count == len(everything)
    if len(everything):
        np.testing.assert_allclose(normaliser.mean.numpy(), everything.mean(0), rtol=1e-12)
        np.testing.assert_allclose(
            normaliser.variance.numpy(), everything.var(0), rtol=1e-9, atol=1e-9
        )


def test_normaliser_starts_as_identity_changes_in_absorb_only_and_clips():
    normaliser = Normaliser(2)
    x = torch.tensor([[1.0, -3.0]])
    assert torch.equal(normaliser(x), x)
    normaliser.update(torch.tensor([[0.0, 7.0], [4.0, 7.0]]))
    # mean 2, 7; std 2, 0: (1 − 2)/(2 + 0.01), and (−3 − 7)/0.01 clipped
    expected = torch.tensor([[-1 / (2 + SMALLEST_STD), -CLIP]])
    torch.testing.assert_close(normaliser(x), expected)


def test_log_prob_and_entropy_agree_with_torch_distributions():
    torch.manual_seed(0)
    policy = Gaussian(5, 3, hidden=(16,))
    with torch.no_grad():
        policy.log_std.copy_(torch.tensor([-1.0, 0.3, 0.9]))
    obs, action = torch.randn(50, 5), torch.randn(50, 3)
    expected = torch.distributions.Normal(policy(obs), policy.log_std.exp())
    log_prob = policy.log_prob(policy.features(obs), action)
    torch.testing.assert_close(log_prob, expected.log_prob(action).sum(-1))
    torch.testing.assert_close(policy.entropy(), expected.entropy()[0].sum())


def test_samples_have_the_policy_s_mean_and_std_and_log_prob():
    policy = Gaussian(5, 3, hidden=(16,), std=0.5, generator=torch.Generator().manual_seed(1))
    obs = torch.ones(20_000, 5)
    with torch.no_grad():
        action, log_prob = policy.sample(obs, torch.Generator().manual_seed(2))
        again = policy.log_prob(policy.features(obs), action)
        mean = policy(obs[:1])[0]
    # The mean of 20000 samples has a standard error of 0.5/√20000 = 0.0035: five of these.
    torch.testing.assert_close(action.mean(0), mean, rtol=0, atol=0.018)
    torch.testing.assert_close(action.std(0), torch.full((3,), 0.5), rtol=0, atol=0.0125)
    torch.testing.assert_close(log_prob, again)


@pytest.mark.parametrize("absorbed", [False, True])
def test_mirrored_policy_is_equivariant(absorbed: bool):
    torch.manual_seed(0)
    policy = Gaussian(5, 3, hidden=(16, 16), mirror=MIRROR)
    with torch.no_grad():
        torch.nn.init.normal_(policy.network[-1].weight)  # not nearly zero
    if absorbed:  # statistics that are not symmetric themselves
        policy.normaliser.update(torch.randn(100, 5) * torch.arange(1, 6) + torch.arange(5))
    policy = policy.double()
    obs = torch.randn(64, 5, dtype=torch.float64)
    reflect_obs, reflect_action = MIRROR.observation, MIRROR.action
    mirrored_obs = torch.from_numpy(reflect_obs(obs.numpy()))
    with torch.no_grad():
        expected = reflect_action(policy(obs).numpy())
        np.testing.assert_allclose(policy(mirrored_obs).numpy(), expected, rtol=0, atol=1e-14)
        assert not np.allclose(policy(obs).numpy(), expected)  # the mirror image is another action


def test_reflecting_twice_is_the_identity():
    x = np.random.default_rng(0).normal(size=(4, 5))
    np.testing.assert_array_equal(MIRROR.observation(MIRROR.observation(x)), x)


def test_first_actions_are_small_and_std_as_asked():
    policy = Gaussian(47, 12, std=0.5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert policy(torch.randn(100, 47)).abs().max() < 0.1
    torch.testing.assert_close(policy.log_std, torch.full((12,), math.log(0.5)), check_dtype=False)


def test_weights_depend_on_the_generator_alone():
    first = Gaussian(5, 3, generator=torch.Generator().manual_seed(3))
    torch.manual_seed(99)
    second = Gaussian(5, 3, generator=torch.Generator().manual_seed(3))
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_values_stay_when_the_statistics_of_returns_change():
    torch.manual_seed(0)
    value = Value(4, hidden=(16,))
    privileged = torch.randn(100, 4)
    value.update(privileged, torch.randn(100))
    before = value(privileged)
    value.normaliser.update = lambda x: None  # the inputs' statistics are another matter
    value.update(privileged, 300 + 50 * torch.randn(100))
    torch.testing.assert_close(value(privileged), before, rtol=0, atol=1e-3)
    assert value.returns.shift.item() == pytest.approx(150, rel=0.1)
