"""Print tiles, passes and what a prediction takes besides the process as it is, bytes:
``python memory_of_prediction.py IMAGE OUT LIMIT``.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import numpy as np
import torch

from hsrzoo.models.tiling import choice
from hsrzoo.prediction.predict import predict_file
from hsrzoo.utils.allocator import give_back_freed_memory
from tiled_networks import BANDS, Chained, model

M_MMAP_THRESHOLD = -3  # of <malloc.h>


def status(key: str) -> int:
    """A figure of this process, bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


class Wide(Chained):
    """With features that matter: 64 of them at full resolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 64, 3, padding=1)
        self.down = torch.nn.Conv2d(64, 64, 4, stride=2, padding=1)
        self.out = torch.nn.Conv2d(64, len(BANDS), 1)


def main(image: Path, out: Path, limit: float) -> None:
    torch.set_num_threads(1)
    choice.SPARE = 16 << 20  # little: the network's own memory must be foreseen
    toy = model(Wide, max_memory=limit)
    toy(np.zeros((64, 64, 3)))  # libraries are loaded at the first call
    if hasattr(ctypes.CDLL(None), "mallopt"):
        # tensors get pages of their own: what glibc keeps between blocks varies with the addresses
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 1 << 16)
    give_back_freed_memory()
    before = status("VmRSS:")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    report = predict_file(image, toy, out)
    print(report.tiles, report.passes, status("VmHWM:") - before)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
