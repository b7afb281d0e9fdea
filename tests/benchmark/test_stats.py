"""Bootstrap, differences and ranks against values worked out by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hsrzoo_benchmark.statistics import bootstrap


def test_weights_are_resamples_with_replacement() -> None:
    weights = bootstrap.resample_weights(5)
    assert weights.shape == (10_000, 5)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)
    counts = weights * 5
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-12)
    # each scene is drawn with probability 1/5: mean weight 0.2, standard error 0.0018
    np.testing.assert_allclose(weights.mean(axis=0), 0.2, atol=0.008)


def test_interval_matches_the_exact_bootstrap_distribution() -> None:
    values = np.array([1.0, 2.0, 4.0, 8.0])
    # 4 scenes have only 4^4 = 256 equally likely resamples: the percentiles can be enumerated.
    exact = sorted(np.mean(draw) for draw in itertools.product(values, repeat=4))
    interval = bootstrap.mean_interval(values)
    assert interval is not None
    assert interval.low == pytest.approx(np.percentile(exact, 2.5), abs=1e-9)
    assert interval.high == pytest.approx(np.percentile(exact, 97.5), abs=1e-9)


def test_interval_equals_a_loop_over_the_same_draws() -> None:
    values = np.random.default_rng(1).normal(size=7)
    draws = np.random.default_rng(bootstrap.SEED).integers(0, 7, (bootstrap.RESAMPLES, 7))
    means = [values[draw].mean() for draw in draws]
    interval = bootstrap.mean_interval(values)
    assert interval is not None
    assert interval.low == pytest.approx(np.percentile(means, 2.5), abs=1e-12)
    assert interval.high == pytest.approx(np.percentile(means, 97.5), abs=1e-12)


def test_no_interval_below_four_scenes_or_with_nan() -> None:
    assert bootstrap.mean_interval(np.array([1.0, 2.0, 3.0])) is None
    assert bootstrap.mean_interval(np.array([1.0, 2.0, 3.0, np.nan])) is None


def test_difference_is_paired() -> None:
    # far apart from scene to scene, but always 0.1 better: the paired difference is certain
    b = np.array([1.0, 10.0, 100.0, 1000.0])
    gap = bootstrap.difference(b - 0.1, b, "lower")
    assert gap.mean == pytest.approx(-0.1)
    assert (gap.wins, gap.scenes, gap.significant) == (4, 4, True)


def test_difference_that_changes_sign_is_not_significant() -> None:
    gap = bootstrap.difference(np.array([1.0, 2, 3, 4]), np.array([2.0, 3, 2, 3]), "higher")
    assert gap.mean == 0
    assert (gap.wins, gap.significant) == (2, False)


def test_equal_models_share_a_rank_and_worse_ones_count_those_before() -> None:
    base = np.array([3.0, 1.0, 4.0, 1.5, 5.0])
    values = np.stack([base + 9, base, base + np.array([1, -1, 1, -1, 0.2]), base + 4])
    assert bootstrap.ranks(values, "lower") == [4, 1, 1, 3]
    assert bootstrap.ranks(-values, "higher") == [4, 1, 1, 3]


def test_no_rank_below_four_scenes_and_none_for_nan() -> None:
    assert bootstrap.ranks(np.ones((2, 3)), "lower") == [None, None]
    values = np.array([[1.0, 1, 1, np.nan], [2.0, 2, 2, 2]])
    assert bootstrap.ranks(values, "lower") == [None, 1]
