"""A model in one file. Try it without installing anything:

hsrzoo --plugin examples/plugin_one_file.py check tiny-net
hsrzoo --plugin examples/plugin_one_file.py train tiny-net --dataset indian-pines --steps 200

To ship it, put the file in a package and add one line to that package's pyproject.toml:
[project.entry-points."hsrzoo.models"] tiny-net = "your_package.plugin_one_file:SPEC"
"""

import torch.nn.functional as F
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.spec import ModelSpec, Recipe, RgbInput


class TinyNet(nn.Module):
    """A linear map from RGB to bands with a convolutional correction.

    The correction is computed at half resolution, which costs a quarter.
    (B, 3, H, W) -> (B, C, H, W), H and W even. ``halo``: how far, in pixels of the image, the input of
    one output pixel reaches; it lets large images run in tiles, and `hsrzoo check` tests it.
    """

    halo = 6  # 2 of upsampling, 2 of mix and 2 of down, at most

    def __init__(self, bands: int, width: int) -> None:
        super().__init__()
        self.colour = nn.Conv2d(3, bands, 1)
        self.down = nn.Conv2d(3, width, 4, stride=2, padding=1)
        self.mix = nn.Conv2d(width, width, 3, padding=1)
        self.out = nn.Conv2d(width, bands, 1)

    def forward(self, rgb: Tensor) -> Tensor:
        x = F.gelu(self.down(rgb))
        x = x + F.gelu(self.mix(x))
        correction = F.interpolate(self.out(x), scale_factor=2, mode="bilinear")
        return self.colour(rgb) + correction


def build(bands: BandSet, width: int = 32) -> TinyNet:
    """The network for these bands; keyword arguments come from ``SPEC.arguments`` or ``--arg``."""
    return TinyNet(len(bands), width)


SPEC = ModelSpec(
    name="tiny-net",
    build=build,
    summary="An example: a linear map with a convolutional correction",
    source="hsrzoo, examples/plugin_one_file.py",
    licence="MIT",
    input=RgbInput(multiple=2, min_size=2),  # odd sizes are padded before and cropped after
    recipe=Recipe(steps=1000, lr=3e-3),
    tags=("example",),
)
