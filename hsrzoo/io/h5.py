"""HDF5: one dataset for the cube, one for the wavelengths, units as attributes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.io.common import CubeAndBands, cube_among, format_errors, one_cube, output_file
from hsrzoo.io.values import UNITS

ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError)
"""What HDF5 raises for damaged files."""


def save(path: Path, cube: np.ndarray, bands: BandSet, metadata: dict[str, Any]) -> None:
    """Write ``/cube`` (H, W, C) with units, ``/wavelengths_nm``, the scale of its third axis, and
    ``/widths_nm``, both in nm."""
    with output_file(path) as temporary, h5py.File(temporary, "w") as file:
        stored = file.create_dataset("cube", data=cube)
        stored.attrs["units"] = metadata.get("units", UNITS)
        stored.attrs["axes"] = "hwc"
        file.attrs["metadata"] = json.dumps(metadata, sort_keys=True, default=str)
        lists = {"wavelengths_nm": bands.centres_nm, "widths_nm": bands.widths_nm}
        for name, values in lists.items():
            if values is not None:
                file.create_dataset(name, data=np.asarray(values)).attrs["units"] = "nm"
        for axis, label in zip(stored.dims, ("y", "x", "wavelength"), strict=True):
            axis.label = label
        file["wavelengths_nm"].make_scale("wavelength")
        stored.dims[2].attach_scale(file["wavelengths_nm"])


def arrays_in(file: h5py.File) -> dict[str, h5py.Dataset]:
    """All numeric datasets of the file by their path without the leading slash."""
    found: dict[str, h5py.Dataset] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "iuf":
            found[name] = item

    file.visititems(visit)
    return found


def load(path: Path, *, key: str | None = None, axes: str | None = None) -> CubeAndBands:
    """The cube as (H, W, C) float32; ``axes`` is the stored order: if not given, what the file says
    (attribute ``axes``), else "hwc"."""
    with format_errors(path, "HDF5", ERRORS), h5py.File(path, "r") as file:
        arrays = arrays_in(file)
        if axes is None:
            name = one_cube({name: a.shape for name, a in arrays.items()}, key, path)
            axes = str(arrays[name].attrs.get("axes", "hwc"))
        return cube_among(arrays, key, axes, path)
