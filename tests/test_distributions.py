"""Densities: their values against torch.distributions, their derivatives against autograd's."""

from __future__ import annotations

import math

import pytest
import torch
from surefoot.control.distributions import gaussian_entropy, gaussian_log_prob, squashed_sample
from surefoot.control.losses import clipped_surrogate
from torch import Tensor
from torch.distributions import Normal


def numbers(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_gaussian_by_hand():
    mean, action = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, -1.0]])
    log_std = torch.tensor([math.log(2.0), 0.0])
    # −½ (1/2)² − ln 2 − ½ ln 2π  −  ½ 1² − ½ ln 2π = −0.125 − 0.693147 − 0.5 − 1.837877
    torch.testing.assert_close(gaussian_log_prob(mean, log_std, action), torch.tensor([-3.156024]))
    # ln 2 + 2 · ½ ln 2πe
    torch.testing.assert_close(gaussian_entropy(log_std), torch.tensor(3.531024))


def test_gaussian_agrees_with_torch_in_value_and_derivative():
    mean, log_std = numbers(7, 3, seed=1), numbers(3, seed=2)
    action = numbers(7, 3, seed=3)
    expected = Normal(mean, log_std.exp()).log_prob(action).sum(-1)
    torch.testing.assert_close(gaussian_log_prob(mean, log_std, action), expected)
    inputs = mean.requires_grad_(), log_std.requires_grad_()
    assert torch.autograd.gradcheck(lambda m, s: gaussian_log_prob(m, s, action), inputs)


def test_the_squashed_samples_derivatives():
    mean, log_std, noise = numbers(6, 2, seed=1), numbers(6, 2, seed=2), numbers(6, 2, seed=3)
    inputs = mean.requires_grad_(), log_std.requires_grad_()
    assert torch.autograd.gradcheck(lambda m, s: squashed_sample(m, s, noise), inputs)


def test_squashed_gradients_stay_finite_where_tanh_rounds_to_one():
    mean = torch.full((1, 1), 40.0, requires_grad=True)
    action, log_prob = squashed_sample(mean, torch.zeros(1, 1), torch.ones(1, 1))
    (action.sum() + log_prob.sum()).backward()
    assert mean.grad is not None
    assert mean.grad.item() == 2.0  # 2a, and nothing from the action itself


@pytest.mark.parametrize("clip", [0.1, 0.3])
def test_the_surrogates_derivative_is_that_of_its_formula(clip: float):
    log_prob, old = 0.3 * numbers(200, seed=1), 0.3 * numbers(200, seed=2)
    advantage = numbers(200, seed=3)

    def formula(log_prob: Tensor) -> Tensor:
        ratio = (log_prob - old).exp()
        return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)

    one, other = log_prob.clone().requires_grad_(), log_prob.clone().requires_grad_()
    found = clipped_surrogate(one, old, advantage, clip)
    torch.testing.assert_close(found, formula(other))
    found.sum().backward()
    formula(other).sum().backward()
    torch.testing.assert_close(one.grad, other.grad)
