"""What an iteration of an algorithm tells whoever watches it learn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from .losses import approximate_kl

Clock = Callable[[], float]
D = TypeVar("D")


@dataclass(frozen=True)
class Iteration(Generic[D]):
    """One iteration: some environment steps, and what was learned from them and earlier ones."""

    steps: int  # of the environments, those that only reset one included
    gradient_steps: int
    reward: float  # mean of a step
    saturation: float | None  # part of the actions at or beyond their Box's bounds, if it has any
    learning_rate: float
    collect_time: float  # [s]
    learn_time: float  # [s]
    diagnostics: D  # the algorithm's own


@torch.no_grad()
def ratio_statistics(log_prob: Tensor, old_log_prob: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """Estimated KL(π_old ‖ π) [nat], and the part of ratios outside 1 ± ε. (B,) → (), ()."""
    change = (log_prob - old_log_prob).expm1().abs()
    return approximate_kl(log_prob, old_log_prob).mean(), (change > clip).float().mean()


def saturation(action: Tensor, low: np.ndarray | float, high: np.ndarray | float) -> float:
    """Part of the numbers in actions (..., A) that are at or beyond bounds of shape (A,) or ()."""
    actions = action.numpy()
    return float(np.mean((actions <= low) | (actions >= high)))


def explained_variance(value: Tensor, target: Tensor) -> float:
    """1 − Var(target − value) / Var(target). Shapes (B,)."""
    return float(1 - (target - value).var() / target.var().clamp_min(1e-30))


def all_finite(*tensors: Tensor) -> bool:
    """Whether there is no NaN or infinity in any."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
