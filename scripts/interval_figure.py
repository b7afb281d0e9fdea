"""The figure of docs/intervals.md: spectra of a scene that the weights have not seen, with their intervals.

``HSRZOO_DATA=... python scripts/interval_figure.py`` draws docs/intervals.svg. The points are chosen by
their colours alone, whatever the errors there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import hsrzoo
from hsrzoo.datasets import open_dataset
from hsrzoo_benchmark.site.plots import STYLE
from hsrzoo_benchmark.site.scenes import choose
from hsrzoo_benchmark.tables.pictures import new_figure, save

OUT = Path(__file__).resolve().parents[1] / "docs" / "intervals.svg"
DATASET, SPLIT, SCENE, MODEL, POINTS = "cave", "valid", "fake_and_real_food_ms", "mcga-plus.cave", 3
LEVELS = {0.9: "#cfe3f1", 0.5: "#8fbfdf"}


def main() -> None:
    """See the module."""
    import matplotlib

    data = open_dataset(DATASET)
    name = next(one for one in data.scenes(SPLIT) if one in (SCENE, SCENE.removesuffix("_ms")))
    scene, model = data.load(SPLIT, name), hsrzoo.load(MODEL, device="cpu")
    rgb, nm = scene.rgb.transpose(1, 2, 0), np.asarray(data.bands.centres_nm)
    found = {level: model(rgb, interval=level) for level in LEVELS}
    with matplotlib.rc_context(STYLE):
        figure = new_figure(9.0, 2.9)
        views: Any = figure.subplots(1, POINTS)
        for i, (y, x) in enumerate(choose(scene, data.bands.centres_nm).pixels[:POINTS]):
            axes = views[i]
            for level, result in found.items():
                axes.fill_between(nm, result.lower[y, x], result.upper[y, x], color=LEVELS[level], lw=0,
                                  label=f"interval of {100 * level:g} %")  # fmt: skip
            axes.plot(nm, found[0.9].cube[y, x], color="#0072B2", lw=1.8, label="model")
            axes.plot(nm, scene.cube[:, y, x], color="black", lw=1.5, ls="--", label="truth")
            axes.set(xlabel="wavelength, nm", title=f"pixel {x}, {y}", ylim=(0, None), xlim=(nm[0], nm[-1]))
            axes.spines[["top", "right"]].set_visible(False)
        views[0].set_ylabel("reflectance")
        views[0].legend(fontsize=9, frameon=False, loc="upper left")
        save(figure, OUT)


if __name__ == "__main__":
    main()
