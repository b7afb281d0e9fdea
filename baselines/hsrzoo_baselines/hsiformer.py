"""HSIFormer: attention between channels, along rows and columns, in patches and between patches.

A U of three levels with 32, 64 and 128 channels. Each block of the two finer levels weights the channels by
a gate, then attends between channels, then along columns and rows: half of the channels in stripes of
columns, half in stripes of rows, and both halves with each other. The coarsest level attends between the
pixels of 8 x 8 patches, between patches, and between channels.

Written from a description of the MIT-licensed port in TSOR666/Hyperspectral-Imaging-Toolkit (SSTrans,
preset ``source_reproduction``), with its state_dict names, which are those of the original in Karl-Liu-
ch/HSI-diffusion. Its quirks are kept: the gated features count twice in a block's skip; between the halves,
what is called key is used as value and the reverse, and the output is not put back to the places of its
pixels; a bias of the attention between channels is stored and never used, and frozen here.

2,851,493 parameters at 31 bands, 51 G multiply-accumulates at 256 x 256; the body does not depend on the
bands, each adds 289. Positions in a window are in published checkpoints, and computed here.

The image is padded to a square whose side is a multiple of 32, so a long and narrow one costs as much as
that square; the cost of the stripes grows with the third power of the side, that of attention between
patches with the fourth. Every pixel depends on all others through more than sums over pixels, so the
network cannot be run in exact tiles.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.spec import ModelSpec, Official, Recipe, RgbInput
from hsrzoo_baselines.layers import conv, crop, free_size, init_layers, named
from hsrzoo_baselines.mst_plus_plus_layers import convolve, mix_channels
from hsrzoo_baselines.recipes import toolbox
from hsrzoo_baselines.stripes import HEAD, Spatial, cosine_attention, depthwise
from hsrzoo_baselines.windows import WINDOW, position_bias, positions, split, unsplit

WIDTH = 32
"""Channels at full resolution."""
MULTIPLE = 32
"""Of which the side of the padded square is one."""
BLOCKS = 2
"""In every level."""
SPECTRAL_HEADS = 16
"""Of attention between channels, at every width."""


def square(rgb: Tensor) -> Tensor:
    """(B, 3, H, W) padded at the bottom and right to the square of the next multiple of 32.

    By reflection, or where H or W is too small for it, by repetition of the edge.
    """
    side = MULTIPLE * free_size((torch.sym_max(*rgb.shape[-2:]) + MULTIPLE - 1) // MULTIPLE)
    place = torch.arange(side, device=rgb.device)
    lasts = [size - 1 for size in rgb.shape[-2:]]
    mirrored = [last - (place - last).abs() for last in lasts]
    fits = (mirrored[0][-1] >= 0) & (mirrored[1][-1] >= 0)  # a tensor: a traced graph knows no size
    rows, columns = (
        torch.where(fits, found, place.clamp_max(last)).clamp_min(0)
        for found, last in zip(mirrored, lasts, strict=True)
    )
    return rgb[:, :, rows][:, :, :, columns]


class ChannelGate(nn.Module):
    """A gate in [0, 1] for every channel, from all channels' largest pixel and mean."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.channel_interaction = nn.Sequential(
            conv(2 * dim, dim // 8, 1), nn.GELU(), conv(dim // 8, dim, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, K) -> (B, H, W, K)."""
        pooled = torch.cat([x.amax((1, 2), keepdim=True), x.mean((1, 2), keepdim=True)], dim=-1)
        return x * convolve(self.channel_interaction, pooled).sigmoid()


class ChannelAttention(nn.Module):
    """Attention between the channels of each head, and a position term computed from V."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(SPECTRAL_HEADS, 1, 1))
        unused = torch.zeros(2 * (dim // SPECTRAL_HEADS) - 1)
        self.relative_bias = nn.Parameter(unused, requires_grad=False)
        self.qkv = conv(dim, 3 * dim, 1)
        self.qkv_dwconv = depthwise(3 * dim)
        self.project_out = conv(dim, dim, 1, bias=True)
        self.pos_emb = nn.Sequential(depthwise(dim), nn.GELU(), depthwise(dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, K) -> (B, H, W, K)."""
        qkv = convolve(self.qkv_dwconv, mix_channels(self.qkv, x))
        image = qkv.chunk(3, dim=-1)[2]
        heads = qkv.flatten(1, 2).unflatten(-1, (3, SPECTRAL_HEADS, -1)).permute(2, 0, 3, 4, 1)
        query, key, value = heads  # (B, heads, d, N) each
        scores = F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).transpose(-2, -1)
        mixed = (scores * self.temperature).softmax(dim=-1) @ value
        mixed = mixed.flatten(1, 2).transpose(1, 2).reshape(x.shape)
        return mix_channels(self.project_out, mixed) + convolve(self.pos_emb, image)


class GatedFeedForward(nn.Module):
    """Eight times the channels; a half, normalised and convolved, is the gate of the other."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.project_in = conv(dim, 8 * dim, 1)
        self.norm = nn.LayerNorm(4 * dim)
        self.dwconv = depthwise(4 * dim)
        self.project_out = conv(4 * dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, K) -> (B, H, W, K)."""
        gate, values = mix_channels(self.project_in, x).chunk(2, dim=-1)
        gate = F.gelu(convolve(self.dwconv, self.norm(gate)))
        return mix_channels(self.project_out, gate * values)


class Spectral(nn.Module):
    """Attention between channels and a gated feed-forward, each with a norm and a skip."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.s_msa = ChannelAttention(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.gdfn = GatedFeedForward(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, K) -> (B, H, W, K)."""
        x = x + self.s_msa(self.norm1(x))
        return x + self.gdfn(self.norm2(x))


class Block(nn.Module):
    """Gate of channels, attention between channels, attention along stripes."""

    def __init__(self, dim: int, size: int) -> None:
        super().__init__()
        self.channel_attn = ChannelGate(dim)
        self.sst = named(spectral_msa=Spectral(dim), spatial_msa=Spatial(dim, size))

    def forward(self, x: Tensor) -> Tensor:
        """(B, R, R, K) -> (B, R, R, K)."""
        gated = self.channel_attn(x)
        return x + gated + self.sst(gated)  # the last term holds ``gated`` once more


def blocks(dim: int) -> nn.Sequential:
    """The blocks of a level, with stripes twice as wide where the resolution is a half."""
    return named(model=nn.Sequential(*(Block(dim, dim // WIDTH) for _ in range(BLOCKS))))


class PatchAttention(nn.Module):
    """Attention between the pixels of each 8 x 8 patch, with a learned bias for each distance."""

    relative_position_index: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        heads = dim // HEAD
        self.scale = nn.Parameter(torch.ones(heads, 1, 1))
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * WINDOW - 1) ** 2, heads))
        self.register_buffer("relative_position_index", positions(WINDOW), persistent=False)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """(B, patches, 64, K) -> (B, patches, 64, K)."""
        heads = self.qkv(x).unflatten(-1, (3, -1, HEAD)).permute(3, 0, 1, 4, 2, 5)
        query, key, value = heads.flatten(1, 2)  # (B patches, heads, 64, d) each
        bias = position_bias(self.relative_position_bias_table, self.relative_position_index)
        mixed = cosine_attention(query, key, value, self.scale, bias)
        return self.proj(mixed.transpose(1, 2).reshape(x.shape))


class BetweenPatches(nn.Module):
    """Attention between patches, whose features are the 64 pixels of one channel."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, 1, 1))
        self.qkv = nn.Linear(WINDOW**2, 3 * WINDOW**2)
        self.proj = nn.Linear(WINDOW**2, WINDOW**2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, patches, 64, K) -> (B, patches, 64, K)."""
        b, _, _, channels = x.shape
        heads = self.qkv(x.permute(0, 3, 1, 2)).flatten(0, 1)[:, None]  # (B K, 1, patches, 3 of 64)
        query, key, value = heads.chunk(3, dim=-1)
        mixed = self.proj(cosine_attention(query, key, value, self.scale))
        return mixed.view(b, channels, -1, WINDOW**2).permute(0, 2, 3, 1)


class PatchBlock(nn.Module):
    """Attention on patches and a perceptron, each with a norm and a skip."""

    def __init__(self, dim: int, attention: nn.Module) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = attention
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = named(fc1=nn.Linear(dim, 4 * dim), act=nn.GELU(), fc2=nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B, R, R, K) -> (B, R, R, K); R a multiple of 8."""
        mixed = self.attn(split(self.norm1(x)))
        x = x + unsplit(mixed, x.shape[1], x.shape[2])
        return x + self.mlp(self.norm2(x))


class PatchLayer(nn.Module):
    """The coarsest level: in patches, between them, in patches again, between channels; and all again."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        times = range(BLOCKS)
        self.pre_ipsa_blocks = nn.ModuleList(PatchBlock(dim, PatchAttention(dim)) for _ in times)
        self.cpsa_blocks = nn.ModuleList(PatchBlock(dim, BetweenPatches()) for _ in times)
        self.post_ipsa_blocks = nn.ModuleList(PatchBlock(dim, PatchAttention(dim)) for _ in times)
        self.spectral_blocks = nn.ModuleList(Spectral(dim) for _ in times)

    def forward(self, x: Tensor) -> Tensor:
        """(B, R, R, K) -> (B, R, R, K)."""
        kinds = (self.pre_ipsa_blocks, self.cpsa_blocks, self.post_ipsa_blocks, self.spectral_blocks)
        for layers in zip(*kinds, strict=True):
            for layer in layers:
                x = layer(x)
        return x


class HSIFormer(nn.Module):
    """RGB (B, 3, H, W) float32 -> cube (B, C, H, W) float32, unbounded; any H and W."""

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.embed = conv(3, WIDTH, bias=True)
        self.downblocks = nn.ModuleList(nn.ModuleList([blocks(k), _half(k)]) for k in (WIDTH, 2 * WIDTH))
        self.bottle_layer = PatchLayer(4 * WIDTH)
        self.upblocks = nn.ModuleList(
            nn.ModuleList([_double(k), conv(k, k // 2, 1), blocks(k // 2)]) for k in (4 * WIDTH, 2 * WIDTH)
        )
        self.refine_sst = blocks(WIDTH)
        self.to_out = conv(WIDTH, bands, bias=True)
        init_layers(self, nn.Linear, nn.Conv2d)

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H, W)."""
        height, width = rgb.shape[-2:]
        rgb = square(rgb).contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
        x = first = convolve(self.embed, rgb)
        kept = []
        for layer, half in cast(Iterable[Any], self.downblocks):
            kept.append(layer(x))
            x = convolve(half, kept[-1])
        x = self.bottle_layer(x)
        for double, join, layer in cast(Iterable[Any], self.upblocks):
            x = layer(mix_channels(join, torch.cat([convolve(double, x), kept.pop()], dim=-1)))
        x = convolve(self.to_out, self.refine_sst(x) + first)
        return crop(x.permute(0, 3, 1, 2), height, width)


def _half(dim: int) -> nn.Sequential:
    layers = (conv(dim, dim, bias=True), nn.PixelUnshuffle(2), conv(4 * dim, 2 * dim, 1))
    return named(model=nn.Sequential(*layers))


def _double(dim: int) -> nn.Sequential:
    return named(model=nn.Sequential(conv(dim, 2 * dim, bias=True), nn.PixelShuffle(2)))


def build(bands: BandSet) -> HSIFormer:
    """HSIFormer for these bands."""
    return HSIFormer(len(bands))


SPEC = ModelSpec(
    name="hsiformer",
    build=build,
    summary="HSIFormer: attention between channels, along rows and columns, in patches, 2.85 M parameters",
    source=(
        "https://github.com/TSOR666/Hyperspectral-Imaging-Toolkit at c18b379, 2025, preset "
        "source_reproduction; "
        "https://github.com/Karl-Liu-ch/HSI-diffusion at 9a3149d"
    ),
    licence="MIT",
    input=RgbInput(),
    recipe=Recipe(lr=1.25e-3),
    default_tag="cave",
    recipes={"authors": replace(toolbox(4e-4), steps=443_758, batch=32, sam_weight=0.1)},
    official=Official("minmax-image"),
    notes=(
        "The image is padded to a square: a long and narrow one costs as much as the square around it. The "
        "authors' loss has a third term, 0.1 times the colour difference of a rendering, which the recipe "
        "here leaves out."
    ),
    tags=("baseline", "transformer"),
)
