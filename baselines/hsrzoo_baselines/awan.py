"""AWAN: adaptive weighted attention network (Li et al., CVPRW 2020), the winner of NTIRE 2020's track of
clean images, as in the MST-plus-plus toolbox: 96 channels instead of 200.

Eight residual blocks, each with a gate per channel made from a weighted mean over all pixels, and at the
end attention between all pixels of each quarter of the cube. Written from a description of the toolbox's
MIT-licensed code, with its state_dict names. The official checkpoints were trained on RGB stretched per
image to [0, 1].

4,039,425 parameters at 31 bands, 271 G multiply-accumulates at 256 x 256, 6 G of them in the last
attention; 4,202,040 parameters at 202 bands: the last convolution changes, and the attention, whose
features are an eighth of the bands (here at least one, where the original has none below eight bands).

What we changed: the attention's matrix has as many rows and columns as a quarter has pixels; the original
holds it whole, 1 GiB at 256 x 256 and 16 GiB at 512 x 512, for one quarter after the other. Here torch's
fused attention computes it in blocks, with and without gradients: the same numbers, in memory
proportional to the image. Its time still grows with the square of the pixels. Where torch has no fused
operator (float64 on a GPU, an exported graph) it falls back to the whole matrix.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo_baselines.layers import named, require_counts
from hsrzoo_baselines.recipes import toolbox_spec

SQUEEZE = 16
"""A block's gate narrows its channels by this."""
FEATURES = 8
"""The last attention narrows the bands by this."""
ALIGNED = 8
"""Fused attention needs a multiple of this many features; the real ones are padded with zeros."""


def _conv(inputs: int, outputs: int, size: int = 3) -> nn.Sequential:
    """Convolution without bias, padded by reflection: H and W larger than half the kernel."""
    reflecting = nn.Conv2d(inputs, outputs, size, padding=size // 2, padding_mode="reflect", bias=False)
    return named(conv2d=reflecting)


class ChannelGate(nn.Module):
    """AWCA: a gate per channel, from the channels' mean over all pixels with learned weights."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, 1, 1, bias=False)
        self.fc = nn.Sequential(
            nn.Linear(width, width // SQUEEZE, bias=False),
            nn.PReLU(),
            nn.Linear(width // SQUEEZE, width, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, H, W) -> (B, K, H, W)."""
        share = self.conv(x).flatten(2).softmax(dim=-1)  # (B, 1, N)
        pooled = (x.flatten(2) @ share.transpose(1, 2)).squeeze(2)  # (B, K)
        return x * self.fc(pooled).sigmoid()[:, :, None, None]


class DualBlock(nn.Module):
    """DRAB: two residual paths run through all blocks, one added in the middle, one at the end."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = _conv(width, width)
        self.relu1 = nn.PReLU()
        self.conv2 = _conv(width, width)
        self.relu2 = nn.PReLU()
        self.up_conv = _conv(width, width, size=5)
        self.up_relu = nn.PReLU()
        self.se = ChannelGate(width)
        self.down_conv = _conv(width, width)
        self.down_relu = nn.PReLU()

    def forward(self, x: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        """Both (B, K, H, W), in and out."""
        y = self.relu2(self.conv2(self.relu1(self.conv1(x))) + x)
        residual = self.up_relu(self.up_conv(y) + residual)
        return self.down_relu(self.down_conv(self.se(residual)) + x), residual


class NonLocal(nn.Module):
    """Second-order attention between all pixels of each quarter of the image."""

    def __init__(self, bands: int) -> None:
        super().__init__()
        features = max(bands // FEATURES, 1)
        self.g = nn.Conv2d(bands, features, 1, bias=False)
        self.W = nn.Conv2d(features, bands, 1, bias=False)
        self.theta = nn.Conv2d(bands, features, 1, bias=False)
        nn.init.zeros_(self.W.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        theta, values = self.theta(x), self.g(x)
        down, across = _halves(x.shape[2]), _halves(x.shape[3])
        rows = [
            torch.cat([attention(theta[:, :, r, c], values[:, :, r, c]) for c in across], dim=3)
            for r in down
        ]
        return self.W(torch.cat(rows, dim=2)) + x


def _halves(size: int) -> tuple[slice, slice]:
    return slice(None, size // 2), slice(size // 2, None)


def attention(theta: Tensor, values: Tensor) -> Tensor:
    """Mean of ``values`` over all pixels, weighted for each pixel by the similarity of its ``theta``.

    Both (B, D, h, w), as is the result. The weights of pixel i are the softmax over j of the covariance
    sum_d (theta_id - mean_d theta_id) theta_jd / D.
    """
    b, d, height, width = theta.shape
    query = (theta - theta.mean(1, keepdim=True)) / d

    def pixels(x: Tensor) -> Tensor:  # (B, 1, N, D), D aligned
        return F.pad(x.flatten(2).transpose(1, 2), (0, -d % ALIGNED)).contiguous()[:, None]

    out = F.scaled_dot_product_attention(pixels(query), pixels(theta), pixels(values), scale=1.0)
    return out[:, 0, :, :d].transpose(1, 2).reshape(b, d, height, width)


class AWAN(nn.Module):
    """RGB (B, 3, H, W) float32 -> cube (B, C, H, W) float32, unbounded; H and W at least 3."""

    halves_image = True
    """For :func:`hsrzoo.export.graph.trace`: the graph holds H // 2 and W // 2, of sizes left free."""

    def __init__(self, bands: int, width: int = 96, blocks: int = 8) -> None:
        super().__init__()
        self.input_conv2D = _conv(3, width)
        self.input_prelu2D = nn.PReLU()
        self.head_conv2D = _conv(width, width)
        self.backbone = nn.ModuleList(DualBlock(width) for _ in range(blocks))
        self.tail_conv2D = _conv(width, width)
        self.output_prelu2D = nn.PReLU()
        self.output_conv2D = _conv(width, bands)
        self.tail_nonlocal = named(non_local=NonLocal(bands))

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H, W)."""
        first = self.head_conv2D(self.input_prelu2D(self.input_conv2D(rgb)))
        x, residual = first, first
        for block in cast(Iterable[DualBlock], self.backbone):
            x, residual = block(x, residual)
        x = self.output_prelu2D(self.tail_conv2D(x) + first)
        return self.tail_nonlocal(self.output_conv2D(x))

    def unseen_macs(self, height: int, width: int) -> int:
        """Of the last attention on a CPU, where torch's counter does not know the fused operator."""
        theta = cast(NonLocal, self.tail_nonlocal[0]).theta
        if theta.weight.device.type != "cpu":
            return 0
        quarters = ((h, w) for h in (height // 2, -(-height // 2)) for w in (width // 2, -(-width // 2)))
        return 2 * theta.out_channels * sum((h * w) ** 2 for h, w in quarters)


def build(bands: BandSet, width: int = 96, blocks: int = 8) -> AWAN:
    """AWAN for these bands: ``blocks`` blocks of ``width`` channels (200 in the authors' own code)."""
    require_counts("width", width, least=SQUEEZE)
    require_counts("blocks", blocks)
    return AWAN(len(bands), width, blocks)


SPEC = toolbox_spec(
    name="awan",
    build=build,
    summary="AWAN: dual residual attention blocks and attention between pixels, 4.04 M parameters",
    paper=(
        "Li et al., Adaptive Weighted Attention Network with Camera Spectral Sensitivity Prior for "
        "Spectral Reconstruction from RGB Images, CVPRW 2020, arXiv:2005.09305"
    ),
    # Reflection around a 5 x 5 convolution needs three pixels, an exported graph two in each quarter.
    min_size=4,
    tags=("baseline", "cnn", "attention"),
    lr=1e-4,
    notes=(
        "The last attention connects all pixels of a quarter of the image: its time grows with the square "
        "of the pixels, its memory does not. It runs whole, not in tiles. The toolbox evaluates it on "
        "cropped images to save memory; here it takes the whole image."
    ),
)
