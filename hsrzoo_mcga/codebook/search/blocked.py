"""The reference engine: matrix products in torch, a bounded block of distances at a time.

|x - c|^2 is least where x.c - |c|^2 / 2 is greatest: the feature's own norm does not matter. That is one
product of [x, 1] and [c, -|c|^2 / 2].
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
"""Codes in a group. The maximum of each group comes first: amax is several times faster than argmax."""


@dataclass(frozen=True)
class _Table:
    centre: Tensor
    """(D,)"""
    codes: Tensor
    """(D + 1, N'): codes about the centre and -|c|^2 / 2. N' is N rounded up to whole groups; codes that
    only fill up the last one score -infinity."""

    @classmethod
    def of(cls, codes: Tensor) -> _Table:
        centre = centre_of(codes)
        moved = codes - centre
        missing = -codes.shape[0] % _GROUP
        norms = F.pad(-half_norms(moved), (0, missing), value=-math.inf)
        moved = F.pad(moved, (0, 0, 0, missing))
        return cls(centre, torch.cat([moved, norms[:, None]], 1).t().contiguous())


def search(features: Tensor, codes: Tensor) -> Tensor:
    """Indices (M,) int64 of the nearest of ``codes`` (N, D) for ``features`` (M, D), M >= 1, any device."""
    equal = lowest_equal(codes.cpu().numpy())
    # autocast would halve the precision of the product
    with torch.autocast(features.device.type, enabled=False):
        dtype = torch.float64 if _products_may_round() else features.dtype
        table = _Table.of(codes.to(dtype))
        width = min(table.codes.shape[1], _BLOCK)
        rows = features.split(max(1, _BLOCK // width))
        index = torch.cat([_nearest(part.to(dtype), table, width) for part in rows])
    return index if equal is None else torch.from_numpy(equal).to(index.device)[index]


def search_traced(features: Tensor, codes: Tensor) -> Tensor:
    """The same for a traced graph: M may be symbolic, the loop runs over the N codes and is written out.

    It uses only what ONNX has. Of equal scores ONNX and torch take the first.
    """
    return _nearest(features, _Table.of(codes), _TRACED_WIDTH)


def _products_may_round() -> bool:
    """Whether this process lets matrix products of fp32 round their inputs (TF32, bf16)."""
    try:
        return torch.get_float32_matmul_precision() != "highest"
    except RuntimeError:  # set by backend, in a way that has no one name
        return True


def _nearest(rows: Tensor, table: _Table, width: int) -> Tensor:
    """(M, D) -> (M,) int64: a running maximum over blocks of ``width`` codes, a multiple of the group."""
    rows = rows - table.centre
    finite = (rows * rows).sum(1) < math.inf
    rows = F.pad(rows.masked_fill(~finite[:, None], 0), (0, 1), value=1)
    for first in range(0, table.codes.shape[1], width):
        value, place = _greatest(rows @ table.codes[:, first : first + width])
        if first == 0:
            greatest, index = value, place
        else:
            closer = value > greatest  # strictly: of equals the earlier block's stays
            greatest = torch.where(closer, value, greatest)
            index = torch.where(closer, place + first, index)
    return index.masked_fill(~finite, 0)


def _greatest(scores: Tensor) -> tuple[Tensor, Tensor]:
    """The greatest of each row of ``scores`` (M, N) and its lowest place, (M,) and (M,) int64."""
    count = scores.shape[1] // _GROUP
    groups = scores.unflatten(1, (count, _GROUP))
    greatest = groups.amax(2)  # M N/G
    group = greatest.argmax(1)
    row = torch.arange(scores.shape[0], device=scores.device)
    members = groups.flatten(0, 1).index_select(0, row * count + group)  # M G
    return greatest.amax(1), group * _GROUP + members.argmax(1)
