"""What intervals cost: CPU time of one thread, 512 x 512 pixels.

``python scripts/interval_time.py [NAME]...`` prints for each model (by default mcga-s2, mcga-plus and
mst-plus-plus) the time of a cube, the time that its interval of 90 % adds, and their ratio. The image is
noise: no step depends on what it shows. Cubes with and without intervals are made in turn; medians count.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import torch

import hsrzoo

NAMES = ("mcga-s2", "mcga-plus", "mst-plus-plus")
SIDE, REPEATS, LEVEL = 512, 15, 0.9


def cpu_seconds(run: Callable[[], object]) -> float:
    """CPU time of a call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    rgb = np.random.default_rng(0).random((SIDE, SIDE, 3), dtype=np.float32)
    for name in sys.argv[1:] or NAMES:
        model = hsrzoo.load(name, device="cpu")
        plain, interval = lambda m=model: m(rgb), lambda m=model: m(rgb, interval=LEVEL)
        plain(), interval()
        times = np.array([(cpu_seconds(plain), cpu_seconds(interval)) for _ in range(REPEATS)])
        cube, added = np.median(times[:, 0]), np.median(times[:, 1] - times[:, 0])
        print(f"{name}: cube {cube:.3f} s, interval {added:.3f} s, {added / cube:.1%} of the cube")


if __name__ == "__main__":
    main()
