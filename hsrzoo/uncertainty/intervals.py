"""Prediction intervals of one model: its calibration, applied to an image and the cube made of it.

Everything depends on a pixel and its spectrum alone, so that tiles give the values of the whole image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.colour.chromaticity import ChromaticityTable, cells
from hsrzoo.uncertainty import UNLIKE
from hsrzoo.uncertainty.conformal import LEVELS, stored_level, thresholds
from hsrzoo.uncertainty.scale import scale_of, scale_terms

_AT_ONCE = 1 << 14
"""Pixels of an image whose terms are held at once: they stay in the processor's cache."""


@dataclass(frozen=True, eq=False)
class Intervals:
    """A calibration.

    Attributes:
        table: Colours of the training pixels, with the spread of their spectra.
        weights: Of the terms of the scale.
        scores: (levels, n, C) float32: the score of each of n scenes at each of :data:`LEVELS`.
        unfamiliar: (cells,) float32 in [0, 1]: share of held-out training pixels nearer to the colours of
            the others than the colours of a cell are.
        second: The second model of single pixels, (B, 3, H, W) in [0, 1] -> (B, C, H, W); None: none.
        bands: Of the cubes.
        about: What else is stored: scenes, data set, the model's sha256 and so on.
    """

    table: ChromaticityTable
    weights: tuple[float, ...]
    scores: Tensor
    unfamiliar: Tensor
    second: nn.Module | None
    bands: BandSet
    about: Mapping[str, Any] = field(default_factory=dict)
    kept: tuple[int, ...] | None = None
    """Bands of the second model that are :attr:`bands`; None: all."""

    @property
    def scenes(self) -> int:
        """How many scenes it was calibrated on."""
        return self.scores.shape[1]

    def with_record(self, about: Mapping[str, Any]) -> Intervals:
        """The same with more in its record."""
        return replace(self, about={**self.about, **about})

    def select(self, kept: Sequence[int]) -> Intervals:
        """Of some of the bands, by their indices."""
        chosen = list(kept)
        return replace(
            self,
            table=replace(self.table, spread=self.table.spread[:, chosen]),
            scores=self.scores[..., chosen],
            bands=self.bands.select(chosen),
            kept=tuple(chosen),
        )

    def factors(self, level: float | str) -> np.ndarray:
        """(C,) float64: what the scale of each band is multiplied by for intervals of a level.

        Raises:
            InputError: Another level than those stored, or too few scenes for it.
        """
        known = stored_level(level)
        return thresholds(self.scores[LEVELS.index(known)].double().numpy(), known)

    @torch.inference_mode()
    def half_width(self, rgb: Tensor, cube: Tensor, level: float) -> Tensor:
        """Half the width of the intervals.

        Args:
            rgb: (B, 3, H, W) in [0, 1], linear, of the camera of the training pairs.
            cube: (B, C, H, W), predicted.
            level: Probability, one of :data:`LEVELS`.

        Returns:
            (B, C, H, W) float32, on the device of ``cube``.

        Raises:
            InputError: As :meth:`factors`.
        """
        factors = torch.from_numpy(self.factors(level)).to(cube.device, torch.float32)
        out = torch.empty_like(cube, dtype=torch.float32)
        rows = max(1, _AT_ONCE // (rgb.shape[0] * rgb.shape[-1]))
        for top in range(0, rgb.shape[-2], rows):
            part = slice(top, top + rows)
            out[:, :, part] = self.scale(rgb[:, :, part], cube[:, :, part]).mul_(factors[:, None, None])
        return out

    def scale(self, rgb: Tensor, cube: Tensor) -> Tensor:
        """The scale (B, C, H, W) of the errors of a ``cube`` made of ``rgb``, as :meth:`half_width`."""
        rgb = rgb.to(cube.device)
        second = None if self.second is None else self.second.to(rgb.device)(rgb).movedim(1, -1)
        if second is not None and self.kept is not None:
            second = second[..., list(self.kept)]
        terms = scale_terms(self.table, rgb.movedim(1, -1), cube.float().movedim(1, -1), second)
        return scale_of(self.weights, terms).movedim(-1, 1)

    def unfamiliar_at(self, rgb: Tensor) -> Tensor:
        """(B, H, W) float32 in [0, 1] of pixels (B, 3, H, W): the percentile of the distance of a colour,
        exposure apart, from those of training, over held-out training pixels."""
        return self.unfamiliar.to(rgb.device)[cells(rgb.movedim(1, -1), self.table.side)]


def bounds(
    cube: np.ndarray | Tensor, half: np.ndarray | Tensor, out: tuple[Any, Any] = (None, None)
) -> tuple[Any, Any]:
    """The ends of intervals of a half-width around a cube; none below 0, as no reflectance is.

    ``out``: numpy arrays that they are written to, for a numpy cube.
    """
    if isinstance(cube, Tensor) or isinstance(half, Tensor):
        return (cube - half).clip(min=0), (cube + half).clip(min=0)
    lower, upper = np.subtract(cube, half, out=out[0]), np.add(cube, half, out=out[1])
    return np.maximum(lower, 0, out=lower), np.maximum(upper, 0, out=upper)


def percentiles(distance: np.ndarray, scenes: list[np.ndarray]) -> np.ndarray:
    """The share of held-out pixels that are nearer than each of ``distance`` (K,); ``scenes``: distances
    of the pixels of each scene, which count alike."""
    shares = [np.searchsorted(np.sort(held), distance, side="left") / len(held) for held in scenes]
    return np.asarray(np.mean(shares, axis=0))


__all__ = ["UNLIKE", "Intervals", "bounds", "percentiles"]
