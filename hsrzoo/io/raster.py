"""RGB images read window by window: photographs, and rasters that stay on the disk.

Windows are read from the file and not mapped: pages of a mapping count as the process's memory for as
long as the system pleases.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hsrzoo.errors import FormatError, InputError
from hsrzoo.io.common import damaged, require_file

_WHOLE_FILE = 64 << 20
"""Files up to this many bytes are identified by all of them, larger ones by samples."""
_SAMPLE = 1 << 20
_SAMPLES = 16
_COLOUR = (1, 2)
"""TIFF's PhotometricInterpretation of three plain samples: minisblack, RGB."""
SUFFIXES = (".hdr", ".npy")
"""What :func:`open_raster` reads besides the photographs of :mod:`hsrzoo.io.images`."""


class Pixels(Protocol):
    """An RGB image of H x W pixels, channels in the order R, G, B."""

    @property
    def shape(self) -> tuple[int, int]:
        """H, W."""

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """(height, width, 3) in the image's own dtype and range."""


@dataclass(frozen=True)
class ArrayPixels:
    """An image that lies in memory, (H, W, 3)."""

    array: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        return self.array.shape[0], self.array.shape[1]

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        return self.array[top : top + height, left : left + width]


@dataclass(frozen=True)
class FilePixels:
    """An uncompressed image in a file: pixel (y, x), channel c begins at ``offset`` plus the strides.

    ``strides``: bytes from row to row, column to column, channel to channel. ``order``: which stored
    channel is red, green, blue.
    """

    path: Path
    dtype: np.dtype
    shape: tuple[int, int]
    strides: tuple[int, int, int]
    offset: int = 0
    order: tuple[int, int, int] = (0, 1, 2)

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Read row by row; where the channels lie apart, each on its own."""
        down, across, between = self.strides
        size = self.dtype.itemsize
        out = np.empty((height, width, 3), self.dtype)
        try:
            with self.path.open("rb", buffering=0) as file:
                for y in range(height):
                    start = self.offset + (top + y) * down + left * across
                    if between == size and across == 3 * size:
                        out[y] = self._row(file, start, 3 * width).reshape(width, 3)
                        continue
                    for c in range(3):
                        out[y, :, c] = self._row(file, start + c * between, width)
        except OSError as error:
            raise damaged(self.path, "a raster", error) from error
        return out[..., self.order] if self.order != (0, 1, 2) else out

    def _row(self, file: Any, start: int, count: int) -> np.ndarray:
        file.seek(start)
        wanted = count * self.dtype.itemsize
        data = file.read(wanted)
        if len(data) < wanted:
            raise FormatError(
                f"{self.path} ends too early", expected=f"{wanted} bytes at {start}", got=len(data)
            )
        return np.frombuffer(data, self.dtype)


@dataclass(frozen=True)
class Raster:
    """An image file: its pixels, what else is known of it, and which files it consists of."""

    pixels: Pixels
    files: tuple[Path, ...]
    value_range: tuple[float, float] | None = None
    """Range that the file itself declares; None: the dtype's, or [0, 1] for floats."""
    notes: tuple[str, ...] = field(default=())
    """What a user should know about how it is read."""

    @property
    def shape(self) -> tuple[int, int]:
        """H, W."""
        return self.pixels.shape

    def identity(self) -> dict[str, Any]:
        """Shape, and for each file its name, bytes, time of change (ns) and sha256 of its content (of
        samples of it, where it is large)."""
        return {
            "shape": list(self.shape),
            "files": [
                {
                    "name": path.name,
                    "bytes": path.stat().st_size,
                    "changed_ns": path.stat().st_mtime_ns,
                    "sha256": _digest(path),
                }
                for path in self.files
            ],
        }


def open_raster(path: str | Path) -> Raster:
    """The image at ``path``: ENVI (.hdr, three bands), .npy, TIFF, or any photograph.

    ENVI, .npy and plain TIFF stay on the disk; what is compressed is decoded as a whole. Raises
    InputError, FormatError.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    require_file(path)
    if suffix == ".hdr":
        return _envi(path)
    if suffix == ".npy":
        return _npy(path)
    if suffix in (".tif", ".tiff"):
        found = _plain_tiff(path)
        if found is not None:
            return Raster(found, (path,))
    from hsrzoo.io.images import read_image

    array = read_image(path)
    notes: tuple[str, ...] = ()
    if suffix in (".tif", ".tiff"):
        notes = (f"{path.name} is compressed or not stored pixel by pixel: it is held in memory whole",)
    return Raster(ArrayPixels(array), (path,), notes=notes)


def _npy(path: Path) -> Raster:
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise damaged(path, "NPY", error) from error
    if not isinstance(mapped, np.memmap):
        raise damaged(path, "NPY", ValueError("it holds several arrays"))
    channels = _channel_axis(mapped.shape, path)
    _require_numbers(mapped.dtype, path)
    strides = mapped.strides if channels == 2 else (*mapped.strides[1:], mapped.strides[0])
    shape = mapped.shape[:2] if channels == 2 else mapped.shape[1:]
    pixels = FilePixels(path, mapped.dtype, _pair(shape), _three(strides), int(mapped.offset))
    size, across, between = mapped.dtype.itemsize, strides[1], strides[2]
    if min(strides) >= 0 and (across == size or (across, between) == (3 * size, size)):
        return Raster(pixels, (path,))
    whole = np.ascontiguousarray(mapped if channels == 2 else mapped.transpose(1, 2, 0))
    return Raster(
        ArrayPixels(whole), (path,), notes=(f"{path.name} is stored by columns: it is held whole",)
    )


def _channel_axis(shape: Sequence[int], path: Path) -> int:
    """2 for (H, W, 3), 0 for (3, H, W)."""
    if len(shape) == 3 and 0 not in shape and 3 in (shape[0], shape[2]):
        return 2 if shape[2] == 3 else 0
    raise InputError(f"{path} does not hold an RGB image", expected="(H, W, 3) or (3, H, W)", got=shape)


def _envi(header: Path) -> Raster:
    from hsrzoo.io.envi import opened

    image = opened(header)
    rows, columns, bands = image.shape
    if bands != 3:
        raise InputError(
            f"{header} does not hold an RGB image", expected="three bands", got=f"{bands} bands"
        )
    binary, dtype = Path(image.filename), np.dtype(image.dtype)
    _require_numbers(dtype, header)
    n = dtype.itemsize
    interleave = str(image.metadata.get("interleave", "bsq")).lower()
    strides = {
        "bip": (3 * columns * n, 3 * n, n),
        "bil": (3 * columns * n, n, columns * n),
        "bsq": (columns * n, n, rows * columns * n),
    }[interleave]
    order, notes = _rgb_order(image.bands.centers)
    pixels = FilePixels(binary, dtype, (rows, columns), strides, int(image.offset), order)
    scale = float(image.metadata.get("reflectance scale factor", 0) or 0)
    return Raster(pixels, (header, binary), (0.0, scale) if scale > 0 else None, notes)


def _rgb_order(centres: Sequence[float] | None) -> tuple[tuple[int, int, int], tuple[str, ...]]:
    """Which stored band is red, green, blue: by wavelength, red the longest, where it is known."""
    if centres is None or len(set(centres)) < 3:
        return (0, 1, 2), ()
    order = _three(np.argsort(-np.asarray(centres, dtype=float)).tolist())
    if order == (0, 1, 2):
        return order, ()
    named = ", ".join(f"{centres[i]:g}" for i in order)
    return order, (f"by their wavelengths, red, green and blue are the bands at {named}",)


def _plain_tiff(path: Path) -> FilePixels | None:
    """The pixels of an uncompressed upright RGB TIFF; None if it is none."""
    from hsrzoo.io.tiff import opened_tiff

    with opened_tiff(path) as tiff:
        page = tiff.pages.first
        tag = page.tags.get("Orientation")
        upright = tag is None or int(tag.value) == 1
        plain = page.is_memmappable and upright and len(page.shape) == 3 and len(tiff.series[0].pages) == 1
        if not plain or page.photometric not in _COLOUR:
            return None
        dtype = np.dtype(page.dtype).newbyteorder(tiff.byteorder)
        shape, offset, planar = page.shape, int(page.dataoffsets[0]), page.axes == "SYX"
    n = dtype.itemsize
    if page.axes == "YXS" and shape[2] == 3:
        rows, columns = shape[:2]
        return FilePixels(path, dtype, (rows, columns), (3 * columns * n, 3 * n, n), offset)
    if planar and shape[0] == 3:
        rows, columns = shape[1:]
        return FilePixels(path, dtype, (rows, columns), (columns * n, n, rows * columns * n), offset)
    return None


def _require_numbers(dtype: np.dtype, path: Path) -> None:
    if dtype.kind not in "uif":
        raise InputError(f"{path} does not hold pixels", expected="integers or floats", got=dtype)


def _pair(values: Sequence[int]) -> tuple[int, int]:
    return int(values[0]), int(values[1])


def _three(values: Sequence[int]) -> tuple[int, int, int]:
    return int(values[0]), int(values[1]), int(values[2])


def _digest(path: Path) -> str:
    """Hex sha256 of a file, or of :data:`_SAMPLES` evenly spread pieces of a large one."""
    size = path.stat().st_size
    digest = hashlib.sha256()
    if size <= _WHOLE_FILE:
        starts = [i * _SAMPLE for i in range(math.ceil(size / _SAMPLE))]
    else:
        starts = [(size - _SAMPLE) * i // (_SAMPLES - 1) for i in range(_SAMPLES)]
    with path.open("rb") as file:
        for start in starts:
            file.seek(start, os.SEEK_SET)
            digest.update(file.read(_SAMPLE))
    return digest.hexdigest()
