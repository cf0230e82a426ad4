"""Advantages and returns by hand: γ = 0.5, λ = 0.5, so γλ = 0.25, and every number is exact."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from surefoot.control.returns import gae, returns

GAMMA, LAM = 0.5, 0.5


def column(*numbers: float) -> torch.Tensor:
    """One environment's numbers over time. Shape (T, 1)."""
    return torch.tensor(numbers)[:, None]


def flags(*bits: int) -> torch.Tensor:
    return torch.tensor(bits, dtype=torch.bool)[:, None]


def test_gae_without_an_end():
    advantage = gae(
        reward=column(1, 2, 3),
        value=column(4, 2, 8),
        next_value=column(2, 8, 6),
        terminated=flags(0, 0, 0),
        done=flags(0, 0, 0),
        gamma=GAMMA,
        gae_lambda=LAM,
    )
    # δ_2 = 3 + 0.5·6 − 8 = −2      A_2 = −2
    # δ_1 = 2 + 0.5·8 − 2 =  4      A_1 = 4 + 0.25·(−2) = 3.5
    # δ_0 = 1 + 0.5·2 − 4 = −2      A_0 = −2 + 0.25·3.5 = −1.125
    assert advantage.squeeze(1).tolist() == [-1.125, 3.5, -2.0]


def test_gae_with_a_termination_in_the_middle():
    advantage = gae(
        reward=column(1, 2, 3),
        value=column(4, 2, 8),
        next_value=column(2, float("nan"), 6),  # beyond a fall lies nothing, not even a number
        terminated=flags(0, 1, 0),
        done=flags(0, 1, 0),
        gamma=GAMMA,
        gae_lambda=LAM,
    )
    # δ_2 = 3 + 0.5·6 − 8 = −2      A_2 = −2
    # δ_1 = 2 + 0     − 2 =  0      A_1 = 0          the bootstrap and the trace stop here
    # δ_0 = 1 + 0.5·2 − 4 = −2      A_0 = −2 + 0.25·0 = −2
    assert advantage.squeeze(1).tolist() == [-2.0, 0.0, -2.0]


def test_gae_with_a_truncation_in_the_middle():
    advantage = gae(
        reward=column(1, 2, 3),
        value=column(4, 2, 8),
        next_value=column(2, 12, 6),  # 12 is V of the true last observation; V of the next row is 8
        terminated=flags(0, 0, 0),
        done=flags(0, 1, 0),
        gamma=GAMMA,
        gae_lambda=LAM,
    )
    # δ_2 = 3 + 0.5·6  − 8 = −2     A_2 = −2
    # δ_1 = 2 + 0.5·12 − 2 =  6     A_1 = 6          only the trace stops here
    # δ_0 = 1 + 0.5·2  − 4 = −2     A_0 = −2 + 0.25·6 = −0.5
    assert advantage.squeeze(1).tolist() == [-0.5, 6.0, -2.0]


def test_returns_with_every_kind_of_end():
    nothing = float("nan")
    result = returns(
        reward=torch.tensor([[1.0, 1, 1], [2, 2, 2], [4, 4, 4]]),
        next_value=torch.tensor([[9.0, 9, 9], [9, nothing, 12], [8, 8, nothing]]),
        terminated=torch.tensor([[0, 0, 0], [0, 1, 0], [0, 0, 1]]).bool(),
        done=torch.tensor([[0, 0, 0], [0, 1, 1], [0, 0, 1]]).bool(),
        gamma=GAMMA,
    )
    # no end:                 G_2 = 4 + 0.5·8 = 8, G_1 = 2 + 0.5·8  = 6, G_0 = 1 + 0.5·6 = 4
    # terminated at 1:        G_2 = 4 + 0.5·8 = 8, G_1 = 2,              G_0 = 1 + 0.5·2 = 2
    # cut at 1, fallen at 2:  G_2 = 4,             G_1 = 2 + 0.5·12 = 8, G_0 = 1 + 0.5·8 = 5
    assert result.T.tolist() == [[4.0, 6.0, 8.0], [2.0, 2.0, 8.0], [5.0, 8.0, 4.0]]


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 9), st.floats(0, 1))
def test_gae_with_lambda_one_is_returns_minus_value(seed: int, horizon: int, gamma: float):
    generator = torch.Generator().manual_seed(seed)
    reward, value, next_value = torch.randn(3, horizon, 4, generator=generator).double()
    ends = torch.rand(horizon, 4, generator=generator)
    terminated, done = ends < 0.2, ends < 0.4
    # Inside an episode the next value is the next row's; elsewhere it is anything.
    next_value[:-1] = torch.where(done[:-1], next_value[:-1], value[1:])
    advantage = gae(reward, value, next_value, terminated, done, gamma, 1.0)
    expected = returns(reward, next_value, terminated, done, gamma) - value
    torch.testing.assert_close(advantage, expected, rtol=0, atol=1e-12)


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 8))
def test_gae_of_an_episode_ignores_what_follows_it(seed: int, end: int):
    generator = torch.Generator().manual_seed(seed)
    reward, value, next_value = torch.randn(3, 10, 1, generator=generator)
    done = torch.zeros(10, 1, dtype=torch.bool)
    done[end - 1] = True
    never = torch.zeros_like(done)
    whole = gae(reward, value, next_value, never, done, 0.9, 0.8)
    parts = (x[:end] for x in (reward, value, next_value, never, done))
    alone = gae(*parts, 0.9, 0.8)
    assert torch.equal(whole[:end], alone)
