"""A network over an image in tiles: one pass for each statistic of the whole image, one for the cube.

See :mod:`hsrzoo.layers.whole_image`. What a run has found so far is a :class:`Work`, a value that
can be stored: a run that goes on from it makes the same cube to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from hsrzoo.errors import PluginError
from hsrzoo.layers.whole_image import JOIN, Region, StatisticReached, TileCall, Totals, tile_call
from hsrzoo.models.tiling.grid import Grid, Tile
from hsrzoo.models.tiling.windows import PaddedImage

Network = Callable[[Tensor], Tensor]
Sink = Callable[[int, int, Tensor], None]
"""``sink(top, left, part)``: takes a part (C, h, w) of the cube at its place in the image."""
Finish = Callable[[Tensor, Region], Tensor]
"""``finish(cube, region)``: the final cube from the network's (1, C, h, w) of a region of the image."""

_MANY = 10_000
"""More statistics than any network has: one that never ends is broken."""


@dataclass(frozen=True)
class Shares:
    """What the tiles of a pass have contributed to a statistic: float64 (whole numbers: int64) on the
    CPU, the dtypes in which the network wants the totals, and how they are joined."""

    parts: Totals
    dtypes: tuple[torch.dtype, ...]
    reduce: tuple[str, ...]

    @classmethod
    def of(cls, parts: Totals, reduce: tuple[str, ...]) -> Shares:
        """The shares of one tile; totals of half-precision floats are wanted in float32."""
        half = (torch.float16, torch.bfloat16)
        wide = tuple(_wide(part.detach().cpu()) for part in parts)
        return cls(wide, tuple(torch.float32 if p.dtype in half else p.dtype for p in parts), reduce)

    def join(self, other: Shares) -> Shares:
        """With another tile's; PluginError where they are not the same statistic."""
        mine, others = self._signature(), other._signature()
        if mine != others:
            raise PluginError(
                "Tiles of one image ask for different statistics", expected=f"{mine} in all", got=others
            )
        parts = zip(self.reduce, self.parts, other.parts, strict=True)
        return replace(self, parts=tuple(JOIN[how](a, b) for how, a, b in parts))

    def totals(self, device: torch.device) -> Totals:
        """What the network gets."""
        return tuple(p.to(dtype).to(device) for p, dtype in zip(self.parts, self.dtypes, strict=True))

    def _signature(self) -> list[tuple[str, list[int], str]]:
        each = zip(self.reduce, self.parts, self.dtypes, strict=True)
        return [(how, list(part.shape), str(dtype).removeprefix("torch.")) for how, part, dtype in each]


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
    device: torch.device, exact: bool = True, finish: Finish | None = None, margin: int = 0,
) -> Iterator[Work]:  # fmt: skip
    """Run ``network`` over all tiles in as many passes as it needs, from ``work`` on; yields the work
    done after every tile.

    ``exact``: statistics are those of the whole image; else each tile has its own. An image in one
    tile is an ordinary call. ``finish`` looks at ``margin`` pixels around each pixel. Raises PluginError
    for a network that does not do what it declares.
    """
    while not work.finished:
        for tile in grid.tiles[work.done :]:
            window = image.window(tile.window).to(device)
            if grid.whole or not exact:
                found: Tensor | Shares = network(window)
            else:
                found = visit(network, window, tile, work.known)
            del window
            if isinstance(found, Shares):
                if work.done and work.shares is None:
                    raise _uneven("a statistic", "the cube")
                work = replace(work, shares=found if work.shares is None else work.shares.join(found))
            else:
                if work.shares is not None:
                    raise _uneven("the cube", "a statistic")
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


def visit(network: Network, window: Tensor, tile: Tile, known: tuple[Totals, ...]) -> Tensor | Shares:
    """The network on one tile: its share of the first statistic that is not known, or its cube."""
    size = (window.shape[-2], window.shape[-1])
    call = TileCall(size, tile.own_in_window, known, (tile.window.top, tile.window.left))
    try:
        with tile_call(call):
            cube = network(window)
    except StatisticReached as reached:
        return Shares.of(reached.parts, reached.reduce)
    if call.asked != len(known):
        raise _uneven(f"{call.asked} statistics", f"{len(known)}")
    return cube


def count_statistics(network: Network, side: int, device: torch.device) -> int:
    """How many statistics of the whole image the network asks for, seen on a small grey one."""
    window = torch.full((1, 3, side, side), 0.5, device=device)
    whole = Region(0, 0, side, side)
    known: tuple[Totals, ...] = ()
    while len(known) < _MANY:
        found = visit(network, window, Tile(whole, whole), known)
        if not isinstance(found, Shares):
            return len(known)
        known = (*known, found.totals(device))
    raise PluginError("The network never stops asking for statistics of the image", got=f"{_MANY} of them")


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


def _wide(x: Tensor) -> Tensor:
    return x.double() if x.is_floating_point() else x.long()


def _uneven(this: str, others: str) -> PluginError:
    return PluginError(
        "The network asks for other statistics in one tile than in its neighbours",
        expected=f"{others}, as in the tiles before",
        got=this,
        fix="Let it ask for the same whole_image statistics in the same order for all pixels",
    )
