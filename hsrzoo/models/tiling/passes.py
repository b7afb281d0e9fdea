"""A network over an image in tiles: one pass for each statistic of the whole image, one for the cube.

See :mod:`hsrzoo.layers.whole_image`. What a run has found so far is a :class:`Work`, a value that
can be stored: a run that goes on from it makes the same cube to the bit. Features that are kept between
passes (:mod:`.visits`) are no part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from hsrzoo.errors import PluginError
from hsrzoo.layers.whole_image import Region, TileCall, Totals, tile_call
from hsrzoo.models.tiling.grid import Grid, Tile
from hsrzoo.models.tiling.kept import KeptTiles
from hsrzoo.models.tiling.visits import Network, Shares, Visits, uneven
from hsrzoo.models.tiling.windows import PaddedImage

Sink = Callable[[int, int, Tensor], None]
"""``sink(top, left, part)``: takes a part (C, h, w) of the cube at its place in the image."""
Finish = Callable[[Tensor, Region], Tensor]
"""``finish(cube, region)``: the final cube from the network's (1, C, h, w) of a region of the image."""

_MANY = 10_000
"""More statistics than any network has: one that never ends is broken."""


@dataclass(frozen=True)
class Work:
    """How far a run has come."""

    seen: Mapping[str, Any] = field(default_factory=dict)
    """Statistics of the image that steps before the network took, by name; JSON values."""
    known: tuple[Totals, ...] = ()
    """Statistics that the network took."""
    shares: Shares | None = None
    """Of the statistic that this pass is about; None before its first tile, and in the pass that
    gives the cube."""
    done: int = 0
    """Tiles of this pass."""
    passes: int = 0
    """Over the image, finished ones."""
    finished: bool = False


def run_tiles(
    network: Network, image: PaddedImage, grid: Grid, sink: Sink, work: Work, *, bands: int,
    device: torch.device, kept: KeptTiles, exact: bool = True, finish: Finish | None = None,
    margin: int = 0,
) -> Iterator[Work]:  # fmt: skip
    """Run ``network`` over all tiles in as many passes as it needs, from ``work`` on; yields the work
    done after every tile.

    ``exact``: statistics are those of the whole image; else each tile has its own. An image in one
    tile is an ordinary call. ``finish`` looks at ``margin`` pixels around each pixel. ``kept``: which
    tiles keep their features between passes. Raises PluginError for a network that does not do what it
    declares.
    """

    def window_of(tile: Tile) -> Tensor:
        return image.window(tile.window).to(device)

    in_passes = exact and not grid.whole
    with Visits(network, window_of, kept) as visits:
        while not work.finished:
            for tile in grid.tiles[work.done :]:
                found = visits(tile, work.known) if in_passes else network(window_of(tile))
                if isinstance(found, Shares):
                    if work.done and work.shares is None:
                        raise uneven("a statistic", "the cube")
                    work = replace(work, shares=found if work.shares is None else work.shares.join(found))
                else:
                    if work.shares is not None:
                        raise uneven("the cube", "a statistic")
                    _require_shape(found, (1, bands, tile.window.height, tile.window.width))
                    _deliver(found, tile, grid, sink, finish, margin)
                del found
                work = replace(work, done=work.done + 1)
                if work.done == len(grid.tiles):
                    work = _end_of_pass(work, device)
                yield work


def into_memory(size: tuple[int, int], bands: int) -> tuple[Tensor, Sink]:
    """An empty cube (H, W, C) float32 on the CPU, and the sink that fills it."""
    cube = torch.empty(*size, bands)

    def keep(top: int, left: int, part: Tensor) -> None:
        rows, columns = part.shape[1:]
        cube[top : top + rows, left : left + columns].copy_(part.permute(1, 2, 0))

    return cube, keep


def count_statistics(network: Network, side: int, device: torch.device) -> int:
    """How many statistics of the whole image the network asks for, seen on a small grey one."""

    def give(own: Totals, reduce: tuple[str, ...]) -> Totals:
        if call.asked > _MANY:
            got = f"{_MANY} of them"
            raise PluginError("The network never stops asking for statistics of the image", got=got)
        return own

    call = TileCall((side, side), Region(0, 0, side, side), ask=give)
    with tile_call(call):
        network(torch.full((1, 3, side, side), 0.5, device=device))
    return call.asked


def _end_of_pass(work: Work, device: torch.device) -> Work:
    if work.shares is None:
        return replace(work, passes=work.passes + 1, finished=True)
    known = (*work.known, work.shares.totals(device))
    return replace(work, known=known, shares=None, done=0, passes=work.passes + 1)


def _require_shape(cube: Tensor, expected: tuple[int, ...]) -> None:
    if tuple(cube.shape) != expected:
        raise PluginError("The network returns the wrong shape", expected=expected, got=tuple(cube.shape))


def _deliver(cube: Tensor, tile: Tile, grid: Grid, sink: Sink, finish: Finish | None, margin: int) -> None:
    """Hand a tile's own pixels over, finished, without the halo and the image's padding."""
    window, image = tile.window, Region(0, 0, *grid.size)
    own = tile.own.within(image)
    if own.height <= 0 or own.width <= 0:
        return
    region = own.grown(margin).within(window).within(image)
    rows, columns = region.slices(window)
    part = cube[..., rows, columns]
    if finish is not None:
        part = finish(part, region)
    rows, columns = own.slices(region)
    sink(own.top, own.left, part[0, :, rows, columns])
