"""Losses, one number for each sample, (B,) → (B,): whoever composes them takes the mean."""

from __future__ import annotations

import torch
from torch import Tensor


def clipped_surrogate(
    log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, clip: float
) -> Tensor:
    """PPO's objective, negated (Schulman et al. 2017, arXiv:1707.06347, eq. 7).

    −min(r A, clip(r, 1 − ε, 1 + ε) A), with r = π(a|s) / π_old(a|s). All shapes (B,).
    """
    ratio = (log_prob - old_log_prob).exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def squared_error(value: Tensor, target: Tensor) -> Tensor:
    """½ (V − target)². All shapes (B,)."""
    return 0.5 * (value - target).square()


def approximate_kl(log_prob: Tensor, old_log_prob: Tensor) -> Tensor:
    """Estimate of KL(π_old ‖ π), unbiased and never negative: (r − 1) − ln r. All shapes (B,).

    Source: J. Schulman, "Approximating KL divergence", http://joschu.net/blog/kl-approx.html, k3.
    """
    log_ratio = log_prob - old_log_prob
    return log_ratio.expm1() - log_ratio
