"""Whether shares of an ensemble that depend on how familiar a colour is beat shares that do not.

    python scripts/shares_by_familiarity.py runs NETWORK

``runs``: of the study cave-cv.toml, with NETWORK, pixel-mlp and the regressions of all five folds. Shares
are fitted on four folds, each by the weights that did not see it, and judged on the fifth: RMSE and its
difference from the mean of NETWORK and pixel-mlp, over the 20 scenes. Colours are divided into classes of
equal size by their distance to the training colours of the fold.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from hsrzoo.colour.chromaticity import ChromaticityTable
from hsrzoo.datasets import open_dataset
from hsrzoo.datasets.base import Dataset
from hsrzoo.models.ensemble.shares import solve_shares
from hsrzoo.models.loading import load
from hsrzoo.utils.markdown import markdown_table

FOLDS, CLASSES, PIXELS = range(5), 6, 4000


def main() -> None:
    """Print the table."""
    runs, network = Path(sys.argv[1]), sys.argv[2]
    data = open_dataset("cave")
    scenes = {fold: _scenes(data, runs, network, fold) for fold in FOLDS}
    distances = np.concatenate([one["distance"] for fold in scenes.values() for one in fold])
    edges = np.quantile(distances, np.linspace(0, 1, CLASSES + 1)[1:-1])
    ways: dict[str, Any] = {
        "mean of two": None,
        "shares of two": (2, np.array([])),
        "shares of three": (3, np.array([])),
        "shares of three by familiarity": (3, edges),
    }
    found = {name: [] for name in ways}
    for held_out in FOLDS:
        others = [one for fold in FOLDS if fold != held_out for one in scenes[fold]]
        for name, way in ways.items():
            found[name] += [_rmse(one, way, others) for one in scenes[held_out]]
    base = np.array(found["mean of two"])
    rows = []
    for name, values in found.items():
        gap = np.array(values) - base
        half = stats.sem(gap) * stats.t.ppf(0.975, len(gap) - 1) if gap.any() else 0.0
        rows.append(
            (name, f"{np.mean(values):.5f}", f"{gap.mean():+.5f} +- {half:.5f}", str((gap < 0).sum()))
        )
    heads = ["shares", "RMSE", "less mean of two", f"scenes below, of {len(base)}"]
    print(markdown_table(heads, rows))


def _scenes(data: Dataset, runs: Path, network: str, fold: int) -> list[dict[str, Any]]:
    """Pixels of the scenes of a fold: truth, cubes of the three members and distance of the colour."""
    members = [
        load(f"local-dir:{path}", device="cpu")
        for path in (
            runs / f"{network}.fold-{fold}/weights",
            runs / f"pixel-mlp.fold-{fold}",
            runs / f"floors.fold-{fold}/linear",
        )
    ]
    training = (data.load(f"without-fold-{fold}", name) for name in data.scenes(f"without-fold-{fold}"))
    table = ChromaticityTable.build((_pixels(scene.rgb), _pixels(scene.cube)) for scene in training)
    random, found = np.random.default_rng(fold), []
    for name in data.scenes(f"fold-{fold}"):
        scene = data.load(f"fold-{fold}", name)
        chosen = random.choice(scene.rgb[0].size, PIXELS, replace=False)
        cubes = [_pixels(member.predict(scene.rgb))[chosen] for member in members]
        distance = table.distance_at(torch.from_numpy(_pixels(scene.rgb)[chosen])).numpy()
        found.append({"y": _pixels(scene.cube)[chosen], "x": np.stack(cubes), "distance": distance})
    return found


def _pixels(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image.reshape(len(image), -1).T)


def _rmse(scene: dict[str, Any], way: Any, others: list[dict[str, Any]]) -> float:
    cubes, shares = scene["x"], np.array([[0.5, 0.5, 0.0]])
    classes = np.zeros(len(scene["distance"]), int)
    if way is not None:
        members, edges = way
        shares = np.stack([_fit(others, members, edges, k) for k in range(len(edges) + 1)])
        classes = np.digitize(scene["distance"], edges)
    cube = np.einsum("nm,mnc->nc", shares[classes], cubes)
    return float(np.sqrt(np.mean((cube - scene["y"]) ** 2)))


def _fit(scenes: list[dict[str, Any]], members: int, edges: np.ndarray, which: int) -> np.ndarray:
    """Shares (3,), 0 or more and of sum 1, with the least squared error over the pixels of one class."""
    gram, moment = np.zeros((members, members)), np.zeros(members)
    for one in scenes:
        here = np.digitize(one["distance"], edges) == which
        x, y = one["x"][:members, here].reshape(members, -1), one["y"][here].ravel()
        gram += x @ x.T
        moment += x @ y
    return np.append(solve_shares(gram, moment), np.zeros(3 - members))


if __name__ == "__main__":
    main()
