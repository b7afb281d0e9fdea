"""RGB images read window by window: photographs, and rasters that stay on the disk.

Windows are read from the file and not mapped: pages of a mapping count as the process's memory for as
long as the system pleases.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from hsrzoo.errors import FormatError, InputError
from hsrzoo.io.common import format_errors, is_raw, read_error, require_file
from hsrzoo.io.values import Stated

if TYPE_CHECKING:
    from tifffile import TiffFile

    from hsrzoo.io.envi_header import EnviImage

_WHOLE_FILE = 64 << 20
"""Files up to this many bytes are identified by all of them, larger ones by samples."""
_SAMPLE = 1 << 20
_SAMPLES = 16
_COLOUR = (1, 2)
"""TIFF's PhotometricInterpretation of three plain samples: minisblack, RGB."""
SUFFIXES = (".hdr", ".npy")
"""What :func:`open_raster` reads besides the photographs of :mod:`hsrzoo.io.photographs.images`."""


class Pixels(Protocol):
    """An RGB image of H x W pixels, channels in the order R, G, B."""

    @property
    def shape(self) -> tuple[int, int]:
        """H, W."""

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """(height, width, 3) in the image's own dtype and range."""


@dataclass(frozen=True)
class ArrayPixels:
    """An image (H, W, C) that is sliced as an array: in memory, or in a file that is read when sliced."""

    array: Any

    @property
    def shape(self) -> tuple[int, int]:
        return self.array.shape[0], self.array.shape[1]

    def read(self, top: int, left: int, height: int, width: int, step: int = 1) -> np.ndarray:
        return np.asarray(self.array[top : top + height : step, left : left + width : step])


@dataclass(frozen=True)
class FilePixels:
    """An uncompressed image in a file, its values one after the other from ``offset`` on.

    ``lengths``: of the three axes as they are stored, in the order ``axes``: "hwc", "hcw" or "chw".
    ``order``: which stored channel is red, green, blue; () for all channels as they are stored.
    """

    path: Path
    dtype: np.dtype
    lengths: tuple[int, ...]
    axes: str
    offset: int = 0
    order: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        return self.lengths[self.axes.index("h")], self.lengths[self.axes.index("w")]

    @property
    def channels(self) -> int:
        return self.lengths[self.axes.index("c")]

    def read(self, top: int, left: int, height: int, width: int, step: int = 1) -> np.ndarray:
        """Read row by row, every ``step``-th; where the channels lie apart, each on its own."""
        strides = (self.lengths[1] * self.lengths[2], self.lengths[2], 1)
        down, across, between = (strides[self.axes.index(axis)] for axis in "hwc")
        rows = range(top, top + height, step)
        out = np.empty((len(rows), -(-width // step), self.channels), self.dtype)
        with format_errors(self.path, "a raster", OSError), self.path.open("rb", buffering=0) as file:
            for i, y in enumerate(rows):
                start = y * down + left * across
                if between == 1:
                    row = self._values(file, start, self.channels * width)
                    out[i] = row.reshape(width, self.channels)[::step]
                    continue
                for c in range(self.channels):
                    out[i, :, c] = self._values(file, start + c * between, width)[::step]
        return out[..., self.order] if self.order else out

    def _values(self, file: Any, start: int, count: int) -> np.ndarray:
        file.seek(self.offset + start * self.dtype.itemsize)
        found = np.fromfile(file, self.dtype, count)
        if len(found) < count:
            raise FormatError(f"{self.path} ends too early", expected=f"{count} values", got=len(found))
        return found


@dataclass(frozen=True)
class Raster:
    """An image file: its pixels, what else is known of it, and which files it consists of."""

    pixels: Pixels
    files: tuple[Path, ...]
    value_range: tuple[float, float] | None = None
    """Range that the file itself declares; None: the dtype's, or [0, 1] for floats."""
    notes: tuple[str, ...] = ()
    """Messages for the user about how it is read."""
    raw: bool = False
    """Whether the values are those of a sensor, demosaiced: linear RGB of the camera that took it."""

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
                {"name": p.name, "bytes": s.st_size, "changed_ns": s.st_mtime_ns, "sha256": _digest(p)}
                for p, s in ((path, path.stat()) for path in self.files)
            ],
        }


def open_raster(path: str | Path) -> Raster:
    """The image at ``path``: ENVI (.hdr, three bands), .npy, TIFF, or any photograph, raw ones included.

    ENVI, .npy and plain TIFF stay on the disk; what is compressed is decoded as a whole. Raises
    InputError, FormatError.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    require_file(path)
    if is_raw(path):
        from hsrzoo.io.photographs.raw import read_raw

        pixels, note = read_raw(path)
        return Raster(ArrayPixels(pixels), (path,), notes=(note,), raw=True)
    if suffix in SUFFIXES:
        return _envi(path) if suffix == ".hdr" else _npy(path)
    if suffix in (".tif", ".tiff"):
        return _tiff(path)
    from hsrzoo.io.photographs.images import read_image

    return Raster(ArrayPixels(read_image(path)), (path,))


def _npy(path: Path) -> Raster:
    with format_errors(path, "NPY", (OSError, ValueError, EOFError)):
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(mapped, np.memmap):
        raise read_error(path, "NPY", ValueError("it holds several arrays"))
    shape = mapped.shape
    if len(shape) != 3 or 0 in shape or 3 not in (shape[0], shape[2]):
        raise InputError(f"{path} does not hold an RGB image", expected="(H, W, 3) or (3, H, W)", got=shape)
    _require_numbers(mapped.dtype, path)
    axes = "hwc" if shape[2] == 3 else "chw"
    if mapped.flags.c_contiguous:
        return Raster(FilePixels(path, mapped.dtype, shape, axes, int(mapped.offset)), (path,))
    whole = np.ascontiguousarray(mapped.transpose([axes.index(axis) for axis in "hwc"]))
    note = f"{path.name} is stored by columns: it is held whole"
    return Raster(ArrayPixels(whole), (path,), notes=(note,))


def envi_pixels(image: EnviImage) -> FilePixels:
    """Where the pixels lie in the binary."""
    _require_numbers(image.dtype, image.header)
    return FilePixels(image.binary, image.dtype, image.lengths, image.axes, image.offset)


def _envi(header: Path) -> Raster:
    from hsrzoo.io.envi_header import open_envi

    image = open_envi(header)
    pixels = envi_pixels(image)
    if pixels.channels != 3:
        got = f"{pixels.channels} bands"
        raise InputError(f"{header} does not hold an RGB image", expected="three bands", got=got)
    bands = image.bands()
    order, notes = _rgb_order(None if bands is None else bands.centres_nm)
    raster = Raster(replace(pixels, order=order), (header, image.binary), None, notes)
    return _as_stated(raster, image.stated().select(order), header)


@dataclass(frozen=True)
class _StatedPixels:
    """Pixels of which the file states a scale for each band, or numbers that stand for no data."""

    stored: Pixels
    stated: Stated
    path: Path

    @property
    def shape(self) -> tuple[int, int]:
        return self.stored.shape

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Values if the file states a scale, else what is stored; InputError where pixels lack data, which
        those that lack it in one channel need not: black may be written as such a number."""
        stored = self.stored.read(top, left, height, width)
        if np.isnan(self.stated.apply(stored)).all(axis=-1).any():
            raise InputError(
                f"{self.path} holds pixels without data",
                expected="an image without gaps",
                got="; ".join(self.stated.fields),
                fix="Cut them off, or fill them and remove that statement from the file",
            )
        return replace(self.stated, no_data=(), valid=None).apply(stored) if self.stated.scaled else stored


def _as_stated(raster: Raster, stated: Stated, path: Path) -> Raster:
    """``raster`` with what its file states applied."""
    if not stated.fields:
        return raster
    if stated.divisor is not None and len(stated.fields) == 1:
        return replace(raster, value_range=(0.0, stated.divisor))
    notes = (*raster.notes, f"as the file states: {'; '.join(stated.fields)}")
    pixels = _StatedPixels(raster.pixels, stated, path)
    return replace(raster, pixels=pixels, notes=notes, value_range=(0.0, 1.0) if stated.scaled else None)


def _rgb_order(centres: Sequence[float] | None) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Which stored band is red, green, blue: by wavelength, red the longest, where it is known."""
    if centres is None or len(set(centres)) < 3:
        return (0, 1, 2), ()
    order = tuple(np.argsort(-np.asarray(centres, dtype=float)).tolist())
    if order == (0, 1, 2):
        return order, ()
    named = ", ".join(f"{centres[i]:g}" for i in order)
    return order, (f"by their wavelengths, red, green and blue are the bands at {named}",)


def tiff_pixels(tiff: TiffFile, path: Path) -> FilePixels | None:
    """Where the pixels lie in a TIFF of one uncompressed page; None if they do not lie row by row."""
    page = tiff.pages.first
    if not page.is_memmappable or len(tiff.series[0].pages) != 1 or page.axes not in ("YX", "YXS", "SYX"):
        return None
    dtype = np.dtype(page.dtype).newbyteorder(tiff.byteorder)
    axes = "chw" if page.axes == "SYX" else "hwc"
    return FilePixels(path, dtype, (*page.shape, 1)[:3], axes, int(page.dataoffsets[0]))


def _tiff(path: Path) -> Raster:
    from hsrzoo.io.gdal import sidecars
    from hsrzoo.io.photographs.images import read_image
    from hsrzoo.io.tiff import image_stated_by

    files = (path, *sidecars(path))
    found = _plain_tiff(path)
    if found is not None:
        raster = Raster(found, files)
    else:
        note = f"{path.name} is compressed or not stored pixel by pixel: it is held in memory whole"
        raster = Raster(ArrayPixels(read_image(path)), files, notes=(note,))
    return _as_stated(raster, image_stated_by(path), path)


def _plain_tiff(path: Path) -> FilePixels | None:
    """The pixels of an uncompressed upright RGB TIFF; None if it is none."""
    from hsrzoo.io.tiff import open_tiff

    with open_tiff(path) as tiff:
        page, found = tiff.pages.first, tiff_pixels(tiff, path)
        tag = page.tags.get("Orientation")
        upright = tag is None or int(tag.value) == 1
        return found if found and found.channels == 3 and upright and page.photometric in _COLOUR else None


def _require_numbers(dtype: np.dtype, path: Path) -> None:
    if dtype.kind not in "uif":
        raise InputError(f"{path} does not hold pixels", expected="integers or floats", got=dtype)


def _digest(path: Path) -> str:
    """Hex sha256 of a file, or of :data:`_SAMPLES` evenly spread pieces of a large one."""
    size = path.stat().st_size
    digest = hashlib.sha256()
    starts = list(range(0, size, _SAMPLE))
    if size > _WHOLE_FILE:
        starts = [(size - _SAMPLE) * i // (_SAMPLES - 1) for i in range(_SAMPLES)]
    with path.open("rb") as file:
        for start in starts:
            file.seek(start)
            digest.update(file.read(_SAMPLE))
    return digest.hexdigest()
