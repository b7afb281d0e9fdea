"""NumPy files: ``.npz`` with wavelengths inside, and bare ``.npy`` arrays (reading only)."""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.io.arrays import cube_among, in_memory
from hsrzoo.io.common import CubeAndBands, format_errors, output_file
from hsrzoo.io.values import UNITS

_BROKEN = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)


def save(path: Path, cube: np.ndarray, bands: BandSet, metadata: dict[str, Any]) -> None:
    """Write ``cube`` (H, W, C), ``wavelengths_nm``, ``widths_nm`` if known, ``units``, ``metadata``."""
    arrays: dict[str, Any] = {
        "cube": cube,
        "wavelengths_nm": np.asarray(bands.centres_nm),
        "units": np.asarray(metadata.get("units", UNITS)),
        "metadata": np.asarray(json.dumps(metadata, sort_keys=True, default=str)),
    }
    if bands.widths_nm is not None:
        arrays["widths_nm"] = np.asarray(bands.widths_nm)
    with output_file(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)


def load(
    path: Path, *, key: str | None = None, axes: str | None = None, scale: float | None = None,
    no_data: float | None = None,
) -> CubeAndBands:  # fmt: skip
    """The cube as (H, W, C) float32, and its bands; see :func:`hsrzoo.io.arrays.cube_among`."""
    if path.suffix.lower() == ".npy":
        key = key or "cube"
        with format_errors(path, "NPY", _BROKEN):
            arrays = {key: np.load(path, allow_pickle=False)}
    else:
        errors = (*_BROKEN, TypeError, AttributeError)  # a bare array under an .npz name is no archive
        with format_errors(path, "NPZ", errors), np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    return cube_among(in_memory(arrays), key, axes, path, scale=scale, no_data=no_data)
