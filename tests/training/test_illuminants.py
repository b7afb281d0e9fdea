"""Lights against the standards' own figures, the shipped table of D65 and colour-science."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hsrzoo.colour.srgb import illuminant
from hsrzoo.training.augment import blackbody, daylight, daylight_covers

GRID = np.arange(380.0, 781, 10)


def test_a_black_body_follows_plancks_law_with_its_peak_where_wien_puts_it() -> None:
    h, c, k, kelvin = 6.62607015e-34, 299792458.0, 1.380649e-23, 2856.0
    expected = []
    for nm in GRID:
        m = nm * 1e-9
        expected.append(2 * h * c**2 / m**5 / math.expm1(h * c / (m * k * kelvin)))
    assert blackbody(GRID, kelvin) == pytest.approx(np.array(expected) / max(expected), rel=1e-8)
    fine = np.arange(300.0, 2000.0, 0.5)
    for kelvin in (2500.0, 5000.0):
        assert fine[blackbody(fine, kelvin).argmax()] == pytest.approx(2.897771955e6 / kelvin, abs=0.5)


def test_daylight_of_6504_kelvin_is_d65() -> None:
    wavelengths, power = illuminant("D65")
    at = np.isin(wavelengths, GRID)
    # CIE rounds the two weights to three decimals and prints four digits
    assert daylight(GRID, 6504.0) == pytest.approx(power[at], rel=2e-3)


@pytest.mark.parametrize("kelvin", [4000.0, 5003.0, 7000.0, 7001.0, 15000.0, 25000.0])
def test_daylight_agrees_with_colour_science(kelvin: float) -> None:
    # a module of it: the folder tests/colour would count as the package
    pytest.importorskip("colour.temperature", reason="needs colour-science")
    import colour

    place = colour.temperature.CCT_to_xy_CIE_D(kelvin)
    expected = colour.sd_CIE_illuminant_D_series(place, M1_M2_rounding=False)
    assert daylight(GRID, kelvin) == pytest.approx(np.array([expected[nm] for nm in GRID]), rel=1e-6)


def test_daylight_knows_the_ends_of_its_table() -> None:
    assert daylight_covers(np.array([830.0, 300.0]))
    assert not daylight_covers(np.array([400.0, 831.0])) and not daylight_covers(np.array([299.0, 500.0]))
