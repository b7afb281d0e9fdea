"""Attention along the rows and columns of a square image, as HSIFormer (``hsiformer.py``) has it.

Features are (B, R, R, K).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hsrzoo.layers.whole_image import can_strip
from hsrzoo_baselines.layers import named
from hsrzoo_baselines.mst_plus_plus_layers import convolve, mix_channels

HEAD = 16
"""Channels of a head of attention between pixels."""
LOGITS_AT_ONCE = 1 << 22
"""Of attention between pixels, 16 MiB."""


def cosine_attention(
    query: Tensor, key: Tensor, value: Tensor, scale: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Attention (M, heads, N, d) by cosines times ``scale`` (heads, 1, 1), with ``bias``
    (heads, N, N). Without gradients a few of the M at a time, as each query has N logits."""

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        scores = F.normalize(query, dim=-1) * scale @ F.normalize(key, dim=-1).transpose(-2, -1)
        return (scores if bias is None else scores + bias).softmax(dim=-1) @ value

    if not can_strip():
        return attend(query, key, value)
    many = max(1, LOGITS_AT_ONCE // (query.shape[1] * query.shape[2] ** 2))
    parts = zip(*(x.split(many) for x in (query, key, value)), strict=True)
    return torch.cat([attend(*part) for part in parts])


def depthwise(dim: int, bias: bool = False) -> nn.Conv2d:
    """A 3 x 3 convolution of each channel alone."""
    return nn.Conv2d(dim, dim, 3, padding=1, groups=dim, bias=bias)


class Stripes(nn.Module):
    """How a square image is cut into ``size`` rows or columns at a time."""

    def __init__(self, size: int, columns: bool) -> None:
        super().__init__()
        self.size, self.columns = size, columns

    def cut(self, x: Tensor) -> Tensor:
        """(B, R, R, K) -> (B, stripes, rows, columns, K) of each stripe."""
        if self.columns:
            return x.unflatten(2, (-1, self.size)).transpose(1, 2)
        return x.unflatten(1, (-1, self.size))

    def joined(self, x: Tensor, like: Tensor) -> Tensor:
        """(B, stripes, N, K) -> (B, R, R, K), each token at its place."""
        side = like.shape[1]
        if not self.columns:
            return x.reshape(like.shape)
        return x.unflatten(2, (side, self.size)).transpose(1, 2).reshape(like.shape)


def in_stripes(query: Tensor, key: Tensor, value: Tensor, scale: Tensor, local: nn.Conv2d) -> Tensor:
    """Attention within stripes (B, stripes, rows, columns, K), which may have other rows and columns in
    ``query``, plus the convolution ``local`` of the values of each stripe: (B, stripes, N, K)."""
    b, stripes = value.shape[:2]
    query, key, values = (
        x.flatten(2, 3).flatten(0, 1).unflatten(-1, (-1, HEAD)).transpose(1, 2) for x in (query, key, value)
    )  # (B stripes, heads, N, d) each
    mixed = cosine_attention(query, key, values, scale).transpose(1, 2).flatten(2)  # (B stripes, N, K)
    near = convolve(local, value.flatten(0, 1)).flatten(1, 2)
    return (mixed + near).unflatten(0, (b, stripes))


class StripeAttention(Stripes):
    """Attention within the stripes of one direction."""

    def __init__(self, dim: int, size: int, columns: bool) -> None:
        super().__init__(size, columns)
        self.scale = nn.Parameter(torch.ones(dim // HEAD, 1, 1))
        self.get_v = depthwise(dim, bias=True)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Three of (B, R, R, K) -> (B, R, R, K)."""
        query, key, cut = (self.cut(x) for x in (query, key, value))
        return self.joined(in_stripes(query, key, cut, self.scale, self.get_v), value)


class CrossAttention(nn.Module):
    """Attention from stripes of one direction in one map to those of the other direction in another map.

    ``columns``: whether the queries are columns. As published, ``to_v`` makes the keys and ``to_k`` the
    values, and the output stays in the order of the stripes' tokens.
    """

    def __init__(self, dim: int, size: int, columns: bool) -> None:
        super().__init__()
        self.queries, self.others = Stripes(size, columns), Stripes(size, not columns)
        self.scale = nn.Parameter(torch.ones(dim // HEAD, 1, 1))
        self.to_q, self.to_k, self.to_v = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        self.get_v = depthwise(dim, bias=True)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Both (B, R, R, K) -> (B, R, R, K)."""
        query = self.queries.cut(mix_channels(self.to_q, x))
        key, value = (self.others.cut(mix_channels(layer, other)) for layer in (self.to_v, self.to_k))
        found = in_stripes(query, key, value, self.scale, self.get_v)
        return mix_channels(self.proj, found.reshape(x.shape))


class CrossStripes(nn.Module):
    """Half of the channels along columns, half along rows, and each half with the other."""

    def __init__(self, dim: int, size: int) -> None:
        super().__init__()
        half = dim // 2
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(2 * dim, dim)
        self.attns = nn.ModuleList(StripeAttention(half, size, columns) for columns in (True, False))
        self.crossattns = nn.ModuleList(CrossAttention(half, size, columns) for columns in (False, True))

    def forward(self, x: Tensor) -> Tensor:
        """(B, R, R, K) -> (B, R, R, K)."""
        halves = zip(
            *(part.chunk(2, dim=-1) for part in mix_channels(self.qkv, x).chunk(3, dim=-1)), strict=True
        )
        first, second = (layer(*half) for layer, half in zip(self.attns, halves, strict=True))
        third, fourth = self.crossattns[0](first, second), self.crossattns[1](second, first)
        return mix_channels(self.proj, torch.cat([first, second, third, fourth], dim=-1))


class SpatialFeedForward(nn.Module):
    """Four times the channels; a half is weighted by the other, normalised and convolved."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.sg = named(norm=nn.LayerNorm(2 * dim), conv=depthwise(2 * dim, bias=True))
        self.fc2 = nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, K) -> (B, H, W, K)."""
        values, gate = F.gelu(mix_channels(self.fc1, x)).chunk(2, dim=-1)
        norm, local = self.sg
        return mix_channels(self.fc2, values * convolve(local, norm(gate)))


class Spatial(nn.Module):
    """Attention along stripes and a feed-forward, each with a norm and a skip."""

    def __init__(self, dim: int, size: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.cswin = CrossStripes(dim, size)
        self.norm2 = nn.LayerNorm(dim)
        self.sgfn = SpatialFeedForward(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, R, R, K) -> (B, R, R, K)."""
        x = x + self.cswin(self.norm1(x))
        return x + self.sgfn(self.norm2(x))
