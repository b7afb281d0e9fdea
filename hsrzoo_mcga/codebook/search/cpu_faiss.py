"""The CPU's engine: faiss's fused search for one neighbour, which writes no distances to memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from hsrzoo_mcga.codebook.search.table import centre_of, lowest_equal


def search(features: Tensor, codes: Tensor) -> Tensor:
    """Indices (M,) int64 of the nearest of ``codes`` (N, D) for ``features`` (M, D), fp32 on the CPU.

    Rows that lie in memory one after the other are not copied, unless the codes are far from the origin.
    """
    import faiss  # a third of a second, not needed on a GPU

    equal = lowest_equal(codes.numpy())
    centre = centre_of(codes)
    if centre.any():
        features, codes = features - centre, codes - centre
    with _fused_kernels(faiss):
        _, index = faiss.knn(features.contiguous().numpy(), codes.contiguous().numpy(), 1)
    # faiss answers -1 where no distance is finite
    nearest = torch.from_numpy(index[:, 0]).clamp_min_(0)
    return nearest if equal is None else torch.from_numpy(equal)[nearest]


@contextmanager
def _fused_kernels(faiss) -> Iterator[None]:  # type: ignore[no-untyped-def]
    """faiss with torch's number of threads, and its fused kernels for small inputs too.

    Below its threshold faiss searches pair by pair, which at 64 x 64 pixels takes tens of times longer.
    """
    faiss.omp_set_num_threads(torch.get_num_threads())
    before = faiss.cvar.distance_compute_blas_threshold
    faiss.cvar.distance_compute_blas_threshold = 1
    try:
        yield
    finally:
        faiss.cvar.distance_compute_blas_threshold = before
