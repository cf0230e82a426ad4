"""Losses by hand."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from surefoot.control.losses import approximate_kl, clipped_surrogate, squared_error


def test_clipped_surrogate_on_all_four_sides():
    ratio = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.1])
    advantage = torch.tensor([2.0, -2.0, 2.0, -2.0, 2.0])
    old = torch.tensor([-1.0, -2.0, -3.0, 0.0, -1.0])
    loss = clipped_surrogate(old + ratio.log(), old, advantage, clip=0.2)
    # r = 1.5, A =  2:  −min( 3.0,  1.2·2) = −2.4   clipped: no more of a good thing
    # r = 1.5, A = −2:  −min(−3.0, −2.4)   =  3.0   not clipped: a bad thing must come back
    # r = 0.5, A =  2:  −min( 1.0,  0.8·2) = −1.0   not clipped: a good thing must come back
    # r = 0.5, A = −2:  −min(−1.0, −1.6)   =  1.6   clipped: no less of a bad thing
    # r = 1.1, A =  2:  −min( 2.2,  2.2)   = −2.2   inside
    torch.testing.assert_close(loss, torch.tensor([-2.4, 3.0, -1.0, 1.6, -2.2]))


def test_clipped_sides_have_no_gradient():
    ratio = torch.tensor([1.5, 1.5, 0.5, 0.5])
    log_prob = ratio.log().requires_grad_()
    advantage = torch.tensor([2.0, -2.0, 2.0, -2.0])
    clipped_surrogate(log_prob, torch.zeros(4), advantage, clip=0.2).sum().backward()
    # d(−r A)/d ln r = −r A where it is not clipped: 1.5·2 = 3 and −0.5·2 = −1
    torch.testing.assert_close(log_prob.grad, torch.tensor([0.0, 3.0, -1.0, 0.0]))


def test_squared_error():
    # ½ (3 − 1)² = 2,  ½ (−1 − 2)² = 4.5
    assert squared_error(torch.tensor([3.0, -1.0]), torch.tensor([1.0, 2.0])).tolist() == [2.0, 4.5]


def test_approximate_kl():
    log_prob = torch.tensor([math.log(2.0), 0.0])
    # (2 − 1) − ln 2 = 0.3069,  (1 − 1) − 0 = 0
    kl = approximate_kl(log_prob, torch.zeros(2))
    torch.testing.assert_close(kl, torch.tensor([0.306853, 0.0]))


@settings(deadline=None)
@given(st.floats(-5, 5), st.floats(-5, 5))
def test_approximate_kl_is_never_negative(new: float, old: float):
    kl = approximate_kl(torch.tensor([new]), torch.tensor([old]))
    assert kl.item() >= -1e-6  # rounding
