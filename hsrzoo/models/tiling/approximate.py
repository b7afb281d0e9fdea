"""What approximate tiles cost, measured on a sample of the image they are used on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from hsrzoo.io.raster import ArrayPixels
from hsrzoo.models.tiling.choice import cut_for
from hsrzoo.models.tiling.grid import Grid
from hsrzoo.models.tiling.passes import Work, into_memory, run_tiles
from hsrzoo.models.tiling.windows import Extremes, PaddedImage

if TYPE_CHECKING:
    from hsrzoo.models.reconstructor import Reconstructor

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


def measure(model: Reconstructor, image: PaddedImage, grid: Grid, extremes: Extremes | None) -> Difference:
    """Compare on the middle of the image, at most 512 pixels a side (a tile's side, where memory is
    limited), cut into at least two tiles each way where the network allows."""
    need = model.spec.input
    tile = grid.tile or max(grid.padded)
    largest = SAMPLE if model.execution.max_memory is None else min(SAMPLE, tile)
    height, width = (min(side, largest) for side in image.size)
    top, left = (image.size[0] - height) // 2, (image.size[1] - width) // 2
    pixels = image.pixels.read(top, left, height, width)
    sample = PaddedImage(ArrayPixels(pixels), need, image.value_range)
    least = -(-need.min_size // need.multiple) * need.multiple
    tile = max(min(tile, max(sample.size) // 2), least, need.multiple)
    whole, tiles = cut_for(model, sample.size, None), cut_for(model, sample.size, tile)
    one, other = (_cube(model, sample, cut, extremes) for cut in (whole, tiles))
    gap = (one - other).double()
    return Difference(float(gap.abs().max()), float(gap.square().mean().sqrt()), sample.size, tile)


def _cube(model: Reconstructor, image: PaddedImage, grid: Grid, extremes: Extremes | None) -> Tensor:
    """(C, H, W); ``extremes`` are those of the whole image, which also approximate tiles know."""
    cube, keep = into_memory(image.size, len(model.bands))
    run = run_tiles(
        model.run, image, grid, keep, Work(extremes=extremes), bands=len(model.bands),
        device=model.device, exact=False,
    )  # fmt: skip
    for _ in run:
        pass
    return cube.permute(2, 0, 1)
