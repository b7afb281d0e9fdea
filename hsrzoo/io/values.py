"""What stored numbers mean: depth of integers, no data, scale and offset, units of values and wavelengths.

The encoding of photographs, sRGB or proportional to light, is decided in :mod:`hsrzoo.io.photo`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hsrzoo.bands import BandSet, unit_named
from hsrzoo.errors import note

UNITS = "1 (reflectance or radiance scaled to [0, 1])"
"""Units of the cube's values that are written unless ``metadata["units"]`` says otherwise."""
FULL_SCALE = {"uint8": 255, "uint16": 65535}
"""dtype -> what the value 1.0 is stored as."""
WAVELENGTH_KEYS = ("wavelengths_nm", "wavelengths", "wavelength", "bands", "wavlength", "lambda", "wl")
"""Names under which files hold band centres (one public set spells it ``wavlength``)."""
WIDTH_KEYS = ("widths_nm", "fwhm", "widths")
"""Names under which files hold widths of bands."""

_SHORTEST_NM, _LONGEST_NM = 100.0, 1e6
"""No band of an image lies outside: X-rays, radio."""
_NO_UNIT = ("", "unknown", "none", "n/a", "1", "-")


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


def bands_from(centres: Any, widths: Any, count: int, unit: object = None) -> BandSet | None:
    """Bands from numbers found in a file; None if they are no wavelengths.

    Args:
        centres: Numbers; a list of band numbers (1, 2, 3, ...) or of another length than ``count`` is not
            taken for wavelengths.
        widths: Full widths at half maximum in the same unit; left out where they do not fit.
        count: C, the number of bands.
        unit: The unit that the file states, text or bytes. Without one, or where it is "unknown": nm or
            micrometres by the size of the numbers.
    """
    found = np.asarray(centres, dtype=np.float64).ravel()
    if found.size != count or not np.all(np.isfinite(found)):
        return None
    stated = text_of(unit)
    name = unit_named(stated)
    if stated.lower() in _NO_UNIT:
        name = _unit_by_size(found)
    elif name is None:
        note(f"Band centres in {stated!r} are not used: that is no unit of wavelength or wavenumber")
    if name is None or found.min() <= 0:
        return None
    fwhm = None if widths is None else np.asarray(widths, dtype=np.float64).ravel()
    if fwhm is not None and (fwhm.size != count or not np.all(np.isfinite(fwhm) & (fwhm > 0))):
        fwhm = None
    bands = BandSet.of(found.tolist(), None if fwhm is None else fwhm.tolist(), name)
    low, high = min(bands.centres_nm), max(bands.centres_nm)
    if low < _SHORTEST_NM or high > _LONGEST_NM:
        note(f"Band centres of {found.min():g} to {found.max():g} {stated} are not used: too short or long")
        return None
    return bands


def _unit_by_size(centres: np.ndarray) -> str | None:
    if centres.min() >= _SHORTEST_NM:
        return "nm"
    whole = np.all(centres == np.rint(centres))  # numbers of bands
    return "um" if centres.min() > 0.1 and centres.max() < 20 and not whole else None


def text_of(value: object) -> str:
    """Text of an attribute or a cell: bytes, an array of one, or None, as stripped str."""
    if isinstance(value, np.ndarray):
        value = value.ravel()[0] if value.size else None
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return "" if value is None else str(value).strip()


def first_of(names: tuple[str, ...], among: Any) -> Any:
    """The value under the first of ``names`` that the mapping ``among`` holds; None without any."""
    return next((among[name] for name in names if name in among), None)
