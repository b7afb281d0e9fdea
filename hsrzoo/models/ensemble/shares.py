"""Shares of the members of an ensemble, fitted on scenes that none of them was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hsrzoo.datasets.base import Dataset
from hsrzoo.errors import DatasetError, InputError
from hsrzoo.models.metadata import trained_scenes

if TYPE_CHECKING:
    from hsrzoo.models.reconstructor import Reconstructor

SUM_WEIGHT = 1e4
"""Of the equation that the sum is 1, in units of the largest entry of the others."""


def fit_shares(
    models: Sequence[Reconstructor], dataset: Dataset, split: str, per_band: bool = False
) -> tuple[np.ndarray, dict[str, Any]]:
    """The shares, 0 or more and of sum 1, of the mean with the least squared error.

    Args:
        models: The members.
        dataset: Its bands must be the members'. Scenes count alike; values without data do not count.
        split: Scenes that no member was trained on.
        per_band: Fit every band by itself.

    Returns:
        The shares (members, C) float64, and what goes into the record: data, RMSE (root of the mean squared
        error over scenes) of each member and of the mean.

    Raises:
        BandsError: The data have other bands.
        InputError: A member was trained on a scene of ``split``.
        DatasetError: A band has no data, or all members' cubes are 0 there.
    """
    names = dataset.scenes(split)
    for model in models:
        dataset.bands.require_same(model.bands, dataset.name, model.name)
        seen = sorted(trained_scenes(model.config, dataset.name).intersection(names))
        if seen:
            raise InputError(
                f"Shares fitted on scenes that {model.name} was trained on would favour it",
                expected=f"a split of {dataset.name} without them",
                got=", ".join(seen[:5]) + (f" and {len(seen) - 5} more" if len(seen) > 5 else ""),
                fix="Train the members without a fold (--split without-fold-0) and fit on it (fold-0)",
            )
    count, bands = len(models), len(dataset.bands)
    grams, moments, energy = np.zeros((bands, count, count)), np.zeros((bands, count)), np.zeros(bands)
    for name in names:
        scene = dataset.load(split, name)
        cubes = [model.predict(scene.rgb) for model in models]
        for band, truth in enumerate(scene.cube):
            known = ~np.isnan(truth)
            y = truth[known].astype(np.float64)
            x = np.stack([cube[band][known] for cube in cubes]).astype(np.float64)
            pixels = max(y.size, 1)
            grams[band] += x @ x.T / pixels
            moments[band] += x @ y / pixels
            energy[band] += y @ y / pixels
    if not (energy > 0).all():
        raise DatasetError(f"Some bands of {dataset.name}/{split} have no data", fix="Choose other scenes")
    sizes = grams.trace(axis1=1, axis2=2)
    if not (sizes.min() if per_band else sizes.max()) > 0:
        raise DatasetError(
            f"No shares can be fitted to {dataset.name}/{split}",
            expected="images from which the members make cubes with values other than 0",
            got="0 in every pixel of a band",
            fix="Check the images, or choose other scenes",
        )
    if per_band:
        shares = np.stack([solve_shares(*pair) for pair in zip(grams, moments, strict=True)], axis=1)
    else:
        shares = np.tile(solve_shares(grams.sum(0), moments.sum(0))[:, None], bands)

    def rmse(of: np.ndarray) -> float:
        terms = np.einsum("mc,cmn,nc->c", of, grams, of) - 2 * np.einsum("mc,cm->c", of, moments) + energy
        return float(np.sqrt(max(terms.sum(), 0) / bands / len(names)))

    alone = [rmse(np.tile(row[:, None], bands)) for row in np.eye(count)]
    record = {
        "dataset": dataset.name, "split": split, "scenes": list(names),
        "fingerprint": dataset.fingerprint(), "per_band": per_band,
        "rmse": rmse(shares), "rmse_of_members": alone,
    }  # fmt: skip
    return shares, record


def mean_shares(models: Sequence[Reconstructor], count: int) -> tuple[np.ndarray, dict[str, Any]]:
    """The mean of the shares (``count``, C) of ensembles, and the record of them; InputError where one is
    no ensemble of so many members."""
    found = []
    for model in models:
        shares = getattr(model.module, "shares", None)
        if shares is None or len(shares) != count:
            got = "no ensemble" if shares is None else f"one of {len(shares)}"
            raise InputError(
                f"The shares of {model.name} do not fit",
                expected=f"an ensemble of {count} members",
                got=got,
            )
        found.append(shares.double().numpy())
    if len({one.shape for one in found}) > 1:
        raise InputError("The ensembles have different numbers of bands", expected="the same in all")
    fits: list[Mapping[str, Any]] = [model.config["training"].get("shares_from", {}) for model in models]
    return np.mean(found, axis=0), {"mean_of": fits}


def solve_shares(gram: np.ndarray, moment: np.ndarray) -> np.ndarray:
    """x (M,) of sum 1, none below 0, that minimises x' gram x - 2 moment' x."""
    from scipy.optimize import nnls  # slow to import

    values, vectors = np.linalg.eigh(gram)
    root = np.sqrt(np.clip(values, values[-1] * 1e-12, None))
    weight = SUM_WEIGHT * root[-1]
    left = np.vstack([root[:, None] * vectors.T, np.full(len(gram), weight)])
    x, _ = nnls(left, np.append(vectors.T @ moment / root, weight))
    return x / x.sum()
