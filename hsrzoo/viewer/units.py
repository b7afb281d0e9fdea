"""Units of a cube's values, from its file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.io import format_of

_LONGEST = 80
"""Characters of units that fit beside the plot."""


def units_of(path: Path) -> str | None:
    """Units of the values of a cube file that :func:`hsrzoo.io.load_cube` has read; None if unknown.

    By format: ``data units`` in ENVI headers, ``units`` in the ImageDescription of
    TIFF, as an attribute in HDF5 and Zarr, as a variable in .mat and .npz.
    """
    try:
        found = _READERS[format_of(path)](path)
    except Exception:  # a label must not fail the command, and files have anything under this name
        return None
    text = " ".join(str(found).split()) if found is not None else ""
    return text[:_LONGEST] or None


def _envi(path: Path) -> Any:
    from hsrzoo.io.envi_header import header_of, read_fields

    return read_fields(header_of(path)).get("data units")


def _tiff(path: Path) -> Any:
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        return json.loads(tiff.pages.first.description).get("units")


def _h5(path: Path) -> Any:
    from hsrzoo.io.h5 import open_h5

    with open_h5(path) as file:
        return file["cube"].attrs.get("units")


def _mat(path: Path) -> Any:
    from hsrzoo.io.h5 import open_h5

    with open_h5(path) as file:  # v7.3: text is an array of UTF-16 codes
        return np.asarray(file["units"]).astype("<u2").tobytes().decode("utf-16-le")


def _npz(path: Path) -> Any:
    with np.load(path, allow_pickle=False) as archive:  # fails for .npy, which has no units
        return str(archive["units"]) if "units" in archive.files else None


def _zarr(path: Path) -> Any:
    import zarr

    return zarr.open(str(path), mode="r").attrs.get("units")


_READERS = {"envi": _envi, "tiff": _tiff, "h5": _h5, "mat": _mat, "npz": _npz, "zarr": _zarr}
