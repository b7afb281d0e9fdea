"""The scale of errors, for every pixel and band: the square root of a sum of four terms whose weights are
fitted.

* The spread: the size of the errors of left-out training pixels of the same colour, and where few scenes
  have a colour, of the differences of their spectra (:mod:`hsrzoo.colour.chromaticity`).
* The absolute difference between the cube and that of a second model, where there is one: a small model of
  single pixels, fitted to the same scenes.
* The brightness of the pixel, as a floor.
* A constant, for the noise of dark pixels.

The terms grow in proportion to the brightness, but errors grow more slowly, hence the root.

The weights minimise the interval score (Gneiting and Raftery 2007, eq. 43) of intervals whose half-width is
the scale, on scenes that no model was trained on. They decide only which term counts how much: the
calibration multiplies the scale by a factor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hsrzoo.colour.chromaticity import ChromaticityTable, brightness

TERMS = ("spread", "disagreement", "brightness", "constant")
LEVEL = 0.9
"""Of the intervals whose score the weights minimise."""
STEPS = 60
"""Of the minimisation: the score is nearly flat by then."""
LEAST = 1e-6
"""Of a scale: errors are divided by it."""


def scale_terms(table: ChromaticityTable, rgb: Tensor, cube: Tensor, second: Tensor | None) -> list[Tensor]:
    """The terms, in the order of :data:`TERMS`.

    Args:
        table: Of the training pixels.
        rgb: Linear pixels (..., 3).
        cube: Their predicted spectra (..., C).
        second: Those of the second model; None: there is none.

    Returns:
        Four tensors that broadcast to (..., C).
    """
    zero, one = rgb.new_zeros(1, 1), rgb.new_ones(1, 1)
    apart = zero if second is None else (cube - second).abs_()
    return [table.spread_at(rgb), apart, brightness(rgb)[..., None], one]


def scale_of(weights: Sequence[float], terms: Sequence[Tensor]) -> Tensor:
    """The scale (N, C): the root of the weighted sum of the terms, at least :data:`LEAST`."""
    total = terms[0] * weights[0]
    for weight, term in zip(weights[1:], terms[1:], strict=True):
        if weight:
            total = torch.add(total, term, alpha=weight)
    return total.clamp_(min=LEAST**2).sqrt_()


@dataclass(frozen=True, eq=False)
class FoldedScale:
    """The scale times a factor for every band: as :func:`scale_of` up to rounding, in half the passes over
    a cube, because one table holds what depends on a colour alone.

    Attributes:
        table: (cells, C): of the terms in proportion to the brightness.
        apart: (C,): of the disagreement.
        constant: (C,).
    """

    table: Tensor
    apart: Tensor
    constant: Tensor

    @classmethod
    def build(cls, spread: Tensor, weights: Sequence[float], factors: Tensor) -> FoldedScale:
        """Fold the weights of the terms and ``factors`` (C,) into a table of ``spread`` (cells, C)."""
        squares = factors**2
        by_brightness = (spread * weights[0] + weights[2]) * squares
        return cls(by_brightness, weights[1] * squares, max(weights[3], LEAST**2) * squares)

    def to(self, device: torch.device) -> FoldedScale:
        """The same on a device."""
        return FoldedScale(*(part.to(device) for part in (self.table, self.apart, self.constant)))

    def at(self, cell: Tensor, q: Tensor, cube: Tensor, second: Tensor | None) -> Tensor:
        """The scale (N, C) of pixels.

        Args:
            cell: (N,) int64, of their colours (:func:`hsrzoo.colour.chromaticity.cells`).
            q: (N,), their brightness.
            cube: Their predicted spectra (N, C) float32.
            second: Those of the second model; None: there is none.
        """
        total = torch.addcmul(self.constant, self.table.index_select(0, cell), q[:, None])
        if second is not None:
            difference = F.l1_loss(cube, second, reduction="none")  # |cube - second| in one pass
            total.addcmul_(difference, self.apart)
        return total.sqrt_()


def fit_weights(scenes: Sequence[tuple[Tensor, Sequence[Tensor]]]) -> list[float]:
    """The weights of the terms, 0 or more.

    Args:
        scenes: For each scene the absolute errors (N, C), NaN without data, and the terms. Scenes count
            alike, whatever their size.

    Returns:
        As many weights as there are terms.
    """
    from scipy.optimize import minimize  # slow to import

    count = len(scenes[0][1])
    data = []
    for errors, terms in scenes:
        known = errors.isfinite()
        stacked = torch.stack([term.expand_as(errors)[known] for term in terms])
        data.append((errors[known].double(), stacked.double()))
    # Terms in units of their means, so that all weights are of one size.
    means = torch.stack([stacked.mean(1) for _, stacked in data]).mean(0)
    units = torch.where(means > 0, means, torch.ones_like(means))

    def score(weights: np.ndarray) -> tuple[float, np.ndarray]:
        total, slope = 0.0, np.zeros(count)
        each = torch.from_numpy(weights) / units
        for errors, stacked in data:
            half = (each @ stacked).clamp(min=LEAST**2).sqrt()
            missed = errors > half
            total += float((half + (errors - half).clamp(min=0) / (1 - LEVEL)).mean())
            pull = (1 - missed.double() / (1 - LEVEL)) / (2 * half)
            slope += ((stacked @ pull) / len(errors) / units).numpy()
        return total / len(data), slope / len(data)

    typical = float(torch.stack([errors.mean() for errors, _ in data]).mean())
    start = np.where(means.numpy() > 0, (2 * typical) ** 2 / count, 0.0)
    found = minimize(score, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * count,
                     options={"maxiter": STEPS})  # fmt: skip
    return [float(weight) for weight in found.x / units.numpy()]


def as_record(weights: Sequence[float]) -> dict[str, float]:
    """The weights by the names of their terms."""
    return dict(zip(TERMS, weights, strict=True))


def of_record(found: Mapping[str, float]) -> tuple[float, ...]:
    """The weights in the order of :data:`TERMS`."""
    return tuple(float(found[name]) for name in TERMS)


__all__ = ["LEAST", "TERMS", "FoldedScale", "as_record", "fit_weights", "of_record", "scale_of",
           "scale_terms"]  # fmt: skip
