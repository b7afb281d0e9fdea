"""Pictures of cubes: colours against colour science done by hand, false colours elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.camera import Camera
from hsrzoo.colour.srgb import XYZ_OF_SRGB, decode_srgb, encode_srgb, illuminant
from hsrzoo.errors import BandsError
from hsrzoo.prediction.quicklook import display_bands, rendering, srgb_of


def test_the_transfer_curve_at_values_of_the_standard():
    linear = np.array([0.0, 0.0031308, 0.214041, 0.5, 1.0])
    stored = np.array([0.0, 0.04045, 0.5, 0.735357, 1.0])
    np.testing.assert_allclose(encode_srgb(linear), stored, atol=2e-5)
    np.testing.assert_allclose(decode_srgb(stored), linear, atol=2e-5)
    levels = np.arange(256) / 255
    np.testing.assert_allclose(encode_srgb(decode_srgb(levels)), levels, atol=1e-6)
    assert decode_srgb(levels.astype(np.float32)).dtype == np.float32


def test_white_black_grey_and_missing():
    spectra = np.stack([np.ones(31), np.zeros(31), np.full(31, 0.18), np.full(31, np.nan)])
    picture = srgb_of(spectra[None], VISIBLE_31)
    assert picture.dtype == np.uint8 and picture.shape == (1, 4, 3)
    assert picture[0].tolist() == [[255] * 3, [0] * 3, [118] * 3, [0] * 3]


def test_colours_are_those_of_a_sum_over_wavelengths():
    """Reflectances that are smooth, and an integral at 1 nm that knows nothing of band sets."""
    nm = np.arange(400, 701.0)
    shapes = [0.1 + 0.5 / (1 + np.exp(-(nm - 590) / 15)), 0.2 + 0.3 * np.exp(-(((nm - 530) / 45) ** 2))]
    seen_nm, observer = Camera.named("cie-1931").table
    light_nm, power = illuminant("D65")
    weights = np.stack([np.interp(nm, seen_nm, o) for o in observer.T]) * np.interp(nm, light_nm, power)
    white = XYZ_OF_SRGB.sum(axis=1)
    for shape in shapes:
        xyz = weights @ shape / weights.sum(axis=1) * white
        expected = 255 * encode_srgb(np.clip(np.linalg.inv(XYZ_OF_SRGB) @ xyz, 0, 1))
        got = srgb_of(shape[::10][None, None], VISIBLE_31)[0, 0]
        assert np.abs(got - expected).max() <= 1.5, (got, expected)


def test_bands_beyond_the_visible_blacken_nothing():
    bands = BandSet.of([*VISIBLE_31.centres_nm, 900.0, 1400.0])
    cube = np.concatenate([np.ones((1, 1, 31)), np.full((1, 1, 2), np.nan)], axis=2)
    assert srgb_of(cube, bands)[0, 0].tolist() == [255] * 3


@pytest.mark.parametrize(
    ("centres", "shown"),
    [
        ([450, 550, 650], (650, 550, 450)),
        ([650, 450, 550, 900], (650, 550, 450)),
        ([1000, 1100, 1200, 1300, 1400, 1500, 1600], (1500, 1300, 1100)),
        ([900, 1000], (1000, 900, 900)),
        ([900], (900, 900, 900)),
    ],
)
def test_other_bands_are_shown_by_three_and_named(centres, shown):
    bands = BandSet.of(centres)
    assert tuple(bands.centres_nm[i] for i in display_bands(bands)) == shown
    told = rendering(bands).how
    assert "do not cover the visible range" in told and all(f"{nm}" in told for nm in shown)
    spectrum = np.linspace(0.1, 0.9, len(centres))
    expected = 255 * encode_srgb(np.array([spectrum[centres.index(nm)] for nm in shown]))
    assert np.abs(srgb_of(spectrum[None, None], bands)[0, 0] - expected).max() <= 0.51


def test_a_cube_of_other_bands_is_refused():
    with pytest.raises(BandsError, match="31"):
        srgb_of(np.zeros((2, 2, 30)), VISIBLE_31)
