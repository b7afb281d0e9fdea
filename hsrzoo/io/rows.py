"""Rows of a cube file as hsrzoo writes them: a large cube is looked at without being whole in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.errors import FormatError
from hsrzoo.io import load_cube
from hsrzoo.io.common import damaged
from hsrzoo.io.stream import FULL_SCALE


class Values(Protocol):
    """Stored values of a cube."""

    def read(self, first: int, count: int, step: int) -> np.ndarray:
        """``count`` rows from ``first`` on, every ``step``-th of them and of their pixels: (h, w, C)."""


@dataclass(frozen=True)
class CubeRows:
    """A cube of H x W pixels; ``read`` gives float32, whatever is stored."""

    shape: tuple[int, int]
    """H, W."""
    bands: BandSet
    values: Values
    scale: float = 1.0

    def read(self, first: int, count: int, step: int = 1) -> np.ndarray:
        """Every ``step``-th of ``count`` rows from ``first`` on, and of their pixels: (h, w, C)."""
        found = self.values.read(first, count, step)
        return found.astype(np.float32, copy=False) * np.float32(self.scale)


def open_rows(path: Path) -> CubeRows:
    """The cube at ``path``, which knows its bands; what cannot be read by rows is held in memory.

    Raises InputError, FormatError.
    """
    suffix = path.suffix.lower()
    by_rows = {".hdr": _envi, ".tif": _tiff, ".tiff": _tiff, ".zarr": _zarr}.get(suffix)
    return (by_rows and by_rows(path)) or _in_memory(path)


@dataclass(frozen=True)
class _Array:
    """Rows of anything that is sliced as an array (H, W, C)."""

    array: Any

    def read(self, first: int, count: int, step: int) -> np.ndarray:
        return np.asarray(self.array[first : first + count : step, ::step])


@dataclass(frozen=True)
class _Flat:
    """Pixels one after the other, the bands of each together. Read and not mapped: pages of a mapping
    count as the process's memory."""

    path: Path
    dtype: np.dtype
    offset: int
    width: int
    bands: int

    def read(self, first: int, count: int, step: int) -> np.ndarray:
        row = self.width * self.bands
        rows = []
        with self.path.open("rb") as file:
            for y in range(first, first + count, step):
                file.seek(self.offset + y * row * self.dtype.itemsize)
                values = np.fromfile(file, self.dtype, row)
                if values.size < row:
                    raise damaged(self.path, "a cube", EOFError("it ends too early"))
                rows.append(values.reshape(self.width, self.bands)[::step])
        return np.stack(rows)


def _scale(dtype: np.dtype) -> float:
    return 1 / FULL_SCALE if dtype == np.uint16 else 1.0


def _envi(header: Path) -> CubeRows | None:
    from hsrzoo.io.envi import bands_of, opened

    image = opened(header)
    height, width, count = image.shape
    bands = bands_of(image, count)
    if bands is None or str(image.metadata.get("interleave")).lower() != "bip":
        return None
    dtype = np.dtype(image.dtype)
    flat = _Flat(Path(image.filename), dtype, int(image.offset), width, count)
    return CubeRows((height, width), bands, flat, _scale(dtype))


def _tiff(path: Path) -> CubeRows | None:
    from hsrzoo.io.tiff import opened_tiff, read_bands

    with opened_tiff(path) as tiff:
        page = tiff.pages.first
        if not page.is_memmappable or page.axes not in ("YXS", "YX") or len(tiff.series[0].pages) > 1:
            return None
        dtype = np.dtype(page.dtype).newbyteorder(tiff.byteorder)
        height, width, count = (*page.shape, 1)[:3]
        offset = int(page.dataoffsets[0])
    bands = read_bands(path)
    flat = _Flat(path, dtype, offset, width, count)
    return None if bands is None else CubeRows((height, width), bands, flat, _scale(dtype))


def _zarr(path: Path) -> CubeRows | None:
    from hsrzoo.io.zarr import open_array

    array, bands = open_array(path)
    if bands is None:
        return None
    return CubeRows(array.shape[:2], bands, _Array(array), _scale(np.dtype(array.dtype)))


def _in_memory(path: Path) -> CubeRows:
    cube, bands = load_cube(path)
    if bands is None:
        raise FormatError(f"{path} does not tell its wavelengths", expected="a cube with its bands")
    return CubeRows((cube.shape[0], cube.shape[1]), bands, _Array(cube))
