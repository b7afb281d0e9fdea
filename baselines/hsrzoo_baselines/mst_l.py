"""MST-L (Cai et al., CVPR 2022) in the MST-plus-plus toolbox: mask-guided attention between channels.

MST was designed for snapshot compressive imaging, where a coded mask modulates the light. The toolbox's
input is RGB: a second branch, still called the mask, is a convolution of the image and has convolutions
alone at every level; from it each attention block computes weights for its values.

Written from a description of the MIT-licensed code, with its state_dict names. The official checkpoints
were trained on RGB stretched per image to [0, 1].

2,450,978 parameters at 31 bands; 29.8 G multiply-accumulates at 256 x 256, the rows that strips
see twice included.

The published code weights all images of a batch by the mask of the first one. Here each image has its
own; ``batch="coupled"`` is the published behaviour, in which the official checkpoints were trained.

The official network can only give 31 bands. Here the 31-wide body stays for any band count and only
``mapping`` changes: 2,498,687 parameters at 202. Its outer skip needs 31 bands, so it exists at 31
alone; at other counts the RGB features reach ``mapping`` through the U.

The layers are those of ``mst_plus_plus.py`` and differ from the published structure as there, equal up to
rounding: without gradients, attention follows from Gram matrices, and all that follows it runs on strips of
rows, including the weights from the mask.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo_baselines.layers import conv, padded, require_choice, require_counts
from hsrzoo_baselines.mst_plus_plus_layers import (
    WIDTH,
    AttentionBlocks,
    ChannelAttention,
    convolve,
    mix_channels,
)
from hsrzoo_baselines.recipes import toolbox_spec
from hsrzoo_baselines.unet import MULTIPLE, UNet

SLOPE = 0.1
"""Of the leaky ReLUs after the first convolutions."""


class MaskWeights(nn.Module):
    """Weights for the values from the mask of their level."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 1)
        self.conv2 = nn.Conv2d(dim, dim, 1)
        self.depth_conv = nn.Conv2d(dim, dim, 5, padding=2, groups=dim)

    def forward(self, mask: Tensor) -> Tensor:
        """(B, H, W, K) -> (B, H, W, K)."""
        mask = mix_channels(self.conv1, mask)
        return mask * convolve(self.depth_conv, mix_channels(self.conv2, mask)).sigmoid() + mask


class MaskedAttention(ChannelAttention):
    """S-MSA whose values are weighted by the mask, except those of the position term."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__(dim, heads)
        self.mm = MaskWeights(dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, H, W, K), mask (B or 1, H, W, K) -> (B, H, W, K), with gradients."""
        value = self.to_v(x)
        return self.attend(x, value * self.mm(mask)) + self.position(value)

    def mixing(self, x: Tensor) -> Tensor:
        """The attention of the image ``x`` as matrices (B, K, K) for the weighted values."""
        return self.mixing_of_values(x)

    def mix(self, x: Tensor, matrices: Tensor, mask: Tensor) -> Tensor:
        """:meth:`forward` with the matrices of :meth:`mixing` known."""
        value = mix_channels(self.to_v, x)
        weighted = (value * self.mm(mask)).flatten(1, 2)  # (B, N, K)
        mixed = (weighted @ matrices.to(value.dtype).transpose(1, 2)).view(value.shape)
        return mixed + self.proj.bias + self.position(value)


class MSTL(UNet):
    """RGB (B, 3, H, W) float32 -> cube (B, C, H, W) float32, unbounded; H and W any size of which
    reflection to a multiple of 8 is possible.

    ``blocks``: at full resolution, half of it and a quarter. ``coupled``: the mask of the first image
    weights all images of a batch.
    """

    def __init__(self, bands: int, blocks: tuple[int, int, int] = (4, 7, 5), coupled: bool = False) -> None:
        super().__init__()
        self.counts = tuple(blocks)
        self.coupled = coupled
        self.embedding_1 = conv(3, WIDTH)
        self.embedding_2 = conv(3, WIDTH)
        self.add_levels(blocks, partial(AttentionBlocks, attention=MaskedAttention), maps=2)
        self.mapping = conv(WIDTH, bands)

    @property
    def halo(self) -> int:
        """How many input pixels in each direction an output pixel depends on, all Gram matrices known.

        A pair of attention and feed-forward reaches 3. Around a coarser level of reach r, the 4 x 4
        convolution down and the 2 x 2 one up make 2 r + 2 of it, and the pairs on both sides are added;
        embedding and mapping add 2.
        """
        first, second, lowest = self.counts
        half = 2 * (3 * lowest) + 2 + 6 * second
        return 2 * half + 2 + 6 * first + 2

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H, W)."""
        height, width = rgb.shape[-2:]
        rgb = padded(rgb, MULTIPLE)
        rgb = rgb.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
        mask = F.leaky_relu(convolve(self.embedding_1, rgb[:1] if self.coupled else rgb), SLOPE)
        first = F.leaky_relu(convolve(self.embedding_2, rgb), SLOPE)
        cube = convolve(self.mapping, self.through_levels(first, [mask]))
        if self.mapping.out_channels == WIDTH:
            cube = cube + first
        return cube.permute(0, 3, 1, 2)[:, :, :height, :width]


def build(
    bands: BandSet,
    blocks: tuple[int, int, int] = (4, 7, 5),
    batch: Literal["own", "coupled"] = "own",
) -> MSTL:
    """MST-L for these bands; ``blocks`` at full resolution, half of it and a quarter.

    ``batch``: "own", or "coupled" for the published code's behaviour, in which the mask of the first
    image weights all images of a batch.
    """
    require_counts("blocks", blocks, length=3)
    require_choice("batch", batch, "own", "coupled")
    return MSTL(len(bands), blocks, coupled=batch == "coupled")


SPEC = toolbox_spec(
    name="mst-l",
    build=build,
    summary="MST-L: one U of attention between channels guided by a mask, 2.45 M parameters",
    paper=(
        "Cai et al., Mask-guided Spectral-wise Transformer for Efficient Hyperspectral Image "
        "Reconstruction, CVPR 2022, arXiv:2111.07910"
    ),
    multiple=MULTIPLE,
    kind="transformer",
    lr=4e-4,
    notes=(
        "The published code weights all images of a batch by the mask of the first one; here each image "
        'has its own, and batch="coupled" gives the published behaviour.'
    ),
)
