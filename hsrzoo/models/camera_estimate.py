"""Estimate of the built-in camera that took an image: the colours in it are compared with those that
training scenes have for each camera, after Finlayson, Hordley and Hubel, Color by Correlation, IEEE Trans.
PAMI 23(11), 2001.

The cube of a network cannot answer this: the network was trained to give a cube whose rendering by its own
camera is the image, so that least squares between the two find that camera for any image.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hsrzoo.camera import CLIPPED

CELLS = 48
"""Of a map of colours, in each direction."""
_RANGE = ((-1.5, 1.5), (-2.5, 2.5))
"""Of log(R / G) and log(B / G)."""
_DARK, _OFFSET = 0.15, 1e-3
"""Pixels whose R + G + B is below the first show noise and rounding; the second keeps logarithms finite."""
_PRESENT = 1e-3
"""Share of an image's pixels that a cell needs to count as a colour of it."""
_SMOOTHING, _FLOOR = 0.7, 1e-5
"""Standard deviation in cells of the blur of the maps, and a likelihood that no cell falls below."""
MARGIN = 1.2
"""By how much (nats, mean over the colours of the image) another camera must fit better than the network's
own before it is taken. Chosen on training scenes, each left out of the maps in turn: the smallest of 0.3,
0.5, 0.7, 0.9, 1.2 and 1.6 at which no scene of the network's own camera got worse, nor on average any of
ten real cameras that are not built in."""
LEAST_COLOURS = 3
"""An image of fewer colours is not used for an estimate."""


def colours_of(rgb: np.ndarray) -> np.ndarray:
    """(CELLS, CELLS) bool: the colours, by log(R / G) and log(B / G), of an image (3, ...) in [0, 1].

    Clipped and dark pixels do not count, nor cells with less than a thousandth of those that do.
    """
    pixels = rgb.reshape(3, -1).astype(np.float64)
    pixels = pixels[:, (pixels.max(axis=0) < CLIPPED) & (pixels.sum(axis=0) > _DARK)]
    red, green, blue = np.log(pixels + _OFFSET)
    counts, _, _ = np.histogram2d(red - green, blue - green, bins=CELLS, range=_RANGE)
    return counts > _PRESENT * max(counts.sum(), 1)


def estimate_camera(rgb: np.ndarray, maps: Mapping[str, np.ndarray], trained: str) -> str:
    """Name of the camera, one of ``maps``, that took the image (3, ...) in [0, 1].

    ``maps``: camera -> in how many training scenes each colour occurs, (CELLS, CELLS). ``trained``: the
    camera that is taken unless another fits better by :data:`MARGIN`.
    """
    colours = colours_of(rgb)
    if np.count_nonzero(colours) < LEAST_COLOURS:
        return trained
    fits = {name: float(_log_likelihood(table)[colours].mean()) for name, table in maps.items()}
    best = max(fits, key=lambda name: fits[name])
    return best if fits[best] > fits[trained] + MARGIN else trained


def _log_likelihood(table: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    blurred = gaussian_filter(table.astype(np.float64), _SMOOTHING)
    return np.log(blurred / blurred.sum() + _FLOOR)
