"""Cubes relative to a white or grey area: its spectrum, by which they are divided."""

from __future__ import annotations

import numpy as np

from hsrzoo.errors import InputError
from hsrzoo.io.photo import Photo
from hsrzoo.io.white import White
from hsrzoo.models.onnx_runtime import OnnxModel
from hsrzoo.models.reconstructor import Reconstructor

_AROUND = 64
"""Pixels around the area that the network sees, and the side of the image of a given colour."""
_LEAST = 0.05
"""Smallest value of the spectrum, relative to its largest: what is divided by less is noise."""


def area_spectrum(model: Reconstructor | OnnxModel, photo: Photo, white: White) -> np.ndarray:
    """The spectrum that ``model`` gives to the white area of ``photo``, which is neutral already.

    For an area in pixels, the mean over it, of the cube of the area and 64 pixels around it; for a colour,
    that of a uniform image.

    Returns:
        (C,) float64.

    Raises:
        InputError: The spectrum has values that are nearly 0, or below.
    """
    if len(white) == 3:
        assert photo.area is not None  # made neutral by photo_for
        rgb = np.full((_AROUND, _AROUND, 3), max(photo.area.rgb), dtype=np.float32)
        inner = slice(_AROUND // 2, _AROUND // 2 + 1), slice(_AROUND // 2, _AROUND // 2 + 1)
    else:
        left, top, width, height = (int(value) for value in white)
        rows, columns = photo.pixels.shape
        y, x = max(0, top - _AROUND), max(0, left - _AROUND)
        bottom, right = min(rows, top + height + _AROUND), min(columns, left + width + _AROUND)
        rgb = photo.window(y, x, bottom - y, right - x).astype(np.float32)
        inner = slice(top - y, top - y + height), slice(left - x, left - x + width)
    cube = np.asarray(model(rgb).cube, dtype=np.float64)
    spectrum = cube[inner].reshape(-1, cube.shape[-1]).mean(axis=0)
    if not spectrum.min() > _LEAST * spectrum.max():
        raise InputError(
            "The cube cannot be divided by the spectrum of the white area",
            expected=f"values above {_LEAST:g} of the largest",
            got=f"{spectrum.min():.3g} to {spectrum.max():.3g}",
            fix="Choose a brighter area, or leave --reflectance out",
        )
    return np.asarray(spectrum)
