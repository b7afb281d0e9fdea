"""The light of a photograph, from a white or grey area: each channel is divided so that it is neutral.

This happens in the RGB that the network gets, after the map to the camera of its training pairs: the maps
keep white, and a calibration of another light is corrected too.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hsrzoo.camera import CLIPPED
from hsrzoo.errors import InputError
from hsrzoo.io.photo import Area, Photo
from hsrzoo.io.raster import ArrayPixels, Raster

White = tuple[float, ...]
"""x, y, width, height of an area in pixels, or R, G, B of its stored values."""
_MOST_CLIPPED = 0.1
"""Share of the area's pixels that may be at full scale."""
_LEAST = 0.01
"""Every channel of the area must exceed this share of full scale."""


def one_pixel(raster: Raster, white: White) -> Raster:
    """``raster`` with a single pixel of the stored values ``white`` (R, G, B).

    Raises:
        InputError: Its dtype cannot hold them.
    """
    dtype = raster.pixels.read(0, 0, 1, 1).dtype
    limit = np.iinfo(dtype).max if dtype.kind in "ui" else np.inf
    if not all(0 <= value <= limit and (dtype.kind == "f" or value == int(value)) for value in white):
        raise InputError(
            "The white cannot be a colour of this image",
            expected=f"R,G,B as {dtype.name}, stored as in the file",
            got=",".join(f"{value:g}" for value in white),
        )
    return replace(raster, pixels=ArrayPixels(np.array(white, dtype=dtype).reshape(1, 1, 3)))


def area_of(photo: Photo, stored: Photo, white: White) -> Area:
    """The area of ``photo`` that ``white`` means; for a colour, ``photo`` is its single pixel.

    ``stored``: the same pixels as the file has them, which show what is at full scale.

    Raises:
        InputError: It lies outside, is at full scale, or is nearly black.
    """
    if len(white) == 3:
        name, window = f"colour {','.join(f'{value:g}' for value in white)}", (0, 0, 1, 1)
    else:
        left, top, width, height = (int(value) for value in white)
        rows, columns = photo.pixels.shape
        if not (left >= 0 and top >= 0 and left + width <= columns and top + height <= rows):
            raise InputError(
                "The white area does not lie in the image",
                expected=f"x,y,width,height within {columns} x {rows} pixels",
                got=f"{left},{top},{width},{height}",
            )
        name, window = f"area {left},{top},{width},{height}", (top, left, height, width)
    seen, raw = (
        one.window(*window).astype(np.float32).astype(np.float64).reshape(-1, 3) for one in (photo, stored)
    )
    clipped = float((np.maximum(seen, raw).max(axis=1) >= CLIPPED).mean())
    if clipped > _MOST_CLIPPED:
        got = f"{100 * clipped:.0f} % of its pixels"
        raise InputError(
            f"The white {name} is at full scale", got=got, fix="Choose a grey area, or expose less"
        )
    red, green, blue = seen.mean(axis=0)
    if min(red, green, blue) < _LEAST:
        got = f"linear R, G, B {red:.3g}, {green:.3g}, {blue:.3g}"
        raise InputError(
            f"The white {name} is too dark or too coloured", expected=f"{_LEAST:g} or more", got=got
        )
    return Area(name, (float(red), float(green), float(blue)))


def neutral(photo: Photo, area: Area) -> Photo:
    """``photo`` with the channels divided so that ``area`` is neutral; its metadata say so."""
    gains = area.gains
    text = f"{area.name} made neutral, gains {', '.join(f'{gain:.4g}' for gain in gains)}"
    about = {**photo.about, "input_white": text}
    return photo.transformed(np.diag(gains), text, about=about, area=area)
