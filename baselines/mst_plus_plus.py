"""MST++ (Cai et al., CVPRW 2022): spectral-wise transformers, three U-shaped stages in sequence.

Attention runs between channels, not pixels: each of the 31 channels of a head is a unit vector over
the image, and the 31 x 31 matrix of their cosines mixes the channels.

Written from a description of the MIT-licensed code, with its state_dict names, so that the official
checkpoints load after conversion. Those were trained on RGB stretched per image to [0, 1]
(``RgbInput(normalise="minmax-image")``), which the config.json of converted weights must say; the
spec below takes RGB as it is, the input all networks of this zoo are trained on in equal terms.

The official network can only give 31 bands. Here the 31-wide body stays for any band count and only
``conv_out`` changes. Its outer skip needs 31 bands too, so it exists at 31 bands alone; at other
counts the RGB features still reach ``conv_out``, through the skip of every stage.

Tensors between layers are (B, H, W, K) in memory, which Linear and LayerNorm need and convolutions
take as a channels-last view, so that nothing is copied between the two.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.spec import ModelSpec, RgbInput

WIDTH = 31
"""Width of the body and of each attention head, whatever the number of bands."""
MULTIPLE = 8
"""H and W are padded to this, as the official code does; two halvings need only 4."""


def _conv(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a convolution to (B, H, W, K) through its channels-last (B, K, H, W) view."""
    return layer(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def _pointwise(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a 1 x 1 convolution to (B, H, W, K) as the matrix product it is.

    Not by way of ``_conv``: on one thread torch answers with a channels-first tensor, and the layers
    around it, backward above all, then walk memory with a stride (16 times slower for GELU).
    """
    return F.linear(x, layer.get_parameter("weight").flatten(1))


class SpectralAttention(nn.Module):
    """S-MSA: attention between the channels of each head, plus a position term made from V."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.rescale = nn.Parameter(torch.ones(heads, 1, 1))
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_k = nn.Linear(dim, dim, bias=False)
        self.to_v = nn.Linear(dim, dim, bias=False)
        self.proj = nn.Linear(dim, dim)
        self.pos_emb = nn.Sequential(
            nn.Conv2d(dim, dim, 3, padding=1, groups=dim, bias=False),
            nn.GELU(),
            nn.Conv2d(dim, dim, 3, padding=1, groups=dim, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, K) -> (B, H, W, K)."""
        b, h, w, k = x.shape
        split = (b, h * w, self.heads, k // self.heads)
        value = self.to_v(x)
        # Each channel becomes a unit vector over the N pixels.
        q = F.normalize(self.to_q(x).view(split), dim=1).transpose(1, 2)  # (B, heads, N, d)
        key = F.normalize(self.to_k(x).view(split), dim=1).transpose(1, 2)  # (B, heads, N, d)
        scores = key.transpose(2, 3) @ q * self.rescale  # (B, heads, d of K, d of Q)
        v = value.view(split).transpose(1, 2)  # (B, heads, N, d)
        mixed = v @ scores.softmax(dim=-1).transpose(2, 3)  # (B, heads, N, d)
        mixed = self.proj(mixed.transpose(1, 2).reshape(b, h, w, k))
        return mixed + _conv(self.pos_emb, value)


class FeedForward(nn.Module):
    """Widen four times, mix neighbours within each channel, narrow again."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(dim, 4 * dim, 1, bias=False),
            nn.GELU(),
            nn.Conv2d(4 * dim, 4 * dim, 3, padding=1, groups=4 * dim, bias=False),
            nn.GELU(),
            nn.Conv2d(4 * dim, dim, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, K) -> (B, H, W, K)."""
        widen, gelu, mix, _, narrow = self.net.children()
        x = gelu(_pointwise(widen, x))
        return _pointwise(narrow, gelu(_conv(mix, x)))


class PreNorm(nn.Module):
    """LayerNorm over the channels, then ``fn``."""

    def __init__(self, dim: int, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, K) -> (B, H, W, K)."""
        return self.fn(self.norm(x))


class AttentionBlocks(nn.Module):
    """Attention (without a norm before it) and feed-forward, each with a skip."""

    def __init__(self, dim: int, count: int = 1) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.ModuleList([SpectralAttention(dim, dim // WIDTH), PreNorm(dim, FeedForward(dim))])
            for _ in range(count)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, K) -> (B, H, W, K)."""
        for block in self.blocks:
            attention, feed_forward = block.children()
            x = attention(x) + x
            x = feed_forward(x) + x
        return x


class Stage(nn.Module):
    """One U: widths 31, 62, 124 and back, with a skip around it."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)
        self.encoder_layers = nn.ModuleList(
            nn.ModuleList([AttentionBlocks(k), nn.Conv2d(k, 2 * k, 4, stride=2, padding=1, bias=False)])
            for k in (WIDTH, 2 * WIDTH)
        )
        self.bottleneck = AttentionBlocks(4 * WIDTH)
        self.decoder_layers = nn.ModuleList(
            nn.ModuleList(
                [
                    nn.ConvTranspose2d(k, k // 2, 2, stride=2),
                    nn.Conv2d(k, k // 2, 1, bias=False),
                    AttentionBlocks(k // 2),
                ]
            )
            for k in (4 * WIDTH, 2 * WIDTH)
        )
        self.mapping = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, 31) -> (B, H, W, 31); H and W multiples of 4."""
        features = _conv(self.embedding, x)
        skips = []
        for layer in self.encoder_layers:
            blocks, down = layer.children()
            features = blocks(features)
            skips.append(features)
            features = _conv(down, features)
        features = self.bottleneck(features)
        for layer in self.decoder_layers:
            up, fuse, blocks = layer.children()
            features = torch.cat([_conv(up, features), skips.pop()], dim=-1)
            features = blocks(_pointwise(fuse, features))
        return _conv(self.mapping, features) + x


class MSTPlusPlus(nn.Module):
    """RGB (B, 3, H, W) float32 -> cube (B, C, H, W) float32, unbounded; H and W any size of which
    reflection to a multiple of 8 is possible."""

    def __init__(self, bands: int, stages: int = 3) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, WIDTH, 3, padding=1, bias=False)
        self.body = nn.Sequential(*(Stage() for _ in range(stages)))
        self.conv_out = nn.Conv2d(WIDTH, bands, 3, padding=1, bias=False)

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H, W)."""
        height, width = rgb.shape[-2:]
        pad = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
        if any(pad):
            rgb = F.pad(rgb, pad, mode="reflect")
        first = self.conv_in(rgb.contiguous(memory_format=torch.channels_last)).permute(0, 2, 3, 1)
        cube = _conv(self.conv_out, self.body(first))
        if self.conv_out.out_channels == WIDTH:
            cube = cube + first
        return cube.permute(0, 3, 1, 2)[:, :, :height, :width]


def build(bands: BandSet, stages: int = 3) -> MSTPlusPlus:
    """MST++ for these bands; ``stages`` U-shaped stages (the paper compares 1, 2, 3 and 4)."""
    return MSTPlusPlus(len(bands), stages)


SPEC = ModelSpec(
    name="mst-plus-plus",
    build=build,
    summary="MST++: three stages of attention between spectral channels, 1.62 M parameters",
    source=(
        "Cai et al., MST++: Multi-stage Spectral-wise Transformer for Efficient Spectral "
        "Reconstruction, CVPRW 2022, arXiv:2204.07908; "
        "https://github.com/caiyuanhao1998/MST-plus-plus at 18e2032"
    ),
    licence="MIT",
    # The network pads itself as the official one does, but reflection fails on images smaller than
    # the padding; declared here, the Reconstructor does it for every size.
    input=RgbInput(multiple=MULTIPLE, min_size=MULTIPLE),
    default_tag="cave",
    tags=("baseline", "transformer"),
)
