"""MATLAB files: v5 read by scipy, v7.3 (HDF5 with a header in front) read and written by h5py.

Axis orders are always those that MATLAB shows; HDF5 holds them reversed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.errors import FormatError
from hsrzoo.io.common import CubeAndBands, cube_among, format_errors, output_file
from hsrzoo.io.h5 import ERRORS, arrays_in
from hsrzoo.io.values import UNITS

_USER_BLOCK = 512
"""Bytes before the HDF5 part: MATLAB puts its 128-byte header there."""
_HDF5 = b"\x89HDF\r\n\x1a\n"


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


def load(path: Path, *, key: str | None = None, axes: str | None = None) -> CubeAndBands:
    """The cube as (H, W, C) float32; ``key`` its variable, ``axes`` its order as MATLAB shows it
    ("hwc" if not given). Version by the file's first bytes."""
    with variables(path) as arrays:
        return cube_among(arrays, key, axes or "hwc", path)


@contextmanager
def variables(path: Path) -> Iterator[dict[str, Any]]:
    """The numeric variables of a file of either version by name, each with ``shape`` and ``[()]`` as
    MATLAB shows them; those of v7.3 are read on access."""
    with path.open("rb") as stream:
        start = stream.read(_USER_BLOCK + 8)
    if start[:8] == _HDF5 or start[_USER_BLOCK:] == _HDF5:
        with format_errors(path, "MATLAB v7.3", ERRORS), h5py.File(path, "r") as file:
            yield {name: _Reversed(array) for name, array in arrays_in(file).items()}
    else:
        yield _version_5(path)


class _Reversed:
    """An HDF5 dataset of v7.3, whose axes are MATLAB's in reverse."""

    def __init__(self, stored: h5py.Dataset) -> None:
        self.stored = stored
        self.shape = tuple(stored.shape or ())[::-1]

    def __getitem__(self, index: tuple[()]) -> np.ndarray:
        return np.asarray(self.stored[index]).T


def _version_5(path: Path) -> dict[str, np.ndarray]:
    from scipy.io import loadmat

    with format_errors(path, "MATLAB v5"):
        content = loadmat(path)
    arrays = {
        name: value
        for name, value in content.items()
        if not name.startswith("__") and isinstance(value, np.ndarray) and value.dtype.kind in "iuf"
    }
    if not arrays:
        raise FormatError(f"{path} holds no numeric array", got=", ".join(content) or "nothing")
    return arrays
