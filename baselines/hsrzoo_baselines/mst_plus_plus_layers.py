"""Layers of MST++ (``mst_plus_plus.py``, which describes them), also used by MST-L, R3ST and HySAT.

Features are (B, H, W, K) between layers. With gradients they follow the published code; without, attention
is applied as one K x K matrix per image, and all that follows it runs on strips of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hsrzoo.layers.activations import gelu
from hsrzoo.layers.pointwise import gram, pointwise
from hsrzoo.layers.whole_image import can_strip, in_strips, whole_image
from hsrzoo_baselines.layers import NORM_FLOOR, conv

WIDTH = 31
"""Width of the body and of each attention head, for any number of bands."""
VALUES_AT_ONCE = 1 << 20
"""Numbers of the widest feature in a strip on a CPU: 4 MiB, of which its last cache holds several."""
LEAST_ROWS = 16
"""Rows of such a strip at least: with fewer, most of the work would be on its halo."""


def convolve(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a convolution to (B, H, W, K) through its channels-last (B, K, H, W) view."""
    return layer(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def mix_channels(layer: Any, x: Tensor) -> Tensor:
    """Apply a 1 x 1 convolution or Linear layer to (B, H, W, K) as a matrix product.

    Not by ``convolve``: on one thread torch returns a channels-first tensor, and the layers around it,
    backward above all, then access memory with a stride (16 times slower for GELU).
    """
    return pointwise(x, layer.weight.flatten(1), layer.bias)


def by_strips(
    layers: Callable[..., Tensor], *maps: Tensor, halo: int, widest: int, down: int = 1, crops: bool = False
) -> Tensor:
    """``layers(*maps)`` by :func:`hsrzoo.layers.whole_image.in_strips`; maps and result are (B, H, W, K).
    ``widest``: channels of the widest feature in ``layers``, at the resolution of the first map."""
    if not can_strip():  # asked before any size is compared, which would fix it in a traced network
        return layers(*maps, own=slice(None)) if crops else layers(*maps)
    b, _, width, _ = maps[0].shape
    rows = max(VALUES_AT_ONCE // (b * width * widest) // 8 * 8, LEAST_ROWS)  # whole windows

    def channels_first(*parts: Tensor, **own: slice) -> Tensor:
        return layers(*(part.permute(0, 2, 3, 1) for part in parts), **own).permute(0, 3, 1, 2)

    views = (x.permute(0, 3, 1, 2) for x in maps)
    on_cpu = maps[0].device.type == "cpu"
    some = rows if on_cpu else None
    out = in_strips(channels_first, *views, halo=halo, down=down, rows=some, crops=crops)
    return out.permute(0, 2, 3, 1)


def _gram_matrix(x: Tensor) -> tuple[Tensor]:
    """X^T X (B, K, K) over the pixels of features (B, K, h, w).

    In float64 where strips are summed and the device has it, so that the sum over millions of pixels is as
    exact as that over one strip.
    """
    b, k, height, width = x.shape
    rows = x.permute(0, 2, 3, 1).reshape(b, height * width, k)
    if not can_strip():
        return (rows.transpose(1, 2) @ rows,)
    found = torch.stack([gram(image) for image in rows])
    return (found if x.device.type == "mps" else found.double(),)


class ChannelAttention(nn.Module):
    """What S-MSA is made of, with and without a mask: attention between the channels of each head, and a
    position term computed from V."""

    reach = 2
    """How many rows the position term (and MST-L's mask) reaches."""

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

    def attend(self, x: Tensor, value: Tensor) -> Tensor:
        """proj(A v) of values (B, H, W, K), with the attention of ``x`` (B, H, W, K), as published."""
        b, h, w, k = x.shape
        split = (b, h * w, self.heads, k // self.heads)
        # Each channel becomes a unit vector over the N pixels.
        q = F.normalize(self.to_q(x).view(split), dim=1).transpose(1, 2)  # (B, heads, N, d)
        key = F.normalize(self.to_k(x).view(split), dim=1).transpose(1, 2)  # (B, heads, N, d)
        scores = key.transpose(2, 3) @ q * self.rescale  # (B, heads, d of K, d of Q)
        v = value.view(split).transpose(1, 2)  # (B, heads, N, d)
        mixed = v @ scores.softmax(dim=-1).transpose(2, 3)  # (B, heads, N, d)
        return self.proj(mixed.transpose(1, 2).reshape(b, h, w, k))

    def mixing_of_values(self, x: Tensor) -> Tensor:
        """The attention of the image ``x`` (B, H, W, K) as matrices (B, K, K) that map a pixel's values v
        to proj(A v), without proj's bias; as exact as the Gram matrix."""
        with torch.autocast(x.device.type, enabled=False):  # products of up to all pixels: not in 16 bits
            features = x if x.dtype == torch.float64 else x.float()
            (products,) = whole_image(_gram_matrix, features.permute(0, 3, 1, 2))
            k = products.shape[-1]
            q, key = (
                layer.weight.to(products.dtype).view(self.heads, k // self.heads, k)
                for layer in (self.to_q, self.to_k)
            )
            products = products[:, None]  # (B, 1, K, K), the same for all heads
            scores = key @ products @ q.transpose(1, 2)  # (B, heads, d of K, d of Q)
            scores = scores / _norms(key, products)[..., :, None] / _norms(q, products)[..., None, :]
            shares = (scores * self.rescale).softmax(dim=-1)
            return projected(shares, self.proj.weight)

    def position(self, value: Tensor) -> Tensor:
        """The position term of values (B, H, W, K)."""
        first, _, second = self.pos_emb.children()
        return convolve(second, gelu(convolve(first, value)))


class SpectralAttention(ChannelAttention):
    """S-MSA."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, K) -> (B, H, W, K)."""
        if not torch.is_grad_enabled():
            return self.mix(x, self.mixing(x))
        value = self.to_v(x)
        return self.attend(x, value) + self.position(value)

    def mixing(self, x: Tensor) -> Tensor:
        """The attention of the image ``x`` (B, H, W, K) as matrices (B, K, K) that map a pixel of x to
        proj(A v), without proj's bias."""
        with torch.autocast(x.device.type, enabled=False):
            mixed = self.mixing_of_values(x)
            mixed = mixed @ self.to_v.weight.to(mixed.dtype)
            return mixed.to(torch.promote_types(x.dtype, torch.float32))

    def mix(self, x: Tensor, matrices: Tensor) -> Tensor:
        """Pixels (B, H, W, K) through the matrices (B, K, K) of :meth:`mixing`, plus position term."""
        return mix_pixels(x, matrices, self.proj.bias) + self.position(mix_channels(self.to_v, x))


def projected(shares: Tensor, weight: Tensor) -> Tensor:
    """The shares (B, heads, d, d) of an attention between channels and the projection ``weight`` (K, K)
    that follows it, as one matrix for each image, (B, K, K)."""
    _, heads, d, _ = shares.shape
    project = weight.to(shares.dtype).view(len(weight), heads, d)
    return (project.transpose(0, 1) @ shares).transpose(1, 2).flatten(2)  # from (B, heads, K, d)


def mix_pixels(x: Tensor, matrices: Tensor, bias: Tensor | None = None) -> Tensor:
    """Each pixel of (B, H, W, K) through the matrix (M, K) of its image, plus ``bias``: (B, H, W, M)."""
    if len(x) == 1 and can_strip():
        return pointwise(x, matrices[0], bias)
    mixed = (x.flatten(1, 2) @ matrices.transpose(1, 2)).unflatten(1, x.shape[1:3])
    return mixed if bias is None else mixed + bias


def _norms(weight: Tensor, products: Tensor) -> Tensor:
    """Norms (B, heads, d) over all pixels of the channels that ``weight`` (heads, d, K) projects features
    with the Gram matrix ``products`` (B, 1, K, K) to."""
    squares = ((weight @ products) * weight).sum(-1)
    return squares.clamp_min(0).sqrt().clamp_min(NORM_FLOOR)


class FeedForward(nn.Module):
    """1 x 1 convolution to four times the width, depthwise 3 x 3, 1 x 1 back."""

    reach = 1
    """How many rows an output row depends on in each direction."""

    def __init__(self, dim: int, bias: bool = False) -> None:
        super().__init__()
        self.net = nn.Sequential(
            conv(dim, 4 * dim, 1, bias=bias),
            nn.GELU(),
            nn.Conv2d(4 * dim, 4 * dim, 3, padding=1, groups=4 * dim, bias=bias),
            nn.GELU(),
            conv(4 * dim, dim, 1, bias=bias),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, K) -> (B, H, W, K)."""
        widen, _, mix, _, narrow = self.net.children()
        x = gelu(mix_channels(widen, x))
        return mix_channels(narrow, gelu(convolve(mix, x)))


class PreNorm(nn.Module):
    """LayerNorm over the channels, then ``fn``."""

    def __init__(self, dim: int, fn: nn.Module, eps: float = 1e-5) -> None:
        super().__init__()
        self.fn = fn
        self.norm = nn.LayerNorm(dim, eps)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, K) -> (B, H, W, K)."""
        return self.fn(self.norm(x))


def normed_feed_forward(dim: int, bias: bool = False) -> PreNorm:
    """LayerNorm and :class:`FeedForward`."""
    return PreNorm(dim, FeedForward(dim, bias))


class AttentionBlocks(nn.Module):
    """Attention (without a norm before it) and feed-forward, each with a skip.

    ``attention(K, heads)``: makes SpectralAttention, or another with its methods; the calls of MST-L's take
    the mask as well. ``feed_forward(K)``: makes what follows it. ``width``: channels of a head.
    """

    def __init__(
        self,
        dim: int,
        count: int = 1,
        attention: Callable[[int, int], nn.Module] = SpectralAttention,
        feed_forward: Callable[[int], PreNorm] = normed_feed_forward,
        width: int = WIDTH,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.ModuleList([attention(dim, dim // width), feed_forward(dim)]) for _ in range(count)
        )

    def forward(self, x: Tensor, *mask: Tensor) -> Tensor:
        """(B, H, W, K) -> (B, H, W, K)."""
        for attention, feed_forward in cast(Iterable[Any], self.blocks):
            if torch.is_grad_enabled():
                x = attention(x, *mask) + x
                x = feed_forward(x) + x
            else:
                pair = partial(_pair, attention, feed_forward, attention.mixing(x))
                halo = attention.reach + feed_forward.fn.reach
                x = by_strips(pair, x, *mask, halo=halo, widest=4 * x.shape[-1], crops=True)
        return x


def _pair(
    attention: Any, feed_forward: Any, matrices: Tensor, x: Tensor, *mask: Tensor, own: slice
) -> Tensor:
    """Attention with known matrices and feed-forward, each with its skip, for the rows ``own`` of ``x``, of
    which each depends on ``attention.reach + feed_forward.fn.reach`` around it."""
    x = attention.mix(x, matrices, *mask) + x
    if own == slice(None):
        return feed_forward(x) + x
    first, last, _ = own.indices(x.shape[1])
    reach = feed_forward.fn.reach
    top, bottom = max(first - reach, 0), min(last + reach, x.shape[1])
    x = x[:, top:bottom]
    return (feed_forward(x) + x)[:, first - top : last - top]
