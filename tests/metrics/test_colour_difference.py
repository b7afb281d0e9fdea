"""CIEDE2000 against its published test pairs, and the rendering against sums by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from hsrzoo.bands import BandSet
from hsrzoo.camera import Camera
from hsrzoo.colour.difference import ciede2000, xyz_to_lab
from hsrzoo.colour.srgb import illuminant, xyz_matrix
from hsrzoo.metrics import compute
from hsrzoo.spec import MetricContext

VISIBLE = BandSet.regular(400, 700, 10)


def test_ciede2000_reproduces_the_34_published_pairs_in_both_directions():
    pairs = np.loadtxt(Path(__file__).with_name("sharma_pairs.csv"), delimiter=",").T
    assert pairs.shape == (7, 34)
    assert_allclose(ciede2000(pairs[:3], pairs[3:6]), pairs[6], rtol=0, atol=5.0001e-5)
    assert_allclose(ciede2000(pairs[3:6], pairs[:3]), pairs[6], rtol=0, atol=5.0001e-5)


def test_the_white_is_that_of_d65():
    white = xyz_matrix(VISIBLE).sum(axis=1)
    assert white[1] == pytest.approx(1, abs=1e-12)
    x, y = white[:2] / white.sum()
    assert (x, y) == (pytest.approx(0.3127, abs=1e-3), pytest.approx(0.3290, abs=1e-3))


def test_lab_of_white_grey_and_black():
    white = np.array([0.95, 1.0, 1.09])
    lab = xyz_to_lab(white[:, None] * [1.0, 0.18418651851244416, 0.0, 0.001], white)
    assert_allclose(lab, [[100, 50, 0, 0.9032962962962963], [0] * 4, [0] * 4], atol=1e-9)


def spectrum_to_lab(spectrum: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """XYZ by a loop over the 5 nm grid, Lab by the CIE's formula in 24389/27 form."""
    observer_nm, curves = Camera.named("cie-1931").table
    light_nm, power = illuminant("D65")
    xyz, white = [0.0] * 3, [0.0] * 3
    for nm in range(400, 701, 5):
        value = np.interp(nm, centres, spectrum)
        for k in range(3):
            w = np.interp(nm, light_nm, power) * np.interp(nm, observer_nm, curves[:, k])
            xyz[k] += w * value
            white[k] += w
    t = [a / b for a, b in zip(xyz, white, strict=True)]
    f = [v ** (1 / 3) if v > 216 / 24389 else (24389 / 27 * v + 16) / 116 for v in t]
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_de2000_equals_the_sum_by_hand():
    rng = np.random.default_rng(1)
    truth, pred = rng.random((2, 31, 3, 4))
    pred[:, 0] = pred[:, 0] * 1.5 - 0.2  # leaves [0, 1]: clamped before rendering
    centres = np.asarray(VISIBLE.centres_nm)
    differences = [
        ciede2000(
            spectrum_to_lab(truth[:, i, j], centres)[:, None],
            spectrum_to_lab(np.clip(pred[:, i, j], 0, 1), centres)[:, None],
        )[0]
        for i in range(3)
        for j in range(4)
    ]
    row = compute(["de2000"], truth, pred, MetricContext(VISIBLE))
    assert_allclose(row["de2000"], np.mean(differences), rtol=0, atol=1e-9)
    assert_allclose(row["de2000_p95"], np.percentile(differences, 95), rtol=0, atol=1e-9)


def test_the_order_of_the_bands_and_bands_beyond_the_visible_do_not_matter():
    rng = np.random.default_rng(2)
    wide = BandSet.regular(400, 900, 10)
    truth, pred = rng.random((2, len(wide), 2, 2))
    expected = compute(["de2000"], truth[:31], pred[:31], MetricContext(VISIBLE))["de2000"]
    order = rng.permutation(len(wide))
    row = compute(["de2000"], truth[order], pred[order], MetricContext(wide.select(order.tolist())))
    assert row["de2000"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("bands", "enough"),
    [
        (BandSet.regular(420, 720, 10), True),  # KAIST, Harvard
        (BandSet.regular(450, 700, 10), False),  # no blue
        (BandSet.regular(400, 600, 10), False),  # no red
        (BandSet.regular(400, 700, 75), False),  # gaps
        (BandSet.regular(1000, 2400, 10), False),
    ],
)
def test_bands_that_see_too_little_of_the_visible_give_nan(bands, enough):
    truth, pred = np.random.default_rng(0).random((2, len(bands), 2, 2))
    row = compute(["de2000"], truth, pred, MetricContext(bands))
    assert math.isfinite(row["de2000"]) == math.isfinite(row["de2000_p95"]) == enough
