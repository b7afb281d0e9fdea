"""HSCNN+ as in the MST-plus-plus toolbox: 30 densely connected blocks after Shi et al. (2018).

This is that toolbox's PyTorch network, the one behind the HSCNN+ figures of most later papers, and
not the authors' own HSCNN-D, which is a TensorFlow network of three parallel dense trunks with
biases. Written from a description of the MIT-licensed code, with its state_dict names
(including the spelling ``conv_fution``).

The official checkpoints were trained on RGB stretched per image to [0, 1].

4,645,504 parameters at 31 bands, each used once a pixel: 304 G multiply-accumulates at 256 x 256. The
published structure, kept as ``hscnn-plus:reference``, gives each block a new copy of all features so
far. Without gradients, the default here gives the same cube, up to rounding, by:

- a wavefront. A block reaches one row up and down, so the image goes through all blocks in strips of
  rows, each block one row behind the one before it. No row is computed twice, and of the 1,088 channels
  only the rows of the current strip are in memory.
- products over the channels as :func:`hsrzoo.layers.pointwise.pointwise` does them, and the two 3 x 3
  convolutions of a block, and the two 1 x 1 after them, as one each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.layers.pointwise import pointwise
from hsrzoo.layers.whole_image import can_strip
from hsrzoo_baselines.layers import conv, require_choice, require_counts
from hsrzoo_baselines.recipes import toolbox_spec

STEM = 128
"""Channels after the first layers."""
GROWTH = 32
"""Channels that each block adds."""
PIXELS_AT_ONCE = {"cpu": 1 << 13, "other": 1 << 18}
"""Pixels of a strip. Each has 4 KiB of features in memory."""
LEAST_ROWS = 32
"""Rows of a strip at least, with the row above and the row below that each block reaches."""


def _flat(layer: nn.Module) -> Tensor:
    """Weight (M, K) of a 1 x 1 convolution."""
    return layer.get_parameter("weight").flatten(1)


def _two(first: nn.Module, second: nn.Module) -> Tensor:
    """One weight (2 M, K, 3, 3) for two convolutions of the same input."""
    return torch.cat([first.get_parameter("weight"), second.get_parameter("weight")])


def _beside(first: nn.Module, second: nn.Module) -> Tensor:
    """One weight (2 M, 2 K) for two 1 x 1 convolutions, each of its half of the input."""
    return torch.block_diag(_flat(first), _flat(second))


def _wide(x: Tensor, weight: Tensor) -> Tensor:
    """3 x 3 convolution of (B, H, W, K) with zeros around it."""
    return F.conv2d(x.permute(0, 3, 1, 2), weight, padding=1).permute(0, 2, 3, 1)


def _two_ways(layers: FusionBlock | DenseFusion, x: Tensor) -> Tensor:
    """Features of both ways through a 3 x 3 and a 1 x 1 convolution, and those in between."""
    up1 = layers.conv_up1(x).relu()
    up2 = layers.conv_up2(up1).relu()
    down1 = layers.conv_down1(x).relu()
    down2 = layers.conv_down2(down1).relu()
    return torch.cat([up1, up2, down1, down2], dim=1)


class FusionBlock(nn.Module):
    """From all features so far, ``width`` channels, to 32 new ones."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = conv(width, 128, 1)
        self.conv_up1 = conv(128, 32, 3)
        self.conv_up2 = conv(32, 16, 1)
        self.conv_down1 = conv(128, 32, 3)
        self.conv_down2 = conv(32, 16, 1)
        self.conv_fution = conv(96, GROWTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) -> (B, 32, H, W)."""
        return self.conv_fution(_two_ways(self, self.conv1(x).relu())).relu()

    def merged(self) -> Callable[[Tensor], Tensor]:
        """The same function of (B, H, W, width), with the weights of parallel layers concatenated."""
        narrow, both = _flat(self.conv1), _two(self.conv_up1, self.conv_down1)
        beside = _beside(self.conv_up2, self.conv_down2)
        # its inputs have the order up1, up2, down1, down2; here up1, down1, up2, down2
        up1, up2, down1, down2 = _flat(self.conv_fution).split([32, 16, 32, 16], dim=1)
        fusion = torch.cat([up1, down1], dim=1), torch.cat([up2, down2], dim=1)

        def block(x: Tensor) -> Tensor:
            first = _wide(pointwise(x, narrow).relu_(), both).relu_()
            second = pointwise(first, beside).relu_()
            return (pointwise(first, fusion[0]) + pointwise(second, fusion[1])).relu_()

        return block


class DenseFusion(nn.Module):
    """Stem and dense blocks: every block sees the outputs of all before it."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv_up1 = conv(3, 32, 3)
        self.conv_up2 = conv(32, 32, 1)
        self.conv_down1 = conv(3, 32, 3)
        self.conv_down2 = conv(32, 32, 1)
        self.dfus_blocks = nn.ModuleList(FusionBlock(STEM + GROWTH * i) for i in range(blocks))

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 128 + 32 blocks, H, W)."""
        features = _two_ways(self, rgb)
        for block in self.dfus_blocks:
            features = torch.cat([features, block(features)], dim=1)
        return features

    def stem_rows(self, image: Tensor) -> Tensor:
        """The stem: (B, H, W, 3) -> (B, H, W, 128)."""
        return _two_ways(self, image.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class HSCNNPlus(nn.Module):
    """RGB (B, 3, H, W) float32 -> cube (B, C, H, W) float32, unbounded; any H and W.

    ``published``: always give each block a copy of all features, as the published code does.
    """

    def __init__(self, bands: int, blocks: int = 30, published: bool = False) -> None:
        super().__init__()
        self.ddfn = DenseFusion(blocks)
        self.conv_out = conv(STEM + GROWTH * blocks, bands, 1)
        self.published = published

    @property
    def halo(self) -> int:
        """How many input pixels in each direction an output pixel depends on: one for the 3 x 3
        convolutions of the stem and of each block."""
        return 1 + len(self.ddfn.dfus_blocks)

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H, W)."""
        # Backward needs each block's input unchanged, and a traced network is one graph without loops.
        if self.published or not can_strip():
            return self.conv_out(self.ddfn(rgb))
        return self._wavefront(rgb)

    def _wavefront(self, rgb: Tensor) -> Tensor:
        image = rgb.permute(0, 2, 3, 1)
        b, height, width, _ = image.shape
        pixels = PIXELS_AT_ONCE["cpu" if rgb.device.type == "cpu" else "other"]
        step = min(max(LEAST_ROWS, pixels // (b * width)) - 2, height)
        layers = [self.ddfn.stem_rows, *(cast(FusionBlock, x).merged() for x in self.ddfn.dfus_blocks)]
        channels = [0, *range(STEM, STEM + GROWTH * len(layers), GROWTH)]  # before and after each layer
        autocast = torch.is_autocast_enabled(rgb.device.type)
        dtype = torch.get_autocast_dtype(rgb.device.type) if autocast else rgb.dtype
        room = image.new_empty(b, step + self.halo, width, channels[-1], dtype=dtype)
        cube = image.new_empty(b, height, width, self.conv_out.out_channels, dtype=dtype)
        made = [0] * len(layers)  # rows that each layer has finished
        top = 0  # the image's row that is the first in the room
        for bottom in range(step, height + step, step):
            end, top, answered = min(bottom, height), _slide(room, top, made[0], self.halo), made[-1]
            for i, layer in enumerate(layers):
                first, last = max(made[i] - 1, 0), min(end + 1, height)
                if end > made[i]:
                    seen = (
                        room[:, first - top : last - top, :, : channels[i]] if i else image[:, first:last]
                    )
                    out = layer(seen)[:, made[i] - first : end - first]
                    room[:, made[i] - top : end - top, :, channels[i] : channels[i + 1]] = out
                made[i] = end
                # the next layer needs a row below its own, except at the image's last one
                end = end if end == height else max(end - 1, 0)
            if made[-1] > answered:
                features = room[:, answered - top : made[-1] - top]
                cube[:, answered : made[-1]] = pointwise(features, _flat(self.conv_out))
        return cube.permute(0, 3, 1, 2)


def _slide(room: Tensor, top: int, made: int, keep: int) -> int:
    """Move the last ``keep`` of the rows up to ``made`` to the start of the room, whose first row was
    ``top`` of the image; the image's row that is first now."""
    now = max(made - keep, top)
    if now > top:
        for row in range(made - now):
            room[:, row] = room[:, row + now - top]
    return now


def build(
    bands: BandSet, blocks: int = 30, structure: Literal["optimised", "published"] = "optimised"
) -> HSCNNPlus:
    """HSCNN+ for these bands; ``blocks`` dense blocks (R3ST's copy of it has 20).

    ``structure``: "optimised", or "published" for the order of operations of the published code, which
    gives the same cube in more time and memory.
    """
    require_counts("blocks", blocks)
    require_choice("structure", structure, "optimised", "published")
    return HSCNNPlus(len(bands), blocks, published=structure == "published")


SPEC = toolbox_spec(
    name="hscnn-plus",
    build=build,
    summary="HSCNN+: 30 densely connected convolution blocks, 4.65 M parameters",
    use="comparison with published results; slow",
    paper="Shi et al., HSCNN+: Advanced CNN-Based Hyperspectral Recovery from RGB Images, CVPRW 2018",
    default_tag="cave",
    lr=2e-4,
    notes="Only conv_out changes with the number of bands.",
    variants={"reference": {"structure": "published"}},
)
