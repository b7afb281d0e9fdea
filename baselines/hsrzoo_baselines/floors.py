"""Three floors under every benchmark: what follows from the colour of a pixel alone.

All are one regression from features of a pixel's RGB to its spectrum, fitted by least squares over
all pixels of a split; they differ in the features:

- ``mean-spectrum``: the constant 1; every pixel gets the mean spectrum of the split.
- ``linear``: R, G, B. No bias, so that black stays black and twice the light gives twice the cube.
- ``poly``: the root polynomials of Finlayson, Mackiewicz and Hurlbert, Color correction using root
  polynomial regression, IEEE Trans. Image Processing 24(5), 2015. Every feature is a root of a
  product of channels, such as (R G)^(1/2), and has the degree of one channel: like ``linear``, and
  unlike ordinary polynomials, twice the light gives twice the cube.

A network that does not beat ``poly`` has learned nothing from the neighbourhood of a pixel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations_with_replacement

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.datasets.base import Dataset
from hsrzoo.errors import DatasetError, InputError
from hsrzoo.spec import ModelSpec

PIXELS_AT_ONCE = 1 << 16
"""Pixels whose float64 features are held in memory together during a fit."""
RANK_CUTOFF = 1e-10
"""Directions of feature space that hold less than this share of the largest direction's energy are
left out. Roots of three nearly equal channels differ by 1e-8 of it and less; coefficients that
exploit this grow into the thousands, where float32 loses the digits that matter."""


def root_products(degree: int) -> tuple[tuple[int, ...], ...]:
    """Exponents (r, g, b) of all products up to ``degree`` that no lower degree has, as integers
    whose sum n is the root to take: (1, 1, 0) is (R G)^(1/2).

    3 products at degree 1, 6 at 2, 13 at 3 and 22 at 4, as in the paper.
    """
    found = []
    for n in range(1, degree + 1):
        for channels in combinations_with_replacement(range(3), n):
            powers = tuple(channels.count(i) for i in range(3))
            # (R^2)^(1/2) is R again, (R^2 G^2)^(1/4) is (R G)^(1/2).
            if math.gcd(*powers) == 1:
                found.append(powers)
    return tuple(found)


class PixelRegression(nn.Module):
    """RGB (B, 3, H, W) in [0, 1] -> cube (B, C, H, W): ``matrix`` (C, F) times F features a pixel.

    ``degree`` 0 is the constant, 1 is R, G, B, above it come the root polynomials. The matrix is a
    buffer, zero until it is fitted or loaded.
    """

    matrix: Tensor
    halo = 0
    """Input pixels around its own that an output pixel depends on."""
    pixelwise = True
    """A spectrum depends on its pixel alone, not even on a statistic of the image."""

    def __init__(self, bands: int, degree: int) -> None:
        super().__init__()
        self.products = root_products(degree)
        self.register_buffer("matrix", torch.zeros(bands, max(len(self.products), 1)))

    def features(self, rgb: Tensor) -> Tensor:
        """(B, 3, ...) -> (B, F, ...), of the same dtype; negative values count as 0."""
        if not self.products:
            return torch.ones_like(rgb[:, :1])
        channels = rgb.clamp(min=0).unbind(1)
        return torch.stack([_root_product(channels, powers) for powers in self.products], dim=1)

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H, W)."""
        return F.conv2d(self.features(rgb), self.matrix[:, :, None, None])


def _root_product(channels: tuple[Tensor, ...], powers: tuple[int, ...]) -> Tensor:
    """prod c^(p/n) with n = sum p. The root is taken of each factor: a product would underflow."""
    n = sum(powers)
    factors = [c if p == n else c.pow(p / n) for c, p in zip(channels, powers, strict=True) if p]
    return math.prod(factors[1:], start=factors[0])


def build(bands: BandSet, degree: int) -> PixelRegression:
    """The regression for these bands, not fitted yet; ``degree`` 0 to 4."""
    if not 0 <= degree <= 4:
        raise InputError("The degree of a regression is impossible", expected="0 to 4", got=degree)
    return PixelRegression(len(bands), degree)


def fit(module: PixelRegression, dataset: Dataset, split: str) -> None:
    """Set ``module.matrix`` to the least-squares solution over all pixels of ``split``.

    Normal equations accumulated in float64, piece by piece. Features that are linearly
    dependent on these pixels (a grey scene) get the solution of least norm. Every band is fitted on all
    pixels that have data (no NaN) in it; DatasetError if a band has none.
    """
    bands, count = module.matrix.shape
    grams, moment = np.zeros((bands, count, count)), np.zeros((count, bands))
    seen = np.zeros(bands, int)
    for rgb, cube in _pixels(dataset, split):
        features = module.features(torch.from_numpy(rgb)[None])[0].numpy()  # (F, N)
        for group, known in _patterns(cube):
            x, y = features[:, known], cube[group][:, known]
            seen[group] += x.shape[1]
            grams[group] += x @ x.T
            moment[:, group] += x @ y.T
    require_data(dataset, split, seen > 0)
    # Bands of the same pixels have the same equations.
    _, kinds = np.unique(grams.reshape(bands, -1), axis=0, return_inverse=True)
    for kind in range(kinds.max() + 1):
        group = np.flatnonzero(kinds.reshape(-1) == kind)
        solution = _solve(grams[group[0]], moment[:, group])
        module.matrix[group] = torch.from_numpy(solution.T).to(module.matrix)


_Chosen = slice | np.ndarray


def _patterns(cube: np.ndarray) -> Iterator[tuple[_Chosen, _Chosen]]:
    """Groups of bands of ``cube`` (C, N) that have data in the same pixels, and those pixels; as slices
    where no data are missing."""
    missing = np.isnan(cube)
    if not missing.any():
        yield slice(None), slice(None)
        return
    patterns, kinds = np.unique(missing, axis=0, return_inverse=True)
    for kind, without in enumerate(patterns):
        yield np.flatnonzero(kinds.reshape(-1) == kind), ~without


def _solve(gram: np.ndarray, moment: np.ndarray) -> np.ndarray:
    """x (F, K) of least norm with ``gram`` (F, F) x = ``moment`` (F, K)."""
    # Unit diagonal: the cut-off then does not depend on how large a feature is.
    scale = 1 / np.sqrt(np.where(np.diag(gram) > 0, np.diag(gram), 1))
    scaled = gram * scale * scale[:, None]
    solution, *_ = np.linalg.lstsq(scaled, moment * scale[:, None], rcond=RANK_CUTOFF)
    return solution * scale[:, None]


def require_data(dataset: Dataset, split: str, seen: np.ndarray) -> None:
    """DatasetError unless every band (C,) of ``split`` was ``seen`` with data in some pixel."""
    if seen.all():
        return
    place = f"{dataset.name}/{split}"
    if not seen.any():
        raise DatasetError(
            f"No pixel of {place} has any data",
            expected="some values that are not NaN",
            fix="Find the scenes without data: hsrzoo data verify",
        )
    raise DatasetError(
        f"Some bands of {place} have no data in any pixel",
        expected="every band with data somewhere",
        got=f"{np.count_nonzero(~seen)} of {seen.size} bands without any, first at "
        f"{dataset.bands.centres_nm[int(seen.argmin())]:g} nm",
        fix="Choose bands that have data (--data-option bands=...)",
    )


def _pixels(dataset: Dataset, split: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """rgb (3, N) and cube (C, N), float64, in pieces."""
    for name in dataset.scenes(split):
        scene = dataset.load(split, name)
        rgb, cube = scene.rgb.reshape(3, -1), scene.cube.reshape(len(scene.cube), -1)
        for start in range(0, rgb.shape[1], PIXELS_AT_ONCE):
            piece = slice(start, start + PIXELS_AT_ONCE)
            yield rgb[:, piece].astype(np.float64), cube[:, piece].astype(np.float64)


def _spec(name: str, degree: int, summary: str, use: str, source: str) -> ModelSpec:
    return ModelSpec(
        name=name,
        build=build,
        summary=summary,
        use=use,
        source=source,
        licence="MIT",
        arguments={"degree": degree},
        default_tag="cave",
        tags=("floor",),
        fit=fit,
    )


MEAN_SPECTRUM = _spec(
    "mean-spectrum",
    0,
    "Every pixel gets the mean spectrum of the training set",
    "the score of a model that does not look at the image",
    "The simplest floor",
)
LINEAR = _spec(
    "linear",
    1,
    "Least-squares matrix from RGB to bands, no bias",
    "the floor to beat",
    "Least squares",
)
POLY = _spec(
    "poly",
    3,
    "Root-polynomial regression of degree 3 from RGB to bands, exposure-invariant",
    "exposure that varies",
    "Finlayson, Mackiewicz, Hurlbert: Color Correction Using Root-Polynomial Regression, "
    "IEEE Trans. Image Processing 24(5), 2015, doi:10.1109/TIP.2015.2405336",
)
