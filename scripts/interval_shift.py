"""By how much calibration differs from use: weights of the folds are trained for less, on smaller scenes.

    python scripts/interval_shift.py 'mst-plus-plus.cave=runs/mst-plus-plus.fold-{fold}/weights' ...

For each model the factor that intervals of 90 % need on a scene, the 90 % quantile of |error| / scale over
its values, on the scenes of cave/valid that no weights have seen:

* at full size, and averaged 2 x 2 as training scenes are: the shift of scenes at full size;
* by the model's weights and by those of each fold, on averaged scenes: the inflation by the weights of the
  folds, which were trained on 16 scenes instead of 20 with a third of the steps.

A ratio is the geometric mean over scenes, with the least and the largest. Coverage is that of the
calibration beside the weights.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import torch

from hsrzoo.datasets import open_dataset
from hsrzoo.datasets.base import Scene
from hsrzoo.models.loading import load
from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo.uncertainty.intervals import Intervals
from hsrzoo.utils.markdown import markdown_table

FOLDS, LEVEL = range(5), 0.9


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    data = open_dataset("cave")
    scenes = [data.load("valid", name) for name in data.scenes("valid")]
    small = [Scene(one.name, _averaged(one.rgb), _averaged(one.cube)) for one in scenes]
    rows = []
    for argument in sys.argv[1:]:
        name, _, pattern = argument.partition("=")
        model = load(name, device="cpu")
        intervals = model.require_intervals(LEVEL)
        full, half = (_factors(model, intervals, some) for some in (scenes, small))
        folds = [load(f"local-dir:{pattern.replace('{fold}', str(fold))}", device="cpu") for fold in FOLDS]
        found = np.stack([_factors(fold, intervals, small) for fold in folds])
        rows.append((name, _ratio(full[0] / half[0]), _percent(full[1]), _percent(half[1]),
                     _ratio(found[:, 0] / half[0]), _percent(found[:, 1])))  # fmt: skip
    heads = ["model", "full size / averaged", "covered at full size", "averaged", "folds / model", "folds"]
    print(markdown_table(heads, rows))


def _averaged(image: np.ndarray) -> np.ndarray:
    """(C, H, W) -> (C, H / 2, W / 2)."""
    channels, height, width = image.shape
    return image.reshape(channels, height // 2, 2, width // 2, 2).mean(axis=(2, 4), dtype=np.float32)


def _factors(model: Reconstructor, intervals: Intervals, scenes: Sequence[Scene]) -> np.ndarray:
    """(2, scenes): the factor that each needs, in units of the calibrated one, and its coverage."""
    found = []
    for scene in scenes:
        cube = model.predict(scene.rgb)
        half = intervals.at(*(torch.from_numpy(x)[None] for x in (scene.rgb, cube)), LEVEL)[0][0]
        ratio = np.abs(cube - scene.cube) / half.numpy()
        found.append((np.quantile(ratio, LEVEL), np.mean(ratio <= 1)))
    return np.array(found).T


def _ratio(values: np.ndarray) -> str:
    return f"{np.exp(np.log(values).mean()):.2f} ({values.min():.2f} to {values.max():.2f})"


def _percent(values: np.ndarray) -> str:
    return f"{100 * values.mean():.1f} %"


if __name__ == "__main__":
    main()
