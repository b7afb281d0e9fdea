"""Which array of a file is the cube, which of its axes holds the bands, and which list the wavelengths."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.bands import unit_named
from hsrzoo.errors import FormatError, InputError, note
from hsrzoo.io.common import CubeAndBands, by_wavelength, in_hwc
from hsrzoo.io.values import bands_from, by_attributes, text_of

_WAVELENGTHS = ("wavelengths_nm", "wavelengths", "wavelength", "bands", "wavlength", "lambda", "wl")
"""Names under which files hold band centres (one public set spells it ``wavlength``)."""
_IN_NAMES = ("wav", "center", "centre", "freq")
"""Parts of other names that such lists have."""
_WIDTHS = ("widths_nm", "fwhm", "widths")
"""Names under which files hold widths of bands."""
_UNITS = ("units", "unit", "wavelength_units", "wavelength_unit")
"""Attributes of those, and variables beside them, that state the unit of the centres."""
_BAND_AXES = ("wav", "band", "lambda", "spectral", "channel", "freq")
"""Beginnings of the names of axes that hold bands."""
_COLUMNS = ("x", "lon", "longitude", "easting", "sample", "samples", "col", "column", "columns", "width")
"""Names of axes along a row of pixels."""
_MATRIX = re.compile(r"(?P<before>c?)\((?P<slow>[hw])(?P<fast>[hw])(?P<length>[1-9]\d*)?\)(?P<after>c?)")
_SIDES = {"h": "nrow", "w": "ncol"}
"""Names, in any case, under which files of matrices hold height and width."""
_OWN = ({"units", "metadata"}, {"units", "axes"})
"""Variables, or attributes of a cube, that mark a file written here: its axes and bands have the order that
was asked for."""


@dataclass(frozen=True, eq=False)
class Variable:
    """An array of a file, which is read by ``[()]``."""

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]
    about: Mapping[str, Any] = field(default_factory=dict)
    """Its attributes."""
    axis_names: tuple[str, ...] = ()

    def __getitem__(self, index: tuple[()]) -> np.ndarray:
        return self.read()


def in_memory(arrays: Mapping[str, np.ndarray]) -> dict[str, Variable]:
    """Arrays without attributes."""
    return {name: Variable(array.shape, lambda array=array: array) for name, array in arrays.items()}  # type: ignore[misc]


def cube_among(
    arrays: Mapping[str, Variable], key: str | None, axes: str | None, path: Path, *,
    scale: float | None = None, no_data: float | None = None,
) -> CubeAndBands:  # fmt: skip
    """The cube (H, W, C) float32 among the named arrays of a file, and its bands if they are there too.

    ``axes``: a permutation of "hwc", or "c(wh)" and the like for a matrix of bands and pixels, of which
    the letter written last changes fastest; its length follows it ("c(wh95)") or is in the file
    (``nRow``, ``nCol``). None: as the file says, else the bands are the axis as long as the list of
    wavelengths, else "hwc". ``scale``, ``no_data``: what a user declares; what the attributes of the array
    state is applied (:mod:`hsrzoo.io.values`).
    """
    matrix = axes is not None and "(" in axes
    centres = _centres_among(arrays, path)
    name = one_cube(arrays, key, path, 2 if matrix else 3, {bands.size for bands in centres})
    found = arrays[name]
    attributes = in_memory(_vectors(found.about))
    centres += _centres_among(attributes, path)
    own = any(names.keys() >= marks for marks in _OWN for names in (arrays, found.about))
    if axes is None:
        axes = _axes_of(found, centres, path, own)
    array = np.asarray(found[()])
    if matrix:
        array, axes = _unfold(array, axes, arrays, path)
    stored = in_hwc(array, axes, path)
    count = stored.shape[2]
    stated = by_attributes(found.about, stored.dtype, count, path).declared(scale, no_data, path).tell()
    widths = _widths_among({**attributes, **arrays}, count)
    fitting = (bands_from(c.numbers, widths, count, c.unit) for c in centres if c.size == count)
    cube, bands = stated.apply(stored), next((bands for bands in fitting if bands is not None), None)
    return (cube, bands) if own else by_wavelength(cube, bands)


def one_cube(
    arrays: Mapping[str, Variable], key: str | None, path: Path, axes: int = 3, sizes: Collection[int] = ()
) -> str:
    """Which of the named arrays is the cube: ``key``, "cube", or the only one with three ``axes`` (or two,
    both longer than 1), or the only one of these with an axis of one of ``sizes``, the numbers of bands."""
    listing = ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "nothing"
    if key is not None:
        if key not in arrays:
            raise FormatError(f"{path} has no array {key!r}", got=listing, fix="Give the right key")
        return key
    cubes = [n for n, a in arrays.items() if len(a.shape) == axes and (axes == 3 or min(a.shape) > 1)]
    for chosen in (
        [name for name in cubes if name == "cube"],
        [name for name in cubes if _last(name) == "cube"],
        cubes,
        [name for name in cubes if set(arrays[name].shape) & set(sizes)],
    ):
        if len(chosen) == 1:
            return chosen[0]
    matrices = not cubes and any(len(a.shape) == 2 and min(a.shape) > 1 for a in arrays.values())
    raise FormatError(
        f"It is ambiguous which array of {path} is the cube",
        expected=f'one array with {"three" if axes == 3 else "two"} axes, or one named "cube"',
        got=listing,
        fix="For a matrix of bands x pixels, give axes=c(wh)" if matrices else "Name it with key=...",
    )


def _axes_of(found: Variable, centres: Collection[_Centres], path: Path, own: bool) -> str:
    """The order of the axes of a cube: its attribute ``axes``, else by their names, else by the axis that
    is as long as a list of wavelengths, else "hwc"; FormatError where two are as long."""
    stated = text_of(found.about.get("axes"))
    if sorted(stated) == ["c", "h", "w"]:
        return stated
    named = _axes_by_names(found.axis_names)
    if named is not None or own or len(found.shape) != 3:
        return named or "hwc"
    for bands in centres:
        places = [place for place, length in enumerate(found.shape) if length == bands.size]
        if not places or bands_from(bands.numbers, None, bands.size, bands.unit) is None:
            continue
        if len(places) > 1 and bands.size > 1:
            raise FormatError(
                f"It is ambiguous which axis of the cube in {path} holds the bands",
                expected=f"one axis as long as its {bands.size} wavelengths",
                got=f"shape {found.shape}",
                fix="Give the order of the axes: axes=hwc, axes=chw, ...",
            )
        if places[-1] != 2:
            note("The bands of the cube are its axis that is as long as the list of wavelengths")
        return ("chw", "hcw", "hwc")[places[-1]]
    return "hwc"


def _axes_by_names(names: tuple[str, ...]) -> str | None:
    """None unless one of three names is that of an axis of bands."""
    names = tuple(_last(name) for name in names)
    bands = [name for name in names if name.startswith(_BAND_AXES)]
    if len(names) != 3 or len(bands) != 1:
        return None
    first, second = (name for name in names if name != bands[0])
    sides = iter("wh" if first in _COLUMNS and second not in _COLUMNS else "hw")
    return "".join("c" if name == bands[0] else next(sides) for name in names)


@dataclass(frozen=True, eq=False)
class _Centres:
    """A list that may be that of the wavelengths, and its unit where it is stated."""

    numbers: np.ndarray
    unit: str

    @property
    def size(self) -> int:
        return self.numbers.size


def _centres_among(arrays: Mapping[str, Variable], path: Path) -> list[_Centres]:
    """By likely names first."""
    lists = {
        name: array for name, array in arrays.items() if np.prod(array.shape) == max(array.shape, default=1)
    }
    names = [name for likely in _WAVELENGTHS for name in (likely, *lists) if _last(name) == likely]
    names += sorted(name for name in lists if _last(name).startswith("wav"))
    names += sorted(name for name in lists if any(part in _last(name) for part in _IN_NAMES))
    beside = next((array for name, array in lists.items() if _last(name) in _UNITS[2:]), None)
    found = []
    for name in dict.fromkeys(name for name in names if name in lists and _last(name) not in _UNITS):
        numbers = np.asarray(lists[name][()])
        if numbers.dtype.kind in "US":
            continue
        if numbers.dtype.kind not in "iuf":
            raise FormatError(f"{name} of {path} holds no numbers", got=numbers.dtype)
        stated = [value for key, value in lists[name].about.items() if key.lower() in _UNITS]
        unit = text_of(stated[0]) if stated else text_of(beside[()]) if beside else _unit_in(_last(name))
        found.append(_Centres(numbers, unit))
    return found


def _unit_in(name: str) -> str:
    """The unit in the name of a list, where the size of its numbers does not tell it better; that of
    frequencies must be stated."""
    units = [unit_named(word) for word in re.split(r"[_\W]+", name)]
    found = next((unit for unit in units if unit not in (None, "nm", "um")), None)
    return found or (name if "freq" in name else "")


def _widths_among(arrays: Mapping[str, Variable], count: int) -> np.ndarray | None:
    fitting = (
        array
        for likely in _WIDTHS
        for name, array in arrays.items()
        if _last(name) == likely and np.prod(array.shape) == count
    )
    found = next(fitting, None)
    return None if found is None else np.asarray(found[()])


def _vectors(about: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The attributes of a cube that are lists or texts."""
    return {str(name): np.asarray(value) for name, value in about.items() if np.ndim(value) < 2}


def _last(name: str) -> str:
    """The last part of a path in a file, in lower case."""
    return re.split(r"[/.]", name)[-1].lower()


def _unfold(
    array: np.ndarray, axes: str, arrays: Mapping[str, Variable], path: Path
) -> tuple[np.ndarray, str]:
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


def _side_in(arrays: Mapping[str, Variable], letter: str, path: Path, axes: str) -> int:
    """Height or width as the file states it."""
    for name, value in arrays.items():
        if name.lower() == _SIDES[letter] and np.prod(value.shape) == 1:
            return int(np.asarray(value[()]).item())
    raise FormatError(
        f"{path} does not state the size of its image",
        expected=f"a number named {'nRow' if letter == 'h' else 'nCol'}",
        fix=f"Write the length after the last letter, e.g. axes={axes.replace(')', '95)')}",
    )
