"""NumPy files: ``.npz`` with wavelengths inside, and bare ``.npy`` arrays (reading only)."""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.bands import BandSet
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
    with replaced(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)


def load(
    path: Path, *, key: str | None = None, axes: str | None = None
) -> tuple[np.ndarray, BandSet | None]:
    """The cube as (H, W, C) float32; ``axes`` is the stored order, "hwc" if not given."""
    if path.suffix.lower() == ".npy":
        try:
            array = np.load(path, allow_pickle=False)
        except _BROKEN as error:
            raise damaged(path, "NPY", error) from error
        return to_hwc(array, axes or "hwc", path), None
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (*_BROKEN, AttributeError) as error:  # a bare array under an .npz name has no .files
        raise damaged(path, "NPZ", error) from error
    cube = to_hwc(arrays[one_cube({k: a.shape for k, a in arrays.items()}, key, path)], axes or "hwc", path)
    centres = next((arrays[k] for k in WAVELENGTH_KEYS if k in arrays), None)
    widths = next((arrays[k] for k in WIDTH_KEYS if k in arrays), None)
    return cube, None if centres is None else bands_from(centres, widths, cube.shape[2])
