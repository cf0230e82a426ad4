"""Return and advantage estimators: (T, N) → (T, N), time along the first axis.

`terminated` stops the bootstrap: nothing lies beyond a fall. `done` stops the trace: what follows
in the array is another episode. `next_value` is the value of the true next observation, so a time
limit bootstraps from where the episode was cut, not from the next episode's first observation.
"""

from __future__ import annotations

import torch
from torch import Tensor


def gae(
    reward: Tensor,
    value: Tensor,
    next_value: Tensor,
    terminated: Tensor,
    done: Tensor,
    gamma: float,
    gae_lambda: float,
) -> Tensor:
    """Generalised advantage estimates (Schulman et al. 2015, arXiv:1506.02438, eq. 16).

    δ_t = r_t + γ V(s_{t+1}) − V(s_t),  A_t = δ_t + γ λ A_{t+1}.

    Args:
        reward: shape (T, N).
        value: V of the observation acted on. Shape (T, N).
        next_value: V of the true next observation. Shape (T, N).
        terminated: bool, shape (T, N).
        done: terminated or truncated, bool, shape (T, N).
        gamma: discount γ.
        gae_lambda: trace decay λ.

    Returns:
        Advantages. Shape (T, N). The λ-returns are advantages + value.
    """
    # Filled, not multiplied: what lies beyond a fall may be NaN.
    delta = reward + gamma * next_value.masked_fill(terminated, 0.0) - value
    decay = gamma * gae_lambda * (~done).to(delta.dtype)
    advantage = torch.empty_like(delta)
    trace = torch.zeros_like(delta[0])
    for t in range(len(delta) - 1, -1, -1):
        trace = torch.addcmul(delta[t], decay[t], trace, out=advantage[t])
    return advantage


def returns(
    reward: Tensor, next_value: Tensor, terminated: Tensor, done: Tensor, gamma: float
) -> Tensor:
    """Discounted returns G_t = r_t + γ G_{t+1}, with V in G's place where an episode is cut.

    Cut it is by a time limit and by the end of the array. Arguments as in `gae`.

    Returns:
        Shape (T, N).
    """
    result = torch.empty_like(reward)
    beyond = next_value[-1]
    for t in range(len(reward) - 1, -1, -1):
        beyond = torch.where(done[t], next_value[t], beyond).masked_fill(terminated[t], 0.0)
        beyond = torch.add(reward[t], beyond, alpha=gamma, out=result[t])
    return result


def n_step(
    reward: Tensor, terminated: Tensor, last: Tensor, gamma: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns of n steps or fewer: Σ_{i<k} γ^i r_i, to be followed by γ^k V of the k-th successor.

    k is the number of steps up to and with the first `last`, at most n: an episode's end shortens
    the sum and the power of γ alike (Sutton and Barto 2018, section 7.1).

    Args:
        reward: windows of n successive steps. Shape (n, B).
        terminated: the task ended at the step: nothing lies beyond. bool, shape (n, B).
        last: the window goes no further than this step. bool, shape (n, B).
        gamma: discount γ.

    Returns:
        The sum, γ^k or 0 after a termination, and k − 1, the index of the last step summed.
        Shapes (B,), (B,), (B,) int64.
    """
    n = len(reward)
    # Filled, not multiplied: rows beyond the last one hold another episode, or nothing yet.
    beyond = last[:-1].cumsum(0) > 0
    powers = gamma ** torch.arange(n, dtype=torch.float64)
    weighted = reward * powers.to(reward.dtype)[:, None]
    total = weighted[0] + weighted[1:].masked_fill(beyond, 0.0).sum(0)
    end = (~beyond).sum(0)
    discount = (gamma * powers).to(reward.dtype)[end]
    ended = terminated.gather(0, end[None])[0]
    return total, discount.masked_fill(ended, 0.0), end
