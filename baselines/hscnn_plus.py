"""HSCNN+ as the MST-plus-plus toolbox has it: 30 densely connected blocks after Shi et al. (2018).

This is that toolbox's PyTorch network, the one behind the HSCNN+ figures of most later papers, and
not the authors' own HSCNN-D, which is a TensorFlow network of three parallel dense trunks with
biases. Written from a description of the MIT-licensed code, with its state_dict names
(``conv_fution`` is spelt so there).

The official checkpoints were trained on RGB stretched per image to [0, 1]
(``RgbInput(normalise="minmax-image")``), which the config.json of converted weights must say; the
spec below takes RGB as it is, the input all networks of this zoo are trained on in equal terms.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.spec import ModelSpec

STEM = 128
"""Channels after the first layers."""
GROWTH = 32
"""Channels that each block adds."""


def _conv(inputs: int, outputs: int, size: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)


class FusionBlock(nn.Module):
    """From all features so far, ``width`` channels, to 32 new ones."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = _conv(width, 128, 1)
        self.conv_up1 = _conv(128, 32, 3)
        self.conv_up2 = _conv(32, 16, 1)
        self.conv_down1 = _conv(128, 32, 3)
        self.conv_down2 = _conv(32, 16, 1)
        self.conv_fution = _conv(96, GROWTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) -> (B, 32, H, W)."""
        x = self.conv1(x).relu()
        up1 = self.conv_up1(x).relu()
        up2 = self.conv_up2(up1).relu()
        down1 = self.conv_down1(x).relu()
        down2 = self.conv_down2(down1).relu()
        return self.conv_fution(torch.cat([up1, up2, down1, down2], dim=1)).relu()


class DenseFusion(nn.Module):
    """Stem and dense blocks: every block sees the outputs of all before it."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv_up1 = _conv(3, 32, 3)
        self.conv_up2 = _conv(32, 32, 1)
        self.conv_down1 = _conv(3, 32, 3)
        self.conv_down2 = _conv(32, 32, 1)
        self.dfus_blocks = nn.ModuleList(FusionBlock(STEM + GROWTH * i) for i in range(blocks))

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 128 + 32 blocks, H, W)."""
        up1 = self.conv_up1(rgb).relu()
        up2 = self.conv_up2(up1).relu()
        down1 = self.conv_down1(rgb).relu()
        down2 = self.conv_down2(down1).relu()
        features = torch.cat([up1, up2, down1, down2], dim=1)
        if torch.is_grad_enabled():
            # Backward needs each block's input unchanged, so every block gets a tensor of its own.
            for block in self.dfus_blocks:
                features = torch.cat([features, block(features)], dim=1)
            return features
        b, _, h, w = features.shape
        room = features.new_empty(b, STEM + GROWTH * len(self.dfus_blocks), h, w)
        room[:, :STEM] = features
        for width, block in zip(range(STEM, room.shape[1], GROWTH), self.dfus_blocks, strict=True):
            room[:, width : width + GROWTH] = block(room[:, :width])
        return room


class HSCNNPlus(nn.Module):
    """RGB (B, 3, H, W) float32 -> cube (B, C, H, W) float32, unbounded; any H and W."""

    def __init__(self, bands: int, blocks: int = 30) -> None:
        super().__init__()
        self.ddfn = DenseFusion(blocks)
        self.conv_out = _conv(STEM + GROWTH * blocks, bands, 1)

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H, W)."""
        return self.conv_out(self.ddfn(rgb))


def build(bands: BandSet, blocks: int = 30) -> HSCNNPlus:
    """HSCNN+ for these bands; ``blocks`` dense blocks (R3ST's copy of it has 20)."""
    return HSCNNPlus(len(bands), blocks)


SPEC = ModelSpec(
    name="hscnn-plus",
    build=build,
    summary="HSCNN+: 30 densely connected convolution blocks, 4.65 M parameters",
    source=(
        "Shi et al., HSCNN+: Advanced CNN-Based Hyperspectral Recovery from RGB Images, CVPRW 2018; "
        "https://github.com/caiyuanhao1998/MST-plus-plus at 18e2032"
    ),
    licence="MIT",
    default_tag="cave",
    tags=("baseline", "cnn"),
)
