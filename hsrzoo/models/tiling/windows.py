"""The converted and padded image, window by window, without ever being whole in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from hsrzoo.io.raster import Pixels
from hsrzoo.layers.whole_image import Region
from hsrzoo.models.rgb import check_rgb, padded_side
from hsrzoo.spec import RgbInput

_AT_ONCE = 1 << 18
"""Pixels that are converted at once (in float64, so 24 bytes each, several times)."""

Conversion = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class PaddedImage:
    """``pixels`` as a network sees them: in [0, 1], padded at the bottom and right."""

    pixels: Pixels
    need: RgbInput
    value_range: tuple[float, float] | None = None
    conversions: tuple[tuple[Conversion, int], ...] = ()
    """Applied in turn to every part (1, 3, h, w), each with the pixels around a pixel that it looks at."""

    @property
    def size(self) -> tuple[int, int]:
        """H, W of the image itself."""
        return self.pixels.shape

    @property
    def padded(self) -> tuple[int, int]:
        """H, W with the padding."""
        height, width = self.size
        return padded_side(height, self.need)[0], padded_side(width, self.need)[0]

    def converted(self, convert: Conversion, halo: int = 0) -> PaddedImage:
        """The same image with another conversion after those it has."""
        return replace(self, conversions=(*self.conversions, (convert, halo)))

    def window(self, region: Region) -> Tensor:
        """(1, 3, h, w) float32 of a region of the padded image."""
        rows = _sources(region.top, region.height, self.size[0], self.need)
        columns = _sources(region.left, region.width, self.size[1], self.need)
        out = torch.empty(1, 3, region.height, region.width)
        first, count = int(columns.min()), int(columns.max() - columns.min()) + 1
        inside = torch.from_numpy(columns - first)
        beyond = region.top + region.height > self.size[0] or region.left + region.width > self.size[1]
        step = max(1, _AT_ONCE // count)
        for start in range(0, len(rows), step):
            some = rows[start : start + step]
            top = int(some.min())
            part = self._part(top, first, int(some.max()) - top + 1, count)
            if beyond:
                part = part[:, :, torch.from_numpy(some - top)][..., inside]
            out[:, :, start : start + len(some)] = part
        return out

    def _part(self, top: int, left: int, height: int, width: int) -> Tensor:
        """A part of the image without padding, decoded and converted. It is read with the pixels around it
        that the conversions look at, so that only the image's own border is a border for them."""
        reach = sum(halo for _, halo in self.conversions)
        first, start = max(0, top - reach), max(0, left - reach)
        last, end = min(self.size[0], top + height + reach), min(self.size[1], left + width + reach)
        pixels = self.pixels.read(first, start, last - first, end - start)
        rgb = check_rgb(np.asarray(pixels), self.value_range)
        for convert, _ in self.conversions:
            rgb = convert(rgb)
        return rgb[:, :, top - first : top - first + height, left - start : left - start + width]


def _sources(first: int, count: int, size: int, need: RgbInput) -> np.ndarray:
    """Which row (or column) of the image each of ``count`` rows of the padded one shows."""
    wanted = np.arange(first, first + count)
    _, reflects = padded_side(size, need)
    beyond = 2 * (size - 1) - wanted if reflects else np.full_like(wanted, size - 1)
    return np.where(wanted < size, wanted, beyond)
