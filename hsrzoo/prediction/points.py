"""Measured spectra of points of a scene, or a small cube of it, beside the cube that they belong to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.datasets.base import require_scaled
from hsrzoo.errors import BandsError, FormatError, InputError
from hsrzoo.io import CUBE_SUFFIXES, load_cube
from hsrzoo.io.common import require_file
from hsrzoo.prediction.rows import CubeRows
from hsrzoo.utils.tables import decode, number, rows_of

_PLACE = ("row", "column")


@dataclass(frozen=True, eq=False)
class Measured:
    """Measured spectra, and those of the cube at the same places."""

    spectra: np.ndarray
    """(N, C) float64."""
    cube: np.ndarray
    """(N, C) float64."""


def read_measured(path: Path, rows: CubeRows) -> Measured:
    """The measured spectra in a file, in the bands of a cube.

    Args:
        path: CSV with the columns ``row``, ``column`` (from 0, at the top left) and one column per
            wavelength in nm; or a cube of the same scene with fewer pixels, whose sides divide those of
            the large one: each of its pixels is compared with the mean of the pixels that it covers. Pixels
            with NaN are left out.
        rows: The cube.

    Raises:
        InputError: A point outside the cube, a size that does not divide the cube's, or spectra that are
            not in its units, such as percent (:func:`hsrzoo.datasets.base.require_scaled`).
        BandsError: Bands that do not cover those of the cube.
        FormatError: The file cannot be read.
    """
    require_file(path)
    if path.suffix.lower() in CUBE_SUFFIXES:
        return _from_cube(path, rows)
    return _from_table(path, rows)


def _from_table(path: Path, rows: CubeRows) -> Measured:
    table = rows_of(decode(path.read_bytes()))
    names = [name.lower() for name in table[0]] if table else []
    if tuple(names[:2]) != _PLACE:
        expected = "a header row,column,400,410,... with wavelengths in nm"
        raise FormatError(
            f"{path} is not a list of measured spectra", expected=expected, got=",".join(names)[:60]
        )
    try:
        bands = BandSet(tuple(float(name.removesuffix("nm")) for name in names[2:]))
        values = np.array([[number(cell) for cell in row] for row in table[1:]], dtype=np.float64)
        if values.size and values.shape[1] != len(names):
            raise ValueError(f"rows of {values.shape[1]} cells below {len(names)} names")
    except ValueError as error:
        problem = f"{path} is not a list of measured spectra"
        raise FormatError(problem, expected="numbers, as many in each row", got=str(error)) from error
    if values.size == 0:
        raise InputError(f"{path} holds no measured spectrum", expected="rows below the header")
    places = values[:, :2]
    height, width = rows.shape
    outside = (places < 0).any(axis=1) | (places >= (height, width)).any(axis=1) | (places % 1).any(axis=1)
    if outside.any():
        at = int(np.flatnonzero(outside)[0])
        raise InputError(
            f"A point in {path} is not a pixel of the cube",
            expected=f"whole numbers, row 0 to {height - 1} and column 0 to {width - 1}",
            got=f"row {places[at, 0]:g}, column {places[at, 1]:g} in line {at + 2}",
        )
    at_points = np.stack([rows.read(int(row), 1)[0, int(column)] for row, column in places])
    return _finite(_in_bands(values[:, 2:], bands, rows.bands, path), at_points, path)


def _from_cube(path: Path, rows: CubeRows) -> Measured:
    small, bands = load_cube(path)
    (height, width), (h, w) = rows.shape, small.shape[:2]
    if height % h or width % w or height // h != width // w or height == h:
        raise InputError(
            f"{path} is not a smaller cube of the same scene",
            expected=f"{height} x {width} pixels divided by a whole number",
            got=f"{h} x {w}",
        )
    if bands is None:
        raise FormatError(f"{path} does not state its wavelengths", expected="a cube with its bands")
    side = height // h
    means = [
        rows.read(side * row, side).reshape(side, w, side, -1).mean(axis=(0, 2), dtype=np.float64)
        for row in range(h)
    ]
    spectra = small.reshape(h * w, -1).astype(np.float64)
    return _finite(_in_bands(spectra, bands, rows.bands, path), np.concatenate(means), path)


def _in_bands(spectra: np.ndarray, bands: BandSet, target: BandSet, path: Path) -> np.ndarray:
    """(N, C) in the bands ``target``; BandsError where ``bands`` do not cover them."""
    if bands.centres_nm == target.centres_nm:
        return spectra
    found, covered = bands.resample(spectra.T, target)
    if not covered.all():
        first = target.centres_nm[int(np.flatnonzero(~covered)[0])]
        raise BandsError(
            f"The spectra in {path} do not cover the bands of the cube", expected=target,
            got=f"{bands}, nothing at {first:g} nm", fix="Predict fewer bands: hsrzoo predict --bands",
        )  # fmt: skip
    return found.T.astype(np.float64)


def _finite(spectra: np.ndarray, cube: np.ndarray, path: Path) -> Measured:
    """The pairs of which both are known."""
    known = np.isfinite(spectra).all(axis=1) & np.isfinite(cube).all(axis=1)
    spectra, cube = spectra[known], cube[known].astype(np.float64)
    require_scaled(
        spectra, f"What {path} holds", peak=max(1.0, float(cube.max(initial=0))), error=InputError,
        fix="Give spectra in the units of the cube",
    )  # fmt: skip
    return Measured(spectra, cube)
