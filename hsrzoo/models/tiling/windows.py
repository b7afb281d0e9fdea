"""The padded and normalised image, window by window, without ever being whole in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hsrzoo.io.raster import Pixels
from hsrzoo.layers.whole_image import Region
from hsrzoo.models.rgb import check_rgb, padded_side, stretch
from hsrzoo.spec import RgbInput

_AT_ONCE = 1 << 18
"""Pixels that are converted at once (in float64, so 24 bytes each, several times)."""

Extremes = tuple[float, float]


@dataclass(frozen=True)
class PaddedImage:
    """``pixels`` as a network sees them: in [0, 1], padded at the bottom and right."""

    pixels: Pixels
    need: RgbInput
    value_range: tuple[float, float] | None = None
    convert: Callable[[Tensor], Tensor] | None = None
    """Applied to every part (1, 3, h, w) in [0, 1], pixel by pixel, before anything else."""

    @property
    def size(self) -> tuple[int, int]:
        """H, W of the image itself."""
        return self.pixels.shape

    @property
    def padded(self) -> tuple[int, int]:
        """H, W with the padding."""
        height, width = self.size
        return padded_side(height, self.need)[0], padded_side(width, self.need)[0]

    def extremes(self) -> Extremes:
        """The least and the greatest value of the whole image, all channels, in [0, 1]."""
        height, width = self.size
        low, high = float("inf"), float("-inf")
        rows = max(1, _AT_ONCE // width)
        for top in range(0, height, rows):
            part = self._unit(top, 0, min(rows, height - top), width)
            low, high = min(low, float(part.min())), max(high, float(part.max()))
        return low, high

    def window(self, region: Region, extremes: Extremes | None = None) -> Tensor:
        """(1, 3, h, w) float32 of a region of the padded image; ``extremes`` where the network wants
        the image stretched between them."""
        rows = _sources(region.top, region.height, self.size[0], self.need)
        columns = _sources(region.left, region.width, self.size[1], self.need)
        out = torch.empty(1, 3, region.height, region.width)
        first, count = int(columns.min()), int(columns.max() - columns.min()) + 1
        inside = torch.from_numpy(columns - first)
        step = max(1, _AT_ONCE // count)
        for start in range(0, len(rows), step):
            some = rows[start : start + step]
            top = int(some.min())
            part = self._unit(top, first, int(some.max()) - top + 1, count)
            part = part[:, :, torch.from_numpy(some - top)][..., inside]
            out[:, :, start : start + len(some)] = part
        if extremes is None:
            return out
        low, high = (torch.tensor(v, dtype=torch.float32) for v in extremes)
        return stretch(out, low, high)

    def _unit(self, top: int, left: int, height: int, width: int) -> Tensor:
        rgb = check_rgb(np.asarray(self.pixels.read(top, left, height, width)), self.value_range)
        return rgb if self.convert is None else self.convert(rgb)


def _sources(first: int, count: int, size: int, need: RgbInput) -> np.ndarray:
    """Which row (or column) of the image stands at each of ``count`` rows of the padded one."""
    wanted = np.arange(first, first + count)
    _, reflects = padded_side(size, need)
    beyond = 2 * (size - 1) - wanted if reflects else np.full_like(wanted, size - 1)
    return np.where(wanted < size, wanted, beyond)
