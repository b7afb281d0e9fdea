"""HDNet (Hu et al., CVPR 2022), made for spectral compressive imaging, as in the MST-plus-plus toolbox
for RGB: 63 residual blocks with one stage of spatial and spectral attention in the middle.

Written from a description of the MIT-licensed code, with its state_dict names. The official checkpoints
were trained on RGB stretched per image to [0, 1]. Of the paper's two losses the toolbox takes neither: the
one in the frequency domain is in its file, but calls a function that torch no longer has.

2,659,243 parameters and 112 values of batch normalisation at 31 bands, 174 G multiply-accumulates at
256 x 256; 2,733,286 parameters at 202 bands, where only the last convolution changes.

What we changed, all equal up to rounding: the mean of a linear layer's output is computed from that of its
input; the four softmaxes of the efficient fusion are computed as one; the eight biases that batch
normalisation cancels are not trained. Softmaxes run over all pixels of the image: their largest logit and
their sum are statistics, so tiles are exact.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.layers.whole_image import pixel_mean, whole_image
from hsrzoo_baselines.edsr import ResBlock, conv_biased
from hsrzoo_baselines.layers import require_counts
from hsrzoo_baselines.recipes import toolbox_spec

WIDTH = 48
"""Channels of all features."""
SUBSPACES = 4
"""Groups of channels of the efficient fusion, with an attention map each."""


def _largest(logits: Tensor) -> Tensor:
    """Over all pixels of the image, of each channel: (B, K, H, W) -> (B, K, 1, 1), without gradient,
    because a softmax does not depend on what is subtracted from all its logits."""
    (found,) = whole_image(lambda x: (x.detach().amax((2, 3), keepdim=True),), logits, reduce="max")
    return found


def pixel_softmax(logits: Tensor) -> Tensor:
    """Softmax of each channel of (B, K, H, W) over all pixels of the image."""
    largest = _largest(logits)
    (total,) = whole_image(lambda x: ((x - largest).exp().sum((2, 3), keepdim=True),), logits)
    return (logits - largest).exp() / total


def pixel_pool(logits: Tensor, values: Tensor) -> Tensor:
    """Mean of ``values`` (B, K, H, W) over all pixels of the image, weighted by the softmax of ``logits``
    (B, 1, H, W): (B, K, 1, 1)."""
    largest = _largest(logits)

    def parts(logits: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        share = (logits - largest).exp()
        return share.sum((2, 3), keepdim=True), (share * values).sum((2, 3), keepdim=True)

    total, weighted = whole_image(parts, logits, values)
    return weighted / total


class DualAttention(nn.Module):
    """SDL: a gate for every channel plus a gate for every pixel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = width // 2
        self.conv_q_right = nn.Conv2d(width, 1, 1, bias=False)
        self.conv_v_right = nn.Conv2d(width, inner, 1, bias=False)
        self.conv_up = nn.Conv2d(inner, width, 1, bias=False)
        self.conv_q_left = nn.Conv2d(width, inner, 1, bias=False)
        self.conv_v_left = nn.Conv2d(width, inner, 1, bias=False)
        for layer in (self.conv_q_right, self.conv_v_right, self.conv_q_left, self.conv_v_left):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, H, W) -> (B, K, H, W)."""
        pooled = pixel_pool(self.conv_q_right(x), self.conv_v_right(x))  # (B, K / 2, 1, 1)
        channels = self.conv_up(pooled).sigmoid()  # (B, K, 1, 1)
        query = self.conv_q_left(pixel_mean(x)[:, :, None, None])  # (B, K / 2, 1, 1)
        match = (query * self.conv_v_left(x)).sum(1, keepdim=True)  # (B, 1, H, W)
        return x * channels + x * pixel_softmax(match).sigmoid()


class Subspace(nn.Module):
    """The logits of one group's attention map."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_dws = nn.Conv2d(width, width, 1, groups=width)
        self.bn_dws = nn.BatchNorm2d(width, momentum=0.9)
        self.conv_point = nn.Conv2d(width, 1, 1)
        self.bn_point = nn.BatchNorm2d(1, momentum=0.9)
        # Batch normalisation cancels these: their gradient is rounding alone, which Adam would turn into
        # full steps.
        for layer in (self.conv_dws, self.conv_point):
            if layer.bias is not None:
                layer.bias.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, H, W) -> (B, 1, H, W)."""
        x = self.bn_dws(self.conv_dws(x)).relu()
        x = F.max_pool2d(x, 3, stride=1, padding=1)
        return self.bn_point(self.conv_point(x)).relu()


class EfficientFusion(nn.Module):
    """EFF: each group of channels is amplified where its attention map is high."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.subspaces = nn.ModuleList(Subspace(width // SUBSPACES) for _ in range(SUBSPACES))

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, H, W) -> (B, K, H, W)."""
        groups = x.chunk(SUBSPACES, dim=1)
        subspaces = cast(Iterable[nn.Module], self.subspaces)
        logits = torch.cat([space(group) for space, group in zip(subspaces, groups, strict=True)], dim=1)
        maps = pixel_softmax(logits).repeat_interleave(x.shape[1] // SUBSPACES, dim=1)
        return maps * x + x


class HDNet(nn.Module):
    """RGB (B, 3, H, W) float32 -> cube (B, C, H, W) float32, unbounded; any H and W.

    ``blocks``: residual blocks before the attention; one less follows it.
    """

    def __init__(self, bands: int, blocks: int = 32) -> None:
        super().__init__()
        self.head = nn.Sequential(conv_biased(3, WIDTH))
        self.body = nn.Sequential(
            *(ResBlock(WIDTH) for _ in range(blocks)),
            DualAttention(WIDTH),
            EfficientFusion(WIDTH),
            *(ResBlock(WIDTH) for _ in range(blocks - 1)),
            conv_biased(WIDTH, WIDTH),
        )
        self.tail = nn.Sequential(conv_biased(WIDTH, bands))

    @property
    def halo(self) -> int:
        """How many input pixels in each direction an output pixel depends on, all statistics known: two
        for a residual block, one for the largest of 3 x 3 pixels in the fusion, three around them."""
        blocks = sum(isinstance(layer, ResBlock) for layer in self.body)
        return 2 * blocks + 4

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H, W)."""
        first = self.head(rgb)
        return self.tail(self.body(first) + first)


def build(bands: BandSet, blocks: int = 32) -> HDNet:
    """HDNet for these bands; ``blocks`` residual blocks before the attention, one less after it."""
    require_counts("blocks", blocks, least=1)
    return HDNet(len(bands), blocks)


SPEC = toolbox_spec(
    name="hdnet",
    build=build,
    summary="HDNet: 63 residual blocks around one spatial-spectral attention, 2.66 M parameters",
    paper=(
        "Hu et al., HDNet: High-resolution Dual-domain Learning for Spectral Compressive Imaging, CVPR "
        "2022, arXiv:2203.02149"
    ),
    lr=4e-4,
    notes=(
        "The toolbox's variant, trained by MRAE alone. Its attention maps are softmaxes over all pixels: a "
        "crop's cube differs a little from the same place in the whole image's. In training, batch "
        "normalisation makes the samples of a batch depend on each other; in use they do not."
    ),
)
