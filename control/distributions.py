"""Densities of actions. Derivatives are written out: one node of autograd's graph in place of ten,
which for networks of robots' size takes as long as the arithmetic itself.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def gaussian_log_prob(mean: Tensor, log_std: Tensor, action: Tensor) -> Tensor:
    """ln N(a; μ, σ²), summed over the action: −½ ((a − μ)/σ)² − ln σ − ½ ln 2π.

    Differentiable once, in μ and ln σ. Shapes (B, A), (A,), (B, A) → (B,).
    """
    return _GaussianLogProb.apply(mean, log_std, action)  # type: ignore[return-value]


def gaussian_entropy(log_std: Tensor) -> Tensor:
    """Σ (ln σ + ½ ln 2πe). Shape (A,) → ()."""
    return log_std.sum() + (HALF_LOG_2PI + 0.5) * len(log_std)


def squashed_sample(mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Actions a = tanh u with u = μ + σ · noise, and ln π(a) = ln N(u; μ, σ²) − Σ ln(1 − tanh² u).

    ln(1 − tanh² u) = 2 (ln 2 − u − softplus(−2u)) is exact where tanh u rounds to ±1.
    Differentiable once, in μ and ln σ. Source: Haarnoja et al. 2018, arXiv:1812.05905, appendix C.

    Shapes (B, A), (B, A), standard normal (B, A) → (B, A), (B,).
    """
    return _SquashedSample.apply(mean, log_std, noise)  # type: ignore[return-value]


class _GaussianLogProb(Function):
    @staticmethod
    def forward(ctx: Any, mean: Tensor, log_std: Tensor, action: Tensor) -> Tensor:
        precision = (-log_std).exp()
        z = (action - mean).mul_(precision)
        ctx.save_for_backward(z, precision)
        constant = log_std.sum() + HALF_LOG_2PI * len(log_std)
        return z.square().sum(-1).mul_(-0.5).sub_(constant)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        z, precision = ctx.saved_tensors
        weighted = gradient[:, None] * z  # d/dμ = z/σ, d/d ln σ = z² − 1
        return weighted * precision, (weighted * z).sum(0) - gradient.sum(), None


class _SquashedSample(Function):
    @staticmethod
    def forward(ctx: Any, mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        std = log_std.exp()
        u = torch.addcmul(mean, noise, std)
        action = u.tanh()
        squash = functional.softplus(-2 * u).add_(u).mul_(2)  # 2 ln 2 − ln(1 − tanh² u)
        terms = squash.sub_(log_std).sub_(noise.square(), alpha=0.5)
        constant = (HALF_LOG_2PI + 2 * math.log(2)) * mean.shape[-1]
        ctx.save_for_backward(action, noise, std)
        return action, terms.sum(-1).sub_(constant)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_action: Tensor, of_log_prob: Tensor) -> tuple[Tensor, Tensor, None]:
        action, noise, std = ctx.saved_tensors
        # da/du = 1 − a²; d ln π/du = 2a, as the noise is fixed; d ln π/d ln σ beside that is −1.
        of_log_prob = of_log_prob[:, None]
        of_u = torch.addcmul(of_action, action, action * of_action, value=-1)
        of_u.addcmul_(action, of_log_prob, value=2)
        return of_u, (of_u * noise).mul_(std).sub_(of_log_prob), None
