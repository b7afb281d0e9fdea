"""SSTHyper (Xu, Lin, Ren and Jia, ACCV 2024): U-shaped stages whose attention between channels is sparse.

Three stages as in ``mst_plus_plus.py``. What differs:

- Attention keeps only the largest of a head's d x d cosines, and its softmax runs over all that are kept,
  not over each row. This is done for a half, two thirds, three quarters and four fifths of them, and the
  four results are added with a learned weight each.
- The feed-forward multiplies features of the full and of half the resolution.
- The blocks of encoder and decoder have one more skip around them.

Written from a description of the published code, which has no licence, with its state_dict names.

1,393,881 parameters at 31 bands, 19 G multiply-accumulates at 256 x 256. The head's width is the number of
bands, so all widths grow with it: 57,268,302 parameters at 202. With one band nothing is left of a half of
the cosines: two bands are the least.

What differs from the published structure, equal up to rounding: the attention matrix is divided by the
norms of Q and K instead of normalising each, so that its parts are sums over pixels and tiles are exact;
attention and the projection after it are one K x K matrix per image; without gradients, all that follows
runs on strips of rows.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.errors import BandsError
from hsrzoo.layers.activations import gelu
from hsrzoo.layers.whole_image import can_strip, whole_image
from hsrzoo_baselines.layers import NORM_FLOOR, conv, require_counts
from hsrzoo_baselines.mst_plus_plus_layers import (
    AttentionBlocks,
    PreNorm,
    convolve,
    mix_channels,
    mix_pixels,
    projected,
)
from hsrzoo_baselines.recipes import optics_aware_spec
from hsrzoo_baselines.unet import MULTIPLE, UNet, in_sequence

KEPT = ((1, 2), (2, 3), (3, 4), (4, 5))
"""Shares of the cosines that are kept, numerator and denominator."""


class SparseAttention(nn.Module):
    """Attention between the channels of each head, from the largest of their cosines."""

    reach = 2
    """How many rows V reaches, which is 1, and one more, so that strips begin at even rows."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.attn1, self.attn2, self.attn3, self.attn4 = (nn.Parameter(torch.tensor([0.2])) for _ in KEPT)
        self.qkv = conv(dim, 3 * dim, 1)
        self.qkv_dwconv = nn.Conv2d(3 * dim, 3 * dim, 3, padding=1, groups=3 * dim, bias=False)
        self.project_out = conv(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, K) -> (B, H, W, K)."""
        query, key, value = convolve(self.qkv_dwconv, mix_channels(self.qkv, x)).chunk(3, dim=-1)
        return mix_pixels(value, self._mixing(query, key).to(value.dtype))

    def mixing(self, x: Tensor) -> Tensor:
        """The attention of the image ``x`` (B, H, W, K) as matrices (B, K, K) that map a pixel's values to
        the projection of their mixture."""
        query, key = self._mapped(x, slice(None, 2 * x.shape[-1])).chunk(2, dim=-1)
        return self._mixing(query, key).to(x.dtype)

    def mix(self, x: Tensor, matrices: Tensor) -> Tensor:
        """:meth:`forward` with the matrices of :meth:`mixing` known."""
        return mix_pixels(self._mapped(x, slice(2 * x.shape[-1], None)), matrices)

    def _mapped(self, x: Tensor, part: slice) -> Tensor:
        """The channels ``part`` of Q, K and V, in this order: (B, H, W, K) -> (B, H, W, channels)."""
        weight = self.qkv_dwconv.weight[part]
        x = F.linear(x, self.qkv.weight[part].flatten(1)).permute(0, 3, 1, 2)
        return F.conv2d(x, weight, padding=1, groups=len(weight)).permute(0, 2, 3, 1)

    def _mixing(self, query: Tensor, key: Tensor) -> Tensor:
        maps = [m.permute(0, 3, 1, 2) for m in (query, key)]
        with torch.autocast(query.device.type, enabled=False):  # products of all pixels: not in 16 bits
            maps = [m if m.dtype == torch.float64 else m.float() for m in maps]
            products, *squares = whole_image(partial(_sums, self.heads), *maps)
            query_norm, key_norm = (x.clamp_min(NORM_FLOOR**2).sqrt() for x in squares)
            scores = products / query_norm[..., :, None] / key_norm[..., None, :] * self.temperature
            return projected(self._shares(scores), self.project_out.weight.flatten(1))

    def _shares(self, scores: Tensor) -> Tensor:
        """The four softmaxes of the largest scores, added: (B, heads, d, d) -> (B, heads, d, d)."""
        flat = scores.flatten(2)  # (B, heads, d * d)
        count = scores.shape[-1] ** 2
        place = flat.argsort(dim=-1, descending=True).argsort(dim=-1)  # of each score, 0 the largest
        shares = torch.zeros_like(flat)
        weights = (self.attn1, self.attn2, self.attn3, self.attn4)
        for weight, (over, under) in zip(weights, KEPT, strict=True):
            kept = flat.masked_fill(place >= count * over // under, float("-inf"))
            shares = shares + kept.softmax(dim=-1) * weight
        return shares.view_as(scores)


def _sums(heads: int, query: Tensor, key: Tensor) -> tuple[Tensor, ...]:
    """Over the pixels of two maps (B, K, h, w), for each head: Q K^T (B, heads, d of Q, d of K), and
    squares of Q and of K (B, heads, d). In float64 where strips are summed, so that many are as exact as
    one."""
    q, k = (x.unflatten(1, (heads, -1)).flatten(3) for x in (query, key))  # (B, heads, d, N)
    found = (q @ k.transpose(2, 3), q.square().sum(-1), k.square().sum(-1))
    wide = can_strip() and query.device.type != "mps"
    return tuple(x.double() for x in found) if wide else found


class CrossLevel(nn.Module):
    """The product of two halves of the channels, one of them at half the resolution."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.g1, self.g2, self.g3 = (
            nn.Sequential(conv(dim, dim, 1), nn.Conv2d(dim, dim, 3, padding=1, groups=dim, bias=False))
            for _ in range(3)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, 2 K) -> (B, H, W, K); H and W even."""
        fine, coarse = x.chunk(2, dim=-1)
        fine = _both(self.g1, fine)
        coarse = F.avg_pool2d(coarse.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
        coarse = _both(self.g2, coarse).permute(0, 3, 1, 2)
        coarse = F.interpolate(coarse, scale_factor=2, mode="nearest").permute(0, 2, 3, 1)
        return _both(self.g3, fine * coarse)


def _both(layers: nn.Sequential, x: Tensor) -> Tensor:
    """A 1 x 1 convolution and a depthwise one, (B, H, W, K) -> (B, H, W, K)."""
    return convolve(layers[1], mix_channels(layers[0], x))


class Fusion(nn.Module):
    """Twice the channels, then :class:`CrossLevel`."""

    reach = 4
    """How many rows an output row depends on: 3 by way of half the resolution, then 1."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.net = nn.Sequential(conv(dim, 2 * dim, 1), nn.GELU(), CrossLevel(dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, K) -> (B, H, W, K)."""
        widen, _, fuse = self.net.children()
        return fuse(gelu(mix_channels(widen, x)))


class BlocksWithSkip(AttentionBlocks):
    """Attention blocks with a skip around all of them."""

    def forward(self, x: Tensor, *mask: Tensor) -> Tensor:
        """(B, H, W, K) -> (B, H, W, K)."""
        return x + super().forward(x)


def _blocks(width: int, dim: int, count: int) -> AttentionBlocks:
    """Those of a level with ``dim`` channels; the coarsest, four times as wide, has no skip around them."""
    kind = AttentionBlocks if dim == 4 * width else BlocksWithSkip
    return kind(dim, count, SparseAttention, lambda k: PreNorm(k, Fusion(k), eps=1e-6), width)


class Stage(UNet):
    """One U with a skip around it; ``width``: channels at full resolution and of each head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embedding = conv(width, width)
        self.add_levels(blocks=partial(_blocks, width), width=width)
        self.mapping = conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, K) -> (B, H, W, K); H and W multiples of 8."""
        return convolve(self.mapping, self.through_levels(convolve(self.embedding, x))) + x


class SSTHyper(nn.Module):
    """RGB (B, 3, H, W) float32 -> cube (B, C, H, W) float32, unbounded; H and W any size of which
    reflection to a multiple of 8 is possible."""

    def __init__(self, bands: int, stages: int = 3) -> None:
        super().__init__()
        self.conv_in = conv(3, bands)
        self.ssags = nn.Sequential(*(Stage(bands) for _ in range(stages)))
        self.conv_out = conv(bands, bands)

    @property
    def halo(self) -> int:
        """How many input pixels in each direction an output pixel depends on, all statistics known.

        A pair of attention and feed-forward reaches 5, or 4 from the other of two rows that share one at
        half the resolution. With the convolutions between the levels a stage makes 48 of it from the rows
        on which the one after it ends, and up to 9 more remain at the last one.
        """
        return 48 * len(self.ssags) + 9

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H, W)."""
        return in_sequence(self.conv_in, self.ssags, self.conv_out, rgb, MULTIPLE, skip=True)


def build(bands: BandSet, stages: int = 3) -> SSTHyper:
    """SSTHyper for these bands, two or more; ``stages`` U-shaped stages."""
    if len(bands) < 2:
        problem = "SSTHyper keeps a half of the cosines between bands"
        raise BandsError(problem, expected="at least two", got=str(bands))
    require_counts("stages", stages)
    return SSTHyper(len(bands), stages)


SPEC = optics_aware_spec(
    name="ssthyper",
    build=build,
    summary="SSTHyper: sparse attention between channels, features of two resolutions, 1.39 M parameters",
    paper=("Xu, Lin, Ren and Jia, SSTHyper, ACCV 2024; https://github.com/MingyingLin/SSTHyper at ed41f91"),
    licence="none stated",
    lr=4e-4,
    default_tag="cave",
    multiple=MULTIPLE,
    notes=(
        "At the start of training a row of the attention matrix sums to about 0.03 at 31 bands, so that "
        "its branch is weak. All widths follow the number of bands, of which there must be two."
    ),
)
