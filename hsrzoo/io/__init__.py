"""Reading photographs, reading and writing cubes. One file per format, imported when it is needed."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsrzoo.errors import FormatError, require_known

if TYPE_CHECKING:
    import numpy as np

    from hsrzoo.bands import BandSet
    from hsrzoo.io.photo import Encoding

_FORMATS = {
    "envi": (".hdr", ".img", ".dat", ".bsq", ".bil", ".bip"),
    "tiff": (".tif", ".tiff"),
    "zarr": (".zarr",),
    "h5": (".h5", ".hdf5"),
    "mat": (".mat",),
    "npz": (".npz", ".npy"),
}
_READ_ONLY = (".npy", ".dat", ".bsq", ".bil", ".bip")
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
    """Write ``cube`` (H, W, C) as float32 with its wavelengths inside the file.

    The format goes by the suffix: .hdr or .img (ENVI, both files), .tif/.tiff, .h5/.hdf5, .mat
    (MATLAB v7.3), .npz, .zarr; or by ``format``: envi, tiff, h5, mat, npz, zarr. ``metadata`` is kept
    where the format has room; its ``units`` names the cube's units. The file appears whole or not at all.
    """
    from hsrzoo.io.common import require_cube

    path = Path(path)
    name = format or format_of(path)
    require_known("cube format", name, _FORMATS)
    if format is None:
        require_writable(path)
    import_module(f"hsrzoo.io.{name}").save(path, require_cube(cube, bands), bands, metadata or {})


def require_writable(path: Path) -> None:
    """FormatError unless the suffix is that of a format in which cubes are written."""
    format_of(path)
    if path.suffix.lower() in _READ_ONLY:
        raise FormatError(
            f"{path.suffix} files can only be read", expected=".hdr, .tif, .h5, .mat, .npz or .zarr"
        )


def load_cube(
    path: str | Path, *, format: str | None = None, key: str | None = None, axes: str | None = None
) -> tuple[np.ndarray, BandSet | None]:
    """Read a cube as float32 (H, W, C), and its bands if the file states them.

    ``key``: the variable of a .mat, .h5 or .npz file (default: "cube", or the only array with three
    axes). ``axes``: the stored order, a permutation of "hwc"; in .mat, .h5 and .npz also "c(wh)" and the
    like, a matrix of bands and pixels (see :func:`hsrzoo.io.common.cube_among`). NaN where the file states
    that there is no data. Damaged files raise FormatError.
    """
    from hsrzoo.io.common import require_file

    path = Path(path)
    if not (path.is_dir() and (format or path.suffix.lower()) in ("zarr", ".zarr")):
        require_file(path)
    name = format or format_of(path)
    require_known("cube format", name, _FORMATS)
    return import_module(f"hsrzoo.io.{name}").load(path, key=key, axes=axes)


def read_image(path: str | Path) -> np.ndarray:
    """An RGB photograph as (H, W, 3) uint8 or uint16; see :func:`hsrzoo.io.images.read_image`."""
    from hsrzoo.io.images import read_image as read

    return read(path)


def read_photo(path: str | Path, encoding: Encoding = "auto") -> np.ndarray:
    """An RGB photograph with values proportional to light; see :func:`hsrzoo.io.photo.read_photo`."""
    from hsrzoo.io.photo import read_photo as read

    return read(path, encoding)


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
