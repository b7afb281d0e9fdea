"""Contents of the page: values as packed integers, pictures, error maps, colour renderings."""

from __future__ import annotations

import base64
import io
import zlib
from dataclasses import dataclass

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.colour.srgb import encode_srgb
from hsrzoo.errors import InputError
from hsrzoo.prediction.outside import Outside
from hsrzoo.prediction.quicklook import rendering, srgb_of

NO_DATA = 65535
"""The integer of a value that is not finite; the others run from 0 to 65534."""
_LEVEL = 4
"""Level of zlib. Level 6 saves one per cent more in three times the time."""
_DARK, _BRIGHT = 0.05, 1.0
"""Range of the 99th percentile of a cube in [0, 1]; other cubes are scaled for their picture."""


@dataclass(frozen=True)
class Packed:
    """Values as ``offset + step * integer``, off by at most half a step, and their bytes as base64."""

    offset: float
    step: float
    text: str


def pack_values(values: np.ndarray, name: str) -> Packed:
    """``values`` (H, W, C) as 16-bit integers in C planes, compressed by zlib.

    ``step`` is 1/65534 of the range. Stored are the differences between planes, modulo 65536, first all
    low bytes and then all high ones: neighbouring bands are alike, and this makes a page a quarter smaller.
    """
    offset, high = _range(values, name)
    step = (high - offset) / (NO_DATA - 1)
    previous = np.zeros(values.shape[:2], np.uint16)
    differences = np.empty((values.shape[2], *values.shape[:2]), "<u2")
    for plane in range(values.shape[2]):
        real = values[..., plane].astype(np.float64)
        there = np.isfinite(real)
        scaled = (np.where(there, real, offset) - offset) / (step or 1.0)
        integers = np.where(there, np.rint(scaled), NO_DATA).astype(np.uint16)
        differences[plane] = integers - previous
        previous = integers
    halves = differences.reshape(-1).view(np.uint8).reshape(-1, 2).T
    data = zlib.compress(halves.tobytes(), _LEVEL)
    return Packed(offset, step, base64.b64encode(data).decode("ascii"))


def _range(values: np.ndarray, name: str) -> tuple[float, float]:
    """Least and greatest finite value."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise InputError(f"{name} has no data: no value is finite")
    return float(finite.min()), float(finite.max())


def outside_of(values: np.ndarray) -> Outside:
    """The values (H, W, C) below 0 and above the white; what has no data is left out."""
    outside = Outside()
    for row in values:
        outside.count(row[np.isfinite(row)])
    return outside


@dataclass(frozen=True, eq=False)
class ErrorMaps:
    """Differences of two cubes, per pixel and overall.

    ``rmse`` (H, W): root of the mean square difference over the bands where both have data.
    ``angle`` (H, W): spectral angle in degrees over these bands; NaN where a spectrum is all zero, and
    for fewer than two bands. ``total_rmse``: over all values; ``mean_angle``: over pixels.
    """

    rmse: np.ndarray
    angle: np.ndarray
    total_rmse: float
    mean_angle: float


def error_maps(one: np.ndarray, two: np.ndarray) -> ErrorMaps:
    """Differences of two cubes (H, W, C), computed in float64."""
    height, width = one.shape[:2]
    rmse, angle = (np.full((height, width), np.nan) for _ in range(2))
    square, count = 0.0, 0
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 without data gives NaN as intended
        for row in range(height):
            a, b = one[row].astype(np.float64), two[row].astype(np.float64)
            both = np.isfinite(a) & np.isfinite(b)
            a, b = np.where(both, a, 0.0), np.where(both, b, 0.0)
            squares, counts = np.square(a - b).sum(axis=1), both.sum(axis=1)
            rmse[row] = np.sqrt(squares / counts)
            square, count = square + squares.sum(), count + int(counts.sum())
            a /= np.linalg.norm(a, axis=1, keepdims=True)
            b /= np.linalg.norm(b, axis=1, keepdims=True)
            # Kahan's form: exact for small angles, where arccos loses half of the digits.
            half = np.arctan2(np.linalg.norm(a - b, axis=1), np.linalg.norm(a + b, axis=1))
            angle[row] = np.where(counts >= 2, np.degrees(2 * half), np.nan)
    known = angle[np.isfinite(angle)]
    return ErrorMaps(
        rmse,
        angle,
        float(np.sqrt(square / count)) if count else float("nan"),
        float(known.mean()) if known.size else float("nan"),
    )


def colour_picture(values: np.ndarray, bands: BandSet | None) -> tuple[np.ndarray, str]:
    """A cube (H, W, C) as (H, W, 4) uint8, and a description of its colours.

    Pixels without any data are transparent. Values outside the usual range of reflectance are divided by
    their 99th percentile.
    """
    values = np.where(np.isfinite(values), values, np.nan).astype(np.float32)
    there = ~np.isnan(values).all(axis=2)
    white = float(np.nanpercentile(values, 99)) if there.any() else 1.0
    scaled = not _DARK <= white <= _BRIGHT and white > 0
    if scaled:
        values = values / np.float32(white)
    if bands is None:
        count = values.shape[2]
        chosen = [round((count - 1) * share) for share in (5 / 6, 1 / 2, 1 / 6)]
        linear = np.nan_to_num(values[..., chosen], nan=0.0).clip(0, 1)
        rgb = np.rint(encode_srgb(linear) * 255).astype(np.uint8)
        how = "bands " + ", ".join(str(i + 1) for i in chosen) + " as red, green, blue"
    else:
        rgb, how = srgb_of(values, bands), rendering(bands).how
    if scaled:
        how += f"; values divided by {white:.3g}"
    return np.dstack([rgb, np.where(there, 255, 0).astype(np.uint8)]), how


def png_uri(pixels: np.ndarray) -> str:
    """(H, W, 3 or 4) uint8 as a ``data:`` URL."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=4)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
