"""Reading photographs, reading and writing cubes. One file per format, imported when it is needed."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsrzoo.errors import FormatError, require_known

if TYPE_CHECKING:
    import numpy as np

    from hsrzoo.bands import BandSet
    from hsrzoo.io.model_input import HasConfig

_FORMATS = {
    "envi": (".hdr", ".img", ".dat", ".bsq", ".bil", ".bip"),
    "tiff": (".tif", ".tiff"),
    "zarr": (".zarr",),
    "h5": (".h5", ".hdf5", ".he5", ".nc", ".nc4"),
    "mat": (".mat",),
    "npz": (".npz", ".npy"),
}
_READ_ONLY = (".npy", ".dat", ".bsq", ".bil", ".bip", ".he5", ".nc", ".nc4")
SUFFIX_OF = {name: suffixes[0] for name, suffixes in _FORMATS.items()}
"""The ending that a file of each format is given."""
CUBE_SUFFIXES = tuple(suffix for suffixes in _FORMATS.values() for suffix in suffixes)


def save_cube(
    path: str | Path,
    cube: np.ndarray,
    bands: BandSet,
    *,
    format: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> None:
    """Write a cube as float32 with its wavelengths inside the file, whole or not at all.

    Args:
        path: Its suffix chooses the format: .hdr or .img (ENVI, both files), .tif/.tiff, .h5/.hdf5, .mat
            (MATLAB v7.3), .npz, .zarr.
        cube: (H, W, C) numbers.
        bands: The C bands.
        format: envi, tiff, h5, mat, npz or zarr, if the suffix should not choose.
        metadata: Kept where the format has room; ``units`` are the units of the values.

    Raises:
        InputError: The cube cannot be saved, or the file cannot be written.
        BandsError: The number of bands is not C.
        FormatError: The suffix is unknown, or of a format that can only be read.
    """
    from hsrzoo.io.common import require_cube

    path = Path(path)
    if format is None:
        require_writable(path)
    name = format or format_of(path)
    require_known("cube format", name, _FORMATS)
    import_module(f"hsrzoo.io.{name}").save(path, require_cube(cube, bands), bands, metadata or {})


def require_writable(path: Path) -> None:
    """FormatError unless the suffix is that of a format in which cubes are written."""
    suffix = path.suffix.lower()
    if suffix not in CUBE_SUFFIXES:
        problem = f"The suffix of {path.name} is not that of a cube format"
    elif suffix in _READ_ONLY:
        problem = f"{path.suffix} files can only be read"
    else:
        return
    raise FormatError(problem, expected=".hdr, .tif, .h5, .mat, .npz or .zarr")


def load_cube(
    path: str | Path, *, format: str | None = None, key: str | None = None, axes: str | None = None,
    scale: float | None = None, nodata: float | None = None,
) -> tuple[np.ndarray, BandSet | None]:  # fmt: skip
    """Read a cube and, if the file states them, its bands.

    What the file states about its numbers (no data, scale, offset, masks, bad bands) is applied once, and
    named by a :class:`hsrzoo.errors.Note`. Bands that are not sorted by wavelength are sorted, unless they
    are those of several detectors (:meth:`hsrzoo.bands.BandSet.sorting`) or were written in this order by
    :func:`save_cube` or ``hsrzoo predict``.

    Args:
        path: An ENVI, TIFF, HDF5, NetCDF, MATLAB, NumPy or Zarr file.
        format: envi, tiff, h5, mat, npz or zarr, if the suffix should not choose.
        key: The variable of a .mat, .h5 or .npz file ("a.b" for a field of a struct, "a{1}" in a cell), or
            the array of a Zarr group (default: "cube", or the only array with three axes).
        axes: The stored order, a permutation of "hwc"; for .mat, .h5 and .npz also "c(wh)" and the like, a
            matrix of bands and pixels (see :func:`hsrzoo.io.arrays.cube_among`).
        scale: What 1.0 is stored as, for files that do not state it.
        nodata: A stored number that stands for no data, besides those that the file states.

    Returns:
        The cube, (H, W, C) float32, NaN where there is no data; and its bands or None.

    Raises:
        InputError: There is no such file, ``axes`` is not an order, or the file states another scale.
        FormatError: The file is damaged or holds no cube.
    """
    from hsrzoo.io.common import require_file

    path = Path(path)
    if not (path.is_dir() and (format or path.suffix.lower()) in ("zarr", ".zarr")):
        require_file(path)
    name = format or format_of(path)
    require_known("cube format", name, _FORMATS)
    load = import_module(f"hsrzoo.io.{name}").load
    return load(path, key=key, axes=axes, scale=scale, no_data=nodata)


def read_image(path: str | Path) -> np.ndarray:
    """Read an RGB photograph, upright, with its values as stored: not decoded to linear light, as
    :func:`read_photo` does.

    Args:
        path: PNG, JPEG, TIFF, BMP, WebP, PPM, JPEG 2000, HEIC or AVIF with three channels.

    Returns:
        (H, W, 3) uint8 or uint16, scaled where a file states another full scale (a PPM of 12 bits); a TIFF
        may also give other integers or floats.

    Raises:
        InputError: There is no such file, it is a raw photograph, or not RGB (grey, palette, alpha, CMYK,
            Lab, YCbCr).
        FormatError: The file is truncated, empty or of an unknown format.
    """
    from hsrzoo.io.photographs.images import read_image as read

    return read(path)


def read_photo(path: str | Path, model: HasConfig | None = None, **how: Any) -> np.ndarray:
    """Read an RGB photograph with linear values, for ``model``; see
    :func:`hsrzoo.io.model_input.read_photo`."""
    from hsrzoo.io.model_input import read_photo as read

    return read(path, model, **how)


def format_of(path: Path) -> str:
    """The name of the format that the suffix is of; FormatError without one."""
    for name, suffixes in _FORMATS.items():
        if path.suffix.lower() in suffixes:
            return name
    raise FormatError(
        f"The suffix of {path.name} is not that of a cube format", expected=", ".join(CUBE_SUFFIXES)
    )


__all__ = [
    "CUBE_SUFFIXES",
    "SUFFIX_OF",
    "format_of",
    "load_cube",
    "read_image",
    "read_photo",
    "require_writable",
    "save_cube",
]
