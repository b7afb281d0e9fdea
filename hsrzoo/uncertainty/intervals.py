"""Prediction intervals of one model: its calibration, applied to an image and the cube made of it.

Everything depends on a pixel and its spectrum alone, so that tiles give the values of the whole image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.colour.chromaticity import cells, cells_and_brightness
from hsrzoo.layers.pixel_rows import to_map, to_rows
from hsrzoo.uncertainty import UNLIKE
from hsrzoo.uncertainty.conformal import LEVELS, stored_level, thresholds
from hsrzoo.uncertainty.scale import FoldedScale

AT_ONCE = 1 << 13
"""Pixels whose terms are held at once: they stay in the processor's cache."""


@dataclass(frozen=True, eq=False)
class Intervals:
    """A calibration.

    Attributes:
        spread: (cells, C) float32: errors and differences of spectra of one colour, divided by the
            brightness (:mod:`hsrzoo.colour.chromaticity`).
        weights: Of the terms of the scale.
        scores: (levels, n, C) float32: the score of each of n scenes at each of :data:`LEVELS`.
        unfamiliar: (cells,) float32 in [0, 1]: share of held-out training pixels nearer to the colours of
            the others than the colours of a cell are.
        second: The second model of single pixels, (B, 3, H, W) in [0, 1] -> (B, C, H, W); None: none.
        bands: Of the cubes.
        about: What else is stored: scenes, data set, the model's sha256 and so on.
    """

    spread: Tensor
    weights: tuple[float, ...]
    scores: Tensor
    unfamiliar: Tensor
    second: nn.Module | None
    bands: BandSet
    about: Mapping[str, Any] = field(default_factory=dict)
    kept: tuple[int, ...] | None = None
    """Bands of the second model that are :attr:`bands`; None: all."""
    _folded: dict[float, FoldedScale] = field(default_factory=dict, init=False, repr=False)
    """By levels, as they are asked for."""

    @property
    def scenes(self) -> int:
        """How many scenes it was calibrated on."""
        return self.scores.shape[1]

    @property
    def _side(self) -> int:
        """Cells along each axis of the table of colours."""
        return round(len(self.unfamiliar) ** 0.5)

    def with_record(self, about: Mapping[str, Any]) -> Intervals:
        """The same with more in its record."""
        return replace(self, about={**self.about, **about})

    def select(self, kept: Sequence[int]) -> Intervals:
        """Of some of the bands, by their indices."""
        chosen = list(kept)
        return replace(
            self,
            spread=self.spread[:, chosen],
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
    def at(self, rgb: Tensor, cube: Tensor, level: float) -> tuple[Tensor, Tensor]:
        """Half the width of the intervals, and how unfamiliar the pixels are.

        Args:
            rgb: (B, 3, H, W) in [0, 1], linear, of the camera of the training pairs.
            cube: (B, C, H, W), predicted.
            level: Probability, one of :data:`LEVELS`.

        Returns:
            (B, C, H, W) float32, channels-last, and the map (B, H, W) of :meth:`unfamiliar_at`; both on the
            device of ``cube``.

        Raises:
            InputError: As :meth:`factors`.
        """
        if level not in self._folded:
            self._folded[level] = self._fold(torch.from_numpy(self.factors(level)).float())
        folded = self._folded[level].to(cube.device)
        rows = max(1, AT_ONCE // (rgb.shape[0] * rgb.shape[-1]))
        if rows >= rgb.shape[-2]:
            return self._at(rgb, cube, folded)
        half = torch.empty_like(cube, dtype=torch.float32, memory_format=torch.channels_last)
        unfamiliar = half.new_empty(half[:, 0].shape)
        for top in range(0, rgb.shape[-2], rows):
            part = slice(top, top + rows)
            half[:, :, part], unfamiliar[:, part] = self._at(rgb[:, :, part], cube[:, :, part], folded)
        return half, unfamiliar

    def scale(self, rgb: Tensor, cube: Tensor) -> Tensor:
        """The scale (B, C, H, W) of the errors of a ``cube`` made of ``rgb``, as :meth:`at`."""
        return self._at(rgb, cube, self._fold(torch.ones(len(self.bands))).to(cube.device))[0]

    def _fold(self, factors: Tensor) -> FoldedScale:
        return FoldedScale.build(self.spread, self.weights, factors)

    def _at(self, rgb: Tensor, cube: Tensor, folded: FoldedScale) -> tuple[Tensor, Tensor]:
        """What :meth:`at` returns, of a scale times factors."""
        rgb = rgb.to(cube.device)
        second = None if self.second is None else to_rows(_on(self.second, rgb.device)(rgb))
        if second is not None and self.kept is not None:
            second = second[:, list(self.kept)]
        cell, q = (each.flatten() for each in cells_and_brightness(rgb.movedim(1, -1), self._side))
        scale = folded.at(cell, q, to_rows(cube.float()), second)
        unfamiliar = self.unfamiliar.to(cube.device).index_select(0, cell)
        return to_map(scale, cube), unfamiliar.view(rgb[:, 0].shape)

    def unfamiliar_at(self, rgb: Tensor) -> Tensor:
        """(B, H, W) float32 in [0, 1] of pixels (B, 3, H, W): the percentile of the distance of a colour,
        exposure apart, from those of training, over held-out training pixels."""
        return self.unfamiliar.to(rgb.device)[cells(rgb.movedim(1, -1), self._side)]


def _on(module: nn.Module, device: torch.device) -> nn.Module:
    """``module`` on ``device``. Where it is there already, as for all strips but the first, one tensor is
    looked at, and not all as by ``Module.to``."""
    first = next(chain(module.parameters(), module.buffers()), None)
    return module if first is None or first.device == device else module.to(device)


def bounds(
    cube: Tensor, half: Tensor, out: tuple[Tensor | None, Tensor | None] = (None, None)
) -> tuple[Tensor, Tensor]:
    """The ends of intervals of a half-width around a cube; none below 0, as no reflectance is.

    ``out``: what they are written to.
    """
    lower, upper = torch.sub(cube, half, out=out[0]), torch.add(cube, half, out=out[1])
    return lower.clamp_(min=0), upper.clamp_(min=0)


def percentiles(distance: np.ndarray, scenes: list[np.ndarray]) -> np.ndarray:
    """The share of held-out pixels that are nearer than each of ``distance`` (K,); ``scenes``: distances
    of the pixels of each scene, which count alike."""
    shares = [np.searchsorted(np.sort(held), distance, side="left") / len(held) for held in scenes]
    return np.asarray(np.mean(shares, axis=0))


__all__ = ["AT_ONCE", "UNLIKE", "Intervals", "bounds", "percentiles"]
