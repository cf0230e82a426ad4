"""Interquartile means, intervals and rank correlations, against scipy's and what is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from surefoot.sim.statistics import (
    by_chance,
    interquartile_interval,
    interquartile_mean,
    rank_correlation,
    share_interval,
)

stats = pytest.importorskip("scipy.stats")


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=60))
def test_interquartile_mean_is_scipys_trimmed_mean(numbers: list[float]):
    values = np.array(numbers)
    assert interquartile_mean(values) == pytest.approx(stats.trim_mean(values, 0.25), abs=1e-9)


def test_interquartile_mean_by_hand():
    # Two of eight are cut at either end; the mean of 3, 4, 5, 6 is left.
    values = np.array([8.0, 1.0, 3.0, 100.0, 4.0, 5.0, 6.0, -50.0])
    assert interquartile_mean(values) == 4.5
    assert interquartile_mean(np.array([values, values + 1])).tolist() == [4.5, 5.5]


@pytest.mark.parametrize("n", [1, 3, 40, 256])
def test_the_bootstrap_is_scipys(n: int):
    values = np.random.default_rng(n).gamma(2.0, size=n)
    low, high = interquartile_interval(values)
    if n == 1:
        assert low == high == values[0]
        return
    theirs = stats.bootstrap(
        (values,),
        lambda x, axis: interquartile_mean(np.moveaxis(x, axis, -1)),
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    width = theirs.high - theirs.low
    assert low == pytest.approx(theirs.low, abs=0.06 * width)
    assert high == pytest.approx(theirs.high, abs=0.06 * width)


def test_the_interval_holds_what_it_should_as_often_as_it_says():
    """Of 300 samples from a known distribution, about 95 % of the intervals hold its IQM."""
    rng = np.random.default_rng(0)
    truth = interquartile_mean(rng.exponential(size=2_000_000))
    held = 0
    for _ in range(300):
        low, high = interquartile_interval(rng.exponential(size=64))
        held += low <= truth <= high
    assert 0.91 <= held / 300 <= 0.98


def test_the_interval_depends_on_its_seed_alone():
    values = np.random.default_rng(5).normal(size=50)
    assert interquartile_interval(values) == interquartile_interval(values)
    assert interquartile_interval(values, seed=1) != interquartile_interval(values)


@given(st.integers(1, 500), st.floats(0, 1))
def test_the_interval_of_a_share_is_scipys_wilson(trials: int, part: float):
    successes = round(part * trials)
    theirs = stats.binomtest(successes, trials).proportion_ci(method="wilson")
    low, high = share_interval(successes, trials)
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_nobody_is_sure_of_a_share():
    assert share_interval(256, 256) == pytest.approx((0.9852, 1.0), abs=1e-4)
    low, high = share_interval(1, 1)
    assert low < 0.25 and high == 1.0


def test_rank_correlations_by_hand():
    rising = np.array([1.0, 2.0, 3.0, 4.0])
    assert rank_correlation(rising, np.exp(rising)) == pytest.approx(1.0)
    assert rank_correlation(rising, -(rising**3)) == pytest.approx(-1.0)
    assert rank_correlation(rising, np.ones(4)) == 0.0
    # Ranks 1, 2.5, 2.5, 4 against 1 to 4: 4.5 / √(4.5 · 5).
    assert rank_correlation(np.array([0.0, 5.0, 5.0, 9.0]), rising) == pytest.approx(
        4.5 / np.sqrt(4.5 * 5.0)
    )


def test_rank_correlation_is_scipys():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, 40).astype(float), rng.standard_normal(40)
    assert rank_correlation(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)


def test_chance_exceeds_its_bound_as_often_as_it_says():
    rng = np.random.default_rng(1)
    beyond = 0
    for _ in range(200):
        merit, drawn = rng.standard_normal(60), rng.standard_normal((10, 60))
        largest = max(abs(rank_correlation(row, merit)) for row in drawn)
        beyond += largest > by_chance(10, 60)
    assert 1 <= beyond <= 22  # of 200 about 10
