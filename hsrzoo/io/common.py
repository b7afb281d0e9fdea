"""What the cube formats share: atomic writing, axis orders, the cube among the arrays of a file."""

from __future__ import annotations

import codecs
import errno
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.errors import BandsError, FormatError, HsrzooError, InputError
from hsrzoo.io.values import WAVELENGTH_KEYS, WIDTH_KEYS, bands_from, first_of
from hsrzoo.utils.files import atomic_file, require_regular
from hsrzoo.utils.locks import hold

_MATRIX = re.compile(r"(?P<before>c?)\((?P<slow>[hw])(?P<fast>[hw])(?P<length>[1-9]\d*)?\)(?P<after>c?)")
_PRIMARIES_NM = (640.0, 550.0, 460.0)
"""Wavelengths of the single bands that are displayed as red, green and blue."""
_NEAR_NM = 25.0
"""Largest distance of such a band from its wavelength; beyond it the picture has false colours."""
CubeAndBands = tuple[np.ndarray, BandSet | None]
"""A cube (H, W, C) float32, and its bands if the file states them."""
_RAW = (
    ".3fr", ".arw", ".bay", ".cap", ".cr2", ".cr3", ".crw", ".dcr", ".dcs", ".dng", ".erf", ".fff",
    ".gpr", ".iiq", ".k25", ".kdc", ".mdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef",
    ".ptx", ".r3d", ".raf", ".rw2", ".rwl", ".rwz", ".sr2", ".srf", ".srw", ".x3f",
)  # fmt: skip
"""Suffixes of raw photographs, which hold a mosaic of sensor values and a thumbnail."""
_RAW_STARTS = (b"FUJIFILMCCD-RAW", b"IIU\0", b"IIRO", b"IIRS", b"MMOR", b"\0MRM", b"FOVb")
_SIDES = {"h": "nrow", "w": "ncol"}
"""Names, in any case, under which files of matrices hold height and width."""


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


def decode(content: bytes) -> str:
    """The text of a file: UTF-16 or UTF-8, with or without a mark, else Latin-1."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", "replace")
    if content[1:2] == b"\0":
        return content.decode("utf-16-le", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def require_developed(path: Path) -> None:
    """Raise InputError for a raw photograph, by its suffix or its first bytes."""
    with path.open("rb") as file:
        head = file.read(16)
    if path.suffix.lower() in _RAW or head.startswith(_RAW_STARTS):
        raise raw_error(path)
    if head[8:10] == b"CR" or head[4:12] == b"ftypcrx ":  # Canon, in a TIFF and in a container of HEIF
        raise raw_error(path)


def raw_error(path: Path) -> InputError:
    """The error for a raw photograph."""
    return InputError(
        f"{path} is a raw photograph: values of a sensor, and a thumbnail",
        expected="an image with red, green and blue in every pixel",
        fix="Develop it first, to linear 16 bits if possible (darktable, RawTherapee, dcraw -4 -T)",
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


def to_hwc(array: np.ndarray, axes: str, path: Path) -> np.ndarray:
    """``array`` whose axes are ``axes`` (a permutation of "hwc") as contiguous (H, W, C) float32.

    Writable: a copy where ``array`` is not, for example a view of the bytes of a decompressed file.
    """
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
    return np.require(array.transpose([axes.index(a) for a in "hwc"]), np.float32, ["C", "W"])


def cube_among(arrays: Mapping[str, Any], key: str | None, axes: str, path: Path) -> CubeAndBands:
    """The cube (H, W, C) float32 among the named arrays of a file, and its bands if they are there too.

    ``axes``: a permutation of "hwc", or "c(wh)" and the like for a matrix of bands and pixels, of which
    the letter written last changes fastest; its length follows it ("c(wh95)") or is in the file
    (``nRow``, ``nCol``). Arrays need ``shape`` and are read by ``array[()]``.
    """
    name = one_cube({k: tuple(a.shape) for k, a in arrays.items()}, key, path, 2 if "(" in axes else 3)
    array = np.asarray(arrays[name][()])
    if "(" in axes:
        array, axes = _unfold(array, axes, arrays, path)
    cube = to_hwc(array, axes, path)
    others = tuple(sorted(k for k in arrays if k.rpartition("/")[2].lower().startswith("wav")))
    centres, widths = first_of(WAVELENGTH_KEYS + others, arrays), first_of(WIDTH_KEYS, arrays)
    if centres is None:
        return cube, None
    return cube, bands_from(centres[()], None if widths is None else widths[()], cube.shape[2])


def _unfold(array: np.ndarray, axes: str, arrays: Mapping[str, Any], path: Path) -> tuple[np.ndarray, str]:
    """A matrix of bands and pixels as an array with three axes, and their order."""
    found = _MATRIX.fullmatch(axes)
    if found is None or bool(found["before"]) == bool(found["after"]) or found["slow"] == found["fast"]:
        raise InputError(
            "Unknown order of a matrix",
            expected='"c(wh)" for bands x pixels that run down the columns (as MATLAB stores them), '
            '"c(hw)" along the rows, or "(wh)c" and "(hw)c" for pixels x bands',
            got=repr(axes),
        )
    if array.ndim != 2:
        raise FormatError(f"{path} does not hold a matrix", expected="two axes", got=f"shape {array.shape}")
    pixels = array.shape[1 if found["before"] else 0]
    fast = int(found["length"] or _side_in(arrays, found["fast"], path, axes))
    if fast < 1 or pixels % fast:
        raise FormatError(
            f"The pixels of {path} do not fit into an image",
            expected=f"a multiple of {fast}, the length of {found['fast']}",
            got=f"{pixels} pixels in shape {array.shape}",
            fix="Check the order of the axes, and the number in it",
        )
    sides = (pixels // fast, fast)
    plain = f"{found['before']}{found['slow']}{found['fast']}{found['after']}"
    bands = array.shape[0 if found["before"] else 1]
    return array.reshape((bands, *sides) if found["before"] else (*sides, bands)), plain


def _side_in(arrays: Mapping[str, Any], letter: str, path: Path, axes: str) -> int:
    """Height or width as the file states it."""
    for name, value in arrays.items():
        if name.lower() == _SIDES[letter] and np.prod(value.shape) == 1:
            return int(np.asarray(value[()]).item())
    raise FormatError(
        f"{path} does not state the size of its image",
        expected=f"a number named {'nRow' if letter == 'h' else 'nCol'}",
        fix=f"Write the length after the last letter, e.g. axes={axes.replace(')', '95)')}",
    )


def one_cube(arrays: dict[str, tuple[int, ...]], key: str | None, path: Path, axes: int = 3) -> str:
    """Which of the named arrays (name -> shape) is the cube: ``key``, "cube", or the only one with three
    ``axes`` (or two, both longer than 1)."""
    listing = ", ".join(f"{name} {shape}" for name, shape in arrays.items()) or "nothing"
    if key is not None:
        if key not in arrays:
            raise FormatError(f"{path} has no array {key!r}", got=listing, fix="Give the right key")
        return key
    cubes = [name for name, shape in arrays.items() if len(shape) == axes and (axes == 3 or min(shape) > 1)]
    if "cube" in cubes:
        return "cube"
    if len(cubes) != 1:
        matrices = not cubes and any(len(shape) == 2 and min(shape) > 1 for shape in arrays.values())
        raise FormatError(
            f"It is ambiguous which array of {path} is the cube",
            expected=f'one array with {"three" if axes == 3 else "two"} axes, or one named "cube"',
            got=listing,
            fix="For a matrix of bands x pixels, give axes=c(wh)" if matrices else "Name it with key=...",
        )
    return cubes[0]


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
