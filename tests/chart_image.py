"""Photographs of colour charts, rendered: a known camera, a known light, in perspective."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile

from hsrzoo.bands import VISIBLE_31
from hsrzoo.camera import Camera
from hsrzoo.colour.chart import Corners, chart

CORNERS: Corners = ((22.0, 18.0), (196.0, 27.0), (188.0, 134.0), (15.0, 122.0))
"""Of the corner patches in an image of 150 x 215 pixels."""
_FRAME = 0.42
"""Half the side of a patch, as a share of the distance between patches."""


def chart_cube(name: str, corners: Corners = CORNERS, height: int = 150, width: int = 215) -> np.ndarray:
    """(31, H, W) reflectance: the chart in a dark frame."""
    of = chart(name)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    u, v = _inverse(corners, x.ravel(), y.ravel())
    column, row = u * (of.columns - 1), v * (of.rows - 1)
    nearest = np.rint(column), np.rint(row)
    inside = (abs(column - nearest[0]) < _FRAME) & (abs(row - nearest[1]) < _FRAME)
    inside &= (nearest[0] >= 0) & (nearest[0] < of.columns) & (nearest[1] >= 0) & (nearest[1] < of.rows)
    spectra = np.full((height * width, 31), 0.04)
    index = (nearest[0] * of.rows + nearest[1]).astype(int)
    spectra[inside] = of.reflectance[index[inside]]
    return spectra.T.reshape(31, height, width)


def photograph(
    path: Path,
    name: str = "colorchecker24",
    camera: str = "canon-eos-5d-mark-ii",
    light: np.ndarray | None = None,
    exposure: float = 1.0,
    cube: np.ndarray | None = None,
    seed: int = 0,
) -> Path:
    """A linear TIFF of 16 bits with sensor noise; ``light``: (31,), scaled so that white is 0.8 at most."""
    taken = Camera.named(camera)
    cube = chart_cube(name) if cube is None else cube
    lit = cube * (np.ones(31) if light is None else light)[:, None, None]
    white = taken.matrix(VISIBLE_31) @ (np.ones(31) if light is None else light)
    rgb = taken.render(
        lit, VISIBLE_31, bits=16, exposure=exposure * 0.8 / white.max(), full_well=20_000, read_noise=5,
        generator=np.random.default_rng(seed),
    )  # fmt: skip
    tifffile.imwrite(path, np.rint(rgb.transpose(1, 2, 0) * 65535).astype(np.uint16), photometric="rgb")
    return path


def _inverse(corners: Corners, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The point (u, v) of the unit square that the projective transform to ``corners`` takes to (x, y)."""
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = corners
    dx1, dx2, sx = x1 - x2, x3 - x2, x0 - x1 + x2 - x3
    dy1, dy2, sy = y1 - y2, y3 - y2, y0 - y1 + y2 - y3
    g, h = np.linalg.solve([[dx1, dx2], [dy1, dy2]], [sx, sy])  # Heckbert 1989
    matrix = [[x1 - x0 + g * x1, x3 - x0 + h * x3, x0], [y1 - y0 + g * y1, y3 - y0 + h * y3, y0], [g, h, 1]]
    u, v, w = np.linalg.inv(matrix) @ np.stack([x, y, np.ones_like(x)])
    return u / w, v / w
