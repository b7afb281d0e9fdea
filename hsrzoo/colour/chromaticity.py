"""Which colours training pixels have, exposure apart, and how far the spectra of one colour differ.

With q = sum(x) + 0.003 of a pixel x (R, G, B), its chromaticity is the first two of (x + 0.001) / q: dark
pixels, whose ratios are noise, count as neutral. A table divides the plane into square cells and holds for
each of them

* the share of training pixels, every scene counting alike;
* the spread of spectra divided by q: their standard deviation, band by band, over scenes as well as within
  them, with weights q^2, because deviations in units of the spectra count. Where few scenes have a colour,
  the estimate leans on a wider neighbourhood of the cell, and in the end on all pixels;
* the distance to the training colours: the radius around the cell that holds a small share of all pixels.

Where the errors of a model are known on scenes that it was not trained on, they take the place of the
spread (:class:`Moments`).

A look-up depends on its pixel alone, so that tiles of an image and exported networks give the same values.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hsrzoo.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

DARK = 0.003
"""Added to the sum of a pixel: below about one grey level of 8 bits the chromaticity is noise."""
SIDE = 31
"""Cells along each axis of a table; no multiple of 3, so that greys are not on the edge of a cell."""
NEAR = 1e-3
"""Share of all training pixels within the distance of a colour: a fiftieth of one scene of twenty."""
WIDTHS = (0.6, 1.2, 2.4, 4.8)
"""Standard deviations, in cells, of the neighbourhoods whose spreads are combined."""
PIXELS = 20.0
"""Weight of a scene's pixels in a neighbourhood that makes it count half as much as any number of them."""
SCENES = 2.0
"""Scenes in a neighbourhood that count as much as the next wider neighbourhood."""


def brightness(rgb: Tensor) -> Tensor:
    """q (...) of linear pixels (..., 3); negative values count as 0."""
    red, green, blue = rgb.clamp(min=0).unbind(-1)
    return red + green + blue + DARK


def cells(rgb: Tensor, side: int = SIDE) -> Tensor:
    """Cells (...) int64, 0 to ``side`` squared - 1, of linear pixels (..., 3)."""
    return cells_and_brightness(rgb, side)[0]


def cells_and_brightness(rgb: Tensor, side: int = SIDE) -> tuple[Tensor, Tensor]:
    """:func:`cells` and :func:`brightness` of linear pixels (..., 3)."""
    q = brightness(rgb)
    first, second = (
        ((rgb[..., channel].clamp(min=0) + DARK / 3) / q * side).long().clamp_(0, side - 1)
        for channel in (0, 1)
    )
    return first * side + second, q


@dataclass(frozen=True, eq=False)
class ChromaticityTable:
    """What is known of the colours of training pixels; cells are those of :func:`cells`.

    Attributes:
        share: (side * side,) float32: share of the training pixels, of sum 1.
        spread: (side * side, C) float32: standard deviation of spectra divided by the brightness q.
        distance: (side * side,) float32: to training colours, in units of chromaticity.
        scenes: Of which the table was built.
    """

    share: Tensor
    spread: Tensor
    distance: Tensor
    scenes: int

    @property
    def side(self) -> int:
        """Cells along each axis."""
        return round(len(self.share) ** 0.5)

    @classmethod
    def build(cls, scenes: Iterable[tuple[np.ndarray, np.ndarray]], side: int = SIDE) -> ChromaticityTable:
        """Build a table of training pixels.

        Args:
            scenes: For each scene its linear pixels (N, 3) in [0, 1] and their spectra (N, C), without NaN.
                They are read one after the other.
            side: Cells along each axis.

        Returns:
            The table.

        Raises:
            InputError: There is no scene, a scene has no pixel, or shapes do not fit.
        """
        import torch

        share, sums = np.zeros(side * side), Moments(side)
        count = 0
        for rgb, spectra in scenes:
            _require_pairs(rgb, spectra)
            pixels = torch.as_tensor(np.ascontiguousarray(rgb), dtype=torch.float32)
            where = cells(pixels, side).numpy()
            share += np.bincount(where, minlength=side * side) / len(where)
            sums.add(pixels, spectra)
            count += 1
        if not count:
            raise InputError("A table of colours needs pixels", expected="one scene or more", got="none")
        found = (share / count, sums.spread(), _distances(share / count, side))
        kept, spread, distance = (torch.from_numpy(values.astype(np.float32)) for values in found)
        return cls(kept, spread, distance, count)

    def spread_at(self, rgb: Tensor) -> Tensor:
        """Spread (..., C) of spectra that linear pixels (..., 3) can have, in units of the spectra."""
        return self._at(self.spread, rgb) * brightness(rgb)[..., None]

    def distance_at(self, rgb: Tensor) -> Tensor:
        """Distance (...) of linear pixels (..., 3) to training colours."""
        return self._at(self.distance, rgb)

    def _at(self, values: Tensor, rgb: Tensor) -> Tensor:
        return values.to(rgb.device)[cells(rgb, self.side)]


def packed(values: Tensor) -> Tensor:
    """Values (cells, C) to be stored: of possible cells alone, (rows, C) float16."""
    return values[_possible(round(len(values) ** 0.5))].half()


def unpacked(stored: Tensor, cells: int) -> Tensor:
    """Values (cells, C) float32 that were stored as :func:`packed`; 0 in cells that no pixel can have.

    Raises:
        InputError: They are not those of so many cells.
    """
    side = round(cells**0.5)
    where = _possible(side)
    if side**2 != cells or stored.dim() != 2 or len(stored) != len(where):
        got = f"shape {tuple(stored.shape)}"
        raise InputError("This is no table of colours", expected=f"rows for {cells} cells", got=got)
    whole = stored.float().new_zeros(cells, stored.shape[1])
    whole[where] = stored.float()
    return whole


def _possible(side: int) -> np.ndarray:
    """Indices of the cells that pixels can have: the first two ratios have a sum of 1 at most."""
    first, second = np.divmod(np.arange(side * side), side)
    return np.flatnonzero(first + second < side)


class Moments:
    """Moments, by cell, of spectra or of their errors divided by brightness, for every width of
    neighbourhood; scenes are added one after the other."""

    def __init__(self, side: int = SIDE) -> None:
        self.side = side
        self.weight = np.zeros((len(WIDTHS) + 1, side * side))
        self.first: np.ndarray | float = 0.0
        self.second: np.ndarray | float = 0.0

    def add(self, rgb: Tensor, spectra: np.ndarray) -> None:
        """Add a scene: linear pixels (N, 3) and their spectra (N, C), without NaN."""
        where, q = cells(rgb, self.side).numpy(), brightness(rgb).double().numpy()
        cells_, bands = self.side**2, spectra.shape[1]
        relative = (spectra / q[:, None]).T
        columns = np.concatenate((np.ones((1, len(where))), relative, relative**2)) * q**2
        flat = np.stack([np.bincount(where, weights=column, minlength=cells_) for column in columns])
        first, second, seen = [], [], []
        for width in (*WIDTHS, None):
            near = self._near(flat, width)
            count = near[0]
            known = np.maximum(count, 1e-12)
            seen.append(count / (count + PIXELS))
            first.append(seen[-1] * near[1 : bands + 1] / known)
            second.append(seen[-1] * near[bands + 1 :] / known)
        self.weight += np.stack(seen)
        self.first = self.first + np.stack(first)
        self.second = self.second + np.stack(second)

    def minus(self, other: Moments) -> Moments:
        """The moments without those of scenes that were added."""
        found = Moments(self.side)
        found.weight = self.weight - other.weight
        found.first, found.second = self.first - other.first, self.second - other.second
        return found

    def plus(self, other: Moments) -> Moments:
        """The moments of the scenes of both."""
        found = Moments(self.side)
        found.weight = self.weight + other.weight
        found.first, found.second = self.first + other.first, self.second + other.second
        return found

    def _near(self, flat: np.ndarray, width: float | None) -> np.ndarray:
        """Sums (K, cells) over the neighbourhood of each cell; None: over all cells."""
        if width is None:
            return np.broadcast_to(flat.sum(1, keepdims=True), flat.shape)
        place = np.arange(self.side)
        kernel = np.exp(-(((place[:, None] - place) / width) ** 2) / 2)
        square = flat.reshape(-1, self.side, self.side)
        return (kernel @ square @ kernel).reshape(len(flat), -1)

    def spread(self) -> np.ndarray:
        """(cells, C): standard deviations."""
        weight, first, second = self.weight[:, None], np.asarray(self.first), np.asarray(self.second)
        known = np.maximum(weight, 1e-12)
        variance = np.maximum(second / known - (first / known) ** 2, 0)
        return self._combined(variance, variance[-1])

    def root_mean_square(self, before: np.ndarray) -> np.ndarray:
        """(cells, C) of errors; ``before`` (cells, C) counts where few scenes have a colour."""
        squares = np.maximum(np.asarray(self.second) / np.maximum(self.weight[:, None], 1e-12), 0)
        return self._combined(squares, np.asarray(before, np.float64).T ** 2)

    def _combined(self, squares: np.ndarray, found: np.ndarray) -> np.ndarray:
        """From the widest neighbourhood to the narrowest, each added to the estimate ``found`` so far."""
        weight = self.weight[:, None]
        for i in reversed(range(len(WIDTHS))):
            found = (weight[i] * squares[i] + SCENES * found) / (weight[i] + SCENES)
        return np.sqrt(found).T


def _distances(share: np.ndarray, side: int) -> np.ndarray:
    """(cells,): radius of the circle around each cell that holds :data:`NEAR` of all pixels."""
    axis = np.arange(side) / side
    x, y = (part.ravel() for part in np.meshgrid(axis, axis, indexing="ij"))
    used = np.flatnonzero(share)
    far = np.hypot(x[:, None] - x[used], y[:, None] - y[used])
    order = np.argsort(far, axis=1, kind="stable")
    held = np.cumsum(share[used][order], axis=1)
    rows, i = np.arange(side * side), np.argmax(held >= NEAR, axis=1)
    # A cell is reached from its near side to its far side, its share growing with the radius.
    own, reached = share[used][order[rows, i]], far[rows, order[rows, i]]
    part = (NEAR - (held[rows, i] - own)) / own
    return np.maximum(reached - 0.5 / side, 0) + part.clip(0, 1) / side


def _require_pairs(rgb: np.ndarray, spectra: np.ndarray) -> None:
    if rgb.ndim != 2 or spectra.ndim != 2 or rgb.shape[1] != 3 or len(rgb) != len(spectra) or not len(rgb):
        raise InputError(
            "Pixels and spectra do not fit",
            expected="shapes (N, 3) and (N, C)",
            got=f"{rgb.shape} and {spectra.shape}",
        )


__all__ = [
    "ChromaticityTable",
    "Moments",
    "brightness",
    "cells",
    "cells_and_brightness",
    "packed",
    "unpacked",
]
