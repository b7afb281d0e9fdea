"""HDF5: one dataset for the cube, one for the wavelengths, units as attributes."""

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


@contextmanager
def open_h5(path: Path, kind: str = "HDF5") -> Iterator[h5py.File]:
    """A file for reading; errors of the library while it is open become a FormatError.

    Refused are files of which a part lies in another file: what is read would be chosen by whoever made
    the file, on the disk of whoever reads it.
    """
    with format_errors(path, kind, ERRORS), h5py.File(path, "r") as file:
        outside: list[str] = []

        def link(name: str, found: Any) -> None:
            if isinstance(found, h5py.ExternalLink):
                outside.append(f"{name} is a link to {found.filename}")

        def item(name: str, found: Any) -> None:
            if isinstance(found, h5py.Dataset):
                files = [part[0] for part in found.external or ()]
                files += (
                    [s.file_name for s in found.virtual_sources() if s.file_name != "."]
                    if found.is_virtual
                    else []
                )
                outside.extend(f"{name} lies in {file}" for file in files[:1])

        file.visititems_links(link)
        file.visititems(item)
        if outside:
            raise FormatError(
                f"{path} refers to other files, which is not followed",
                expected="all of its data inside it",
                got="; ".join(outside[:3]),
                fix="Copy the data into one file, with h5repack or h5py",
            )
        yield file


def arrays_in(file: h5py.File) -> dict[str, Variable]:
    """All numeric datasets of the file by their path without the leading slash, read on access."""
    found: dict[str, Variable] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "iuf":
            found[name] = Variable(
                tuple(item.shape or ()), partial(item.__getitem__, ()), item.attrs, _axes(item)
            )

    file.visititems(visit)
    return found


def _axes(stored: h5py.Dataset) -> tuple[str, ...]:
    """Names of the axes: labels, or scales, which NetCDF calls dimensions."""
    dims = stored.dims if stored.ndim == 3 else ()
    return tuple(dim.label or next(iter(dim.keys()), "") for dim in dims)


def load(
    path: Path, *, key: str | None = None, axes: str | None = None, scale: float | None = None,
    no_data: float | None = None,
) -> CubeAndBands:  # fmt: skip
    """The cube as (H, W, C) float32, and its bands; see :func:`hsrzoo.io.arrays.cube_among`. NetCDF-4 is
    HDF5; classic NetCDF is read by scipy."""
    with path.open("rb") as stream:
        classic = stream.read(3) == b"CDF"
    with _classic(path) if classic else open_h5(path) as file:
        arrays = file if classic else arrays_in(file)
        return cube_among(arrays, key, axes, path, scale=scale, no_data=no_data)


@contextmanager
def _classic(path: Path) -> Iterator[dict[str, Variable]]:
    """The numeric variables of a classic NetCDF file."""
    from scipy.io import netcdf_file

    with format_errors(path, "NetCDF"), netcdf_file(path, "r", mmap=False) as file:
        yield {
            name: Variable(v.shape, partial(np.asarray, v.data), vars(v)["_attributes"], v.dimensions)
            for name, v in file.variables.items()
            if v.data.dtype.kind in "iuf"
        }
