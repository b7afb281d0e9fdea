"""Rows of a cube file that hsrzoo has written: large cubes are displayed without being read as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.errors import FormatError
from hsrzoo.io import load_cube
from hsrzoo.io.raster import ArrayPixels, FilePixels, envi_pixels, tiff_pixels
from hsrzoo.io.values import FULL_SCALE


@dataclass(frozen=True)
class CubeRows:
    """A cube of H x W pixels; ``read`` gives float32, whatever is stored."""

    values: ArrayPixels | FilePixels
    bands: BandSet
    scale: float = 1.0

    @property
    def shape(self) -> tuple[int, int]:
        """H, W."""
        return self.values.shape

    def read(self, first: int, count: int, step: int = 1) -> np.ndarray:
        """Every ``step``-th of ``count`` rows from ``first`` on, and of their pixels: (h, w, C)."""
        found = self.values.read(first, 0, count, self.shape[1], step)
        return found.astype(np.float32, copy=False) * np.float32(self.scale)


def open_rows(path: Path) -> CubeRows:
    """The cube at ``path``, which must state its bands; what cannot be read by rows is held in memory.

    Raises InputError, FormatError.
    """
    suffix = path.suffix.lower()
    by_rows = {".hdr": _envi, ".tif": _tiff, ".tiff": _tiff, ".zarr": _zarr}.get(suffix)
    values, bands = by_rows(path) if by_rows else (None, None)
    if values is None or bands is None:
        cube, bands = load_cube(path)
        if bands is None:
            raise FormatError(f"{path} does not state its wavelengths", expected="a cube with its bands")
        return CubeRows(ArrayPixels(cube), bands)
    dtype = values.dtype if isinstance(values, FilePixels) else np.dtype(values.array.dtype)
    return CubeRows(values, bands, 1 / FULL_SCALE["uint16"] if dtype == np.uint16 else 1.0)


def _envi(header: Path) -> tuple[FilePixels | None, BandSet | None]:
    from hsrzoo.io.envi import bands_of, open_envi

    with open_envi(header) as image:
        pixels = envi_pixels(image, header)
        return pixels if pixels.axes == "hwc" else None, bands_of(image, pixels.channels)


def _tiff(path: Path) -> tuple[FilePixels | None, BandSet | None]:
    from hsrzoo.io.tiff import open_tiff, read_bands

    with open_tiff(path) as tiff:
        pixels = tiff_pixels(tiff, path)
    return (pixels, read_bands(path)) if pixels and pixels.axes == "hwc" else (None, None)


def _zarr(path: Path) -> tuple[ArrayPixels, BandSet | None]:
    from hsrzoo.io.zarr import open_array

    array, bands = open_array(path)
    return ArrayPixels(array), bands
