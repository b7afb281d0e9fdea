"""MATLAB files: v5 read by scipy, v7.3 (HDF5 with a header in front) read and written by h5py.

Axis orders are always those that MATLAB shows; HDF5 holds them reversed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.errors import FormatError
from hsrzoo.io.arrays import Variable, cube_among
from hsrzoo.io.common import CubeAndBands, format_errors, output_file
from hsrzoo.io.h5 import open_h5
from hsrzoo.io.values import UNITS, text_of

_USER_BLOCK = 512
"""Bytes before the HDF5 part: MATLAB puts its 128-byte header there."""
_HDF5 = b"\x89HDF\r\n\x1a\n"
_DEEPEST = 8
"""Structs and cells in each other."""


def header() -> bytes:
    """The 128 bytes that make MATLAB recognise a v7.3 file (no date: same cube, same bytes)."""
    text = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created by hsrzoo HDF5 schema 1.00 ."
    # 116 bytes of text, 8 for the subsystem's data (none), version 0x0200, byte order "MI" as stored
    # by a little-endian machine.
    return text.ljust(116) + bytes(8) + (0x0200).to_bytes(2, "little") + b"IM"


def save(path: Path, cube: np.ndarray, bands: BandSet, metadata: dict[str, Any]) -> None:
    """Write a v7.3 file: ``cube`` single H x W x C, ``bands`` (nm) and ``widths_nm`` as double rows,
    ``units``, ``wavelength_units`` and ``metadata`` (JSON) as text."""
    with output_file(path) as temporary:
        with h5py.File(temporary, "w", userblock_size=_USER_BLOCK) as file:
            _variable(file, "cube", cube.transpose(2, 1, 0), "single")
            _variable(file, "bands", np.asarray(bands.centres_nm)[:, None], "double")
            if bands.widths_nm is not None:
                _variable(file, "widths_nm", np.asarray(bands.widths_nm)[:, None], "double")
            _text(file, "wavelength_units", "nm")
            _text(file, "units", str(metadata.get("units", UNITS)))
            _text(file, "metadata", json.dumps(metadata, sort_keys=True, default=str))
        with temporary.open("rb+") as stream:
            stream.write(header())


def _variable(file: h5py.File, name: str, values: np.ndarray, matlab_class: str) -> h5py.Dataset:
    dataset = file.create_dataset(name, data=np.ascontiguousarray(values))
    dataset.attrs["MATLAB_class"] = np.bytes_(matlab_class)
    return dataset


def _text(file: h5py.File, name: str, text: str) -> None:
    codes = np.frombuffer(text.encode("utf-16-le"), dtype=np.uint16)[:, None]
    _variable(file, name, codes, "char").attrs["MATLAB_int_decode"] = np.int32(2)


def load(
    path: Path, *, key: str | None = None, axes: str | None = None, scale: float | None = None,
    no_data: float | None = None,
) -> CubeAndBands:  # fmt: skip
    """The cube as (H, W, C) float32, and its bands; see :func:`hsrzoo.io.arrays.cube_among`. ``key`` is its
    variable, or "variable.field" in a struct, "variable{1}" in a cell; ``axes`` its order as MATLAB shows
    it. Version by the file's first bytes."""
    key = key and key.replace("/", ".")
    with variables(path) as arrays:
        return cube_among(arrays, key, axes, path, scale=scale, no_data=no_data)


@contextmanager
def variables(path: Path) -> Iterator[dict[str, Variable]]:
    """The numeric variables and texts of a file of either version by name, also those in structs and
    cells, as MATLAB shows them; those of v7.3 are read on access."""
    with path.open("rb") as stream:
        start = stream.read(_USER_BLOCK + 8)
    found: dict[str, Variable] = {}
    if start[:8] == _HDF5 or start[_USER_BLOCK:] == _HDF5:
        with open_h5(path, "MATLAB v7.3") as file:
            _add_stored(file, "", file, found)
            yield found
    else:
        from scipy.io import loadmat

        with format_errors(path, "MATLAB v5"):
            content = loadmat(path)
        names = [name for name in content if not name.startswith("__")]
        for name in names:
            _add(name, content[name], found)
        if not found:
            raise FormatError(f"{path} holds no numeric array", got=", ".join(names) or "nothing")
        yield found


def _add(name: str, value: Any, found: dict[str, Variable], depth: int = 0) -> None:
    """Add an array of a v5 file, or those in a struct or a cell."""
    if not isinstance(value, np.ndarray) or depth > _DEEPEST:
        return
    if value.dtype.kind in "iufU":
        found[name] = Variable(value.shape, value.view)
        return
    if not (value.dtype.names or value.dtype.kind == "O"):
        return
    for number, item in enumerate(value.ravel(order="F"), 1):
        if not value.dtype.names:
            _add(f"{name}{{{number}}}", item, found, depth + 1)
        for part in value.dtype.names or ():
            one = name if value.size == 1 else f"{name}({number})"
            _add(f"{one}.{part}", item[part], found, depth + 1)


def _add_stored(file: h5py.File, name: str, item: Any, found: dict[str, Variable], depth: int = 0) -> None:
    """Add a dataset of a v7.3 file, or those in a struct (a group) or a cell (references)."""
    if depth > _DEEPEST:
        return
    if isinstance(item, h5py.Group):
        for part in item:
            if not part.startswith("#"):
                _add_stored(file, f"{name}.{part}" if name else part, item.get(part), found, depth + 1)
    elif isinstance(item, h5py.Dataset) and h5py.check_ref_dtype(item.dtype) is h5py.Reference:
        for number, reference in enumerate(np.ravel(item[()]), 1):
            _add_stored(file, f"{name}{{{number}}}", file[reference], found, depth + 1)
    elif isinstance(item, h5py.Dataset) and item.dtype.kind in "iuf":
        shape = tuple(item.shape or ())[::-1]
        found[name] = Variable(shape, partial(_as_shown, item), item.attrs)


def _as_shown(stored: h5py.Dataset) -> np.ndarray:
    """Axes are MATLAB's in reverse, texts are arrays of UTF-16 codes."""
    array = np.asarray(stored[()])
    if text_of(stored.attrs.get("MATLAB_class")) == "char":
        return np.asarray(array.astype("<u2").tobytes().decode("utf-16-le", "replace"))
    return array.T
