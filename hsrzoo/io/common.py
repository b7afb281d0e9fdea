"""What the cube formats share: atomic writing, errors of libraries, axis orders, checks before writing."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.errors import BandsError, FormatError, HsrzooError, InputError, note
from hsrzoo.utils.files import atomic_file, require_regular
from hsrzoo.utils.locks import hold

_PRIMARIES_NM = (640.0, 550.0, 460.0)
"""Wavelengths of the single bands that are displayed as red, green and blue."""
_NEAR_NM = 25.0
"""Largest distance of such a band from its wavelength; beyond it the picture has false colours."""
CubeAndBands = tuple[np.ndarray, BandSet | None]
"""A cube (H, W, C) float32, and its bands if the file states them."""
RAW = (
    ".3fr", ".arw", ".bay", ".cap", ".cr2", ".cr3", ".crw", ".dcr", ".dcs", ".dng", ".erf", ".fff",
    ".gpr", ".iiq", ".k25", ".kdc", ".mdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef",
    ".ptx", ".r3d", ".raf", ".rw2", ".rwl", ".rwz", ".sr2", ".srf", ".srw", ".x3f",
)  # fmt: skip
"""Suffixes of raw photographs, which hold a mosaic of sensor values and a thumbnail."""
_RAW_STARTS = (b"FUJIFILMCCD-RAW", b"IIU\0", b"IIRO", b"IIRS", b"MMOR", b"\0MRM", b"FOVb")


@contextmanager
def output_file(path: Path) -> Iterator[Path]:
    """:func:`hsrzoo.utils.files.atomic_file` for a file that a user named, under its lock.

    Raises InputError, or LockedError if another process is writing the file.
    """
    require_parent(path)
    try:
        with hold(path), atomic_file(path, locked=True) as temporary:
            yield temporary
    except OSError as error:
        raise write_error(path, error) from error


def write_error(path: Path, error: OSError) -> InputError:
    """The InputError for a path that cannot be written: no folder, no permission, no space."""
    expected = "an existing folder that is writable, with room for the file"
    return InputError(f"Cannot write {path}", expected=expected, got=error.strerror or str(error))


def require_parent(path: Path) -> None:
    """InputError unless the folder of an output exists."""
    if not path.parent.is_dir():
        raise write_error(path, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))


def require_file(path: Path) -> None:
    """Raise InputError for a missing file, a pipe or a device, FormatError for an empty file."""
    require_regular(path)
    if not path.is_file():
        raise InputError("There is no such file", expected="a file that exists", got=path)
    if path.stat().st_size == 0:
        raise FormatError(f"{path} is empty (0 bytes)", fix="Copy or download it again")


def is_raw(path: Path) -> bool:
    """Whether a file is a raw photograph, by its suffix or its first bytes."""
    with path.open("rb") as file:
        head = file.read(16)
    if path.suffix.lower() in RAW or head.startswith(_RAW_STARTS):
        return True
    return head[8:10] == b"CR" or head[4:12] == b"ftypcrx "  # Canon, in a TIFF and in a container of HEIF


def require_developed(path: Path) -> None:
    """Raise InputError for a raw photograph."""
    if is_raw(path):
        raise raw_error(path)


def raw_error(path: Path) -> InputError:
    """The error for a raw photograph."""
    return InputError(
        f"{path} is a raw photograph: values of a sensor, and a thumbnail",
        expected="an image with red, green and blue in every pixel",
        fix="Develop it first, to linear 16 bits if possible (darktable, RawTherapee, dcraw -4 -T), or "
        "install what `hsrzoo predict` reads raw files with: pip install 'hsrzoo[raw]'",
    )


def missing_codec(path: Path, error: BaseException) -> FormatError:
    """The error for an intact file whose compression needs a package that is not installed."""
    return FormatError(
        f"{path} is compressed in a way that the installed packages do not read",
        got=str(error),
        fix="Install imagecodecs: pip install --upgrade imagecodecs",
    )


def read_error(path: Path, kind: str, error: BaseException) -> FormatError:
    """The FormatError for a file that its library cannot read."""
    return FormatError(
        f"{path} cannot be read as {kind}: truncated, damaged or of another format",
        got=str(error) or type(error).__name__,
        fix="Copy or download it again, and check that its name fits its format",
    )


@contextmanager
def format_errors(
    path: Path, kind: str, errors: type[Exception] | tuple[type[Exception], ...] = Exception
) -> Iterator[None]:
    """``errors`` of a library that reads ``path`` become a FormatError; by default all, for several
    libraries raise anything from struct.error to bare Exception for damaged files."""
    try:
        yield
    except HsrzooError:
        raise
    except errors as error:
        raise read_error(path, kind, error) from error


def in_hwc(array: np.ndarray, axes: str, path: Path) -> np.ndarray:
    """A view (H, W, C) of ``array`` whose axes are ``axes``, a permutation of "hwc"."""
    if sorted(axes) != ["c", "h", "w"]:
        raise InputError(
            "Unknown order of axes",
            expected='a permutation of "hwc", or a matrix of bands and pixels such as "c(wh)" where the '
            "format is .mat, .h5 or .npz",
            got=repr(axes),
        )
    if array.ndim != 3 or not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
        got = f"shape {array.shape}, {array.dtype}"
        raise FormatError(f"{path} does not hold a cube", expected="a real array with three axes", got=got)
    return array.transpose([axes.index(a) for a in "hwc"])


def by_wavelength(cube: np.ndarray, bands: BandSet | None) -> CubeAndBands:
    """A cube (H, W, C) and its bands, sorted where the bands are not
    (:meth:`hsrzoo.bands.BandSet.sorting`); a note says so."""
    order = bands.sorting() if bands is not None else None
    if bands is None or order is None:
        return cube, bands
    shown = ", ".join(f"{centre:g}" for centre in bands.centres_nm[:3])
    note(f"The bands are stored as {shown}, ... nm: they are sorted by wavelength")
    return np.ascontiguousarray(cube[..., order]), bands.select(order)


def display_bands(bands: BandSet) -> tuple[int, int, int]:
    """Which bands are displayed as red, green and blue: those nearest to 640, 550 and 460 nm, if each is
    within 25 nm; else three spread over the range, the longest red."""
    centres = np.asarray(bands.centres_nm)
    near = [int(np.abs(centres - nm).argmin()) for nm in _PRIMARIES_NM]
    off = [abs(centres[i] - nm) for i, nm in zip(near, _PRIMARIES_NM, strict=True)]
    if len(set(near)) < 3 or max(off) > _NEAR_NM:
        order = np.argsort(centres, kind="stable")
        near = [int(order[round((len(order) - 1) * share)]) for share in (5 / 6, 1 / 2, 1 / 6)]
    red, green, blue = near
    return red, green, blue


def require_cube(cube: np.ndarray, bands: BandSet) -> np.ndarray:
    """``cube`` as contiguous float32 (H, W, C); InputError or BandsError if it cannot be written."""
    cube = np.asarray(cube)
    if cube.ndim != 3 or not np.issubdtype(cube.dtype, np.number) or 0 in cube.shape:
        raise InputError(
            "Only a cube can be saved", expected="shape (H, W, C)", got=f"shape {cube.shape}, {cube.dtype}"
        )
    require_bands(cube, bands)
    return np.ascontiguousarray(cube, dtype=np.float32)


def require_bands(cube: np.ndarray, bands: BandSet) -> None:
    """BandsError unless ``cube`` is (H, W, C) with C bands."""
    if cube.ndim != 3 or cube.shape[2] != len(bands):
        expected = f"(H, W, C) with {len(bands)} channels ({bands})"
        raise BandsError("The cube does not have these bands", expected=expected, got=f"shape {cube.shape}")
