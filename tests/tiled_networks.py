"""Small networks that need the whole image in different ways, for the tests of tiles."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.io.raster import ArrayPixels
from hsrzoo.layers.whole_image import in_strips, pixel_mean, whole_image
from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo.models.tiling.choice import cut_for
from hsrzoo.models.tiling.windows import PaddedImage
from hsrzoo.spec import Execution, ModelSpec, RgbInput

BANDS = BandSet.regular(400, 700, 75)
NEED = RgbInput(multiple=4, min_size=8)


class Local(nn.Module):
    """Two 3 x 3 layers, one of them at half resolution, upsampled bilinearly."""

    halo = 6

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.down = nn.Conv2d(6, 6, 4, stride=2, padding=1)
        self.out = nn.Conv2d(6, len(BANDS), 1)

    def forward(self, rgb: Tensor) -> Tensor:
        x = F.gelu(self.first(rgb))
        return self.out(x + F.interpolate(self.coarse(x), scale_factor=2, mode="bilinear"))

    def coarse(self, x: Tensor) -> Tensor:
        return self.down(x)


class Chained(Local):
    """Three statistics of which each depends on the one before: a mean, the extremes, a coarse mean."""

    def forward(self, rgb: Tensor) -> Tensor:
        x = F.gelu(self.first(rgb))
        x = x * (1 + 3 * pixel_mean(x)[:, :, None, None])
        low, high = whole_image(lambda y: (y.amin((2, 3)), y.amax((2, 3))), x, reduce=("min", "max"))
        x = (x - low[:, :, None, None]) / (high - low + 1e-3)[:, :, None, None]
        return self.out(x + F.interpolate(self.coarse(x), scale_factor=2, mode="bilinear"))

    def coarse(self, x: Tensor) -> Tensor:
        y = self.down(x)
        return y + pixel_mean(y.sin())[:, :, None, None]


class Entered(Chained):
    """Knows how often it was called and how many calls have not ended; begins with a map in strips, takes
    its last mean in fp32, and fails for features that are not finite."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = self.inside = 0

    def forward(self, rgb: Tensor) -> Tensor:
        self.calls += 1
        self.inside += 1
        try:
            return super().forward(in_strips(lambda part: part * 1.5, rgb, rows=8))
        finally:
            self.inside -= 1

    def coarse(self, x: Tensor) -> Tensor:
        y = self.down(x)
        with torch.autocast("cpu", enabled=False):
            mean = pixel_mean(y.float().sin())
        if not y.isfinite().all():
            raise FloatingPointError("not finite")
        return self.down(x) + mean[:, :, None, None]


class Counting(Local):
    """Takes from every pixel the number (int64) of bright pixels in the image."""

    def forward(self, rgb: Tensor) -> Tensor:
        (bright,) = whole_image(lambda x: ((x > 0.5).sum((2, 3)),), rgb)
        if bright.dtype != torch.int64:
            raise TypeError(bright.dtype)
        return super().forward(rgb) - bright.sum(1)[:, None, None, None] / 1000


class Fickle(Local):
    """Asks for a mean only where it is dark."""

    def forward(self, rgb: Tensor) -> Tensor:
        cube = super().forward(rgb)
        return cube + pixel_mean(cube)[:, :, None, None] if float(rgb.max()) < 0.5 else cube


class Shortsighted(Local):
    """Declares less than it sees."""

    halo = 0


class Silent(Local):
    """Declares nothing."""

    halo = None  # type: ignore[assignment]


def model(
    network: type[nn.Module], need: RgbInput = NEED, *, seed: int = 0, adapt=None, **how: object
) -> Reconstructor:
    """The network with seeded weights, run as ``how`` (fields of Execution) says."""
    torch.manual_seed(seed)
    spec = ModelSpec(
        name="toy", build=lambda bands: network(), summary="s", source="t", input=need, adapt=adapt
    )
    return Reconstructor(
        network(), spec, BANDS, name="toy", config={}, device="cpu",
        execution=Execution(**how),  # type: ignore[arg-type]
    )  # fmt: skip


def image(height: int, width: int) -> np.ndarray:
    """(H, W, 3) float32 with a gradient, so that tiles have statistics of their own."""
    noise = np.random.default_rng(0).random((height, width, 3))
    slope = np.linspace(0, 1, height)[:, None, None] * np.linspace(0.2, 1, width)[None, :, None]
    return (0.3 * noise + 0.6 * slope).astype(np.float32)


def run_tiles(toy, rgb, tile, sink=lambda *_: None, work=None):
    """The run of the model ``toy`` over tiles of ``tile`` pixels a side."""
    padded = PaddedImage(ArrayPixels(rgb), toy.spec.input)
    return toy.tiles(padded, cut_for(toy, padded.size, tile), sink, work)
