"""MATLAB files: v5 read by scipy, v7.3 (HDF5 with a header in front) read and written by h5py.

Axis orders are always those that MATLAB shows; HDF5 holds them reversed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.errors import FormatError
from hsrzoo.io.common import (
    UNITS,
    WAVELENGTH_KEYS,
    WIDTH_KEYS,
    bands_from,
    damaged,
    one_cube,
    replaced,
    to_hwc,
)
from hsrzoo.io.h5 import arrays_in, bands_in, opened

_USER_BLOCK = 512
"""Bytes before the HDF5 part: MATLAB puts its 128-byte header there."""


def header() -> bytes:
    """The 128 bytes that make MATLAB recognise a v7.3 file (no date: same cube, same bytes)."""
    text = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created by hsrzoo HDF5 schema 1.00 ."
    # 116 bytes of text, 8 for the subsystem's data (none), version 0x0200, byte order "MI" as stored
    # by a little-endian machine.
    return text.ljust(116) + bytes(8) + (0x0200).to_bytes(2, "little") + b"IM"


def save(path: Path, cube: np.ndarray, bands: BandSet, metadata: dict[str, Any]) -> None:
    """Write a v7.3 file: ``cube`` single H x W x C, ``bands`` (nm) and ``widths_nm`` as double rows,
    ``units`` and ``wavelength_units`` as text."""
    with replaced(path) as temporary:
        with h5py.File(temporary, "w", userblock_size=_USER_BLOCK) as file:
            _variable(file, "cube", cube.transpose(2, 1, 0), "single")
            _variable(file, "bands", np.asarray(bands.centres_nm)[:, None], "double")
            if bands.widths_nm is not None:
                _variable(file, "widths_nm", np.asarray(bands.widths_nm)[:, None], "double")
            _text(file, "wavelength_units", "nm")
            _text(file, "units", str(metadata.get("units", UNITS)))
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
    path: Path, *, key: str | None = None, axes: str | None = None
) -> tuple[np.ndarray, BandSet | None]:
    """The cube as (H, W, C) float32; ``key`` its variable, ``axes`` its order as MATLAB shows it
    ("hwc" if not given). Version by the file's first bytes."""
    with path.open("rb") as stream:
        start = stream.read(_USER_BLOCK + 8)
    is_hdf5 = start[:8] == b"\x89HDF\r\n\x1a\n" or start[_USER_BLOCK:] == b"\x89HDF\r\n\x1a\n"
    return _load_v73(path, key, axes or "hwc") if is_hdf5 else _load_v5(path, key, axes or "hwc")


def _load_v73(path: Path, key: str | None, axes: str) -> tuple[np.ndarray, BandSet | None]:
    with opened(path, "MATLAB v7.3") as file:
        arrays = arrays_in(file)
        name = one_cube({k: a.shape[::-1] for k, a in arrays.items()}, key, path)
        cube = to_hwc(arrays[name][()].T, axes, path)
        return cube, bands_in(arrays, cube.shape[2])


def _load_v5(path: Path, key: str | None, axes: str) -> tuple[np.ndarray, BandSet | None]:
    from scipy.io import loadmat

    try:
        content = loadmat(path)
    except Exception as error:  # scipy raises anything from struct.error to MatReadError on bad bytes
        raise damaged(path, "MATLAB v5", error) from error
    arrays = {
        name: value
        for name, value in content.items()
        if not name.startswith("__") and isinstance(value, np.ndarray) and value.dtype.kind in "iuf"
    }
    if not arrays:
        raise FormatError(f"{path} holds no numeric array", got=", ".join(content) or "nothing")
    cube = to_hwc(arrays[one_cube({k: a.shape for k, a in arrays.items()}, key, path)], axes, path)
    centres = next((arrays[k] for k in WAVELENGTH_KEYS if k in arrays), None)
    widths = next((arrays[k] for k in WIDTH_KEYS if k in arrays), None)
    return cube, None if centres is None else bands_from(centres, widths, cube.shape[2])
