"""Losses, one number for each sample, (B,) → (B,): whoever composes them takes the mean."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional


def clipped_surrogate(
    log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, clip: float
) -> Tensor:
    """PPO's objective, negated (Schulman et al. 2017, arXiv:1707.06347, eq. 7).

    −min(r A, clip(r, 1 − ε, 1 + ε) A), with r = π(a|s) / π_old(a|s). Differentiable once, in
    ln π(a|s): −r A where r A is the smaller, else 0. All shapes (B,).
    """
    return _ClippedSurrogate.apply(log_prob, old_log_prob, advantage, clip)  # type: ignore


def squared_error(value: Tensor, target: Tensor) -> Tensor:
    """½ (V − target)². All shapes (B,)."""
    return 0.5 * functional.mse_loss(value, target.expand_as(value), reduction="none")


def approximate_kl(log_prob: Tensor, old_log_prob: Tensor) -> Tensor:
    """Estimate of KL(π_old ‖ π), unbiased and never negative: (r − 1) − ln r. All shapes (B,).

    Source: J. Schulman, "Approximating KL divergence", http://joschu.net/blog/kl-approx.html, k3.
    """
    log_ratio = log_prob - old_log_prob
    return log_ratio.expm1() - log_ratio


def soft_target(
    reward: Tensor, discount: Tensor, next_q: Tensor, next_log_prob: Tensor, temperature: Tensor
) -> Tensor:
    """What SAC's critics learn: r + γ (min(Q1, Q2)(s', a') − α ln π(a'|s')).

    Haarnoja et al. 2018, arXiv:1812.05905, eq. 3 and section 6, with a' drawn from the policy.

    Args:
        reward: of one step, or the discounted sum over several. Shape (B,).
        discount: γ, or γ^k after k steps; 0 where the episode terminated. Shape (B,).
        next_q: of both target critics. Shape (2, B).
        next_log_prob: ln π(a'|s'). Shape (B,).
        temperature: α. Shape ().

    Returns:
        Shape (B,).
    """
    value = next_q.amin(0) - temperature * next_log_prob
    # Filled, not only multiplied: what lies beyond a fall may be NaN.
    return reward + discount * value.masked_fill(discount == 0, 0.0)


def temperature_loss(log_temperature: Tensor, log_prob: Tensor, target_entropy: float) -> Tensor:
    """Raises α where the policy's entropy is below its target, lowers it where it is above.

    −ln α · (ln π(a|s) + H̄) as in the authors' code; its zero is that of arXiv:1812.05905, eq. 18.
    Shapes (), (B,) → (B,).
    """
    return -log_temperature * (log_prob + target_entropy).detach()


class _ClippedSurrogate(Function):
    @staticmethod
    def forward(
        ctx: Any, log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, clip: float
    ) -> Tensor:
        ratio = (log_prob - old_log_prob).exp_()
        free = -ratio * advantage
        bound = -ratio.clamp_(1 - clip, 1 + clip) * advantage
        ctx.save_for_backward(free.masked_fill(free < bound, 0.0))
        return torch.maximum(free, bound)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return gradient * ctx.saved_tensors[0], None, None, None
