"""Zarr (version 3 of the format): one chunked array (H, W, C) with its wavelengths as attributes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.errors import FormatError, InputError, StoreError
from hsrzoo.io.arrays import Variable, cube_among
from hsrzoo.io.common import CubeAndBands, format_errors, require_parent
from hsrzoo.io.stream import CubeShape, CubeStream, sync_folder
from hsrzoo.io.values import FULL_SCALE, UNITS, Stated, bands_from, by_attributes
from hsrzoo.utils.locks import hold

_CHUNK = 256
"""Largest side of a chunk, pixels; all bands of a pixel lie in one chunk."""
_ROOT_FILES = ("zarr.json", ".zarray", ".zgroup")


def _zarr() -> Any:
    try:
        import zarr

        found = int(zarr.__version__.split(".")[0])
    except ImportError:
        found = 0
    if found < 3:
        raise StoreError(
            "Zarr files need the package zarr, version 3 (Python 3.11 or newer)",
            fix='pip install "hsrzoo[zarr]", or choose .hdr or .tif',
        )
    return zarr


def check_target(out: Path) -> None:
    """StoreError without the package; InputError where ``out`` is something that must not be replaced."""
    _zarr()
    if out.exists() and not any((out / name).is_file() for name in _ROOT_FILES):
        raise InputError(f"{out} is there and is not a Zarr folder", fix="Choose another name")


def chunk_side(step: int, tiles_follow: bool) -> int:
    """Side of a chunk for tiles of ``step`` pixels: the largest divisor up to 256, so that no chunk lies
    in two tiles; the tile itself where the divisor would be too small."""
    if not tiles_follow:
        return min(step, _CHUNK)
    divisor = next(side for side in range(min(step, _CHUNK), 0, -1) if step % side == 0)
    return divisor if divisor >= min(step, 32) else step


class ZarrStream(CubeStream):
    """``NAME.zarr``, in chunks of which each belongs to one tile."""

    def __init__(self, out: Path, cube: CubeShape, step: tuple[int, int], metadata: dict[str, Any]) -> None:
        super().__init__(out, cube, step, metadata)
        lengths = zip((cube.height, cube.width), step, strict=True)
        sides = [min(length, chunk_side(side, side < length)) for length, side in lengths]
        self.chunks = (sides[0], sides[1], len(cube.bands))
        self.rows = sides[0]
        self.array: Any = None
        self.waiting: list[Path] = []

    def create(self) -> None:
        cube = self.cube
        with self.convert_errors(), _raise_cause():
            if self.part.exists():
                shutil.rmtree(self.part)
            self.array = _zarr().create_array(
                str(self.part),
                shape=(cube.height, cube.width, len(cube.bands)),
                chunks=self.chunks,
                dtype=cube.dtype,
                dimension_names=("y", "x", "band"),
                attributes=_attributes(cube, self.metadata),
            )

    def reopen(self) -> bool:
        cube = self.cube
        try:
            self.array = _zarr().open_array(str(self.part), mode="r+")
        except Exception:  # any error of the library: the damaged folder is created again
            return False
        expected = (cube.height, cube.width, len(cube.bands)), self.chunks, np.dtype(cube.dtype)
        return (self.array.shape, self.array.chunks, self.array.dtype) == expected

    def _write(self, top: int, left: int, values: np.ndarray) -> None:
        height, width = values.shape[:2]
        files = self._files(top, left, height, width)
        for file in files:  # of a run that was killed: may be cut short, and must not be read
            file.unlink(missing_ok=True)
        with _raise_cause():
            self.array[top : top + height, left : left + width] = values
        self.waiting += files

    def _files(self, top: int, left: int, height: int, width: int) -> list[Path]:
        down, across, _ = self.chunks
        return [
            self.part / self.array.metadata.encode_chunk_key((y, x, 0))
            for y in range(top // down, -(-(top + height) // down))
            for x in range(left // across, -(-(left + width) // across))
        ]

    def sync(self) -> None:
        with self.convert_errors():
            for file in self.waiting:
                if file.exists():  # a chunk of zeros has no file
                    with file.open("rb") as stream:
                        os.fsync(stream.fileno())
        self.waiting.clear()

    def finish(self) -> None:
        self.sync()
        with self.convert_errors():
            for left in self.part.rglob("*.partial"):
                left.unlink()
            if self.out.exists():
                shutil.rmtree(self.out)
            os.replace(self.part, self.out)
            sync_folder(self.out.parent)


def _attributes(cube: CubeShape, metadata: dict[str, Any]) -> dict[str, Any]:
    """``scale_factor`` and ``add_offset`` as the CF conventions name them."""
    bands = cube.bands
    found: dict[str, Any] = {
        "wavelengths_nm": list(bands.centres_nm),
        "units": metadata.get("units", UNITS),
        "metadata": {key: str(value) for key, value in metadata.items()},
    }
    if bands.widths_nm is not None:
        found["widths_nm"] = list(bands.widths_nm)
    if cube.dtype == "uint16":
        found |= {"scale_factor": 1 / FULL_SCALE["uint16"], "add_offset": 0.0}
    return found


@contextmanager
def _raise_cause() -> Iterator[None]:
    """Zarr runs its writes in tasks, and an OSError of one may come wrapped."""
    try:
        yield
    except Exception as error:
        cause = error.__cause__ or error.__context__
        if isinstance(cause, OSError) and not isinstance(error, OSError):
            raise cause from None
        raise


def save(path: Path, cube: np.ndarray, bands: BandSet, metadata: dict[str, Any]) -> None:
    """Write ``cube`` (H, W, C) float32."""
    height, width = cube.shape[:2]
    require_parent(path)
    check_target(path)
    shape = CubeShape(height, width, bands)
    with hold(path), ZarrStream(path, shape, (height, width), metadata) as stream:
        stream.write_whole(cube)


def open_array(path: Path) -> tuple[Any, BandSet | None, Stated]:
    """The array (H, W, C) of a cube written by :func:`save`, unread, its bands, and what it states."""
    with format_errors(path, "Zarr"):
        array = _zarr().open_array(str(path), mode="r")
        about, count = dict(array.attrs), array.shape[2]
        bands = bands_from(about.get("wavelengths_nm", ()), about.get("widths_nm"), count)
        return array, bands, by_attributes(about, array.dtype, count, path)


def load(
    path: Path, *, key: str | None = None, axes: str | None = None, scale: float | None = None,
    no_data: float | None = None,
) -> CubeAndBands:  # fmt: skip
    """The cube as (H, W, C) float32, and its bands: an array, or the array ``key`` of a group; see
    :func:`hsrzoo.io.arrays.cube_among`."""
    with format_errors(path, "Zarr"):
        node = _zarr().open(str(path), mode="r")
        if hasattr(node, "array_keys"):
            arrays = {name: _variable(node[name]) for name in node.array_keys()}
        elif key is not None:
            raise FormatError(f"{path} is one array and has no keys", got=repr(key))
        else:
            arrays = {"cube": _variable(node)}
        return cube_among(arrays, key, axes, path, scale=scale, no_data=no_data)


def _variable(array: Any) -> Variable:
    about = dict(array.attrs)
    if (
        array.metadata.zarr_format == 2 and array.fill_value
    ):  # version 3 has it for chunks that are not there
        about.setdefault("_FillValue", array.fill_value)
    names = getattr(array.metadata, "dimension_names", None) or about.get("_ARRAY_DIMENSIONS") or ()
    return Variable(
        tuple(array.shape), lambda: np.asarray(array[...]), about, tuple(str(n or "") for n in names)
    )
