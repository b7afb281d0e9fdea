"""HRNet: hierarchical regression from four resolutions (Zhao et al., CVPRW 2020), the network that won
NTIRE 2020's track of real-world images, as in the MST-plus-plus toolbox.

The image enters at full, half, quarter and eighth resolution, by moving pixels into channels; dense
residual blocks work on each level, and its features go to the next finer one by moving channels into
pixels. Written from a description of the toolbox's MIT-licensed code, with its state_dict names. The
official checkpoints were trained on RGB stretched per image to [0, 1].

31,704,863 parameters at 31 bands, 164 G multiply-accumulates at 256 x 256; 31,803,530 parameters at 202
bands, where only ``main4`` changes. Kept from the original: the last layer has a LeakyReLU too; and its
"global blocks" compute a gate for every channel from the image's mean and do not use it, so their ``fc``
weights have no effect. They are here because they are in the checkpoints, frozen because no gradient
reaches them, and the gate is not computed.

The authors' own repository (zhaoyuzhi, no licence stated) pads by reflection where the toolbox pads with
zeros: its checkpoints have these names, and would give other values near the border here.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.errors import InputError
from hsrzoo.spec import Official
from hsrzoo_baselines.layers import conv, named, padded
from hsrzoo_baselines.recipes import toolbox_spec

MULTIPLE = 8
"""H and W are padded to this: the coarsest level has an eighth of the resolution."""
SLOPE = 0.2
"""Of every LeakyReLU."""
RESIDUAL = 0.1
"""Weight of what a block adds to its input."""


def _conv(inputs: int, outputs: int, size: int = 3) -> nn.Sequential:
    """Convolution with zeros around the image, then LeakyReLU."""
    return named(conv2d=conv(inputs, outputs, size, bias=True), act=nn.LeakyReLU(SLOPE, inplace=True))


class DenseBlock(nn.Module):
    """Five convolutions, each of which sees the block's input and all results so far; then a skip."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.conv1 = _conv(width, growth)
        self.conv2 = _conv(width + growth, growth)
        self.conv3 = _conv(width + 2 * growth, growth)
        self.conv4 = _conv(width + 3 * growth, growth)
        self.conv5 = _conv(width + 4 * growth, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, H, W) -> (B, K, H, W)."""
        features = x
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            features = torch.cat([features, layer(features)], dim=1)
        return x.add(self.conv5(features), alpha=RESIDUAL)


class GlobalBlock(nn.Module):
    """Two convolutions and a skip. ``fc`` are the weights of a gate that the original does not use."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = _conv(width, width)
        self.conv2 = _conv(width, width)
        narrow = width // 4
        self.fc = nn.Sequential(
            nn.Linear(width, narrow, bias=False),
            nn.ReLU(),
            nn.Linear(narrow, narrow, bias=False),
            nn.ReLU(),
            nn.Linear(narrow, width, bias=False),
        ).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, H, W) -> (B, K, H, W)."""
        return x.add(self.conv2(self.conv1(x)), alpha=RESIDUAL)


class HRNet(nn.Module):
    """RGB (B, 3, H, W) float32 -> cube (B, C, H, W) float32, unbounded; H and W any size of which
    reflection to a multiple of 8 is possible.

    ``width``: channels at full resolution; each level down has twice as many.
    """

    halo = 159
    """How many input pixels in each direction an output pixel depends on.

    At full resolution, below the fusion with the coarser features, 24 convolutions of 3 x 3 follow, at a
    half 14, at a quarter 9, at an eighth 8: 24 + 2 * 14 + 4 * 9 + 8 * 8 = 152 pixels. The cells of the
    coarsest grid are 8 pixels wide, and the worst pixel lies 7 from its cell's far end.
    """

    def __init__(self, bands: int, width: int = 64) -> None:
        super().__init__()
        k = width
        self.top1 = _conv(3 * 64, 8 * k)
        self.top21 = DenseBlock(8 * k, 4 * k)
        self.top22 = GlobalBlock(8 * k)
        self.top3 = _conv(8 * k, 8 * k, size=1)
        self.mid1 = _conv(3 * 16, 4 * k)
        self.mid2 = _conv(6 * k, 4 * k)
        self.mid31 = DenseBlock(4 * k, 2 * k)
        self.mid32 = GlobalBlock(4 * k)
        self.mid4 = _conv(4 * k, 4 * k)
        self.bot1 = _conv(3 * 4, 2 * k)
        self.bot2 = _conv(3 * k, 2 * k)
        self.bot31 = DenseBlock(2 * k, k)
        self.bot32 = DenseBlock(2 * k, k)
        self.bot33 = GlobalBlock(2 * k)
        self.bot4 = _conv(2 * k, 2 * k)
        self.main1 = _conv(3, k)
        self.main2 = _conv(k + k // 2, k)
        self.main31 = DenseBlock(k, k // 2)
        self.main32 = DenseBlock(k, k // 2)
        self.main33 = DenseBlock(k, k // 2)
        self.main34 = DenseBlock(k, k // 2)
        self.main35 = GlobalBlock(k)
        self.main4 = _conv(k, bands)

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H, W)."""
        height, width = rgb.shape[-2:]
        rgb = padded(rgb, MULTIPLE)
        x = self.top22(self.top21(self.top1(F.pixel_unshuffle(rgb, 8))))  # (B, 8 K, H / 8, W / 8)
        x = _finer(self.mid1(F.pixel_unshuffle(rgb, 4)), self.top3(x))
        x = self.mid32(self.mid31(self.mid2(x)))  # (B, 4 K, H / 4, W / 4)
        x = _finer(self.bot1(F.pixel_unshuffle(rgb, 2)), self.mid4(x))
        x = self.bot33(self.bot32(self.bot31(self.bot2(x))))  # (B, 2 K, H / 2, W / 2)
        x = _finer(self.main1(rgb), self.bot4(x))
        x = self.main34(self.main33(self.main32(self.main31(self.main2(x)))))
        return self.main4(self.main35(x))[:, :, :height, :width]


def _finer(fine: Tensor, coarse: Tensor) -> Tensor:
    """Features (B, K, H, W) of a level, concatenated with (B, 4 M, H / 2, W / 2) of the level below."""
    return torch.cat([fine, F.pixel_shuffle(coarse, 2)], dim=1)


def build(bands: BandSet, width: int = 64) -> HRNet:
    """HRNet for these bands; ``width`` channels at full resolution, a multiple of 4."""
    if width < 4 or width % 4:
        raise InputError("HRNet cannot have this width", expected="width, a multiple of 4", got=repr(width))
    return HRNet(len(bands), width)


SPEC = toolbox_spec(
    name="hrnet",
    build=build,
    summary="HRNet: dense residual blocks at four resolutions, 31.7 M parameters",
    paper=(
        "Zhao et al., Hierarchical Regression Network for Spectral Reconstruction from RGB Images, CVPRW "
        "2020, arXiv:2005.04703"
    ),
    multiple=MULTIPLE,
    lr=1e-4,
    official=Official("minmax-image", note="of the toolbox; the authors' own network pads by reflection"),
    notes=(
        "The weights named fc are in the official checkpoints and have no effect: the original computes "
        "a gate from them and does not apply it. They are frozen here. The "
        "last layer has a LeakyReLU, as in the original, so negative values are shrunk to a fifth."
    ),
)
