"""What stored numbers mean: depth of integers, no data, scale and offset, units of values and wavelengths.

The encoding of photographs, sRGB or proportional to light, is decided in :mod:`hsrzoo.io.photo`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hsrzoo.bands import BandSet

UNITS = "1 (reflectance or radiance scaled to [0, 1])"
"""Units of the cube's values that are written unless ``metadata["units"]`` says otherwise."""
FULL_SCALE = {"uint8": 255, "uint16": 65535}
"""dtype -> what the value 1.0 is stored as."""
WAVELENGTH_KEYS = ("wavelengths_nm", "wavelengths", "wavelength", "bands", "wavlength", "lambda", "wl")
"""Names under which files hold band centres (one public set spells it ``wavlength``)."""
WIDTH_KEYS = ("widths_nm", "fwhm", "widths")
"""Names under which files hold widths of bands."""


def over_full_scale(stored: np.ndarray) -> np.ndarray:
    """uint8 or uint16 values over 255 or 65535: float32 in [0, 1]."""
    return stored.astype(np.float32) / np.float32(FULL_SCALE[stored.dtype.name])


def to_uint16(values: np.ndarray) -> np.ndarray:
    """Finite float32 values as uint16: round(65535 x), x clipped to [0, 1]."""
    return np.rint(np.clip(values, 0, 1) * np.float32(FULL_SCALE["uint16"])).astype(np.uint16)


def to_values(
    cube: np.ndarray,
    stored: np.ndarray,
    *,
    no_data: float | np.generic | None = None,
    divisor: float | None = None,
    scale: np.ndarray | np.generic | None = None,
    offset: np.ndarray | np.generic | None = None,
    bad: np.ndarray | None = None,
) -> np.ndarray:
    """The values of a cube, from the numbers in its file.

    In this order: NaN where ``stored`` is ``no_data``; division by ``divisor``; multiplication by ``scale``
    and addition of ``offset``; NaN in the bands that are ``bad``. What is None is left out.

    Args:
        cube: (H, W, C) float32: ``stored``, converted. It may be changed in place.
        stored: (H, W, C) as in the file.
        no_data: The number that stands for no data.
        divisor: What 1.0 is stored as.
        scale: One number, or one a band (C,); the computation has its precision.
        offset: As ``scale``, in stored numbers times ``scale``.
        bad: (C,) bool.

    Returns:
        (H, W, C) float32.
    """
    if no_data is not None:
        # as a file of floats holds it: -3.4e38 in a header is not the float32 of that name
        cube[stored == (stored.dtype.type(no_data) if stored.dtype.kind == "f" else no_data)] = np.nan
    if divisor is not None:
        cube /= np.float32(divisor)
    if scale is not None:
        cube = cube.astype(scale.dtype, copy=False)
        cube *= scale
    if offset is not None:
        cube += offset
    if bad is not None:
        cube[..., bad] = np.nan
    return cube.astype(np.float32, copy=False)


def bands_from(centres: Any, widths: Any, count: int) -> BandSet | None:
    """Bands from numbers found in a file, nm or micrometres by their size; None if they are neither.

    A list of band numbers (1, 2, 3, ...) or of another length is not taken for wavelengths.
    """
    found = np.asarray(centres, dtype=np.float64).ravel()
    if found.size != count or not np.all(np.isfinite(found)):
        return None
    if found.min() >= 100:
        unit = "nm"
    elif found.min() > 0.1 and found.max() < 20 and np.any(found != np.rint(found)):
        unit = "um"
    else:
        return None
    fwhm = None if widths is None else np.asarray(widths, dtype=np.float64).ravel()
    if fwhm is not None and (fwhm.size != count or not np.all(np.isfinite(fwhm) & (fwhm > 0))):
        fwhm = None
    return BandSet.of(found.tolist(), None if fwhm is None else fwhm.tolist(), unit)


def first_of(names: tuple[str, ...], among: Any) -> Any:
    """The value under the first of ``names`` that the mapping ``among`` holds; None without any."""
    return next((among[name] for name in names if name in among), None)
