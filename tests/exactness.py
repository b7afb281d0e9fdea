"""What an exact search is: a float64 brute force, and how far apart a tie to within rounding may be."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hsrzoo_mcga.codebook.search.table import centre_of

_ROWS = 1024
"""Features compared at once; with 1,536 codes 12 MB of float64 distances."""


@dataclass(frozen=True)
class Difference:
    """How an engine's indices differ from the float64 brute force's."""

    rows: int
    differ: int
    """Rows with another index."""
    beyond: int
    """Rows of these whose distances differ by more than rounding: errors. 0 for an exact engine."""


def compare(found: Tensor, features: Tensor, codes: Tensor) -> Difference:
    """Compare ``found`` (M,) with the nearest of ``codes`` (N, D) to ``features`` (M, D) in float64."""
    best = brute_force(features, codes)
    gap = _squared_distance(features, codes[found]) - _squared_distance(features, codes[best])
    differ = found != best
    beyond = differ & ~(gap <= rounding_bound(features, codes, found, best))
    return Difference(len(found), int(differ.sum()), int(beyond.sum()))


def brute_force(features: Tensor, codes: Tensor) -> Tensor:
    """Indices (M,) int64 of the nearest codes by float64 differences; ties go to the lowest index."""
    table = codes.double()
    parts = features.split(_ROWS)
    mode = "donot_use_mm_for_euclid_dist"
    return torch.cat([torch.cdist(x.double(), table, compute_mode=mode).argmin(1) for x in parts])


def rounding_bound(features: Tensor, codes: Tensor, found: Tensor, best: Tensor) -> Tensor:
    """(M,) float64: how much further than ``best`` a code may be and yet be found, by rounding alone.

    An engine compares |c|^2 - 2 x.c, or that plus |x|^2, with x and c moved by ``centre_of(codes)`` and
    rounded to the unit roundoff u of their dtype. Each is a sum of D products; the rounding of moving,
    multiplying and adding D + 8 times is at most (D + 8) u (|x| + |c|)^2. Two such sums are compared.
    """
    centre = centre_of(codes).double()
    x = (features.double() - centre).norm(dim=1)
    c = (codes.double() - centre).norm(dim=1)
    size = x + torch.maximum(c[found], c[best])
    u = torch.finfo(codes.dtype).eps / 2
    return 2 * (codes.shape[1] + 8) * u * size.square()


def _squared_distance(features: Tensor, chosen: Tensor) -> Tensor:
    return (features.double() - chosen.double()).square().sum(1)
