"""Pairs of photograph and cube as the data set ``folder`` reads them."""

from __future__ import annotations

import numpy as np
from PIL import Image

from hsrzoo.bands import BandSet
from hsrzoo.io import save_cube
from make_fixtures import smooth_cube

BANDS = BandSet.of([450, 500, 550, 600, 650], [20, 20, 20, 20, 20])
CUBE = smooth_cube(BANDS, 6, 9, 1)


def photograph(folder, name, height=6, width=9):
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(name)).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / name)
    return pixels


def pair(base, stem, suffix=".npz", cube=CUBE, bands=BANDS):
    (base / "cube").mkdir(parents=True, exist_ok=True)
    save_cube(base / "cube" / f"{stem}{suffix}", cube.transpose(1, 2, 0), bands)
    return photograph(base / "rgb", f"{stem}.png")
