"""How an image is cut into tiles: pure arithmetic, no pixels."""

from __future__ import annotations

from dataclasses import dataclass

from hsrzoo.layers.whole_image import Region
from hsrzoo.spec import RgbInput


@dataclass(frozen=True)
class Tile:
    """``own``: the pixels that it answers for; ``window``: with their halo. Both in the padded image."""

    own: Region
    window: Region

    @property
    def own_in_window(self) -> Region:
        """Its own pixels in coordinates of the window."""
        own, window = self.own, self.window
        return Region(own.top - window.top, own.left - window.left, own.height, own.width)


@dataclass(frozen=True)
class Grid:
    """A cut of an image of ``size`` (H, W) padded to ``padded`` (H, W).

    ``tile``: the largest side that a tile may have, None: one tile. ``step``: rows and columns of a
    tile (those at the end may have fewer); ``halo``: pixels that a window reaches beyond its tile,
    except at the image's border.
    """

    size: tuple[int, int]
    padded: tuple[int, int]
    tile: int | None
    step: tuple[int, int]
    halo: int
    tiles: tuple[Tile, ...]

    @property
    def whole(self) -> bool:
        """Whether one tile holds the image."""
        return len(self.tiles) == 1


def cut(
    size: tuple[int, int], padded: tuple[int, int], need: RgbInput, tile: int | None, halo: int = 0
) -> Grid:
    """Cut into tiles of at most ``tile`` x ``tile`` pixels, as equal as the network's multiple allows.

    ``tile`` is at least the network's multiple and smallest size; None: one tile. ``halo`` is rounded
    up to the multiple, so that every window begins where a network without tiles has a pixel, too.
    """
    reach = -(-halo // need.multiple) * need.multiple
    least = need.padded(1)
    axes = [_spans(length, tile, reach, least, need.multiple) for length in padded]
    (rows, down), (columns, across) = axes
    tiles = tuple(
        Tile(Region(top, left, bottom - top, right - left), Region(first, start, last - first, end - start))
        for (top, bottom), (first, last) in rows
        for (left, right), (start, end) in columns
    )
    return Grid(size, padded, tile, (down, across), reach, tiles)


Span = tuple[int, int]


def _spans(
    length: int, tile: int | None, reach: int, least: int, multiple: int
) -> tuple[list[tuple[Span, Span]], int]:
    """(own, window) along one axis, and the rows or columns of a tile."""
    count = 1 if tile is None else -(-length // (tile - tile % multiple))
    step = -(-length // (count * multiple)) * multiple
    spans = []
    for first in range(0, length, step):
        last = min(first + step, length)
        start, end = max(0, first - reach), min(length, last + reach)
        # a short tile at the end takes more of its neighbour, so that the network accepts its window
        start = max(0, min(start, end - least))
        end = min(length, max(end, start + least))
        spans.append(((first, last), (start, end)))
    return spans, step
