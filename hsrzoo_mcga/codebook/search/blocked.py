"""The reference engine: matrix products in torch, a bounded block of distances at a time.

|x - c|^2 is least where |c|^2 / 2 - x.c is: the feature's own norm does not matter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from hsrzoo_mcga.codebook.search.table import centre_of, half_norms, lowest_equal

_BLOCK = 1 << 22
"""Distances held at once (numbers, not bytes): smaller blocks wait too often for the other threads."""
_TRACED_WIDTH = 256
"""Codes compared at once in a traced graph, where the number of rows is unknown."""
_GROUP = 64
"""Codes in a group. The minimum of each group comes first: amin is several times faster than argmin."""


@dataclass(frozen=True)
class _Table:
    centre: Tensor
    """(D,)"""
    codes: Tensor
    """(N', D) about the centre; N' is N rounded up to whole groups."""
    half_norms: Tensor
    """(N',): |c|^2 / 2, infinite for the rows that only fill up the last group."""

    @classmethod
    def of(cls, codes: Tensor) -> _Table:
        centre = centre_of(codes)
        moved = codes - centre
        missing = -codes.shape[0] % _GROUP
        norms = F.pad(half_norms(moved), (0, missing), value=math.inf)
        return cls(centre, F.pad(moved, (0, 0, 0, missing)), norms)


def search(features: Tensor, codes: Tensor) -> Tensor:
    """Indices (M,) int64 of the nearest of ``codes`` (N, D) for ``features`` (M, D), M >= 1, any device."""
    equal = lowest_equal(codes.cpu().numpy())
    # autocast would halve the precision of the product
    with torch.autocast(features.device.type, enabled=False):
        dtype = torch.float64 if _products_may_round() else features.dtype
        table = _Table.of(codes.to(dtype))
        width = min(len(table.codes), _BLOCK)
        rows = features.split(max(1, _BLOCK // width))
        index = torch.cat([_nearest(part.to(dtype), table, width) for part in rows])
    return index if equal is None else torch.from_numpy(equal).to(index.device)[index]


def search_traced(features: Tensor, codes: Tensor) -> Tensor:
    """The same for a traced graph: M may be symbolic, the loop runs over the N codes and is written out.

    It uses only what ONNX has, and finds the index of a minimum by comparisons, because argmin breaks
    ties differently in different runtimes.
    """
    return _nearest(features, _Table.of(codes), _TRACED_WIDTH)


def _products_may_round() -> bool:
    """Whether this process lets matrix products of fp32 round their inputs (TF32, bf16)."""
    try:
        return torch.get_float32_matmul_precision() != "highest"
    except RuntimeError:  # set by backend, in a way that has no one name
        return True


def _nearest(rows: Tensor, table: _Table, width: int) -> Tensor:
    """(M, D) -> (M,) int64: a running minimum over blocks of ``width`` codes, a multiple of the group."""
    rows = rows - table.centre
    finite = (rows * rows).sum(1) < math.inf
    rows = rows.masked_fill(~finite[:, None], 0)
    for first in range(0, table.codes.shape[0], width):
        part = slice(first, first + width)
        scores = torch.addmm(table.half_norms[part], rows, table.codes[part].t(), alpha=-1)
        value, place = _least(scores)
        if first == 0:
            least, index = value, place
        else:
            closer = value < least  # strictly: of equals the earlier block's stays
            least, index = torch.where(closer, value, least), torch.where(closer, place + first, index)
    return index.masked_fill(~finite, 0)


def _least(scores: Tensor) -> tuple[Tensor, Tensor]:
    """The least of each row of ``scores`` (M, N) and its lowest place, (M,) and (M,) int64."""
    groups = scores.unflatten(1, (-1, _GROUP))  # M N/G G
    by_group = groups.amin(2)
    least = by_group.amin(1, keepdim=True)
    group = _lowest_place(by_group == least)
    members = groups.gather(1, group[:, None, None].expand(-1, 1, _GROUP))[:, 0]  # M G
    return least[:, 0], group * _GROUP + _lowest_place(members == least)


def _lowest_place(hits: Tensor) -> Tensor:
    """(M, N) bool, at least one a row -> (M,) int64, the first."""
    last = hits.shape[1] - 1
    places = torch.arange(last + 1, device=hits.device)
    return torch.where(hits, places, last).amin(1)
