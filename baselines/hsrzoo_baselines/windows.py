"""Attention in 8 x 8 windows of an image, as MSFN and HSIFormer have it; features are (B, H, W, K)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

WINDOW = 8
"""Side of a window, pixels."""
HIDDEN = -100.0
"""Added to the logit of a pixel that must not be seen."""


def split(x: Tensor) -> Tensor:
    """(B, H, W, K) -> (B, windows, 64, K); windows, and the pixels in each, row by row."""
    b, height, width, channels = x.shape
    x = x.reshape(b, height // WINDOW, WINDOW, width // WINDOW, WINDOW, channels)
    return x.transpose(2, 3).reshape(b, -1, WINDOW**2, channels)


def unsplit(x: Tensor, height: int, width: int) -> Tensor:
    """(B, windows, 64, K) -> (B, height, width, K), the inverse of :func:`split`."""
    x = x.reshape(len(x), height // WINDOW, width // WINDOW, WINDOW, WINDOW, -1)
    return x.transpose(2, 3).reshape(len(x), height, width, -1)


def positions(side: int) -> Tensor:
    """Row of the table of biases for each pair of pixels (query, key) of a window: (N, N) int64, N = side².

    Row (i - i' + side - 1) (2 side - 1) + j - j' + side - 1 for the query (i, j) and the key (i', j').
    """
    place = np.arange(side)  # by numpy: a network that is built without values needs them all the same
    apart = place[:, None] - place + side - 1  # (side, side)
    rows, columns = apart[:, None, :, None], apart[None, :, None, :]  # of (i, j, i', j')
    return torch.from_numpy((rows * (2 * side - 1) + columns).reshape(side**2, side**2))


def position_bias(table: Tensor, index: Tensor) -> Tensor:
    """The biases ((2 side - 1)², heads) of :func:`positions`, for the logits: (heads, N, N)."""
    return table[index.flatten()].view(*index.shape, -1).permute(2, 0, 1)


def regions(height: int, width: int, shift: int) -> Tensor:
    """A number for each pixel of an image that was rolled by ``-shift``: (1, H, W, 1) float32.

    Pixels of one window that were apart before have different numbers.
    """
    rows, columns = (_labels(size, shift) for size in (height, width))
    return (3 * rows[:, None] + columns)[None, :, :, None]


def _labels(size: int, shift: int) -> Tensor:
    place = torch.arange(size)
    return (place >= size - WINDOW).float() + (place >= size - shift).float()


def shift_mask(region: Tensor) -> Tensor:
    """For the numbers of :func:`regions`, what is added to the logits: (1, windows, queries, keys),
    :data:`HIDDEN` for pixels of different regions."""
    of_window = split(region)  # (1, windows, 64, 1)
    return (of_window != of_window.transpose(2, 3)) * HIDDEN
