"""The figure of README.md and of the documentation's first page: image, bands and spectra beside the truth.

``HSRZOO_DATA=... python scripts/overview_figure.py`` draws docs/overview.jpg and writes what it shows to
docs/overview.json. The scene (Berlin, HyMap, CC BY-SA 4.0) is of a sensor that the weights have not seen;
the points are chosen by their colours alone, so that they are the same for any model.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

import hsrzoo
from hsrzoo.colour.srgb import encode_srgb
from hsrzoo.datasets import open_dataset
from hsrzoo.datasets.base import data_masks
from hsrzoo.metrics import compute
from hsrzoo.spec import MetricContext
from hsrzoo_benchmark.site.scenes import choose
from hsrzoo_benchmark.tables.pictures import new_figure, save

DOCS = Path(__file__).resolve().parents[1] / "docs"
DATASET, SPLIT, SCENE = "berlin", "whole", "hymap"
MODEL = "mst-plus-plus.cave"
LEVEL, POINTS = 0.9, 3
SHOWN_NM = (460, 550, 650)
COLOURS = ("#0072B2", "#D55E00", "#009E73")


def picture_of(rgb: np.ndarray) -> np.ndarray:
    """Linear (3, H, W) as sRGB (H, W, 3), one value in 200 overexposed."""
    return encode_srgb(np.clip(rgb.transpose(1, 2, 0) / np.percentile(rgb, 99.5), 0, 1))


def draw(scene: Any, cube: np.ndarray, half: np.ndarray, points: np.ndarray, bands: Any, out: Path) -> None:
    """``cube`` and ``half``, half the width of the interval: (C, H, W)."""
    nm = np.asarray(bands.centres_nm)
    known = data_masks(scene.cube)[0]
    shown = [int(np.argmin(np.where(known, abs(nm - wanted), np.inf))) for wanted in SHOWN_NM]
    figure = new_figure(9.0, 4.4)
    figure.set_dpi(120)
    above, below = figure.subfigures(2, 1, height_ratios=(1, 1.05))
    views = above.subplots(1, 1 + 2 * len(shown))
    views[0].imshow(picture_of(scene.rgb), interpolation="bicubic")
    views[0].set_title("RGB image", fontsize=10)
    for i, (y, x) in enumerate(points):
        views[0].plot(x, y, "o", ms=13, mfc=COLOURS[i], mec="white", mew=1.4)
        views[0].annotate(
            str(i + 1), (x, y), ha="center", va="center", color="white", fontsize=9, weight="bold"
        )
    for i, band in enumerate(shown):
        top = float(np.nanpercentile(scene.cube[band], 99.5))
        for axes, image, name in zip(
            views[1 + 2 * i :], (cube, scene.cube), ("model", "truth"), strict=False
        ):
            axes.imshow(image[band], cmap="gray", vmin=0, vmax=top, interpolation="bicubic")
            axes.set_title(f"{nm[band]:g} nm, {name}", fontsize=10)
    for axes in views:
        axes.set_axis_off()
    plots = below.subplots(1, POINTS)
    for i, ((y, x), axes) in enumerate(zip(points, plots, strict=True)):
        middle, margin = cube[:, y, x], half[:, y, x]
        axes.fill_between(nm, np.maximum(middle - margin, 0), middle + margin, color=COLOURS[i], alpha=0.22,
                          lw=0, label=f"interval of {100 * LEVEL:g} %")  # fmt: skip
        axes.plot(nm, middle, color=COLOURS[i], lw=2, label="model")
        axes.plot(nm, scene.cube[:, y, x], color="black", lw=1.6, ls="--", label="truth")
        axes.set_title(f"point {i + 1}", fontsize=10)
        axes.set(xlabel="wavelength, nm", ylim=(0, None), xlim=(nm[0], nm[-1]))
        axes.locator_params(axis="y", nbins=5)
        axes.spines[["top", "right"]].set_visible(False)
    plots[0].set_ylabel("reflectance")
    plots[0].legend(fontsize=9, frameon=False, loc="upper left")
    save(figure, out, quality=82)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument(
        "--out", type=Path, default=DOCS / "overview.jpg", help="the facts go beside it, .json"
    )
    options = parser.parse_args()
    data = open_dataset(DATASET, options.data_root)
    scene = data.load(SPLIT, SCENE)
    model = hsrzoo.load(options.model, device="cpu")
    data.bands.require_same(model.bands, "the data set", "the model")
    result = model(scene.rgb.transpose(1, 2, 0), interval=LEVEL)
    cube, upper = (part.transpose(2, 0, 1) for part in (result.cube, result.upper))
    points = choose(scene, data.bands.centres_nm).pixels[:POINTS]
    draw(scene, cube, upper - cube, points, data.bands, options.out)
    there = np.isfinite(scene.cube)
    inside = (scene.cube <= upper) & (scene.cube >= result.lower.transpose(2, 0, 1))
    scores = compute(["rmse", "sam"], scene.cube, cube, MetricContext(bands=data.bands))
    facts = {
        "dataset": DATASET, "split": SPLIT, "scene": SCENE, "fingerprint": data.fingerprint(),
        "model": options.model, "weights_sha256": model.weights_sha256,
        "points": points.tolist(), "level": LEVEL, "coverage": round(float(inside[there].mean()), 4),
        **{name: float(f"{value:.4g}") for name, value in scores.items() if name in ("rmse", "sam")},
    }  # fmt: skip
    options.out.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
