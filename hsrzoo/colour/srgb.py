"""sRGB and CIE colorimetry: the encoding of values, standard light, and the colours of spectra."""

from __future__ import annotations

from functools import cache

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.colour.responses import read_table, response
from hsrzoo.errors import require_known

XYZ_OF_SRGB = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
"""(3, 3) float64: linear sRGB to XYZ; its rows sum to the white, D65 with Y = 1."""
_ILLUMINANTS = ("D65", "A")
_GRID = BandSet.regular(400, 700, 5)
_LEAST_COVER = 0.95
_WIDEST_GAP_NM = 20.0
"""The coarsest step for which colorimetric tables are published (ASTM E308)."""


def decode_srgb(stored: np.ndarray) -> np.ndarray:
    """Stored values in [0, 1] to values proportional to light, of the same dtype (floats)."""
    stored = np.asarray(stored)
    bent = np.power((np.maximum(stored, 0) + 0.055) / 1.055, 2.4)
    return np.where(stored <= 0.04045, stored / 12.92, bent).astype(stored.dtype)


def encode_srgb(linear: np.ndarray) -> np.ndarray:
    """Values proportional to light in [0, 1] to those that are stored: the inverse of
    :func:`decode_srgb`."""
    linear = np.asarray(linear)
    bent = 1.055 * np.power(np.maximum(linear, 0), 1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, bent).astype(linear.dtype)


@cache
def illuminant(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Wavelengths in nm (N,) and relative power (N,) of a standard light, both float64.

    ``D65``: CIE standard illuminant D65, 300-780 nm at 5 nm, 100 at 560 nm. ``A``: CIE standard illuminant
    A, an incandescent lamp, by its formula (ISO 11664-2), on the same wavelengths.
    """
    require_known("illuminant", name, _ILLUMINANTS)
    if name == "A":
        wavelengths = read_table("illuminant-d65")[0]
        energy = 1.435e7 / 2848 / wavelengths
        return wavelengths, 100 * (560 / wavelengths) ** 5 * np.expm1(1.435e7 / 2848 / 560) / np.expm1(
            energy
        )
    table = read_table(f"illuminant-{name.lower()}")
    return table[0], table[1][:, 0]


def xyz_matrix(bands: BandSet) -> np.ndarray | None:
    """(3, C) float64: ``matrix @ spectrum`` is XYZ under D65 with Y = 1 for a spectrum of ones.

    Spectra are interpolated to 5 nm between 400 and 700 nm. None where the bands cover too little.
    """
    grid = np.asarray(_GRID.centres_nm)
    observer_nm, curves = response("cie-1931")
    light_nm, power = illuminant("D65")
    observer = np.stack([np.interp(grid, observer_nm, curve) for curve in curves.T])  # (3, N)
    observer *= np.interp(grid, light_nm, power)
    resample, covered = bands.resample_matrix(_GRID)
    distance = np.abs(grid[:, None] - np.asarray(bands.centres_nm)).min(axis=1)
    seen = covered & (distance <= _WIDEST_GAP_NM / 2)
    if np.any(observer[:, seen].sum(axis=1) < _LEAST_COVER * observer.sum(axis=1)):
        return None
    matrix = observer[:, seen] @ resample[seen]
    return matrix / matrix[1].sum()


def srgb_matrix(bands: BandSet) -> np.ndarray | None:
    """(3, C) float64: ``matrix @ spectrum`` is linear sRGB under D65, and a spectrum of ones is white.

    None where the bands cover too little of the visible range (see :func:`xyz_matrix`).
    """
    xyz = xyz_matrix(bands)
    if xyz is None:
        return None
    # The observer's tables are cut to 400-700 nm: scale so that ones are exactly white.
    xyz = xyz * (XYZ_OF_SRGB.sum(axis=1) / xyz.sum(axis=1))[:, None]
    return np.linalg.solve(XYZ_OF_SRGB, xyz)
