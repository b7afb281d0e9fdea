"""MSFN (Wu, Dian and Li, IEEE TNNLS 2025): a spectral U and a spatial U in each stage.

Each of two stages runs through the levels of MST++ twice: first with attention between channels (the blocks
of ``mst_plus_plus.py``), then with attention between the pixels of 8 x 8 windows, plain and shifted by half
a window as in the Swin transformer. The second U also gets the features of the first. Where a U joins
encoder and decoder, both are weighted by a gate: for each channel, from its mean and largest pixel, in the
first U; for each pixel, from its mean and largest channel, in the second.

Written from a description of the published code, which has no licence, with its state_dict names. The
published class has three stages by default, and both repositories that use it build two.

2,480,934 parameters at 31 bands, 32 G multiply-accumulates at 256 x 256. The head's width is the number of
bands, so all widths grow with it: 102,504,990 parameters at 202. Positions in a window and the masks of
shifted windows are in the published checkpoints, and computed here.

What differs from the published structure, equal up to rounding: what ``mst_plus_plus.py`` says of attention
between channels; the gates of channels are applied to the weights of the convolution after them; without
gradients, windows and feed-forward run on strips of rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.errors import FormatError
from hsrzoo.layers.whole_image import can_strip, whole_image
from hsrzoo.spec import Official
from hsrzoo_baselines.layers import conv, crop, init_layers, require_counts, whole_multiples
from hsrzoo_baselines.mst_plus_plus_layers import (
    AttentionBlocks,
    by_strips,
    convolve,
    mix_channels,
    mix_pixels,
    normed_feed_forward,
)
from hsrzoo_baselines.recipes import optics_aware_spec, toolbox
from hsrzoo_baselines.unet import down, in_sequence
from hsrzoo_baselines.windows import WINDOW, position_bias, positions, regions, shift_mask, split, unsplit

MULTIPLE = 4 * WINDOW
"""H and W are padded to this, so that the coarsest level has whole windows."""


class WindowAttention(nn.Module):
    """Attention between the 64 pixels of a window, with a learned bias for each distance."""

    relative_position_index: Tensor

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * WINDOW - 1) ** 2, heads))
        self.register_buffer("relative_position_index", positions(WINDOW), persistent=False)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor, region: Tensor | None = None) -> Tensor:
        """(B, H, W, K) -> (B, H, W, K); H and W multiples of 8.

        ``region``: (1, H, W, 1), pixels of different regions do not see each other.
        """
        channels = x.shape[-1]
        qkv = split(mix_channels(self.qkv, x)).unflatten(-1, (3, self.heads, channels // self.heads))
        query, key, value = qkv.permute(3, 0, 1, 4, 2, 5)  # (B, windows, heads, 64, d) each
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        scores = scores + position_bias(self.relative_position_bias_table, self.relative_position_index)
        if region is not None:
            scores = scores + shift_mask(region)[:, :, None].to(scores.dtype)
        mixed = scores.softmax(dim=-1) @ value
        mixed = unsplit(mixed.transpose(2, 3).flatten(3), *x.shape[1:3])
        return mix_channels(self.proj, mixed)


class Windows(nn.Module):
    """LayerNorm and window attention; ``shift``: by how many pixels the windows are moved."""

    def __init__(self, dim: int, heads: int, shift: int) -> None:
        super().__init__()
        self.shift = shift
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, heads)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, K) -> (B, H, W, K)."""
        wide = 3 * x.shape[-1] + 2 * self.attn.heads * WINDOW**2
        if not self.shift:
            return by_strips(self._attend, x, halo=0, widest=wide)
        region = regions(x.shape[1], x.shape[2], self.shift).to(x)
        x = x.roll((-self.shift, -self.shift), (1, 2))
        return by_strips(self._attend, x, region, halo=0, widest=wide).roll(
            (self.shift, self.shift), (1, 2)
        )

    def _attend(self, x: Tensor, *region: Tensor) -> Tensor:
        return self.attn(self.norm1(x), *region)


class SpatialBlock(nn.Module):
    """Windows, shifted windows and feed-forward, each with a skip."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        heads = dim // width
        layers = [Windows(dim, heads, 0), Windows(dim, heads, WINDOW // 2), normed_feed_forward(dim)]
        self.blocks = nn.ModuleList([nn.ModuleList(layers)])

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, K) -> (B, H, W, K)."""
        for windows, shifted, feed_forward in cast(Iterable[Any], self.blocks):
            x = windows(x) + x
            x = shifted(x) + x
            x = by_strips(
                partial(_plus, feed_forward), x, halo=feed_forward.fn.reach, widest=4 * x.shape[-1]
            )
        return x


def _plus(layers: nn.Module, x: Tensor) -> Tensor:
    return layers(x) + x


class SpectralFusion(nn.Module):
    """Encoder and decoder features, as they are and with a gate for each channel, mixed."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mlp_gap_enc, self.mlp_gmp_enc, self.mlp_gap_dec, self.mlp_gmp_dec = (
            nn.Sequential(nn.Flatten(), nn.Linear(dim, dim)) for _ in range(4)
        )
        self.conv = conv(4 * dim, dim, 1)

    def forward(self, encoder: Tensor, decoder: Tensor) -> Tensor:
        """Both (B, H, W, K) -> (B, H, W, K)."""
        found = _means_and_largest(*(x.permute(0, 3, 1, 2) for x in (encoder, decoder)))
        means, largest = (x.to(encoder.dtype).chunk(2, dim=1) for x in found)
        gates = [
            ((average(mean) + most(peak)) / 2).sigmoid()
            for average, most, mean, peak in zip(
                (self.mlp_gap_enc, self.mlp_gap_dec),
                (self.mlp_gmp_enc, self.mlp_gmp_dec),
                means,
                largest,
                strict=True,
            )
        ]
        plain, gated = self.conv.weight.flatten(1).chunk(2, dim=1)  # (K, 2 K) each
        matrices = plain + gated * torch.cat(gates, dim=1)[:, None]  # (B, K, 2 K)
        return by_strips(
            lambda e, d: mix_pixels(torch.cat([e, d], dim=-1), matrices),
            encoder,
            decoder,
            halo=0,
            widest=3 * encoder.shape[-1],
        )


def _means_and_largest(*maps: Tensor) -> tuple[Tensor, Tensor]:
    """Of each channel of maps (B, K, h, w), over all pixels of the image: (B, 2 K) each."""

    def parts(*own: Tensor) -> tuple[Tensor, ...]:
        # many strips are to be as exact as one
        dtype = torch.float64 if can_strip() and own[0].device.type != "mps" else torch.float32
        sums = torch.cat([x.sum((2, 3), dtype=dtype) for x in own], dim=1)
        pixels = torch.ones_like(own[0][:, :1]).sum((2, 3), dtype=dtype)
        return sums, pixels, torch.cat([x.amax((2, 3)) for x in own], dim=1)

    sums, pixels, largest = whole_image(parts, *maps, reduce=("sum", "sum", "max"))
    return sums / pixels, largest


class SpatialFusion(nn.Module):
    """Encoder and decoder features, as they are and with a gate for each pixel, mixed."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv_gap_enc, self.conv_gmp_enc, self.conv_gap_dec, self.conv_gmp_dec = (
            conv(1, 1, bias=True) for _ in range(4)
        )
        self.conv = conv(4 * dim, dim, 1)

    def forward(self, encoder: Tensor, decoder: Tensor) -> Tensor:
        """Both (B, H, W, K) -> (B, H, W, K)."""
        return by_strips(self._fused, encoder, decoder, halo=1, widest=6 * encoder.shape[-1])

    def _fused(self, encoder: Tensor, decoder: Tensor) -> Tensor:
        first = _gate(encoder, self.conv_gap_enc, self.conv_gmp_enc)
        second = _gate(decoder, self.conv_gap_dec, self.conv_gmp_dec)
        parts = [encoder, decoder, encoder * first, decoder * second]
        return mix_channels(self.conv, torch.cat(parts, dim=-1))


def _gate(x: Tensor, average: nn.Module, most: nn.Module) -> Tensor:
    """(B, H, W, K) -> (B, H, W, 1)."""
    mean, largest = x.mean(-1, keepdim=True), x.amax(-1, keepdim=True)
    return ((convolve(average, mean) + convolve(most, largest)) / 2).sigmoid()


class Stage(nn.Module):
    """SSFN: a U of attention between channels, then one of attention in windows; a skip around both."""

    def __init__(self, width: int) -> None:
        super().__init__()
        spectral = partial(AttentionBlocks, width=width)
        self.embedding = conv(width, width)
        self.Spectral_Block_0 = spectral(width)
        self.Spectral_down_0 = down(width)
        self.Spectral_Block_1 = spectral(2 * width)
        self.Spectral_down_1 = down(2 * width)
        self.bottleneck_Spectral = spectral(4 * width)
        self.Spectral_up_0 = _up(4 * width)
        self.Spectral_Block_2 = spectral(2 * width)
        self.SpectralFM_0 = SpectralFusion(2 * width)
        self.Spectral_up_1 = _up(2 * width)
        self.Spectral_Block_3 = spectral(width)
        self.SpectralFM_1 = SpectralFusion(width)
        self.Spatial_Block_0 = SpatialBlock(width, width)
        self.Spatial_down_0 = down(width)
        self.Spatial_Block_1 = SpatialBlock(2 * width, width)
        self.Spatial_conv_0 = conv(4 * width, 2 * width, 1)
        self.Spatial_down_1 = down(2 * width)
        self.Spatial_conv_1 = conv(8 * width, 4 * width, 1)
        self.bottleneck_Spatial = SpatialBlock(4 * width, width)
        self.Spatial_up_0 = _up(4 * width)
        self.Spatial_Block_2 = SpatialBlock(2 * width, width)
        self.SpatialFM_0 = SpatialFusion(2 * width)
        self.Spatial_up_1 = _up(2 * width)
        self.Spatial_Block_3 = SpatialBlock(width, width)
        self.SpatialFM_1 = SpatialFusion(width)
        self.mapping = conv(width, width)
        init_layers(self, nn.Linear)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, K) -> (B, H, W, K); H and W multiples of 32."""
        full = self.Spectral_Block_0(convolve(self.embedding, x))
        half = self.Spectral_Block_1(convolve(self.Spectral_down_0, full))
        quarter = self.bottleneck_Spectral(convolve(self.Spectral_down_1, half))
        half = self.SpectralFM_0(half, convolve(self.Spectral_up_0, quarter))
        half = self.Spectral_Block_2(half)
        full = self.SpectralFM_1(full, convolve(self.Spectral_up_1, half))
        full = self.Spatial_Block_0(self.Spectral_Block_3(full))
        half = _joined(self.Spatial_conv_0, convolve(self.Spatial_down_0, full), half)
        half = self.Spatial_Block_1(half)
        quarter = _joined(self.Spatial_conv_1, convolve(self.Spatial_down_1, half), quarter)
        quarter = self.bottleneck_Spatial(quarter)
        half = self.SpatialFM_0(half, convolve(self.Spatial_up_0, quarter))
        half = self.Spatial_Block_2(half)
        full = self.SpatialFM_1(full, convolve(self.Spatial_up_1, half))
        return convolve(self.mapping, self.Spatial_Block_3(full)) + x


def _up(channels: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels, channels // 2, 2, stride=2)


def _joined(layer: nn.Module, *maps: Tensor) -> Tensor:
    return mix_channels(layer, torch.cat(maps, dim=-1))


class MSFN(nn.Module):
    """RGB (B, 3, H, W) float32 -> cube (B, C, H, W) float32, unbounded; H and W any size of which
    reflection to a multiple of 32 is possible."""

    def __init__(self, bands: int, stages: int = 2) -> None:
        super().__init__()
        self.conv_in = conv(3, bands)
        self.body = nn.Sequential(*(Stage(bands) for _ in range(stages)))
        self.conv_out = conv(bands, bands)

    @property
    def halo(self) -> int:
        """How many input pixels in each direction an output pixel depends on, all statistics known.

        What a pixel of the coarsest level depends on ends where windows of 8 pixels do, 32 of the image: a
        stage makes whole windows of it, 128 more on each side, and 20 more remain before the first.
        """
        return 128 * len(self.body) + 20

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H, W)."""
        image = whole_multiples(rgb, MULTIPLE)
        cube = in_sequence(self.conv_in, self.body, self.conv_out, image, MULTIPLE, skip=True)
        return crop(cube, *rgb.shape[-2:])


def rename(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The official names, which are ours, without the masks of shifted windows.

    Raises FormatError where one is not that of a 128 x 128 map, as all published ones are.
    """
    kept = {key: value for key, value in state.items() if not key.endswith(".attn_mask")}
    for key in state.keys() - kept.keys():
        mask = shift_mask(regions(128, 128, WINDOW // 2))[0]
        if not torch.equal(mask.to(state[key]), state[key]):
            raise FormatError(
                f"{key} is no mask of shifted windows",
                expected="0 and -100, for windows of 8 x 8 pixels of a 128 x 128 map",
                got=f"other values of shape {tuple(state[key].shape)}",
            )
    return kept


def build(bands: BandSet, stages: int = 2) -> MSFN:
    """MSFN for these bands; ``stages`` pairs of a spectral and a spatial U."""
    require_counts("stages", stages)
    return MSFN(len(bands), stages)


SPEC = optics_aware_spec(
    name="msfn",
    build=build,
    summary="MSFN: in each stage a U of attention between channels and one in windows, 2.48 M parameters",
    paper=(
        "Wu, Dian and Li, MSFN, IEEE TNNLS 2025; "
        "https://github.com/Matsuri247/MSFN-for-Spectral-Super-Resolution at 92db3ae"
    ),
    licence="none stated",
    lr=4e-4,
    default_tag="cave",
    multiple=MULTIPLE,
    recipes={"authors": toolbox(4e-4)},
    official=Official("minmax-image", rename=rename),
    notes=(
        "All widths follow the number of bands. The authors train for three passes over all crops of "
        "ARAD-1K, about 300,000 iterations, and add 1e-6 to the truth in the denominator of MRAE."
    ),
)
