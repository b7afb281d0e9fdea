"""Metrics of scenes that lack data: equal to those of the scene without the gaps, and counted."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hsrzoo.bands import BandSet
from hsrzoo.errors import InputError
from hsrzoo.metrics import STANDARD, compute
from hsrzoo.metrics.structure import _blur
from hsrzoo.registry import METRICS
from hsrzoo.spec import MetricContext, MetricSpec

BANDS = BandSet.regular(400, 700, 10)
CONTEXT = MetricContext(BANDS)
POINTWISE = [name for name in STANDARD if name != "ssim"]


def cubes(height: int = 20, width: int = 24) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = 0.2 + 0.6 * rng.random((len(BANDS), height, width))
    return truth, truth + 0.05 * rng.standard_normal(truth.shape)


def test_pixels_without_data_have_no_part_in_any_figure():
    """The oracle is the scene cut to the rows that have data."""
    truth, pred = cubes()
    expected = compute(POINTWISE, truth[:, 3:], pred[:, 3:], CONTEXT)
    truth[4, :3], pred[7, 1] = np.nan, np.nan  # one band is enough; what is predicted there is nobody's
    row = compute(POINTWISE, truth, pred, CONTEXT)
    assert (row.pop("nodata_pixels"), row.pop("nodata_bands")) == (3 * 24, 0)
    assert row == pytest.approx(expected, rel=1e-12)


def test_bands_without_data_are_dropped_for_all_metrics():
    truth, pred = cubes()
    kept = [i for i in range(len(BANDS)) if i not in (0, 9)]
    expected = compute(STANDARD, truth[kept], pred[kept], MetricContext(BANDS.select(kept)))
    truth[[0, 9]], pred[9, 0, 0] = np.nan, np.inf
    row = compute(STANDARD, truth, pred, CONTEXT)
    assert (row.pop("nodata_pixels"), row.pop("nodata_bands")) == (0, 2)
    assert row == expected


def test_ssim_counts_only_windows_that_have_data_throughout():
    truth, pred = cubes()
    row, column = 2, 11
    similarity = []
    for y, p in zip(np.clip(truth, 0, 1), np.clip(pred, 0, 1), strict=True):
        mean_y, mean_p = _blur(y), _blur(p)
        covariance = _blur(y * p) - mean_y * mean_p
        variances = _blur(y * y) + _blur(p * p) - mean_y**2 - mean_p**2
        value = (2 * mean_y * mean_p + 1e-4) * (2 * covariance + 9e-4)
        similarity.append(value / ((mean_y**2 + mean_p**2 + 1e-4) * (variances + 9e-4)))
    # Positions whose window, mirrored at the top, holds (2, 11): rows up to 7, five columns either way.
    far = np.ones(truth.shape[1:], bool)
    far[: row + 6, column - 5 : column + 6] = False
    truth[3, row, column] = np.nan
    assert compute(["ssim"], truth, pred, CONTEXT)["ssim"] == pytest.approx(
        np.mean(similarity, axis=0)[far].mean(), rel=1e-12
    )


def test_ssim_without_a_whole_window_is_nan_and_the_rest_is_not():
    truth, pred = cubes(11, 11)
    truth[0, 5, 5] = np.nan
    row = compute(STANDARD, truth, pred, CONTEXT)
    assert [column for column, value in row.items() if math.isnan(value)] == ["ssim"]


def test_complete_scenes_have_no_further_columns():
    assert list(compute(["rmse"], *cubes(), CONTEXT)) == ["rmse", "nan_pixels"]


def test_a_network_that_fails_beside_the_gap_still_makes_every_figure_nan():
    truth, pred = cubes()
    truth[:, 0, 0], pred[0, 0, :2] = np.nan, np.nan
    row = compute(STANDARD, truth, pred, CONTEXT)
    assert row.pop("nan_pixels") == 1 and row.pop("nodata_pixels") == 1 and row.pop("nodata_bands") == 0
    assert all(math.isnan(value) for value in row.values())


@pytest.mark.parametrize("everywhere", [True, False])
def test_a_scene_without_a_pixel_that_has_data_is_refused(everywhere):
    truth, pred = cubes(2, 2)
    if everywhere:
        truth[:] = np.nan
    else:  # every pixel lacks another band
        truth[range(4), [0, 0, 1, 1], [0, 1, 0, 1]] = np.nan
    with pytest.raises(InputError, match=r"no pixel with data.*every one of 4"):
        compute(["rmse"], truth, pred, CONTEXT)


def test_spatial_metrics_see_whole_images_and_others_the_pixels_alone(monkeypatch):
    seen = {}

    def look(truth, pred, context):
        seen[len(seen)] = (truth.copy(), pred.copy(), context)
        return {"look": 0.0}

    for name, spatial in (("flat", False), ("whole", True)):
        spec = MetricSpec(name, look, "1", "none", "lower", ("look",), spatial)
        monkeypatch.setitem(METRICS._values, name, spec)
    truth, pred = cubes(3, 4)
    before = truth.copy()
    truth[5, 1, 2], truth[0] = np.nan, np.nan
    compute(["flat", "whole"], truth, pred, CONTEXT)
    valid = np.ones((3, 4), bool)
    valid[1, 2] = False
    flat, whole = seen.values()
    assert flat[0].shape == (30, 11, 1) and np.array_equal(flat[0][..., 0], before[1:, valid])
    assert flat[2].valid is None and flat[2].bands == whole[2].bands == BANDS.select(range(1, 31))
    assert np.array_equal(whole[2].valid, valid)
    assert np.array_equal(whole[0], np.where(valid, before[1:], 0))
    assert np.array_equal(whole[1], np.where(valid, pred[1:], 0))
