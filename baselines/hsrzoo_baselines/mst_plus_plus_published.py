"""MST++ in the order of operations of its published code: ``mst-plus-plus:reference``.

The weights, the state_dict and, up to rounding, the cube are those of ``mst-plus-plus``. What differs
is what a forward pass does: features are channels-first images between the blocks and channels-last
within them, Q, K and V exist at full size and are turned to (heads, d, N), normalised there, and every
layer of the feed-forward sees the whole image. It is here to be measured: times and memory that papers
report for MST++ are those of this structure.

Its statistics of the whole image are not sums over tiles, so it has no ``halo`` and cannot run in exact
tiles.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hsrzoo_baselines.layers import conv, padded
from hsrzoo_baselines.mst_plus_plus_layers import WIDTH, AttentionBlocks, PreNorm, SpectralAttention
from hsrzoo_baselines.unet import MULTIPLE, Stage


def attention(layer: SpectralAttention, x: Tensor) -> Tensor:
    """S-MSA: (B, H, W, K) -> (B, H, W, K)."""
    b, h, w, k = x.shape
    rows = x.reshape(b, h * w, k)
    value = layer.to_v(rows)
    q, key, v = (_heads(features, layer.heads) for features in (layer.to_q(rows), layer.to_k(rows), value))
    q, key = F.normalize(q, dim=-1), F.normalize(key, dim=-1)
    shares = ((key @ q.transpose(-2, -1)) * layer.rescale).softmax(dim=-1)  # (B, heads, d, d)
    mixed = shares @ v  # (B, heads, d, N)
    mixed = mixed.permute(0, 3, 1, 2).reshape(b, h * w, k)
    out = layer.proj(mixed).view(b, h, w, k)
    position = layer.pos_emb(value.reshape(b, h, w, k).permute(0, 3, 1, 2))
    return out + position.permute(0, 2, 3, 1)


def _heads(x: Tensor, heads: int) -> Tensor:
    """(B, N, heads * d) -> (B, heads, d, N), a view."""
    b, n, k = x.shape
    return x.view(b, n, heads, k // heads).permute(0, 2, 1, 3).transpose(-2, -1)


def feed_forward(layer: PreNorm, x: Tensor) -> Tensor:
    """LayerNorm and feed-forward: (B, H, W, K) -> (B, H, W, K)."""
    image = layer.norm(x).permute(0, 3, 1, 2)
    return cast(nn.Module, layer.fn.net)(image).permute(0, 2, 3, 1)


def blocks(layer: AttentionBlocks, x: Tensor) -> Tensor:
    """(B, K, H, W) -> (B, K, H, W)."""
    x = x.permute(0, 2, 3, 1)
    for pair in cast(Iterable[nn.ModuleList], layer.blocks):
        x = attention(cast(SpectralAttention, pair[0]), x) + x
        x = feed_forward(cast(PreNorm, pair[1]), x) + x
    return x.permute(0, 3, 1, 2)


def stage(layer: Stage, x: Tensor) -> Tensor:
    """(B, 31, H, W) -> (B, 31, H, W)."""
    features = layer.embedding(x)
    skips = []
    for encoder in cast(Iterable[nn.ModuleList], layer.encoder_layers):
        features = blocks(cast(AttentionBlocks, encoder[0]), features)
        skips.append(features)
        features = encoder[1](features)
    features = blocks(cast(AttentionBlocks, layer.bottleneck), features)
    for i, decoder in enumerate(cast(Iterable[nn.ModuleList], layer.decoder_layers)):
        features = decoder[0](features)
        features = decoder[1](torch.cat([features, skips[-1 - i]], dim=1))
        features = blocks(cast(AttentionBlocks, decoder[2]), features)
    return layer.mapping(features) + x


class PublishedMSTPlusPlus(nn.Module):
    """RGB (B, 3, H, W) float32 -> cube (B, C, H, W) float32; parameters as in MSTPlusPlus."""

    def __init__(self, bands: int, stages: int = 3) -> None:
        super().__init__()
        self.conv_in = conv(3, WIDTH)
        self.body = nn.Sequential(*(Stage() for _ in range(stages)))
        self.conv_out = conv(WIDTH, bands)

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H, W)."""
        height, width = rgb.shape[-2:]
        first = self.conv_in(padded(rgb, MULTIPLE))
        features = first
        for layer in cast(Iterable[Stage], self.body):
            features = stage(layer, features)
        cube = self.conv_out(features)
        # The skip that only 31 bands have, as in MSTPlusPlus.
        if self.conv_out.out_channels == WIDTH:
            cube = cube + first
        return cube[:, :, :height, :width]
