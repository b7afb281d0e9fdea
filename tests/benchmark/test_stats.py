"""Intervals, differences, ties and ranks against values worked out by hand, and simulated coverage."""

from __future__ import annotations

import numpy as np
import pytest

from hsrzoo_benchmark.statistics import coverage, intervals

T3 = 3.182446305284263
"""97.5 % quantile of Student's t with 3 degrees of freedom, from tables."""


def test_the_interval_of_a_mean_is_student_s() -> None:
    interval = intervals.mean_interval(np.array([1.0, 2.0, 4.0, 9.0]))
    half = T3 * np.sqrt((9 + 4 + 0 + 25) / 3) / 2  # deviations from 4
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((4 - half, 4 + half), rel=1e-12)


@pytest.mark.parametrize("values", [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0, np.nan], [1.0, 2.0, 3.0, np.inf]])
def test_no_interval_below_four_scenes_or_with_nan(values: list[float]) -> None:
    assert intervals.mean_interval(np.array(values)) is None


@pytest.mark.parametrize(
    ("count", "scenes", "low", "high"),
    [
        (0, 4, 0.0, 1 - 0.025**0.25),  # 0 of n: high = 1 - (alpha / 2)^(1 / n)
        (4, 4, 0.025**0.25, 1.0),
        (3, 10, 0.0667395, 0.6524529),  # Clopper and Pearson, as tables print it
    ],
)
def test_the_interval_of_a_share_is_clopper_and_pearson_s(
    count: int, scenes: int, low: float, high: float
) -> None:
    interval = intervals.share_interval(count, scenes)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-6)
    assert intervals.share_interval(1, 3) is None


def test_intervals_cover_on_normal_data() -> None:
    # standard error of 4000 trials: 0.35 %
    for one in coverage.simulate(["normal"], trials=4000):
        assert min(one.mean, one.difference, one.wins) > 93, one


def test_a_skewed_distribution_costs_coverage_that_the_simulation_shows() -> None:
    (normal, skewed) = coverage.simulate(["normal", "lognormal, sigma 1"], sizes=[4], trials=2000)
    assert normal.mean > 93 > skewed.mean > 75
    assert skewed.difference > 90  # what pairs share cancels


def test_difference_is_paired() -> None:
    # far apart from scene to scene, but always 0.1 better: the paired difference is certain
    b = np.array([1.0, 10.0, 20.0, 30.0])
    gap = intervals.difference(b - 0.1, b, "lower")
    assert gap.mean == pytest.approx(-0.1)
    assert (gap.wins, gap.scenes, gap.tied, gap.significant) == (4, 4, False, True)


def test_difference_that_changes_sign_is_not_significant() -> None:
    gap = intervals.difference(np.array([1.0, 2, 3, 4]), np.array([2.0, 3, 2, 3]), "higher")
    assert gap.mean == 0
    assert (gap.wins, gap.significant) == (2, False)


BASE = np.array([3.0, 1.0, 4.0, 1.5, 5.0])


@pytest.mark.parametrize("factor", [1 + 1e-15, 1 + 1e-9, 1 - 1e-9, 1 + 0.9 * intervals.TOLERANCE])
@pytest.mark.parametrize("better", ["lower", "higher"])
def test_rounding_is_a_tie(factor: float, better: intervals.Better) -> None:
    gap = intervals.difference(BASE * factor, BASE, better)
    assert (gap.wins, gap.tied, gap.significant) == (0, True, False)
    models = np.stack([BASE, BASE * factor])
    assert intervals.ranks(models, better) == [1, 1]
    assert intervals.wins(models, better) == [None, None]


def test_what_exceeds_the_tolerance_everywhere_is_no_tie() -> None:
    models = np.stack([BASE, BASE * (1 + 3 * intervals.TOLERANCE)])
    assert intervals.ranks(models, "lower") == [1, 2] and intervals.ranks(models, "higher") == [2, 1]
    assert intervals.wins(models, "lower") == [None, 0]


def test_equal_models_share_a_rank_and_worse_ones_count_those_before() -> None:
    values = np.stack([BASE + 9, BASE, BASE + np.array([1, -1, 1, -1, 0.2]), BASE + 4])
    assert intervals.ranks(values, "lower") == [4, 1, 1, 3]
    assert intervals.ranks(-values, "higher") == [4, 1, 1, 3]


NOISE = np.array([4.0, -3.0, 4.0, -3.0, 0.5])
"""Mean 0.5, interval from -4.0 to 5.0."""


def test_a_model_level_with_the_leader_shares_its_rank_though_a_worse_one_lies_between() -> None:
    # means 3.0, 3.4 (certainly worse), 3.5 (not certainly): the last is level with the first
    values = np.stack([BASE, BASE + 0.4, BASE + NOISE])
    assert intervals.ranks(values, "lower") == [1, 3, 1]
    # and of the rest the best leads: another pair that is level, behind one that is not
    more = np.stack([BASE, BASE + 0.4, BASE + NOISE, BASE + 0.45, BASE + 0.4 + NOISE / 2])
    assert intervals.ranks(more, "lower") == [1, 4, 1, 5, 1]


def test_tied_models_are_not_parted_at_the_end_of_an_interval() -> None:
    # the interval of the second model's difference from the first ends at 0, by rounding on either side
    gap = np.array([1.0, -1.0, 1.0, -1.0])
    gap = gap - gap.mean() + T3 * gap.std(ddof=1) / 2
    leader = np.array([3.0, 4.0, 5.0, 6.0])
    for shift in (-1e-12, 1e-12):
        values = np.stack([leader, leader + gap + shift, leader + gap - shift, leader + gap])
        found = intervals.ranks(values, "lower")
        assert len(set(found[1:])) == 1, found


def test_no_rank_below_four_scenes_and_none_for_nan() -> None:
    assert intervals.ranks(np.ones((2, 3)), "lower") == [None, None]
    assert intervals.wins(np.array([[1.0, 1, 1], [2.0, 2, 2]]), "lower") == [None, None]
    values = np.array([[1.0, 1, 1, np.nan], [2.0, 2, 2, 2]])
    assert intervals.ranks(values, "lower") == [None, 1]
