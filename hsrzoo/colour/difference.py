"""L*a*b* and the colour difference CIEDE2000."""

from __future__ import annotations

import numpy as np


def xyz_to_lab(xyz: np.ndarray, white: np.ndarray) -> np.ndarray:
    """CIE 1976 L*a*b* of XYZ (3, N) with the reference white (3,): float64 (3, N)."""
    t = xyz / white[:, None]
    threshold = (6 / 29) ** 3
    f = np.where(t > threshold, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def ciede2000(lab: np.ndarray, other: np.ndarray) -> np.ndarray:
    """CIEDE2000 colour difference of two L*a*b* arrays (3, N), all parametric factors 1: (N,).

    Sharma, Wu and Dalal 2005, equations 2-22, whose test pairs it reproduces.
    """
    lightness = np.stack([lab[0], other[0]])
    a, b = np.stack([lab[1], other[1]]), np.stack([lab[2], other[2]])
    c7 = np.hypot(a, b).mean(axis=0) ** 7
    a = a * (1.5 - 0.5 * np.sqrt(c7 / (c7 + 25.0**7)))
    chroma = np.hypot(a, b)
    hue = np.degrees(np.arctan2(b, a)) % 360  # 0 for grey

    turn, mean_h = _hues(hue, chroma.prod(axis=0) > 0)
    d_lightness, d_chroma = lightness[1] - lightness[0], chroma[1] - chroma[0]
    d_hue = 2 * np.sqrt(chroma.prod(axis=0)) * np.sin(np.radians(turn / 2))
    mean_l, mean_c = lightness.mean(axis=0), chroma.mean(axis=0)

    t = (
        1
        - 0.17 * np.cos(np.radians(mean_h - 30))
        + 0.24 * np.cos(np.radians(2 * mean_h))
        + 0.32 * np.cos(np.radians(3 * mean_h + 6))
        - 0.20 * np.cos(np.radians(4 * mean_h - 63))
    )
    c7 = mean_c**7
    rotation = -2 * np.sqrt(c7 / (c7 + 25.0**7))
    rotation *= np.sin(np.radians(60 * np.exp(-(((mean_h - 275) / 25) ** 2))))
    off_grey = (mean_l - 50) ** 2
    l_term = d_lightness / (1 + 0.015 * off_grey / np.sqrt(20 + off_grey))
    c_term = d_chroma / (1 + 0.045 * mean_c)
    h_term = d_hue / (1 + 0.015 * mean_c * t)
    # Rounding can leave a square sum of equal colours just below 0.
    return np.sqrt(np.maximum(l_term**2 + c_term**2 + h_term**2 + rotation * c_term * h_term, 0))


def _hues(hue: np.ndarray, coloured: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shortest turn from hue[0] to hue[1] and the hue half way, degrees; greys have no turn."""
    turn = hue[1] - hue[0]
    far, total = np.abs(turn) > 180, hue.sum(axis=0)
    turn = turn - np.where(far, np.copysign(360, turn), 0)
    middle = (total + np.where(far, np.where(total < 360, 360, -360), 0)) / 2
    return np.where(coloured, turn, 0), np.where(coloured, middle, total)
