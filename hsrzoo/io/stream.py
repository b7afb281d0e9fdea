"""Cubes written part by part while they are made: ENVI, TIFF and Zarr, as float32 or scaled uint16.

All bytes go to ``NAME.part`` until the cube is whole, so that an interrupted run leaves nothing that
looks like a cube, and can go on. Parts are written by plain writes and not through a mapping, whose
pages would count as the process's memory.
"""

from __future__ import annotations

import errno
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.errors import HsrzooError, InputError, StoreError
from hsrzoo.io.values import to_uint16

SUFFIXES = (".hdr", ".tif", ".tiff", ".zarr")
"""Formats that can be written part by part."""
_ROWS = 64
"""Rows of a tile that are converted at once."""


@dataclass(frozen=True)
class CubeShape:
    """What a cube file must hold: H, W, its bands, and how values are stored."""

    height: int
    width: int
    bands: BandSet
    dtype: Literal["float32", "uint16"] = "float32"

    @property
    def bytes(self) -> int:
        """Of all values."""
        return self.height * self.width * len(self.bands) * np.dtype(self.dtype).itemsize

    def encode(self, block: np.ndarray) -> np.ndarray:
        """Float32 values as they are stored; uint16 holds round(65535 x), x cut to [0, 1]."""
        if self.dtype == "float32":
            return np.ascontiguousarray(block, np.float32)
        if not np.isfinite(block).all():
            problem = "The cube holds NaN or infinity, which uint16 cannot"
            raise InputError(problem, fix="Write it as float32")
        return to_uint16(block)


class CubeStream(ABC):
    """A cube file that is being made. ``with stream: stream.write(...); stream.finish()``."""

    rows = _ROWS
    """Rows that are best written at once."""

    def __init__(self, out: Path, cube: CubeShape, step: tuple[int, int], metadata: dict[str, Any]) -> None:
        """``step``: rows and columns of the tiles that will come; ``metadata`` goes into the file."""
        self.out, self.part, self.cube, self.metadata = out, part_of(out), cube, metadata
        self.state = state_of(self.part)
        self.written = False
        """Whether a block came in this run."""

    def __enter__(self) -> CubeStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, top: int, left: int, block: np.ndarray) -> None:
        """Write a block (h, w, C) of float32 values at its place."""
        values = self.cube.encode(block)
        with self.convert_errors():
            self._write(top, left, values)
        self.written = True

    def write_whole(self, cube: np.ndarray) -> None:
        """Create the file, write all of ``cube`` (H, W, C) and finish."""
        self.create()
        for top in range(0, self.cube.height, self.rows):
            self.write(top, 0, cube[top : top + self.rows])
        self.finish()

    @contextmanager
    def convert_errors(self) -> Iterator[None]:
        """Turns an OSError into a StoreError that names the partial file, which stays."""
        try:
            yield
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
            again = "run the same command again"
            fix = f"Make room, and {again}"
            if self.part.exists():
                fix = f"What is done is kept in {self.part}: make room and {again} to go on, or delete it"
            raise StoreError(
                f"There is no room left for {self.out.name}" if full else f"Cannot write {self.out}",
                expected=f"room for {self.cube.bytes / 1e9:,.2f} GB in {self.part.parent}",
                got=error.strerror or str(error),
                fix=fix,
            ) from error

    @abstractmethod
    def create(self) -> None:
        """Begin a new partial file, of its full size where the system can reserve it."""

    @abstractmethod
    def reopen(self) -> bool:
        """Go on with the partial file that is there; False if it is not this cube's."""

    @abstractmethod
    def _write(self, top: int, left: int, values: np.ndarray) -> None: ...

    @abstractmethod
    def sync(self) -> None:
        """Bring what was written so far to the disk."""

    @abstractmethod
    def finish(self) -> None:
        """The cube is whole: give it its name."""

    def nearly_finished(self) -> bool:
        """Whether an earlier run was stopped within :meth:`finish`, so that this alone is left to do."""
        return False

    def discard(self) -> None:
        """Remove the partial file and its saved state."""
        self.close()
        if self.part.is_dir():
            shutil.rmtree(self.part, ignore_errors=True)
        else:
            self.part.unlink(missing_ok=True)
        self.state.unlink(missing_ok=True)

    def close(self) -> None:  # noqa: B027  (formats without an open file have nothing to close)
        """Release the partial file as it is."""


class FlatStream(CubeStream):
    """Pixels one after the other, the bands of each together, from ``offset`` on."""

    offset = 0
    file: Any = None
    """Open after :meth:`create` or :meth:`reopen`."""

    def _header(self) -> int:
        """Write everything before the pixels; returns their offset."""
        self.part.write_bytes(b"")
        return 0

    def create(self) -> None:
        with self.convert_errors():
            self.offset = self._header()
            self.file = self.part.open("r+b", buffering=0)
            _reserve(self.file.fileno(), self.offset, self.cube.bytes)

    def reopen(self) -> bool:
        with suppress(OSError, HsrzooError):
            self.offset = self._offset()
            if self.part.stat().st_size == self.offset + self.cube.bytes:
                self.file = self.part.open("r+b", buffering=0)
                return True
        return False

    def _offset(self) -> int:
        return 0

    def _write(self, top: int, left: int, values: np.ndarray) -> None:
        pixel = len(self.cube.bands) * values.dtype.itemsize
        height, width = values.shape[:2]
        if width == self.cube.width:
            values, height = values.reshape(1, -1), 1
        for y in range(height):
            start = self.offset + ((top + y) * self.cube.width + left) * pixel
            self.file.seek(start)
            data = memoryview(values[y].tobytes())
            while data:  # a write to an unbuffered file may stop short
                data = data[self.file.write(data) :]

    def sync(self) -> None:
        with self.convert_errors():
            os.fsync(self.file.fileno())

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None

    def finish(self) -> None:
        self.sync()
        self.close()
        with self.convert_errors():
            os.replace(self.part, self.out)
            sync_folder(self.out.parent)


def part_of(out: Path) -> Path:
    """Where the bytes of the cube ``out`` go until it is whole."""
    final = out.with_suffix(".img") if out.suffix.lower() == ".hdr" else out
    return final.with_name(final.name + ".part")


def state_of(part: Path) -> Path:
    """Where the progress of writing ``part`` is saved."""
    return part.with_name(part.name + ".json")


def _reserve(handle: int, offset: int, count: int) -> None:
    """Give the file its full size; where the system can, allocate it on the disk, so that a lack of room
    is detected now and not after hours."""
    size = offset + count
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(handle, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                os.ftruncate(handle, offset)  # release what was allocated on a disk that is too small
                raise
    os.ftruncate(handle, size)


def sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where folders can be flushed."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
