"""Step rules: gathered parameters are still the modules' own, and Adam is Adam."""

from __future__ import annotations

import copy

import pytest
import torch
from surefoot.control.steps import Adam, flatten_parameters, polyak_update
from torch import nn
from torch.nn.utils import clip_grad_norm_


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))


@pytest.mark.parametrize("largest", [0.05, 1e9])
def test_it_does_what_torch_does_with_each_parameter(largest: float):
    ours, value = network(0), network(1)
    theirs, their_value = copy.deepcopy(ours), copy.deepcopy(value)
    adam, other = Adam(ours.parameters(), 1e-2), Adam(value.parameters(), 1e-2)
    reference = torch.optim.Adam([*theirs.parameters(), *their_value.parameters()], 1e-2)
    x = torch.randn(5, 3)
    for _ in range(20):
        adam.zero_grad()
        other.zero_grad()
        (ours(x).square().sum() + value(x).sum()).backward()
        for one in (adam, other):
            one.clip(largest)
            one.step()
        reference.zero_grad()
        (theirs(x).square().sum() + their_value(x).sum()).backward()
        clip_grad_norm_(theirs.parameters(), largest)
        clip_grad_norm_(their_value.parameters(), largest)
        reference.step()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-7)
    for p, q in zip(value.parameters(), their_value.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-7)


def test_what_is_loaded_into_a_module_reaches_the_vector():
    module = network(0)
    adam = Adam(module.parameters(), learning_rate=1e-3)
    module.load_state_dict(network(1).state_dict())
    expected = torch.cat([p.flatten() for p in network(1).parameters()])
    assert torch.equal(adam.vector, expected)


def test_it_goes_on_from_its_state():
    def steps(adam: Adam, module: nn.Module, count: int) -> None:
        for _ in range(count):
            adam.zero_grad()
            module(torch.ones(1, 3)).square().sum().backward()
            adam.step()

    whole, first = network(0), network(0)
    steps(Adam(whole.parameters(), learning_rate=5e-3), whole, 6)
    adam = Adam(first.parameters(), learning_rate=5e-3)
    steps(adam, first, 3)
    second = network(1)
    other = Adam(second.parameters(), learning_rate=5e-3)
    second.load_state_dict(first.state_dict())
    other.load_state_dict(adam.state_dict())
    steps(other, second, 3)
    for p, q in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(p, q)


def test_a_slow_copy_follows():
    fast, slow = network(0), network(1).requires_grad_(False)
    before = [p.clone() for p in slow.parameters()]
    vector = flatten_parameters(slow.parameters())
    polyak_update(vector, flatten_parameters(fast.parameters()), 0.25)
    for p, q, old in zip(slow.parameters(), fast.parameters(), before, strict=True):
        torch.testing.assert_close(p, 0.75 * old + 0.25 * q)
