"""A cube as a picture: sRGB under daylight, for viewing only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.colour.srgb import encode_srgb, srgb_matrix
from hsrzoo.io.common import display_bands, output_file, require_bands
from hsrzoo.io.metadata import metadata_of
from hsrzoo.prediction.pictures import png
from hsrzoo.prediction.rows import open_rows

LONGEST = 2048
"""Limit of a quick look's longer side, pixels."""
_AT_ONCE = 1 << 22
"""Values per rendered strip."""


@dataclass(frozen=True, eq=False)
class Rendering:
    """Conversion of bands to colours: linear sRGB is ``matrix @ spectrum``; ``how``: a description."""

    matrix: np.ndarray
    """(3, C) float32."""
    how: str
    as_seen: bool = True
    """Whether the colours are those seen by the eye; false if three bands are shown as red, green, blue."""


@lru_cache(maxsize=16)
def rendering(bands: BandSet) -> Rendering:
    """Colorimetric if the bands cover the visible range: D65, CIE 1931 observer, as in dE2000, with a
    spectrum of ones as white. Else three bands are shown as red, green and blue."""
    matrix = srgb_matrix(bands)
    if matrix is not None:
        return Rendering(matrix.astype(np.float32), "sRGB under D65, CIE 1931 2 degree observer")
    chosen = display_bands(bands)
    matrix = np.zeros((3, len(bands)), np.float32)
    matrix[range(3), chosen] = 1
    named = ", ".join(f"{bands.centres_nm[i]:g}" for i in chosen)
    how = f"the bands do not cover the visible range: red, green, blue are {named} nm"
    return Rendering(matrix, how, as_seen=False)


def srgb_of(cube: np.ndarray, bands: BandSet) -> np.ndarray:
    """``cube`` (H, W, C) in [0, 1] as a picture (H, W, 3) uint8, encoded as sRGB.

    Colours outside sRGB are clipped; pixels without data (NaN) in a used band are black. Colours:
    :func:`rendering`.
    """
    cube = np.asarray(cube)
    require_bands(cube, bands)
    matrix = rendering(bands).matrix
    used = np.flatnonzero(matrix.any(axis=0))  # so that missing data in unused bands have no effect
    linear = cube[..., used].astype(np.float32, copy=False) @ matrix[:, used].T
    linear = np.nan_to_num(linear, nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1)
    return np.rint(encode_srgb(linear) * 255).astype(np.uint8)


def save_quicklook(cube: Path) -> Path:
    """Write the picture ``NAME.png`` of the cube file ``NAME.*``, in the colours of :func:`rendering`.

    Rows are read in strips; large cubes keep every n-th pixel of every n-th row, so that the longer side
    is at most :data:`LONGEST` pixels. What the cube's file states about its origin (model, training data,
    input) becomes text chunks of the picture. Raises InputError, FormatError.
    """
    from PIL import Image

    rows = open_rows(cube)
    height, width = rows.shape
    step = -(-max(height, width) // LONGEST)
    strip = step * max(1, _AT_ONCE // (-(-width // step) * len(rows.bands)))
    tops = range(0, height, strip)
    strips = [srgb_of(rows.read(top, min(strip, height - top), step), rows.bands) for top in tops]
    picture = np.concatenate(strips)
    target = quicklook_of(cube)
    with output_file(target) as temporary:
        temporary.write_bytes(png(Image.fromarray(picture), metadata_of(cube).facts))
    return target


def quicklook_of(cube: Path) -> Path:
    """The picture of a cube file."""
    return cube.with_suffix(".png")


__all__ = ["Rendering", "display_bands", "quicklook_of", "rendering", "save_quicklook", "srgb_of"]
