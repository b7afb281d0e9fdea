"""Make a large RGB image on the disk, for `hsrzoo predict` on more pixels than fit into memory:

python scripts/large_image.py big.npy --side 10000
hsrzoo predict big.npy --model mcga-s2 -o big.hdr --dtype uint16 --max-memory 3GiB
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from hsrzoo.models.tiling.seams import smooth_image

ROWS = 100
"""Made and written at once."""


def make(path: Path, height: int, width: int) -> None:
    """Write (height, width, 3) uint8 as .npy, in pieces, so that little memory is taken."""
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (height, width, 3)}
        np.lib.format.write_array_header_1_0(file, header)
        for top in range(0, height, ROWS):
            file.write(smooth_image(min(ROWS, height - top), width, top).tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path, help="file to write, .npy")
    parser.add_argument("--side", type=int, default=10_000, help="rows and columns (default 10000)")
    parser.add_argument("--width", type=int, help="columns, if not as many as rows")
    given = parser.parse_args()
    if given.out.suffix != ".npy":
        parser.error("the file must be called .npy")
    make(given.out, given.side, given.width or given.side)


if __name__ == "__main__":
    main()
