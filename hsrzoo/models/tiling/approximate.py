"""What approximate tiles cost, measured on a sample of the image they are used on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hsrzoo.io.raster import ArrayPixels
from hsrzoo.models.tiling.choice import cut_for
from hsrzoo.models.tiling.grid import Grid
from hsrzoo.models.tiling.seams import TiledModel, cube_of
from hsrzoo.models.tiling.windows import PaddedImage

SAMPLE = 512
"""Largest side of the sample, pixels."""


@dataclass(frozen=True)
class Difference:
    """Of a cube made in tiles from that of the same pixels run whole."""

    largest: float
    rmse: float
    pixels: tuple[int, int]
    """Rows and columns compared."""
    tile: int

    def __str__(self) -> str:
        height, width = self.pixels
        return (
            f"largest difference {self.largest:.2g}, RMSE {self.rmse:.2g} "
            f"({height} x {width} pixels, whole against tiles of {self.tile})"
        )


def measure(model: TiledModel, image: PaddedImage, grid: Grid, seen: Mapping[str, Any]) -> Difference:
    """Compare on the middle of the image, at most 512 pixels a side (a tile's side, where memory is
    limited), cut into at least two tiles each way where the network allows. ``seen``: statistics of the
    whole image that steps took, which also approximate tiles have."""
    need = model.spec.input
    tile = grid.tile or max(grid.padded)
    largest = SAMPLE if model.execution.max_memory is None else min(SAMPLE, tile)
    height, width = (min(side, largest) for side in image.size)
    top, left = (image.size[0] - height) // 2, (image.size[1] - width) // 2
    pixels = image.pixels.read(top, left, height, width)
    sample = PaddedImage(ArrayPixels(pixels), need, image.value_range)
    tile = max(min(tile, max(sample.size) // 2), need.padded(1))
    whole, tiles = (
        cube_of(model, sample, cut_for(model, sample.size, side), seen)[0] for side in (None, tile)
    )
    gap = (whole - tiles).double()
    return Difference(float(gap.abs().max()), float(gap.square().mean().sqrt()), sample.size, tile)
