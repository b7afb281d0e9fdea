"""Where a ColorChecker Classic lies in a photograph (extra ``chart``)."""

from __future__ import annotations

import numpy as np

from hsrzoo.colour.chart import CHARTS, Corners
from hsrzoo.colour.srgb import encode_srgb
from hsrzoo.errors import InputError, require_known

FOUND = "colorchecker24"
"""The chart that can be found."""
_WIDTH = 1440
"""Columns of the image that is searched."""


def find_chart(pixels: np.ndarray, name: str) -> list[Corners]:
    """Corners that the chart ``name`` may have in a photograph: four for each rectangle found.

    colour-checker-detection finds the rectangle, taken from the front or nearly so; which of its corners
    is the first patch is decided by the fit.

    Args:
        pixels: (H, W, 3) linear values in [0, 1].
        name: ``colorchecker24``: no other chart can be found.

    Raises:
        InputError: colour-checker-detection is not installed, the chart is another one, or none is found.
        UnknownNameError: There is no such chart.
    """
    require_known("chart", name, CHARTS)
    give = "Give the centres of the corner patches by --corners"
    if name != FOUND:
        raise InputError("Only ColorChecker Classic charts are found automatically", got=name, fix=give)
    try:
        from colour_checker_detection import detect_colour_checkers_segmentation as detect
    except ImportError as error:
        raise InputError(
            "The chart cannot be searched for: colour-checker-detection is not installed",
            fix=f'{give}, or install it: pip install "hsrzoo[chart]"',
        ) from error
    tall = pixels.shape[0] > pixels.shape[1]
    image = np.rot90(pixels) if tall else pixels  # it would turn the image itself, and not say so
    shown = encode_srgb(np.clip(image / max(float(np.percentile(image, 99.5)), 1e-6), 0, 1))
    found = detect(shown.astype(np.float32), additional_data=True, working_width=_WIDTH)
    scale = image.shape[1] / _WIDTH
    candidates = []
    for one in found:
        outline = (np.asarray(one.quadrilateral, dtype=np.float64) + 0.5) * scale - 0.5
        if tall:  # np.rot90: (x, y) of the turned image is (W - 1 - y, x) of the photograph
            outline = np.stack([pixels.shape[1] - 1 - outline[:, 1], outline[:, 0]], axis=1)
        candidates += [_patches(np.roll(outline, turn, axis=0)) for turn in range(4)]
    inside = [corners for corners in candidates if _lies_in(corners, pixels)]
    if not inside:
        raise InputError("No chart is found in the photograph", fix=give)
    return inside


def _patches(outline: np.ndarray) -> Corners:
    """The centres of the corner patches of a chart with this outline (4, 2), clockwise as printed."""
    middle = outline.mean(axis=0)
    angles = np.arctan2(*(outline - middle).T[::-1])
    if np.sum(np.mod(np.diff(angles, append=angles[:1]) + np.pi, 2 * np.pi) - np.pi) < 0:
        outline = outline[::-1]
    a, b, c, d = outline
    u, v = 0.5 / 6, 0.5 / 4
    places = ((u, v), (1 - u, v), (1 - u, 1 - v), (u, 1 - v))
    points = [(1 - y) * ((1 - x) * a + x * b) + y * ((1 - x) * d + x * c) for x, y in places]
    return tuple((float(x), float(y)) for x, y in points)


def _lies_in(corners: Corners, pixels: np.ndarray) -> bool:
    height, width = pixels.shape[:2]
    return all(0 <= x <= width - 1 and 0 <= y <= height - 1 for x, y in corners)
