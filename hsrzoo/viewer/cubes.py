"""Cubes to show: named, checked against each other, thinned if they are large."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.errors import BandsError, InputError

MOST_VALUES = 1 << 25
"""Default limit of values per cube in a page: 1024 x 1024 x 31, 64 MiB in the browser."""

_GAP = 15
"""A step this many times the usual one is a gap: about 120 nm in satellite cubes with steps of 8 nm."""


@dataclass(frozen=True, eq=False)
class Interval:
    """What is drawn around the spectrum of a pixel: ``centre`` plus and minus ``half``, not below 0.

    ``name``: for tables ("90 % interval"). ``words``: for the legend, what it means. ``half``, ``centre``:
    (H, W, C), real; without a centre it is the cube.
    """

    name: str
    words: str
    half: np.ndarray
    centre: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class NamedCube:
    """A cube and its labels.

    ``values``: (H, W, C), real; values that are not finite are shown as no data. ``bands``: C bands, or
    None if unknown. ``units``: of the values, for the axis of the plot. ``facts``: what its file states
    about its origin, see :class:`hsrzoo.io.metadata.Metadata`. ``interval``: see :class:`Interval`.
    ``unfamiliar``: (H, W) in [0, 1], see :class:`hsrzoo.models.reconstruction.Reconstruction`.
    """

    name: str
    values: np.ndarray
    bands: BandSet | None = None
    units: str | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    interval: Interval | None = None
    unfamiliar: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        height, width, bands = self.values.shape
        return height, width, bands


def check_cubes(cubes: Sequence[NamedCube]) -> list[NamedCube]:
    """Require one cube, or two of the same size and bands; raises InputError or BandsError.

    A cube without bands takes those of the other.
    """
    if len(cubes) not in (1, 2):
        raise InputError("A page shows one cube, or two side by side", got=f"{len(cubes)} cubes")
    for cube in cubes:
        _require_cube(cube)
    if len(cubes) == 1:
        return list(cubes)
    one, two = cubes
    fix = "Resample one of them to the bands of the other first"
    if one.shape[:2] != two.shape[:2]:
        sizes = [f"{_size(cube)} ({cube.name})" for cube in cubes]
        problem = "The cubes differ in size and cannot be shown side by side"
        raise InputError(problem, expected=sizes[0], got=sizes[1], fix="Cut or resample one of them first")
    if one.shape[2] != two.shape[2]:
        counts = [f"{cube.shape[2]} bands ({cube.name})" for cube in cubes]
        problem = "The cubes differ in bands and cannot be shown side by side"
        raise BandsError(problem, expected=counts[0], got=counts[1], fix=fix)
    bands = one.bands or two.bands
    if one.bands is not None and two.bands is not None:
        one.bands.require_same(two.bands, one.name, two.name, fix=fix)
    return [replace(one, bands=bands), replace(two, bands=bands)]


def _require_cube(cube: NamedCube) -> None:
    values = cube.values
    if values.ndim != 3 or 0 in values.shape or values.dtype.kind not in "iuf":
        got = f"shape {values.shape}, {values.dtype}"
        raise InputError(f"{cube.name} is not a cube", expected="real numbers of shape (H, W, C)", got=got)
    if cube.bands is not None and len(cube.bands) != values.shape[2]:
        problem = f"The bands of {cube.name} do not fit its values"
        raise BandsError(problem, expected=f"{values.shape[2]} bands", got=cube.bands)
    parts = [] if cube.interval is None else [cube.interval.half, cube.interval.centre]
    shapes = [(part, values.shape) for part in parts] + [(cube.unfamiliar, values.shape[:2])]
    for part, shape in shapes:
        if part is not None and part.shape != shape:
            what = f"The interval or the map of unfamiliar pixels of {cube.name} is that of another cube"
            raise InputError(what, expected=f"shape {shape}", got=part.shape, fix="Predict the image again")


def _size(cube: NamedCube) -> str:
    return f"{cube.shape[0]} rows x {cube.shape[1]} columns"


def stride_for(shape: tuple[int, int, int], max_side: int | None) -> int:
    """Stride of the kept pixels, so that no side is longer than ``max_side``; by default, so that the page
    has at most :data:`MOST_VALUES` of each cube."""
    height, width, bands = shape
    if max_side is not None:
        return -(-max(height, width) // max_side)
    stride = 1
    while -(-height // stride) * -(-width // stride) * bands > MOST_VALUES:
        stride += 1
    return stride


def runs_of(bands: BandSet | None, count: int) -> list[list[int]]:
    """Band indices in plotting order, one list per piece of the line.

    Sensors with several detectors store overlapping ascending runs: one piece each. Any other order is
    sorted. Gaps, such as removed bands of atmospheric absorption, also end a piece.
    """
    if bands is None:
        return [list(range(count))]
    centres = np.asarray(bands.centres_nm)
    runs = np.split(np.arange(count), np.flatnonzero(np.diff(centres) <= 0) + 1)
    if len(runs) > 1 and min(map(len, runs)) < 2:
        runs = [np.argsort(centres, kind="stable")]
    pieces = []
    for run in runs:
        steps = np.diff(centres[run])
        wide = steps > _GAP * np.median(steps) if len(steps) else []
        pieces += np.split(run, np.flatnonzero(wide) + 1)
    return [[int(i) for i in piece] for piece in pieces]


def fit_photo(photo: np.ndarray, height: int, width: int) -> np.ndarray:
    """A photograph (H', W', 3) uint8 or uint16 as (``height``, ``width``, 3) uint8.

    A photograph that is larger by an integer factor is averaged down; other sizes raise InputError.
    """
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype not in (np.uint8, np.uint16):
        got = f"shape {photo.shape}, {photo.dtype}"
        raise InputError("The photograph is not RGB", expected="shape (H, W, 3), uint8 or uint16", got=got)
    factor = photo.shape[0] // height
    if factor < 1 or photo.shape[:2] != (factor * height, factor * width):
        raise InputError(
            "The photograph does not fit the cube",
            expected=f"{height} rows x {width} columns, or a whole multiple of both",
            got=f"{photo.shape[0]} rows x {photo.shape[1]} columns",
            fix="Scale or crop it to the cube, or leave it out",
        )
    eight = photo if photo.dtype == np.uint8 else (photo >> 8).astype(np.uint8)
    if factor == 1:
        return eight
    blocks = eight.reshape(height, factor, width, factor, 3)
    return np.rint(blocks.mean(axis=(1, 3), dtype=np.float32)).astype(np.uint8)
