"""Time the engines of the nearest-code search against matmul + argmin.

    python scripts/codebook_search.py [--codes 1536] [--pixels 262144] [--widths 8 16] [--device cpu]

All numbers are drawn from N(0, 1). The engines take turns after one round that does not count; a line has
the median in milliseconds and its ratio to matmul + argmin. tests/mcga/test_search.py checks that all are
exact.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from hsrzoo.errors import InputError, PluginError
from hsrzoo_mcga.codebook.search import ENGINES, check_engine, nearest_code, search_engine

BASELINE = "matmul + argmin"


def matmul_argmin(features: Tensor, codes: Tensor) -> Tensor:
    """The search with all M x N distances in memory, in its leanest form."""
    return torch.addmm((codes * codes).sum(1) / 2, features, codes.t(), alpha=-1).argmin(1)


def seconds(search: Callable[[Tensor, Tensor], Tensor], features: Tensor, codes: Tensor) -> float:
    """Of one call; a GPU is waited for."""
    wait = torch.cuda.synchronize if features.is_cuda else lambda: None
    wait()
    start = time.perf_counter()
    search(features, codes)
    wait()
    return time.perf_counter() - start


def runnable_engines(features: Tensor) -> list[str]:
    """The engines that can search ``features`` on this machine."""
    names = []
    for name in ENGINES:
        try:
            check_engine(name, features)
        except (InputError, PluginError):
            continue
        names.append(name)
    return names


def compare(features: Tensor, codes: Tensor, repeats: int) -> Iterator[tuple[str, float]]:
    """Names and median seconds of the baseline and of all engines that run here."""
    names = [None, *runnable_engines(features)]
    times: dict[str | None, list[float]] = {name: [] for name in names}
    for _ in range(repeats + 1):
        for name in names:
            with search_engine(name):
                search = nearest_code if name else matmul_argmin
                times[name].append(seconds(search, features, codes))
    for name in names:
        yield name or BASELINE, statistics.median(times[name][1:])


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--codes", type=int, default=1536)
    parser.add_argument("--pixels", type=int, default=262144)
    parser.add_argument("--widths", type=int, nargs="+", default=[8, 16], help="code widths [8 16]")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    for width in options.widths:
        features = torch.randn(options.pixels, width).to(options.device)
        codes = torch.randn(options.codes, width).to(options.device)
        rows = list(compare(features, codes, options.repeats))
        for name, median in rows:
            print(f"D = {width:<3d} {name:16} {median * 1e3:9.2f} ms {median / rows[0][1]:7.3f}")


if __name__ == "__main__":
    main()
