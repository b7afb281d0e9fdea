"""Tiles by hand, to hold the networks to what they say of themselves: halo and statistics."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from hsrzoo.layers.whole_image import JOIN, Region, StatisticReached, TileCall, Totals, tile_call

Box = tuple[int, int, int, int]
"""Rows and columns of a tile: top, bottom, left, right."""


def call(network: nn.Module, rgb: Tensor, own: Region, known: Sequence[Totals]) -> Tensor:
    """One run on the tile ``rgb``; StatisticReached where ``known`` does not suffice."""
    height, width = rgb.shape[-2:]
    with torch.no_grad(), tile_call(TileCall((height, width), own, known=known)):
        return network(rgb)


def run_in_tiles(network: nn.Module, rgb: Tensor, rows: Sequence[int], columns: Sequence[int], halo: int):
    """The cube made from tiles between the cuts ``rows`` and ``columns``, and the number of passes."""
    boxes = [(a, b, c, d) for a, b in pairs(rows) for c, d in pairs(columns)]
    known: list[Totals] = []
    while True:
        totals, joins, cubes = None, (), []
        for box in boxes:
            try:
                cubes.append(one_tile(network, rgb, box, halo, known))
            except StatisticReached as reached:
                joins = reached.reduce
                totals = reached.parts if totals is None else join(totals, reached.parts, joins)
        if totals is None:
            return stitch(cubes, boxes, rgb.shape[-2:]), len(known) + 1
        known.append(totals)


def pairs(cuts: Sequence[int]) -> list[tuple[int, int]]:
    return list(pairwise(cuts))


def join(a: Totals, b: Totals, joins: Sequence[str]) -> Totals:
    return tuple(JOIN[how](x, y) for how, x, y in zip(joins, a, b, strict=True))


def one_tile(network: nn.Module, rgb: Tensor, box: Box, halo: int, known: Sequence[Totals]) -> Tensor:
    """The cube of the tile's own pixels; it sees ``halo`` more around them where the image has them."""
    top, bottom, left, right = box
    height, width = rgb.shape[-2:]
    first_row, first_column = max(0, top - halo), max(0, left - halo)
    tile = rgb[:, :, first_row : min(height, bottom + halo), first_column : min(width, right + halo)]
    own = Region(top - first_row, left - first_column, bottom - top, right - left)
    cube = call(network, tile, own, known)
    return cube[:, :, own.top : own.top + own.height, own.left : own.left + own.width]


def stitch(cubes: Sequence[Tensor], boxes: Sequence[Box], size: Sequence[int]) -> Tensor:
    out = torch.full((*cubes[0].shape[:2], *size), float("nan"))
    for cube, (top, bottom, left, right) in zip(cubes, boxes, strict=True):
        out[:, :, top:bottom, left:right] = cube
    return out


def statistics(network: nn.Module, rgb: Tensor) -> list[Totals]:
    """All statistics of the whole image, in the order in which the network asks."""
    known: list[Totals] = []
    while True:
        try:
            call(network, rgb, Region(0, 0, *rgb.shape[-2:]), known)
        except StatisticReached as reached:
            known.append(reached.parts)
        else:
            return known


def reach(network: nn.Module, rgb: Tensor, known: Sequence[Totals], at: int) -> tuple[int, int]:
    """How far a NaN in the input pixel (at, at) spreads: the most and, of four directions, the least."""
    poisoned = rgb.clone()
    poisoned[0, 0, at, at] = float("nan")
    cube = call(network, poisoned, Region(0, 0, *rgb.shape[-2:]), known)
    lost = cube.isnan().any(1)[0].nonzero()
    ways = torch.cat([at - lost.min(0).values, lost.max(0).values - at])
    return int(ways.max()), int(ways.min())
