"""HPRN (Wu et al., IEEE TNNLS 2023): many residual blocks, then attention within segments of the image.

Ten blocks of four convolutions with 200 channels; each ends with a gate for every channel from attention
between channels of 4 x 4 means. The cube of the last convolution is refined: for each of four segmentations
of the image, its pixels are put in the order of their segments, and attend to those around them in that
order.

Written from a description of the MIT-licensed code in Deep-imagelab/HPRN, with its state_dict names.
14,892,975 parameters at 31 bands, 15,758,748 at 202; 975 G multiply-accumulates at 256 x 256, 42 times
MST++.

Needs label maps (B, 4, H, W): SLIC of scikit-image with 8, 12, 16 and 20 segments as in the published code,
unless they are handed over. Pixels of one segment stay in raster order here; the published code sorts them
in an order that depends on the machine, which changes its output by about 1 %.

Which pixels see each other depends on the whole image, so the network cannot be run in exact tiles, and no
exported graph can hold the segmentation.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.extras import Segmentation
from hsrzoo.layers.whole_image import can_strip
from hsrzoo_baselines.layers import named, require_counts
from hsrzoo_baselines.recipes import optics_aware_spec

WIDTH = 200
"""Channels of the blocks, whatever the number of bands."""
MEANS = 4
"""Rows and columns of the means between which channels attend."""
SEGMENTS = (8, 12, 16, 20)
"""About how many segments each segmentation has."""
WINDOW = 64
"""Pixels of a window, in the order of the segments."""
NORM_FLOOR = 5e-5
"""Least norm that the features of a key are divided by."""
LOGITS_AT_ONCE = 1 << 24
"""Of attention within segments, 64 MiB."""
LEAST = 6
"""Least H and W: half a window of pixels."""


def mirrored(inputs: int, outputs: int, size: int = 3) -> nn.Sequential:
    """A convolution without bias on an image padded by reflection."""
    layer = nn.Conv2d(inputs, outputs, size, padding=size // 2, padding_mode="reflect", bias=False)
    return named(conv2d=layer)


class ChannelGate(nn.Module):
    """TSRM: a gate for every channel, by attention between channels, of which 16 means are known."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        tokens = MEANS**2
        names = ("q_proj", "k_proj", "v_proj", "out_proj")
        self.cross_transformer = named(**{name: nn.Linear(tokens, tokens, bias=False) for name in names})
        self.gate = nn.Sequential(
            nn.Conv2d(channels, channels // 16, 1, bias=False),
            nn.PReLU(),
            nn.Conv2d(channels // 16, channels, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, H, W) -> (B, K, H, W)."""
        means = F.adaptive_avg_pool2d(x, MEANS).flatten(2)  # (B, K, 16)
        to_query, to_key, to_value, project = self.cross_transformer
        scores = to_query(means) @ to_key(means).transpose(1, 2) / MEANS  # (B, K, K)
        mixed = project(scores.softmax(dim=-1) @ to_value(means)).mean(-1)  # (B, K)
        return x * self.gate(mixed[:, :, None, None]).sigmoid()


class Block(nn.Module):
    """MRB: four convolutions, each with a skip from the block's input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv0, self.act0 = mirrored(channels, channels), nn.PReLU()
        self.conv1, self.act1 = mirrored(channels, channels), nn.PReLU()
        self.conv2, self.act2 = mirrored(channels, channels), nn.PReLU()
        self.conv3 = mirrored(channels, channels)
        self.tsrm = ChannelGate(channels)
        self.act3 = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, H, W) -> (B, K, H, W)."""
        y = self.act0(self.conv0(x))
        y = self.act1(self.conv1(y)) + x
        y = self.act2(self.conv2(y) + x)
        return self.act3(self.tsrm(self.conv3(y)) + x)


class SegmentAttention(nn.Module):
    """SSRM: attention between pixels that are close in the order of their segments."""

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.conv_x = mirrored(bands, bands)
        self.conv_y = mirrored(bands, bands, 1)
        self.conv_out = nn.Conv2d(len(SEGMENTS) * bands, bands, 1)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """(B, C, H, W) and labels (B, 4, H, W) -> (B, C, H, W); 32 pixels or more."""
        keys, values = (layer(x).flatten(2).transpose(1, 2) for layer in (self.conv_x, self.conv_y))
        parts = []
        for order in labels.flatten(2).argsort(dim=-1, stable=True).unbind(1):  # (B, L)
            sorted_keys, sorted_values = (_picked(y, order) for y in (keys, values))
            mixed = windowed(sorted_keys, sorted_values)
            parts.append(_picked(mixed, order.argsort(dim=-1)).transpose(1, 2))  # (B, C, L)
        return self.conv_out(torch.cat(parts, dim=1).unflatten(2, x.shape[2:])) + x


def _picked(x: Tensor, order: Tensor) -> Tensor:
    """The rows ``order`` (B, L) of (B, L, C)."""
    return x.gather(1, order[:, :, None].expand_as(x))


def windowed(x: Tensor, values: Tensor) -> Tensor:
    """Attention of each of the L rows (B, L, C) to those of its window of 64 and of the two next to it, the
    first and the last being neighbours. The last window is completed with copies of the last rows."""
    length = x.shape[1]
    missing = -length % WINDOW
    if missing:
        x, values = (torch.cat([y, y[:, -missing:]], dim=1) for y in (x, values))
    queries, values = (y.unflatten(1, (-1, WINDOW)) for y in (x, values))  # (B, windows, 64, C)
    keys = queries / queries.norm(dim=-1, keepdim=True).clamp_min(NORM_FLOOR)
    keys, values = (torch.cat([y, y.roll(1, 1), y.roll(-1, 1)], dim=2) for y in (keys, values))
    many = queries.shape[1]
    if can_strip():
        many = max(1, LOGITS_AT_ONCE // (len(queries) * 3 * WINDOW**2))
    parts = zip(*(y.split(many, dim=1) for y in (queries, keys, values)), strict=True)
    mixed = [(q @ k.transpose(2, 3)).softmax(dim=-1) @ v for q, k, v in parts]
    return torch.cat(mixed, dim=1).flatten(1, 2)[:, :length]


class HPRN(nn.Module):
    """RGB (B, 3, H, W) float32 and labels (B, 4, H, W), whole numbers -> cube (B, C, H, W) float32,
    unbounded; H and W from 2 on with 32 pixels or more."""

    def __init__(self, bands: int, blocks: int = 10, width: int = WIDTH) -> None:
        super().__init__()
        self.head_conv2D = mirrored(3, width)
        self.backbone = nn.Sequential(*(Block(width) for _ in range(blocks)))
        self.tail_conv2D = mirrored(width, width)
        self.output_conv2D = mirrored(width, bands)
        self.ssrm = SegmentAttention(bands)

    def forward(self, rgb: Tensor, labels: Tensor) -> Tensor:
        """(B, 3, H, W), (B, 4, H, W) -> (B, C, H, W)."""
        first = self.head_conv2D(rgb)
        features = self.tail_conv2D(self.backbone(first)) + first
        return self.ssrm(self.output_conv2D(features), labels)


def build(bands: BandSet, blocks: int = 10, width: int = WIDTH) -> HPRN:
    """HPRN for these bands; ``blocks`` of ``width`` channels, 16 or more."""
    require_counts("blocks", blocks)
    require_counts("width", width, least=16)
    return HPRN(len(bands), blocks, width)


SPEC = optics_aware_spec(
    name="hprn",
    build=build,
    summary="HPRN: ten wide residual blocks and attention within superpixels, 14.89 M parameters",
    paper=("Wu et al., HPRN, IEEE TNNLS 2023; https://github.com/Deep-imagelab/HPRN at 5ccb4eb"),
    kind="cnn",
    lr=1.2e-4,
    min_size=LEAST,
    extras={
        "labels": Segmentation(
            "hsrzoo.layers.superpixels:slic",
            {"n_segments": list(SEGMENTS), "compactness": 10.0, "max_num_iter": 10},
        )
    },
    notes=(
        "Needs scikit-image (pip install 'hsrzoo[superpixels]'), whose versions may segment differently. "
        "About 40 times the work of MST++. Segments of a flipped image are not the flipped segments."
    ),
)
