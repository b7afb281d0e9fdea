"""Colour charts: measured reflectances of their patches, and the patches in a photograph."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from hsrzoo.bands import VISIBLE_31
from hsrzoo.camera import CLIPPED
from hsrzoo.errors import InputError, require_known

CHARTS = {
    "colorchecker24": ("ColorChecker Classic, 24 patches", 4),
    "sg140": ("ColorChecker Digital SG, 140 patches", 10),
    "ngt130": ("Next Generation Target, 130 patches", 10),
}
"""Name -> title, number of rows."""
Corners = tuple[tuple[float, float], ...]
"""Four points (x, y) in pixels from the top left of the image."""

_FOLDER = Path(__file__).parent.parent / "data"
_HALF = 0.2
"""Half the side of the area that is read of a patch, as a share of the distance between patches: charts
have frames between patches, and corners are given by hand."""
_LEAST_PIXELS = 6.0
"""Least distance between patches, in pixels."""
_MOST_POINTS = 48
"""Most rows and columns of points that are read of a patch."""
_TRIMMED = 0.1
"""Share of the values of a patch that are left out at both ends: dust, reflections."""
_MOST_CLIPPED = 0.1
"""Share of a patch's pixels at full scale that makes it unusable: the mean of the others is too low."""


@dataclass(frozen=True, eq=False)
class Chart:
    """A chart whose patches lie on a regular grid."""

    name: str
    title: str
    rows: int
    patches: tuple[str, ...]
    """Column and row of each of the N patches, A1 at the top left; down the columns, then to the right."""
    reflectance: np.ndarray
    """(N, 31) float64, 400-700 nm at 10 nm."""

    @property
    def columns(self) -> int:
        """Number of columns."""
        return len(self.patches) // self.rows

    @property
    def grid(self) -> np.ndarray:
        """(N, 2) float64: column and row of each patch, counted from 0."""
        index = np.arange(len(self.patches))
        return np.stack([index // self.rows, index % self.rows], axis=1).astype(np.float64)


@cache
def chart(name: str) -> Chart:
    """The chart ``name`` of :data:`CHARTS`.

    Raises:
        UnknownNameError: There is no such chart; names the nearest.
    """
    require_known("chart", name, CHARTS)
    with (_FOLDER / f"chart-{name}.csv").open(newline="") as file:
        next(file)  # the source
        header, *rows = csv.reader(file)
    wavelengths = [float(nm) for nm in header[1:]]
    kept = [1 + wavelengths.index(nm) for nm in VISIBLE_31.centres_nm]
    reflectance = np.array([[float(row[i]) for i in kept] for row in rows])
    reflectance.setflags(write=False)  # shared by all callers
    title, count = CHARTS[name]
    return Chart(name, title, count, tuple(row[0] for row in rows), reflectance)


@dataclass(frozen=True, eq=False)
class Patches:
    """The patches of a chart as a photograph shows them."""

    rgb: np.ndarray
    """(N, 3) float64: means of linear values in [0, 1]; NaN for patches at full scale."""
    outlines: np.ndarray
    """(N, 4, 2) float64: corners (x, y) of the areas that were read."""

    @property
    def usable(self) -> np.ndarray:
        """(N,) bool."""
        return np.isfinite(self.rgb).all(axis=1)


def read_patches(pixels: np.ndarray, of: Chart, corners: Corners) -> Patches:
    """Mean values of the patches of a chart in a photograph.

    The corners define the projective transform from the chart to the photograph. Of each patch the middle
    is read, 0.4 of the distance between patches wide and high; the mean leaves out pixels at full scale and
    a tenth of the values at both ends.

    Args:
        pixels: (H, W, 3) linear values in [0, 1].
        of: The chart.
        corners: The centres of the four corner patches as the chart is printed: top left (A1), top right,
            bottom right, bottom left; the first two lie on the long side. Any rotation is allowed.

    Raises:
        InputError: The corners lie outside the photograph, are no convex quadrilateral in this order, or
            patches are smaller than 6 pixels.
    """
    height, width = pixels.shape[:2]
    outside = [f"{x:g},{y:g}" for x, y in corners if not (0 <= x <= width - 1 and 0 <= y <= height - 1)]
    if outside:
        raise InputError(
            "The chart is not in the picture: corners lie outside",
            expected=f"x in 0-{width - 1}, y in 0-{height - 1}",
            got=", ".join(outside),
            fix="Give pixels of the upright photograph, x to the right and y down from its top left",
        )
    transform = _transform(of, corners)
    offsets = np.array([(-_HALF, -_HALF), (_HALF, -_HALF), (_HALF, _HALF), (-_HALF, _HALF)])
    outlines = _apply(transform, of.grid[:, None] + offsets)
    sides = np.linalg.norm(outlines - np.roll(outlines, 1, axis=1), axis=2) / (2 * _HALF)
    if sides.min() < _LEAST_PIXELS:
        raise InputError(
            "The chart is too small in the picture",
            expected=f"at least {_LEAST_PIXELS:g} pixels from patch to patch",
            got=f"{sides.min():.1f} pixels",
            fix="Check --corners, or photograph the chart from nearer",
        )
    count = int(np.clip(np.ceil(2 * _HALF * sides.max()), 3, _MOST_POINTS))
    steps = np.linspace(-_HALF, _HALF, count)
    inner = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    points = np.rint(_apply(transform, of.grid[:, None] + inner)).astype(int)  # (N, count^2, 2)
    x, y = points[..., 0].clip(0, width - 1), points[..., 1].clip(0, height - 1)
    rgb = np.stack([_mean(values) for values in np.asarray(pixels[y, x], dtype=np.float64)])
    return Patches(rgb, outlines)


def _mean(values: np.ndarray) -> np.ndarray:
    """The mean (3,) of the pixels (P, 3) of a patch; NaN where too many are clipped."""
    clipped = (values >= CLIPPED).any(axis=1)
    if clipped.mean() > _MOST_CLIPPED:
        return np.full(3, np.nan)
    kept = np.sort(values[~clipped], axis=0)
    cut = int(_TRIMMED * len(kept))
    return kept[cut : len(kept) - cut].mean(axis=0)


def _transform(of: Chart, corners: Corners) -> np.ndarray:
    """(3, 3): homogeneous column and row of a patch to pixels."""
    last = (of.columns - 1.0, of.rows - 1.0)
    grid = [(0.0, 0.0), (last[0], 0.0), last, (0.0, last[1])]
    rows, values = [], []
    for (u, v), (x, y) in zip(grid, corners, strict=True):
        rows += [[u, v, 1, 0, 0, 0, -u * x, -v * x], [0, 0, 0, u, v, 1, -u * y, -v * y]]
        values += [x, y]
    points = np.asarray(corners, dtype=np.float64)
    edges = np.roll(points, -1, axis=0) - points
    turns = edges[:, 0] * np.roll(edges[:, 1], -1) - edges[:, 1] * np.roll(edges[:, 0], -1)
    if not (np.all(turns > 0) or np.all(turns < 0)):
        raise InputError(
            "The corners do not span a chart",
            expected="centres of the corner patches in the order top left, top right, bottom right, "
            "bottom left",
            got=" ".join(f"{x:g},{y:g}" for x, y in corners),
        )
    return np.append(np.linalg.solve(np.array(rows), np.array(values)), 1.0).reshape(3, 3)


def _apply(transform: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (..., 2) through a projective transform."""
    mapped = np.concatenate([points, np.ones_like(points[..., :1])], axis=-1) @ transform.T
    return mapped[..., :2] / mapped[..., 2:]


def orientations(corners: Corners) -> dict[str, Corners]:
    """What else the same four points may be: the chart turned, or mirrored, relative to ``corners``."""
    a, b, c, d = corners
    return {
        "upside down": (c, d, a, b),
        "turned by 90 degrees": (b, c, d, a),
        "turned by 270 degrees": (d, a, b, c),
        "mirrored": (b, a, d, c),
        "mirrored and upside down": (d, c, b, a),
    }
