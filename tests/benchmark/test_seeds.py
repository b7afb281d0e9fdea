"""Seeds are nested in scenes: they are averaged before intervals over scenes are taken."""

from __future__ import annotations

import numpy as np
import pytest

from hsrzoo_benchmark.statistics.seeds import combination, paired, summarise

A = [{"a": 1.0, "b": 2.0, "c": 4.0, "d": 8.0}, {"a": 3.0, "b": 2.0, "c": 0.0, "d": 4.0}]
B = [{"a": 1.0, "b": 1.0, "c": 1.0, "d": 9.0}]


def by_hand(values: list[float]) -> tuple[float, float]:
    """Student's t interval of four values: 3.1824 standard errors on either side of the mean."""
    mean = sum(values) / 4
    error = (sum((value - mean) ** 2 for value in values) / 3 / 4) ** 0.5
    return mean - 3.182446305284263 * error, mean + 3.182446305284263 * error


def test_a_difference_is_that_of_seed_means_by_scene() -> None:
    found = paired(A, B, "lower")
    gaps = [2.0 - 1, 2.0 - 1, 2.0 - 1, 6.0 - 9]
    assert found.mean == pytest.approx(sum(gaps) / 4)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx(by_hand(gaps))
    assert (found.wins, found.scenes) == (1, 4) and not found.significant
    assert found.a_per_seed == pytest.approx((3.75, 2.25)) and found.b_per_seed == pytest.approx((3.0,))


def test_the_same_training_again_adds_no_certainty() -> None:
    once, thrice = paired(A[:1], B, "lower"), paired([A[0]] * 3, B * 3, "lower")
    assert once.interval is not None and thrice.interval is not None
    assert (thrice.interval.low, thrice.interval.high) == pytest.approx(
        (once.interval.low, once.interval.high)
    )


def test_a_summary_has_each_seed_s_own_mean() -> None:
    found = summarise(A)
    assert found.interval is not None
    assert (found.mean, found.scenes) == (3.0, 4) and found.per_seed == (3.75, 2.25)
    assert (found.interval.low, found.interval.high) == pytest.approx(by_hand([2.0, 2.0, 2.0, 6.0]))


def test_only_scenes_that_all_have_count_and_under_four_there_is_no_interval() -> None:
    short = [{"a": 0.0, "b": 0.0, "c": 0.0}]
    found = paired(A, short, "lower")
    assert (found.scenes, found.mean, found.interval) == (3, 2.0, None)
    assert summarise(short).interval is None
    nothing = paired(A, [{"z": 1.0}], "lower")
    assert nothing.scenes == 0 and np.isnan(nothing.mean) and not nothing.significant


def test_a_sum_of_groups_is_taken_scene_by_scene() -> None:
    found = combination([(1, A), (-0.5, B)])
    sums = [1.5, 1.5, 1.5, 1.5]  # 2 - 0.5, 2 - 0.5, 2 - 0.5, 6 - 4.5
    assert found.mean == pytest.approx(np.mean(sums)) and found.wins == 0 and found.significant
    assert combination([(1, A), (-0.5, B)], "higher").wins == 4
    # what is 0 but for rounding is no win
    assert combination([(1, B), (-1, [{k: v - 1e-15 for k, v in B[0].items()}])]).wins == 0
