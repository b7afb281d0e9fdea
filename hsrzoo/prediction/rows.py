"""Rows of a cube file that hsrzoo has written: large cubes are displayed without being read as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.errors import FormatError
from hsrzoo.io import load_cube
from hsrzoo.io.raster import ArrayPixels, FilePixels, envi_pixels, tiff_pixels
from hsrzoo.io.values import Stated


@dataclass(frozen=True)
class CubeRows:
    """A cube of H x W pixels; ``read`` gives its values in float32, whatever is stored."""

    stored: ArrayPixels | FilePixels
    bands: BandSet
    stated: Stated

    @property
    def shape(self) -> tuple[int, int]:
        """H, W."""
        return self.stored.shape

    def read(self, first: int, count: int, step: int = 1) -> np.ndarray:
        """Every ``step``-th of ``count`` rows from ``first`` on, and of their pixels: (h, w, C)."""
        return self.stated.apply(self.stored.read(first, 0, count, self.shape[1], step))


def open_rows(path: Path) -> CubeRows:
    """The cube at ``path``, which was written here and states its bands; what cannot be read by rows is
    held in memory.

    Raises InputError, FormatError.
    """
    suffix = path.suffix.lower()
    by_rows = {".hdr": _envi, ".tif": _tiff, ".tiff": _tiff, ".zarr": _zarr}.get(suffix)
    found = by_rows(path) if by_rows else None
    if found is None:
        cube, bands = load_cube(path)
        if bands is None:
            raise FormatError(f"{path} does not state its wavelengths", expected="a cube with its bands")
        found = CubeRows(ArrayPixels(cube), bands, Stated())
    return found


def _envi(path: Path) -> CubeRows | None:
    from hsrzoo.io.envi_header import open_envi

    image = open_envi(path)
    bands = image.bands()
    if bands is None or image.axes != "hwc" or image.compressed:
        return None
    return CubeRows(envi_pixels(image), bands, image.stated())


def _tiff(path: Path) -> CubeRows | None:
    from hsrzoo.io.tiff import open_tiff, read_bands, stated_without_masks

    with open_tiff(path) as tiff:
        pixels = tiff_pixels(tiff, path)
        stated = stated_without_masks(tiff, path, pixels.channels) if pixels else None
    bands = read_bands(path)
    if pixels is None or stated is None or bands is None or pixels.axes != "hwc":
        return None
    return CubeRows(pixels, bands, stated)


def _zarr(path: Path) -> CubeRows | None:
    from hsrzoo.io.zarr import open_array

    array, bands, stated = open_array(path)
    return None if bands is None else CubeRows(ArrayPixels(array), bands, stated)
