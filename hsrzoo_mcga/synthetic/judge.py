"""Distances of synthetic spectra to real ones, compared with those between halves of the real scenes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hsrzoo.errors import InputError

if TYPE_CHECKING:
    from hsrzoo.datasets.base import Dataset

BIN_DEG = 2
"""Width of the bins of the histograms of angles."""
_PER_SCENE = 20000
"""Pixels kept of a scene, at random."""
_BLOCK = 512


def judge(
    synthetic: Dataset, real: Dataset, split: str, *, pixels: int = 4000, splits: int = 10, seed: int = 0
) -> dict[str, Any]:
    """Compare synthetic with real spectra.

    Args:
        synthetic: Data set of synthetic cubes; all of its splits are used.
        real: Data set of real cubes. A single scene is cut into 8 strips of columns.
        split: Split of ``real``.
        pixels: Spectra drawn of each side, equally many of every scene.
        splits: Random ways to halve the real scenes.
        seed: Seed of pixels and halves.

    Returns:
        A report; its ``distances`` are :func:`distances` to one half of the real scenes of the synthetic
        spectra and of the other half, averaged over ``splits``, and the ratio of the two.

    Raises:
        BandsError: If the bands differ.
    """
    real.bands.require_same(synthetic.bands, real.name, "the synthetic cubes", fix="Judge it on its bands")
    rng = np.random.default_rng(seed)
    ours = [s for name in synthetic.splits() for s in _spectra(synthetic, name, rng)]
    theirs = _spectra(real, split, rng)
    if len(theirs) < 2:
        raise InputError(
            "Too few real scenes to be halved", expected="at least 2 with data", got=str(len(theirs))
        )
    synthetic_rows, real_rows = [], []
    for _ in range(splits):
        order = rng.permutation(len(theirs))
        cut = len(theirs) // 2
        one, other = (_draw([theirs[i] for i in part], pixels, rng) for part in (order[:cut], order[cut:]))
        synthetic_rows.append(distances(one, _draw(ours, pixels, rng)))
        real_rows.append(distances(one, other))
    means = {"synthetic": _means(synthetic_rows), "real": _means(real_rows)}
    table = [
        {"distance": name, "synthetic": means["synthetic"][name], "real": value,
         "ratio": means["synthetic"][name] / value}
        for name, value in means["real"].items() if isinstance(value, float)
    ]  # fmt: skip
    bands = {side: found["wasserstein_bands"] for side, found in means.items()}
    histograms = {side: found["histogram"] for side, found in means.items()}
    return {
        "synthetic": f"{sum(len(synthetic.scenes(s)) for s in synthetic.splits())} cubes",
        "real": f"{real.name}/{split}",
        "fingerprints": {"synthetic": synthetic.fingerprint(), "real": real.fingerprint()},
        "pixels": pixels,
        "splits": splits,
        "seed": seed,
        "distances": table,
        "wasserstein_bands": {"centres_nm": list(real.bands.centres_nm), **bands},
        "angle_histogram": {
            "bin_degrees": BIN_DEG, **histograms, "reference": means["real"]["reference_histogram"],
        },
    }  # fmt: skip


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means of :func:`distances`, as floats and lists."""
    return {name: np.mean([row[name] for row in rows], axis=0).tolist() for name in rows[0]}


def distances(reference: np.ndarray, other: np.ndarray) -> dict[str, Any]:
    """Of two sets of spectra, (N, C) and (M, C) float64 without NaN:

    - ``mean_rmse``: RMSE of the mean spectra
    - ``covariance``: Frobenius norm of the difference of the covariances over that of the reference's
    - ``wasserstein``: Wasserstein-1 distance of each band's values, mean over bands
    - ``angle_wasserstein``: that of the angles (degrees) between a spectrum and the reference's mean
    - ``fidelity``: mean angle (degrees) of an ``other`` spectrum to its nearest in ``reference``
    - ``coverage``: the same from ``reference`` to ``other``

    and the values of each band and the histograms of the angles to the mean. Spectra that are all zero have
    no angle and do not count in one.
    """
    from scipy.stats import wasserstein_distance

    covariance = np.cov(reference, rowvar=False)
    bands = [wasserstein_distance(a, b) for a, b in zip(reference.T, other.T, strict=True)]
    mean = reference.mean(axis=0, keepdims=True)
    to_mean = [nearest_angles(x, mean) for x in (reference, other)]
    bins = np.arange(0, 180 + BIN_DEG, BIN_DEG)
    shares = [np.histogram(x, bins)[0] / len(x) for x in to_mean]
    difference = np.cov(other, rowvar=False) - covariance
    return {
        "mean_rmse": float(np.sqrt(np.mean((other.mean(axis=0) - mean[0]) ** 2))),
        "covariance": float(np.linalg.norm(difference) / np.linalg.norm(covariance)),
        "wasserstein": float(np.mean(bands)),
        "angle_wasserstein": float(wasserstein_distance(*to_mean)),
        "fidelity": float(nearest_angles(other, reference).mean()),
        "coverage": float(nearest_angles(reference, other).mean()),
        "wasserstein_bands": bands,
        "reference_histogram": shares[0],
        "histogram": shares[1],
    }


def nearest_angles(spectra: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Degrees from each of ``spectra`` (N, C) to its nearest by angle of ``among`` (M, C), (N',) float64;
    spectra of zeros are left out on both sides."""
    spectra, among = (x[x.any(axis=1)] for x in (spectra, among))
    if not (len(spectra) and len(among)):
        raise InputError("Spectra of zeros have no angles", expected="values above 0", got="zeros only")
    spectra, among = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (spectra, among))
    blocks = range(0, len(spectra), _BLOCK)
    cosines = np.concatenate([(spectra[i : i + _BLOCK] @ among.T).max(axis=1) for i in blocks])
    return np.degrees(np.arccos(np.clip(cosines, -1, 1)))


def _spectra(data: Dataset, split: str, rng: np.random.Generator) -> list[np.ndarray]:
    """Spectra with data in all bands, (N, C) float64 a scene; an only scene counts as 8."""
    cubes = [data.load(split, scene).cube for scene in data.scenes(split)]
    if len(cubes) == 1:
        cubes = np.array_split(cubes[0], 8, axis=2)
    found = []
    for cube in cubes:
        flat = cube.reshape(len(cube), -1).T
        flat = flat[~np.isnan(flat).any(axis=1)]
        if len(flat) > _PER_SCENE:
            flat = flat[rng.choice(len(flat), _PER_SCENE, replace=False)]
        if len(flat):
            found.append(flat.astype(np.float64))
    return found


def _draw(scenes: Sequence[np.ndarray], pixels: int, rng: np.random.Generator) -> np.ndarray:
    """``pixels`` spectra, as many of each scene as of any other (but for rounding)."""
    counts = np.full(len(scenes), pixels // len(scenes))
    counts[: pixels % len(scenes)] += 1
    parts = [x[rng.integers(len(x), size=n)] for x, n in zip(scenes, counts, strict=True)]
    return np.concatenate(parts)
