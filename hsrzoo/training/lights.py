"""Lights that a scene may be seen under: phases of daylight, as measured, and glowing bodies."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

_TABLE = Path(__file__).parent.parent / "data" / "cie-daylight.csv"
_C2_NM_K = 1.438776877e7
"""Second radiation constant h c / k in nm K (CODATA 2018, exact to the digits given)."""
DAYLIGHT_K = (4000.0, 25000.0)
"""Correlated colour temperatures, in kelvin, for which CIE 15 defines daylight."""
BLACKBODY_K = (2500.0, 10000.0)
"""From a dim tungsten lamp to beyond the sun's surface; in kelvin."""


def blackbody(centres_nm: np.ndarray, kelvin: float) -> np.ndarray:
    """Relative spectral radiance (N,) float64 by Planck's law at wavelengths (N,) in nm; largest 1."""
    power = centres_nm**-5.0 / np.expm1(_C2_NM_K / (centres_nm * kelvin))
    return power / power.max()


def daylight(centres_nm: np.ndarray, kelvin: float) -> np.ndarray:
    """Relative power (N,) float64 of CIE daylight at wavelengths (N,) in nm; 100 at 560 nm.

    The mean of measured daylight and its two main components (Judd, MacAdam and Wyszecki, JOSA 54(8),
    1964), mixed by the correlated colour temperature within :data:`DAYLIGHT_K`: CIE 15:2004, 3.1. The
    table, 300-830 nm, is read by linear interpolation.
    """
    t = 1e3 / kelvin
    if kelvin <= 7000:
        x = 0.244063 + 0.09911 * t + 2.9678 * t**2 - 4.6070 * t**3
    else:
        x = 0.237040 + 0.24748 * t + 1.9018 * t**2 - 2.0064 * t**3
    y = -3.000 * x**2 + 2.870 * x - 0.275
    scale = 0.0241 + 0.2562 * x - 0.7341 * y
    first = (-1.3515 - 1.7703 * x + 5.9114 * y) / scale
    second = (0.0300 - 31.4424 * x + 30.0717 * y) / scale
    wavelengths, *components = _components()
    s0, s1, s2 = (np.interp(centres_nm, wavelengths, component) for component in components)
    return s0 + first * s1 + second * s2


def daylight_covers(centres_nm: np.ndarray) -> bool:
    """True if the table of daylight holds all these wavelengths."""
    wavelengths = _components()[0]
    return bool(centres_nm.min() >= wavelengths[0] and centres_nm.max() <= wavelengths[-1])


@cache
def _components() -> np.ndarray:
    """(4, N) float64: wavelengths in nm, the mean and two components."""
    table = np.loadtxt(_TABLE, delimiter=",", skiprows=2).T
    table.setflags(write=False)  # shared by all callers
    return table
