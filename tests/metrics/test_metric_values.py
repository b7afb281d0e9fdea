"""Every metric against loops over single values, on every memory layout an array may have."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from hsrzoo.bands import BandSet
from hsrzoo.metrics import STANDARD, compute
from hsrzoo.spec import MetricContext

C, H, W = 31, 9, 12
CONTEXT = MetricContext(BandSet.regular(400, 700, 10))


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    """Truth in [0, 1] with a few zeros, prediction that leaves [0, 1] here and there."""
    rng = np.random.default_rng(3)
    truth = rng.random((C, H, W), dtype=np.float32)
    pred = truth + 0.1 * rng.standard_normal((C, H, W), dtype=np.float32)
    truth[4, 2, 3] = truth[0, 0, 0] = 0
    return truth, pred


def channels_last(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array.transpose(1, 2, 0)).transpose(2, 0, 1)


def sliced(array: np.ndarray) -> np.ndarray:
    """The same values as every second pixel, row and band, backwards, of a larger array."""
    big = np.full([2 * n for n in array.shape], 7, dtype=array.dtype)
    big[::2, ::2, ::2] = array[::-1]
    return big[::2, ::2, ::2][::-1]


def tensor_channels_last(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.copy())[None].to(memory_format=torch.channels_last)[0].requires_grad_()


LAYOUTS = {
    "contiguous": lambda a: a,
    "channels-last": channels_last,
    "sliced": sliced,
    "tensor": tensor_channels_last,
}


def loop(truth: np.ndarray, pred: np.ndarray) -> dict[str, float]:
    """All figures but the colour difference, one Python float at a time."""
    y, p = truth.astype(np.float64).tolist(), pred.astype(np.float64).tolist()
    places = [(b, i, j) for b in range(C) for i in range(H) for j in range(W)]
    relative, square, clamped, band_square = 0.0, 0.0, 0.0, [0.0] * C
    for b, i, j in places:
        t, q = y[b][i][j], p[b][i][j]
        relative += abs(t - q) / max(t, 1 / 255)
        square += (t - q) ** 2
        band_square[b] += (t - q) ** 2
        clamped += (min(max(t, 0), 1) - min(max(q, 0), 1)) ** 2
    angle = 0.0
    for i in range(H):
        for j in range(W):
            dot = sum(y[b][i][j] * p[b][i][j] for b in range(C))
            norms = [math.sqrt(sum(cube[b][i][j] ** 2 for b in range(C))) for cube in (y, p)]
            angle += math.degrees(math.acos(dot / (norms[0] * norms[1])))
    ratios = [math.sqrt(band_square[b] / (H * W)) / (sum(map(sum, y[b])) / (H * W)) for b in range(C)]
    n = C * H * W
    return {
        "mrae": relative / n,
        "rmse": math.sqrt(square / n),
        "psnr": 20 * math.log10(1 / math.sqrt(clamped / n)),
        "rmse_clamped": math.sqrt(clamped / n),
        "sam": angle / (H * W),
        "ergas": 100 * math.sqrt(sum(r * r for r in ratios) / C),
        "ssim": sum(loop_ssim(truth[b], pred[b]) for b in range(C)) / C,
    }


def loop_ssim(truth: np.ndarray, pred: np.ndarray) -> float:
    """Wang et al. 2004 with the whole 11 x 11 window at every pixel, two-pass moments."""
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    y, p = (np.pad(np.clip(a.astype(np.float64), 0, 1), 5, mode="reflect") for a in (truth, pred))
    total = 0.0
    for i in range(H):
        for j in range(W):
            a, b = y[i : i + 11, j : j + 11], p[i : i + 11, j : j + 11]
            mean_a, mean_b = (window * a).sum(), (window * b).sum()
            var_a, var_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
            cov = (window * (a - mean_a) * (b - mean_b)).sum()
            total += ((2 * mean_a * mean_b + 1e-4) * (2 * cov + 9e-4)) / (
                (mean_a**2 + mean_b**2 + 1e-4) * (var_a + var_b + 9e-4)
            )
    return total / (H * W)


@pytest.fixture(scope="module")
def expected(pair: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
    return loop(*pair)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_figures_equal_the_loop_on_every_memory_layout(layout, pair, expected):
    truth, pred = map(LAYOUTS[layout], pair)
    row = compute(STANDARD, truth, pred, CONTEXT)
    for column, value in expected.items():
        assert_allclose(row[column], value, rtol=0, atol=1e-9, err_msg=column)
    same = compute(["de2000"], *pair, CONTEXT)
    assert row["de2000"] == same["de2000"] and row["de2000_p95"] == same["de2000_p95"]


TORCHMETRICS = {
    "psnr": 20.28208300854937,
    "sam": 10.001995873374744,
    "ergas": 20.879916472074157,
    "ssim": 0.9426400949507229,
}
"""Of ``pair`` in float64, by torchmetrics 1.9.0: the angle in degrees, ERGAS with ratio 1, SSIM of each
band, clamped to [0, 1]."""


def test_figures_are_those_of_torchmetrics(pair):
    row = compute(list(TORCHMETRICS), *pair, CONTEXT)
    for column, value in TORCHMETRICS.items():
        assert_allclose(row[column], value, rtol=0, atol=1e-9, err_msg=column)


def test_no_metric_needs_torch(pair, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # an import of it fails
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    assert all(np.isfinite(list(compute(STANDARD, *pair, CONTEXT).values())))


def test_inputs_are_left_unchanged(pair):
    before = [a.copy() for a in pair]
    compute(STANDARD, *pair, CONTEXT)
    assert all(np.array_equal(a, b) for a, b in zip(pair, before, strict=True))


def test_a_perfect_prediction_scores_perfectly(pair):
    truth = pair[0]
    row = compute(STANDARD, truth, truth, CONTEXT)
    assert row["mrae"] == row["rmse"] == row["ergas"] == row["de2000"] == 0
    assert row["psnr"] == math.inf
    assert_allclose(row["ssim"], 1, atol=1e-12)
    assert row["sam"] < 1e-5  # acos near 1 resolves no better than sqrt(2**-52)


def test_hand_values_of_a_two_pixel_cube():
    truth = np.array([[[0.5, 0.0]], [[0.5, 0.4]]])  # (2, 1, 2): the spectra are its columns
    pred = np.array([[[0.25, 0.0]], [[0.5, 0.5]]])
    context = MetricContext(BandSet.regular(500, 510, 10), mrae_epsilon=0)
    row = compute(["mrae", "rmse", "sam", "ergas"], truth, pred, context)
    assert row["mrae"] == pytest.approx((0.5 + 0 + 0.25) / 3, abs=1e-12)
    assert row["mrae_zero"] == 1
    assert row["rmse"] == pytest.approx(math.sqrt((0.0625 + 0.01) / 4), abs=1e-12)
    angle = math.degrees(math.atan(2)) - 45  # the other spectrum differs in length only
    assert row["sam"] == pytest.approx(angle / 2, abs=1e-5)  # acos(1) resolves no better
    bands = [math.sqrt(0.0625 / 2) / 0.25, math.sqrt(0.01 / 2) / 0.45]
    assert row["ergas"] == pytest.approx(100 * math.sqrt(sum(b * b for b in bands) / 2), abs=1e-9)
