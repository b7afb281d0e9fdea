"""Tiles compared with the whole image: are there seams, and how far does a pixel reach?"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.io.raster import ArrayPixels
from hsrzoo.models.tiling.choice import Tileable, cut_for
from hsrzoo.models.tiling.grid import Grid
from hsrzoo.models.tiling.kept import KeptTiles, tiles_kept
from hsrzoo.models.tiling.passes import Sink, Work, into_memory
from hsrzoo.models.tiling.windows import PaddedImage
from hsrzoo.spec import RgbInput

VISIBLE = 1e-4
"""Difference above which a pixel counts as another one."""
SAMPLE = 512
"""Largest side in pixels of the sample that :func:`measure` takes."""


class TiledModel(Tileable, Protocol):
    """A model that runs in tiles, such as a Reconstructor."""

    bands: BandSet

    def tiles(
        self,
        image: PaddedImage,
        grid: Grid,
        sink: Sink,
        work: Work | None = None,
        *,
        kept: KeptTiles | None = None,
    ) -> Iterator[Work]:
        """Hand the parts of the cube to ``sink``; yields the work done after every tile."""


@dataclass(frozen=True)
class Seams:
    """How the cube of an image in tiles differs from that of the same image run whole."""

    grid: Grid
    passes: int
    largest: float
    """Greatest absolute difference."""
    rmse: float
    share: float
    """Of pixels that differ by more than :data:`VISIBLE` in some band."""
    relative: float
    """Norm of the difference over the norm of the cube."""
    seconds: tuple[float, float]
    """Whole, in tiles."""
    cpu_seconds: tuple[float, float]
    """The same of all threads of the process."""

    def __str__(self) -> str:
        height, width = self.grid.size
        return (
            f"largest difference {self.largest:.2g}, RMSE {self.rmse:.2g} "
            f"({height} x {width} pixels, whole against tiles of {self.grid.tile})"
        )


def compare(model: TiledModel, rgb: np.ndarray, tile: int, folder: Path | None = None) -> Seams:
    """Run ``rgb`` (H, W, 3) whole and in tiles of ``tile`` pixels a side. ``folder``: for a scratch file,
    see :func:`.kept.tiles_kept`."""
    return _compare(model, PaddedImage(ArrayPixels(rgb), model.spec.input), tile, {}, folder)


def measure(model: TiledModel, image: PaddedImage, grid: Grid, seen: Mapping[str, Any]) -> Seams:
    """What approximate tiles cost, on the middle of the image they are used on.

    At most 512 pixels a side are run (a tile's side, where memory is limited), in at least two tiles each
    way where the network allows. ``seen``: statistics of the whole image that steps took, which also
    approximate tiles have.
    """
    need = model.spec.input
    tile = grid.tile or max(grid.padded)
    largest = SAMPLE if model.execution.max_memory is None else min(SAMPLE, tile)
    height, width = (min(side, largest) for side in image.size)
    top, left = (image.size[0] - height) // 2, (image.size[1] - width) // 2
    sample = ArrayPixels(image.pixels.read(top, left, height, width))
    tile = max(min(tile, max(height, width) // 2), need.padded(1))
    return _compare(model, PaddedImage(sample, need, image.value_range), tile, seen)


def _compare(
    model: TiledModel, image: PaddedImage, tile: int, seen: Mapping[str, Any], folder: Path | None = None
) -> Seams:
    grid = cut_for(model, image.size, tile)
    times = [(time.perf_counter(), time.process_time())]
    whole, _ = cube_of(model, image, cut_for(model, image.size, None), seen)
    times.append((time.perf_counter(), time.process_time()))
    tiled, work = cube_of(model, image, grid, seen, folder)
    times.append((time.perf_counter(), time.process_time()))
    (wall, cpu), (wall_tiles, cpu_tiles) = (
        (after[0] - before[0], after[1] - before[1]) for before, after in pairwise(times)
    )
    norm = float(whole.double().norm())
    gap = whole.sub_(tiled).abs_()  # in place: at megapixels each cube is a matter of 100 MB and more
    distance = float(gap.double().norm())
    return Seams(
        grid,
        work.passes,
        float(gap.max()),
        distance / gap.numel() ** 0.5,
        float((gap.amax(0) > VISIBLE).double().mean()),
        distance / max(norm, 1e-12) if distance else 0.0,
        (wall, wall_tiles),
        (cpu, cpu_tiles),
    )


def cube_of(
    model: TiledModel, image: PaddedImage, grid: Grid, seen: Mapping[str, Any], folder: Path | None = None
) -> tuple[Tensor, Work]:
    """(C, H, W) on the CPU, and the finished work; ``seen``: see :class:`.passes.Work`; ``folder``: for a
    scratch file."""
    cube, keep = into_memory(image.size, len(model.bands))
    work = Work(seen)
    kept = tiles_kept(model, grid, result=cube.nbytes, folder=folder)
    for done in model.tiles(image, grid, keep, work, kept=kept):
        work = done
    return cube.permute(2, 0, 1), work


def smooth_image(height: int, width: int, top: int = 0, left: int = 0) -> np.ndarray:
    """A part of an endless picture of waves of many sizes, (height, width, 3) uint8: a pixel has the same
    colour in all parts that hold it."""
    y = np.arange(top, top + height, dtype=np.float64)[:, None, None]
    x = np.arange(left, left + width, dtype=np.float64)[None, :, None]
    channel = np.arange(3, dtype=np.float64)
    light = np.full((height, width, 3), 0.45)
    for i, length in enumerate((1013.0, 311.0, 97.0, 29.0, 7.3)):
        angle = 0.7 + 1.9 * i
        phase = (x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / length)
        light += 0.4 * 0.55**i * np.sin(phase + 1.3 * channel * (1 + i % 2)) / 2
    return np.rint(255 * np.clip(light, 0, 1)).astype(np.uint8)


def nan_reach(module: nn.Module, need: RgbInput, side: int = 96) -> int | None:
    """How far a NaN in one input pixel spreads in the output: what ``halo`` should at least say.

    None if it reaches the border of a ``side`` x ``side`` image, as with a statistic of all pixels, or
    if the network does not pass NaN on.
    """
    side = need.padded(side)
    reach = 0
    # with strides a pixel's reach depends on its place in its block
    for at in range(side // 2, side // 2 + min(need.multiple, side // 4)):
        rgb = torch.full((1, 3, side, side), 0.5)
        rgb[0, :, at, at] = float("nan")
        try:
            with torch.no_grad():
                lost = module(rgb).isnan().any(1)[0].nonzero()
        except Exception:  # a search or a table may refuse NaN: then nothing can be said
            return None
        if not len(lost) or int(lost.min()) == 0 or int(lost.max()) == side - 1:
            return None
        reach = max(reach, int((lost - at).abs().max()))
    return reach
