"""The network's own normalisation of its input; padding to its multiple and smallest size follows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hsrzoo.layers.whole_image import Region
from hsrzoo.models.metadata import input_identity
from hsrzoo.models.rgb import normalise, stretch
from hsrzoo.models.steps.base import ImageStep, Layers, LoadedModel, Needs, View
from hsrzoo.spec import RgbInput

_AT_ONCE = 1 << 18
"""Pixels that are looked at in one piece."""


class Normalise(ImageStep):
    """``RgbInput.normalise``; ``minmax-image`` needs the extremes of the whole image."""

    name = "normalisation"

    def __init__(self, wanted: RgbInput) -> None:
        self.wanted = wanted

    @classmethod
    def of(cls, model: LoadedModel) -> Normalise:
        """For the input of a model; also where it changes nothing, since rows name the input."""
        return cls(model.spec.input)

    @property
    def needs(self) -> Needs:
        return Needs(statistic=None if self.wanted.normalise == "none" else "extremes")

    def identity(self) -> Mapping[str, Any]:
        return input_identity(self.wanted)

    def look(self, image: View) -> list[float] | None:
        """The least and the greatest value of the image, over all channels."""
        if self.wanted.normalise == "none":
            return None
        height, width = image.size
        rows = max(1, _AT_ONCE // width)
        low, high = float("inf"), float("-inf")
        for top in range(0, height, rows):
            part = image.window(Region(top, 0, min(rows, height - top), width))
            low, high = min(low, float(part.min())), max(high, float(part.max()))
        return [low, high]

    def before(self, rgb: Tensor, seen: list[float] | None) -> Tensor:
        if seen is None:
            return rgb
        low, high = torch.tensor(seen, dtype=rgb.dtype)
        return stretch(rgb, low, high)

    def layers(self) -> Layers:
        return _NormaliseLayers(self.wanted.normalise)


class _NormaliseLayers(Layers):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def before(self, rgb: Tensor) -> Tensor:
        return normalise(rgb, self.how)
