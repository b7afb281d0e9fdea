"""Nearest-code search: for each feature the index of its closest code, exactly.

Two engines give the same answer but for rounding: faiss's fused search on the CPU, and a blocked
matrix product in torch everywhere else. Ties go to the lowest index.
"""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK = 1 << 22
"""Distances held at once by the torch engine (numbers, not bytes)."""


def squared_distances(features: Tensor, codes: Tensor) -> Tensor:
    """Squared L2 distances (M, N) between ``features`` (M, D) and ``codes`` (N, D); differentiable."""
    cross = features @ codes.t()
    return ((features * features).sum(1, keepdim=True) - 2 * cross + (codes * codes).sum(1)).clamp_min(0)


def _search_torch(features: Tensor, codes: Tensor) -> Tensor:
    # |x - c|^2 is least where |c|^2 / 2 - x.c is: the feature's own norm does not matter
    half_norms = (codes * codes).sum(1) / 2
    step = max(1, _BLOCK // len(codes))
    return torch.cat([(half_norms - block @ codes.t()).argmin(1) for block in features.split(step)])


def _search_faiss(features: Tensor, codes: Tensor) -> Tensor:
    import faiss  # a third of a second to import, not needed on a GPU

    faiss.omp_set_num_threads(torch.get_num_threads())
    _, index = faiss.knn(features.contiguous().numpy(), codes.contiguous().numpy(), 1)
    return torch.from_numpy(index[:, 0])


@torch.no_grad()
def nearest_code(features: Tensor, codes: Tensor) -> Tensor:
    """Indices (M,) int64 of the nearest of ``codes`` (N, D) for each of ``features`` (M, D).

    Non-finite features get index 0 (their output is non-finite anyway, and no search is defined).
    """
    features, codes = features.detach(), codes.detach()
    on_cpu = features.device.type == "cpu" and features.dtype == torch.float32
    if torch.jit.is_tracing() or torch.compiler.is_compiling() or not on_cpu:
        return _search_torch(features, codes)
    return _search_faiss(features, codes).clamp_min(0)
