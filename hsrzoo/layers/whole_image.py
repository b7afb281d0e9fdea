"""Networks on images larger than memory: statistics of the whole image, and strips of rows.

A network that needs a number from *all* pixels (a mean, a Gram matrix, a count) asks for it through
:func:`whole_image`. On an ordinary call that is the plain computation. When an image runs in tiles,
each tile contributes the part of its own pixels, and once all tiles have been seen the network goes on
with the finished number, or is left and runs again with it: exact, with one pass over the image for
every statistic that depends on the one before, and one more for the output.

:func:`in_strips` is for layers whose output pixel depends on few input pixels only: evaluated strip
by strip, their wide intermediate features stay in the processor's cache and out of memory's peak.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

Totals = tuple[Tensor, ...]

PIXELS_AT_ONCE = {"cpu": 1 << 15, "other": 1 << 20}
"""Pixels of a strip, at the resolution of its output: on a CPU some of its cache, elsewhere enough to
keep the device busy."""
LEAST_ROWS = 32
"""Rows of a strip at least, a multiple of 8: with fewer, halos take a larger share of the work; with more,
strips of wide images take memory whose pages are new each time."""


@dataclass(frozen=True)
class Region:
    """A rectangle of pixels: row and column of its first pixel, rows, columns."""

    top: int
    left: int
    height: int
    width: int

    def within(self, other: Region) -> Region:
        """The part inside ``other``; without pixels (0 or fewer rows or columns) if none does."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom = min(self.top + self.height, other.top + other.height)
        right = min(self.left + self.width, other.left + other.width)
        return Region(top, left, bottom - top, right - left)

    def grown(self, pixels: int) -> Region:
        """The region with ``pixels`` more on each side."""
        size = 2 * pixels
        return Region(self.top - pixels, self.left - pixels, self.height + size, self.width + size)

    def slices(self, origin: Region) -> tuple[slice, slice]:
        """Rows and columns of the region in an array that holds ``origin``."""
        top, left = self.top - origin.top, self.left - origin.left
        return slice(top, top + self.height), slice(left, left + self.width)


class StatisticReached(BaseException):
    """Leaves a network at the first statistic that is not known yet. ``parts``: this tile's share;
    ``reduce``: how the shares of all tiles are joined.

    A BaseException, as GeneratorExit is, so that no ``except Exception`` in a network stops it.
    """

    def __init__(self, parts: Totals, reduce: tuple[str, ...]) -> None:
        super().__init__()
        self.parts, self.reduce = parts, reduce


def leave(parts: Totals, reduce: tuple[str, ...]) -> Totals:
    """Raises StatisticReached."""
    raise StatisticReached(parts, reduce)


@dataclass
class TileCall:
    """One run of a network on one tile.

    ``size``: height and width of the tile with its halo; ``own``: the pixels it answers for, within
    the tile; ``known``: the statistics found before, in the order in which the network asks; ``origin``:
    row and column of the tile's first pixel in the image; ``ask``: gives the statistic of the image for
    the tile's share and how shares are joined, where it is not known; or leaves the network; ``empty``:
    makes the maps that :func:`in_strips` returns, of a shape and dtype, where they shall not lie in memory.
    """

    size: tuple[int, int]
    own: Region
    known: Sequence[Totals] = ()
    origin: tuple[int, int] = (0, 0)
    ask: Callable[[Totals, tuple[str, ...]], Totals] = leave
    empty: Callable[[tuple[int, ...], torch.dtype], Tensor] | None = None
    asked: int = field(default=0, init=False)

    def own_part(self, x: Tensor) -> Tensor:
        """The tile's own pixels of features (B, C, h, w) at any whole fraction of its resolution."""
        (height, width), own = self.size, self.own
        down, across = height // x.shape[-2], width // x.shape[-1]
        rows = slice(own.top // down, (own.top + own.height) // down)
        return x[..., rows, own.left // across : (own.left + own.width) // across]


class _Current(threading.local):
    call: TileCall | None = None
    thin: bool = False
    """Whether strips have as few rows as those of wide images."""


_current = _Current()

JOIN: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sum": torch.add,
    "min": torch.minimum,
    "max": torch.maximum,
}


def whole_image(
    compute: Callable[..., Totals], *maps: Tensor, reduce: str | tuple[str, ...] = "sum"
) -> Totals:
    """``compute(*maps)``, joined over all tiles of the image.

    ``maps``: features (B, C, h, w) at a whole fraction of the image's resolution, all of one size;
    ``compute`` turns those of a part of the image into a tuple of tensors that add up over disjoint
    parts (``reduce="sum"``), or of which the least or largest counts ("min", "max"; one for all, or
    one each). Outside of tiles this is ``compute(*maps)``; without gradients it is computed on strips
    of rows, so that what ``compute`` makes on the way stays small. Where the totals are known already,
    nothing is computed.

    In tiles the network runs on other tiles before this call returns. Over it a network must keep nothing
    on its modules (an attribute would be that of another tile), and must not have changed settings of the
    whole process, such as warning filters or the state of random numbers.
    """
    if torch.compiler.is_compiling() or (call := _current.call) is None:
        return _join_strips(compute, maps, reduce)
    call.asked += 1
    if call.asked <= len(call.known):
        return call.known[call.asked - 1]
    parts = _join_strips(compute, [call.own_part(x) for x in maps], reduce)
    return call.ask(parts, _joins(reduce, len(parts)))


def _joins(reduce: str | tuple[str, ...], count: int) -> tuple[str, ...]:
    return (reduce,) * count if isinstance(reduce, str) else reduce


def _join_strips(
    compute: Callable[..., Totals], maps: Sequence[Tensor], reduce: str | tuple[str, ...]
) -> Totals:
    if not can_strip():  # asked before any size is compared, which would fix it in a traced network
        return compute(*maps)
    height, width = maps[0].shape[-2:]
    # half as many rows as in in_strips, for the cache: there is no halo that more rows would spare
    rows = max(8, _rows_at_once(maps[0].device, width) // 16 * 8)
    if rows >= height:
        return compute(*maps)
    joined: Totals | None = None
    for top in range(0, height, rows):
        parts = compute(*(x[..., top : top + rows, :] for x in maps))
        if joined is None:
            joined = parts
            continue
        joins = _joins(reduce, len(parts))
        joined = tuple(JOIN[how](a, b) for how, a, b in zip(joins, joined, parts, strict=True))
    assert joined is not None  # there is at least one strip
    return joined


def _rows_at_once(device: torch.device, width: int) -> int:
    # whole eights, so that a strided subset of rows is the same with and without strips
    return LEAST_ROWS if _current.thin else max(LEAST_ROWS, pixels_at_once(device) // width // 8 * 8)


def pixels_at_once(device: torch.device) -> int:
    """Of :data:`PIXELS_AT_ONCE`."""
    return PIXELS_AT_ONCE["cpu" if device.type == "cpu" else "other"]


@contextmanager
def strips_of_least_rows() -> Iterator[None]:
    """Strips in this block (and thread) have :data:`LEAST_ROWS`, as those of wide images."""
    before, _current.thin = _current.thin, True
    try:
        yield
    finally:
        _current.thin = before


def pixel_mean(x: Tensor) -> Tensor:
    """Mean over all pixels of the image of (B, C, h, w), as (B, C), in fp32 at least."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    if torch.compiler.is_compiling() or _current.call is None:
        return x.mean((2, 3), dtype=dtype)

    def parts(own: Tensor) -> Totals:
        pixels = float(own.shape[2] * own.shape[3])
        return own.sum((2, 3), dtype=dtype), torch.tensor(pixels, dtype=dtype, device=own.device)

    total, count = whole_image(parts, x)
    return total / count


def current_call() -> TileCall | None:
    """The tile that this thread's network runs on; None for a whole image."""
    return _current.call


@contextmanager
def tile_call(call: TileCall) -> Iterator[None]:
    """Networks run in this block (and thread) see a tile instead of a whole image."""
    before, _current.call = _current.call, call
    try:
        yield
    finally:
        _current.call = before


def can_strip() -> bool:
    """Whether strips are possible: gradients need whole features, and a traced network is one graph."""
    return not (torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing())


def in_strips(
    layers: Callable[..., Tensor],
    *maps: Tensor,
    halo: int = 0,
    down: int = 1,
    rows: int | None = None,
    crops: bool = False,
    reuse: bool = False,
) -> Tensor:
    """``layers(*maps)``, computed on strips of rows where that is possible (see :func:`can_strip`).

    ``maps``: (B, C_i, H / s_i, W / s_i) with whole s_i, the first one the finest. The output is
    (B, K, H / down, W / down). ``halo``: how many rows of the first map, above and below its own, an
    output row depends on, the reach of the coarser maps counted in rows of the first one. ``rows``: of
    the first map in a strip, by default :data:`PIXELS_AT_ONCE` pixels. At the image's border no halo
    is added, so zero padding stays what it was. ``crops``: ``layers`` gets a keyword ``own``, the slice
    of its output's rows that are wanted, and returns only these: layers of single pixels then need
    not see the halo. ``reuse``: the first map is not needed afterwards, and where strips are possible
    the result, of its shape and without halo, takes its place in memory. The result of several strips
    is channels-last.
    """
    whole = {"own": slice(None)} if crops else {}
    if not can_strip():  # asked before any size is compared, which would fix it in a traced network
        return layers(*maps, **whole)
    height, width = maps[0].shape[-2:]
    step = max(down, *(height // x.shape[-2] for x in maps))
    rows = max(1, (rows or _rows_at_once(maps[0].device, width)) // step) * step
    if rows >= height:
        return _as_map(layers(*maps, **whole))
    reach = -(-halo // step) * step
    out = maps[0] if reuse else None
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        first, last = max(0, top - reach), min(height, bottom + reach)
        strip = [_rows(x, first, last, height) for x in maps]
        own = slice((top - first) // down, (bottom - first) // down)
        part = layers(*strip, own=own) if crops else layers(*strip)[:, :, own]
        if out is None:
            b, k, _, across = part.shape
            out = _empty(part, (b, height // down, across, k)).permute(0, 3, 1, 2)  # channels-last
        out[:, :, top // down : bottom // down] = part
    assert out is not None  # there is at least one strip
    return out


def _empty(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    call = _current.call
    return like.new_empty(shape) if call is None or call.empty is None else call.empty(shape, like.dtype)


def _as_map(x: Tensor) -> Tensor:
    """``x`` in a map as :func:`_empty` makes it, in the same order in memory."""
    if (call := _current.call) is None or call.empty is None:
        return x
    if x.is_contiguous():
        return call.empty(tuple(x.shape), x.dtype).copy_(x)
    if x.is_contiguous(memory_format=torch.channels_last):
        rows = x.permute(0, 2, 3, 1)
        return call.empty(tuple(rows.shape), x.dtype).copy_(rows).permute(0, 3, 1, 2)
    return x


def _rows(x: Tensor, first: int, last: int, height: int) -> Tensor:
    """Rows ``first`` to ``last`` of an image of ``height`` rows, in a map of any whole fraction of it."""
    step = height // x.shape[-2]
    return x[..., first // step : -(-last // step), :]
