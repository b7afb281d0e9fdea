"""The engines against matmul + argmin: time in one run, and exactness."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from hsrzoo_mcga.codebook.search import nearest_code, search_engine
from hsrzoo_mcga.codebook.search.exactness import flips

BASELINE = "matmul + argmin"
_CHECKED = 16384
"""Features whose indices are compared with float64, on an even stride: the brute force is slow."""


def matmul_argmin(features: Tensor, codes: Tensor) -> Tensor:
    """The search with all M x N distances in memory, in its leanest form (one matrix, written once)."""
    return torch.addmm((codes * codes).sum(1) / 2, features, codes.t(), alpha=-1).argmin(1)


def compare(
    width: int, n_codes: int, pixels: int, engines: Sequence[str], repeats: int, device: str
) -> list[dict[str, Any]]:
    """One row per way of searching ``pixels`` features among ``n_codes`` codes, all N(0, 1), fp32.

    The ways take turns, A B A B, after one round that is not counted; ``ratio`` is that of the medians
    to matmul + argmin's.
    """
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(pixels, width, generator=generator).to(device)
    codes = torch.randn(n_codes, width, generator=generator).to(device)
    ways: dict[str, Callable[[], Tensor]] = {BASELINE: lambda: matmul_argmin(features, codes)}
    for name in engines:
        ways[name] = lambda name=name: _forced(name, features, codes)  # type: ignore[misc]
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    found = {name: way() for name, way in ways.items()}
    for _ in range(repeats):
        for name, way in ways.items():
            seconds[name].append(_timed(way, device))
    stride = -(-pixels // _CHECKED)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    rows = []
    for name in ways:
        checked = flips(found[name][::stride], features[::stride], codes)
        rows.append(
            {
                "d": width,
                "codes": n_codes,
                "pixels": pixels,
                "engine": name,
                "ms": medians[name] * 1e3,
                "ratio": medians[name] / medians[BASELINE],
                "checked": checked.rows,
                "differ": checked.differ,
                "beyond_rounding": checked.beyond,
                "seconds": seconds[name],
                "device": device,
                "threads": torch.get_num_threads(),
            }
        )
    return rows


def _forced(name: str, features: Tensor, codes: Tensor) -> Tensor:
    with search_engine(name):
        return nearest_code(features, codes)


def _timed(way: Callable[[], Tensor], device: str) -> float:
    """Seconds of one call; a GPU is waited for."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    way()
    wait()
    return time.perf_counter() - start
