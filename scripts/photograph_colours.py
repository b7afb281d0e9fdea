"""How far the pictures of cubes are off the photographs that they were made from.

``python scripts/photograph_colours.py IMAGE... [--model NAME]... [--picture OUT.jpg]`` prints a row per
image and model: median dE76 (CIE 1976) between the photograph and the picture of its cube, and the share of
values below 0; read as linear RGB, and decoded and mapped as ``hsrzoo predict`` does. ``--picture`` shows
the first image, its cube read as linear, and its cube mapped, side by side.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

import hsrzoo
from hsrzoo.colour.difference import xyz_to_lab
from hsrzoo.colour.srgb import XYZ_OF_SRGB, encode_srgb, srgb_matrix
from hsrzoo.io import read_photo
from hsrzoo.io.rgb import to_unit
from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo.prediction.quicklook import srgb_of


def lab_of(linear: np.ndarray) -> np.ndarray:
    """L*a*b* (3, N) of linear sRGB (H, W, 3)."""
    return xyz_to_lab(XYZ_OF_SRGB @ linear.reshape(-1, 3).T, XYZ_OF_SRGB.sum(axis=1))


def measure(light: np.ndarray, cube: np.ndarray, model: Reconstructor) -> str:
    """Median dE76 and the share of negative values of a cube (H, W, C)."""
    seen = srgb_matrix(model.bands)
    assert seen is not None
    difference = lab_of(light) - lab_of(np.clip(cube @ seen.T, 0, 1))
    median = np.median(np.sqrt((difference**2).sum(axis=0)))
    return f"{median:.2f} | {100 * (cube < 0).mean():.2g} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--model", action="append")
    parser.add_argument("--picture", type=Path)
    asked = parser.parse_args()
    print("| image | model | as linear: dE76 | below 0 | mapped: dE76 | below 0 |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for name in asked.model or ["mcga-s2", "mst-plus-plus"]:
        model = hsrzoo.load(name, device="cpu")
        for path in asked.images:
            light = to_unit(read_photo(path).astype(np.float64), "float32", None)
            before = np.asarray(model(read_photo(path, model, encoding="linear")).cube)
            after = np.asarray(model(read_photo(path, model)).cube)
            figures = [measure(light, cube, model) for cube in (before, after)]
            print(f"| {path.name} | {name} | {' | '.join(figures)} |", flush=True)
            if asked.picture and path == asked.images[0]:
                shown = [np.rint(encode_srgb(light) * 255).astype(np.uint8)]
                shown += [srgb_of(cube, model.bands) for cube in (before, after)]
                Image.fromarray(np.concatenate(shown, axis=1)).save(asked.picture, quality=88)


if __name__ == "__main__":
    main()
