"""sRGB (IEC 61966-2-1): its transfer curve and its primaries."""

from __future__ import annotations

import numpy as np

XYZ_OF_SRGB = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
"""(3, 3) float64: linear sRGB to XYZ; its rows sum to the white, D65 with Y = 1."""


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


__all__ = ["XYZ_OF_SRGB", "decode_srgb", "encode_srgb"]
