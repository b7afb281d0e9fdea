"""Restormer (Zamir et al., CVPR 2022) as in the MST-plus-plus toolbox: a U-Net of channel attention.

Attention runs between channels, not pixels: each channel of a head is a unit vector over the image, and
the matrix of their cosines mixes the channels. Queries, keys and values see their 3 x 3 neighbours.

Written from a description of the MIT-licensed code, with its state_dict names. It is the published
"dual pixel" variant: no skip from the RGB image, but one from the first features to the last. The
official checkpoints were trained on RGB stretched per image to [0, 1].

15,108,705 parameters at 31 bands; 94.3 G multiply-accumulates at 256 x 256, the rows that strips see
twice included. Only ``output`` depends on the number of bands: 15,256,449 parameters at 202.

Without gradients the cube is the same, up to rounding, and takes less memory:

- Attention matrix and last projection become one K x K matrix per image, applied to the values.
- What follows that matrix, to the end of the block, runs on strips of rows, so that values and the
  wide features of the feed-forward never exist at full size; queries and keys do while their products
  are computed.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.layers.whole_image import Totals, can_strip, in_strips, whole_image
from hsrzoo_baselines.layers import NORM_FLOOR, conv, named, padded, require_counts
from hsrzoo_baselines.recipes import toolbox_spec

WIDTH = 48
"""Channels at full resolution on the way down, doubled at each level."""
HEADS = (1, 2, 4, 8)
"""Of attention, by level."""
WIDENING = 2.66
"""Of the feed-forward."""
MULTIPLE = 8


def _neighbours(channels: int) -> nn.Conv2d:
    """3 x 3, depthwise."""
    return nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)


class Norm(nn.Module):
    """LayerNorm over the channels of (B, K, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, H, W) -> (B, K, H, W)."""
        return self.body(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Attention(nn.Module):
    """MDTA: attention between the channels of each head."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = conv(channels, 3 * channels, 1)
        self.qkv_dwconv = _neighbours(3 * channels)
        self.project_out = conv(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, H, W) -> (B, K, H, W), as published."""
        q, k, v = (part.flatten(3) for part in self._heads(self.qkv_dwconv(self.qkv(x)), 3))
        # each channel becomes a unit vector over the N pixels
        scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(2, 3)  # (B, heads, d, d)
        mixed = (scores * self.temperature).softmax(dim=-1) @ v  # (B, heads, d, N)
        return self.project_out(mixed.reshape(x.shape))

    def queries_and_keys(self, x: Tensor) -> Tensor:
        """(B, K, H, W) -> (B, 2 K, H, W)."""
        return self._part(x, slice(2 * x.shape[1]))

    def values(self, x: Tensor) -> Tensor:
        """(B, K, H, W) -> (B, K, H, W)."""
        return self._part(x, slice(2 * x.shape[1], None))

    def _part(self, x: Tensor, channels: slice) -> Tensor:
        """A part of the 3 K channels of queries, keys and values."""
        x = F.conv2d(x, self.qkv.weight[channels])
        return F.conv2d(x, self.qkv_dwconv.weight[channels], padding=1, groups=x.shape[1])

    def mixing(self, queries_and_keys: Tensor) -> Tensor:
        """The matrices (B, K, K) that map a pixel's values to the output of the attention, for the image of
        these queries and keys (B, 2 K, H, W)."""
        with torch.autocast(queries_and_keys.device.type, enabled=False):  # sums of up to all pixels
            exact = queries_and_keys.dtype == torch.float64
            maps = queries_and_keys if exact else queries_and_keys.float()
            products, q_squares, k_squares = whole_image(self._products, maps)
            scores = products / _norms(q_squares)[..., :, None] / _norms(k_squares)[..., None, :]
            shares = (scores * self.temperature).softmax(dim=-1).to(maps.dtype)  # (B, heads, d, d)
            project = self.project_out.weight.flatten(1).to(maps.dtype)  # (K, K)
            project = project.unflatten(1, (self.heads, -1)).transpose(0, 1)  # (heads, K, d)
            return (project @ shares).transpose(1, 2).flatten(2)  # (B, K, heads, d) to (B, K, K)

    def _products(self, queries_and_keys: Tensor) -> Totals:
        """q k^T (B, heads, d, d), and the squared norms of q and of k (B, heads, d), over these pixels.

        In float64 where strips are added up and the device has it, so that the sum over millions of
        pixels is as exact as that over one strip.
        """
        q, k = (part.flatten(3) for part in self._heads(queries_and_keys, 2))
        found = q @ k.transpose(2, 3), q.square().sum(-1), k.square().sum(-1)
        if not can_strip() or q.device.type == "mps":
            return found
        return tuple(x.double() for x in found)

    def _heads(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """(B, parts K, H, W) -> as many (B, heads, d, H, W)."""
        return x.unflatten(1, (parts, self.heads, -1)).unbind(1)


def _norms(squares: Tensor) -> Tensor:
    return squares.sqrt().clamp_min(NORM_FLOOR)


class FeedForward(nn.Module):
    """GDFN: of two wide halves, one gates the other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = int(channels * WIDENING)
        self.project_in = conv(channels, 2 * hidden, 1)
        self.dwconv = _neighbours(2 * hidden)
        self.project_out = conv(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, H, W) -> (B, K, H, W)."""
        gate, value = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(F.gelu(gate) * value)


class Block(nn.Module):
    """Attention and feed-forward, each after a norm and with a skip."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm1 = Norm(channels)
        self.attn = Attention(channels, heads)
        self.norm2 = Norm(channels)
        self.ffn = FeedForward(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, H, W) -> (B, K, H, W)."""
        if torch.is_grad_enabled():
            x = self.attn(self.norm1(x)) + x
            return self.ffn(self.norm2(x)) + x
        maps = in_strips(lambda rows: self.attn.queries_and_keys(self.norm1(rows)), x, halo=1)
        matrices = self.attn.mixing(maps)
        del maps  # the widest features
        return in_strips(partial(self._mixed, matrices), x, halo=2)

    def _mixed(self, matrices: Tensor, x: Tensor) -> Tensor:
        """The block with its attention known: it reaches 1 row for the values, 1 in the feed-forward."""
        values = self.attn.values(self.norm1(x))
        x = (matrices @ values.flatten(2)).view(x.shape) + x
        return self.ffn(self.norm2(x)) + x


def _blocks(count: int, channels: int, heads: int) -> nn.Sequential:
    return nn.Sequential(*(Block(channels, heads) for _ in range(count)))


def _down(channels: int) -> nn.Sequential:
    """(B, K, H, W) -> (B, 2 K, H / 2, W / 2)."""
    return named(body=nn.Sequential(conv(channels, channels // 2), nn.PixelUnshuffle(2)))


def _up(channels: int) -> nn.Sequential:
    """(B, K, H, W) -> (B, K / 2, 2 H, 2 W)."""
    return named(body=nn.Sequential(conv(channels, 2 * channels), nn.PixelShuffle(2)))


class Restormer(nn.Module):
    """RGB (B, 3, H, W) float32 -> cube (B, C, H, W) float32, unbounded; H and W any size of which
    reflection to a multiple of 8 is possible.

    ``blocks`` at each of the four levels, on the way down and (but for the lowest) up again;
    ``refinement`` more of them at the end.
    """

    def __init__(
        self, bands: int, blocks: tuple[int, int, int, int] = (2, 3, 3, 4), refinement: int = 3
    ) -> None:
        super().__init__()
        self.counts = *blocks, refinement
        k1, k2, k3, k4 = (WIDTH << level for level in range(4))
        self.patch_embed = named(proj=conv(3, WIDTH))
        self.encoder_level1 = _blocks(blocks[0], k1, HEADS[0])
        self.down1_2 = _down(k1)
        self.encoder_level2 = _blocks(blocks[1], k2, HEADS[1])
        self.down2_3 = _down(k2)
        self.encoder_level3 = _blocks(blocks[2], k3, HEADS[2])
        self.down3_4 = _down(k3)
        self.latent = _blocks(blocks[3], k4, HEADS[3])
        self.up4_3 = _up(k4)
        self.reduce_chan_level3 = conv(k4, k3, 1)
        self.decoder_level3 = _blocks(blocks[2], k3, HEADS[2])
        self.up3_2 = _up(k3)
        self.reduce_chan_level2 = conv(k3, k2, 1)
        self.decoder_level2 = _blocks(blocks[1], k2, HEADS[1])
        self.up2_1 = _up(k2)
        # at full resolution nothing is reduced: 96 channels to the end
        self.decoder_level1 = _blocks(blocks[0], k2, HEADS[0])
        self.refinement = _blocks(refinement, k2, HEADS[0])
        self.skip_conv = conv(k1, k2, 1)
        self.output = conv(k2, bands)

    @property
    def halo(self) -> int:
        """How many input pixels in each direction an output pixel depends on, all products known.

        A block reaches 2. Around a coarser level of reach r, the 3 x 3 convolutions before the
        rearrangement down and the one up make 2 r + 4 of it, and the blocks on both sides are added. The
        convolutions at both ends add 2.
        """
        first, second, third, lowest, refinement = self.counts
        reach = 2 * lowest
        for count in (third, second, first):
            reach = 2 * reach + 4 + 4 * count
        return reach + 2 * refinement + 2

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H, W)."""
        height, width = rgb.shape[-2:]
        rgb = padded(rgb, MULTIPLE)
        embedded = self.patch_embed(rgb)
        skips = [self.encoder_level1(embedded)]
        skips.append(self.encoder_level2(self.down1_2(skips[-1])))
        skips.append(self.encoder_level3(self.down2_3(skips[-1])))
        x = self.latent(self.down3_4(skips[-1]))
        x = self.reduce_chan_level3(torch.cat([self.up4_3(x), skips.pop()], dim=1))
        x = self.decoder_level3(x)
        x = self.reduce_chan_level2(torch.cat([self.up3_2(x), skips.pop()], dim=1))
        x = self.decoder_level2(x)
        x = self.decoder_level1(torch.cat([self.up2_1(x), skips.pop()], dim=1))
        x = self.refinement(x) + self.skip_conv(embedded)
        return self.output(x)[:, :, :height, :width]


def build(
    bands: BandSet, blocks: tuple[int, int, int, int] = (2, 3, 3, 4), refinement: int = 3
) -> Restormer:
    """Restormer for these bands: ``blocks`` at each of the four levels, ``refinement`` at the end."""
    require_counts("blocks", blocks, length=4)
    require_counts("refinement", refinement)
    return Restormer(len(bands), blocks, refinement)


SPEC = toolbox_spec(
    name="restormer",
    build=build,
    summary="Restormer: a U-Net of attention between channels, 15.11 M parameters",
    paper=(
        "Zamir et al., Restormer: Efficient Transformer for High-Resolution Image Restoration, CVPR 2022, "
        "arXiv:2111.09881"
    ),
    multiple=MULTIPLE,
    kind="transformer",
    lr=2e-4,
    notes="Only output changes with the number of bands; the original has no outer skip.",
)
