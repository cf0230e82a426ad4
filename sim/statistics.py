"""What can be said of N episodes in a few numbers, and how sure one can be of them.

Recommended by Agarwal, Schwarzer, Castro, Courville and Bellemare, "Deep reinforcement learning at
the edge of the statistical precipice" (NeurIPS 2021): the interquartile mean, which a few strange
episodes don't move, with bootstrap intervals. Their intervals are over runs of training; these are
over the episodes of one policy, and say nothing of what another training would give.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

LEVEL = 0.95  # of all intervals
RESAMPLES = 2000  # of a bootstrap


def interquartile_mean(values: np.ndarray) -> np.ndarray:
    """Mean of what is left without the lowest and the highest quarter, over the last axis.

    A quarter of N values is N // 4 of them, as in `scipy.stats.trim_mean(values, 0.25)`.
    """
    n = values.shape[-1]
    cut = n // 4
    ordered = np.sort(values, axis=-1)
    return ordered[..., cut : n - cut].mean(-1)


def interquartile_interval(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """A bootstrap interval of the interquartile mean: percentiles over resampled values.

    Args:
        values: one for each episode. Shape (N,), N ≥ 1.
        seed: of the resampling.
    """
    rng = np.random.default_rng(seed)
    resampled = values[rng.integers(len(values), size=(RESAMPLES, len(values)))]
    tails = (1 - LEVEL) / 2
    low, high = np.quantile(interquartile_mean(resampled), (tails, 1 - tails))
    return float(low), float(high)


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's: 1 where both rise together, −1 where one falls, 0 where one is constant.

    Equal values share their mean rank. Shapes (N,), N ≥ 2.
    """
    one, other = _ranks(first), _ranks(second)
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def by_chance(pairs: int, trials: int) -> float:
    """The absolute rank correlation over N `trials` that one of so many pairs exceeds by chance.

    With the probability 1 − `LEVEL`, by the normal approximation and Bonferroni's bound.
    """
    return NormalDist().inv_cdf(1 - (1 - LEVEL) / (2 * pairs)) / math.sqrt(trials - 1)


def _ranks(values: np.ndarray) -> np.ndarray:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]


def share_interval(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's score interval of a share (E. B. Wilson, JASA 22, 1927).

    A bootstrap would be sure of 100 % after a single success; this is not.
    """
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    share = successes / trials
    middle = share + z**2 / (2 * trials)
    width = z * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    scale = 1 + z**2 / trials
    return max(0.0, (middle - width) / scale), min(1.0, (middle + width) / scale)
