"""MIRNet (Zamir et al., ECCV 2020) as in the MST-plus-plus toolbox: three resolutions side by side.

Each of three residual groups keeps features at full, half and quarter resolution, with 31, 62 and 124
channels. A dual attention unit on each weights pixels and channels; upsampled to full resolution, the
three are mixed with a weight per channel from their means. Halving is blurred first, so that it does not
alias (Zhang, ICML 2019), and both it and doubling have two branches, one of them without activations.

Written from the paper and the names and shapes of the MIT-licensed code's state_dict, which are those
here. What the paper leaves open was settled by comparison with outputs of the original, from which any
other reading of the following differs by 7 % and more: the spatial gate takes the pixels' largest channel
before their mean, and precedes the channel gate in the concatenation; a coarser unit starts from the
output of the finer one, not from the block's input; nothing is exchanged between resolutions before the
last mix; blurs reflect at the border; the image is padded to a multiple of 8. One PReLU of one parameter
is shared by all nine attention units and has nine names in the state_dict.

The official checkpoints were trained on RGB stretched per image to [0, 1].

3,749,356 parameters at 31 bands, and 10,044 constants of the blurs, which the official checkpoints hold and
files of this zoo need not; 26.7 G multiply-accumulates at 256 x 256. 1,497,900 of the parameters have no
effect: layers between the resolutions for blocks of several columns of units, where the toolbox has one
(``up``, ``down.31_4``, ``selective_kernel.1`` and ``.2``). They are here because they are in the
checkpoints, frozen because no gradient reaches them.

The official network can only give 31 bands. Here the 31-wide body stays for any band count and only
``conv_out`` changes: 3,797,065 parameters at 202. Its outer skip needs 31 bands, so it exists at 31
alone; at other counts the RGB features reach ``conv_out`` through the skips of the groups.

What differs from the published structure, equal up to rounding: a 1 x 1 convolution after a doubling of
the resolution is done before it, on a quarter of the pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.layers.whole_image import pixel_mean
from hsrzoo.spec import Official
from hsrzoo_baselines.layers import Doubled, Residual, conv, named, one_value, padded, require_counts
from hsrzoo_baselines.recipes import toolbox_spec

WIDTHS = (31, 62, 124)
"""Channels at full, half and quarter resolution, whatever the number of bands."""
REDUCTION = 8
"""Channels of a unit to those between the two layers of a gate."""
MULTIPLE = 8
"""H and W are padded to this, as the official code does; two halvings need only 4."""


class SpatialGate(nn.Module):
    """A gate in [0, 1] for every pixel, from the largest and the mean channel in its neighbourhood."""

    def __init__(self) -> None:
        super().__init__()
        self.spatial = named(conv=conv(2, 1, 5))

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, H, W) -> (B, 1, H, W)."""
        pooled = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], dim=1)
        return self.spatial(pooled).sigmoid()


class ChannelGate(nn.Module):
    """A gate in [0, 1] for every channel, from all channels' means over the image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // REDUCTION
        self.conv_du = nn.Sequential(conv(channels, inner, 1), nn.ReLU(), conv(inner, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, H, W) -> (B, K, 1, 1)."""
        return self.conv_du(pixel_mean(x)[:, :, None, None]).sigmoid()


class DualAttention(nn.Module):
    """DAU: two convolutions, their output weighted once by pixel and once by channel, and a skip."""

    def __init__(self, channels: int, act: nn.PReLU) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(channels, channels), act, conv(channels, channels))
        self.SA = SpatialGate()
        self.CA = ChannelGate(channels)
        self.conv1x1 = conv(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, H, W) -> (B, K, H, W)."""
        features = self.body(x)
        gated = torch.cat([features * self.SA(features), features * self.CA(features)], dim=1)
        del features
        return self.conv1x1(gated) + x


class SelectiveKernel(nn.Module):
    """SKFF: mixes the three resolutions with weights per channel that sum to 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(channels // REDUCTION, 4)
        self.conv_du = nn.Sequential(conv(channels, inner, 1), nn.PReLU())
        self.fcs = nn.ModuleList(conv(inner, channels, 1) for _ in WIDTHS)

    def forward(self, streams: Sequence[Tensor]) -> Tensor:
        """Three of (B, K, H, W) -> (B, K, H, W)."""
        means = pixel_mean(streams[0] + streams[1] + streams[2])[:, :, None, None]
        inner = self.conv_du(means)
        shares = torch.stack([fc(inner) for fc in self.fcs]).softmax(dim=0)  # (3, B, K, 1, 1)
        return streams[0] * shares[0] + streams[1] * shares[1] + streams[2] * shares[2]


class Blur(nn.Module):
    """Halves the resolution after a binomial 3 x 3 blur; reflection at the border."""

    filt: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        row = (0.25, 0.5, 0.25)
        filt = torch.tensor([[a * b for b in row] for a in row])
        self.register_buffer("filt", filt.repeat(channels, 1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, H, W) -> (B, K, H / 2, W / 2)."""
        padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
        return F.conv2d(padded, self.filt, stride=2, groups=x.shape[1])


class Halve(nn.Module):
    """(B, K, H, W) -> (B, 2 K, H / 2, W / 2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.top = nn.Sequential(
            conv(channels, channels, 1),
            nn.PReLU(),
            conv(channels, channels),
            nn.PReLU(),
            Blur(channels),
            conv(channels, 2 * channels, 1),
        )
        self.bot = nn.Sequential(Blur(channels), conv(channels, 2 * channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.top(x) + self.bot(x)


class Double(nn.Module):
    """(B, K, H, W) -> (B, K / 2, 2 H, 2 W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.top = nn.Sequential(
            conv(channels, channels, 1),
            nn.PReLU(),
            nn.ConvTranspose2d(channels, channels, 3, stride=2, padding=1, output_padding=1, bias=False),
            nn.PReLU(),
            conv(channels, channels // 2, 1),
        )
        self.bot = Doubled(channels, channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.top(x) + self.bot(x)


def _down(level: int, by: int) -> nn.Sequential:
    """From a level to one ``by`` levels coarser."""
    return named(body=nn.Sequential(*(Halve(WIDTHS[i]) for i in range(level, level + by))))


def _up(level: int, by: int) -> nn.Sequential:
    """From a level to one ``by`` levels finer."""
    return named(body=nn.Sequential(*(Double(WIDTHS[i]) for i in range(level, level - by, -1))))


class MultiScaleBlock(nn.Module):
    """MSRB: attention at three resolutions in sequence, fused at the finest, and a skip."""

    def __init__(self, act: nn.PReLU) -> None:
        super().__init__()
        coarsest = len(WIDTHS) - 1
        self.blocks = nn.ModuleList(nn.ModuleList([DualAttention(k, act)]) for k in WIDTHS)
        self.last_up = nn.ModuleDict({str(i): _up(i, i) for i in range(1, len(WIDTHS))})
        self.down = nn.ModuleDict(
            {
                f"{WIDTHS[i]}_{2**by}": _down(i, by)
                for i in range(coarsest)
                for by in range(coarsest - i, 0, -1)
            }
        )
        self.up = nn.ModuleDict(
            {f"{WIDTHS[i]}_{2**by}": _up(i, by) for i in range(coarsest, 0, -1) for by in range(i, 0, -1)}
        )
        self.conv_out = conv(WIDTHS[0], WIDTHS[0])
        self.selective_kernel = nn.ModuleList(SelectiveKernel(k) for k in WIDTHS)
        for unused in (self.up, self.down[f"{WIDTHS[0]}_4"], *self.selective_kernel[1:]):
            unused.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 31, H, W) -> (B, 31, H, W); H and W multiples of 4."""
        first, second, third = (next(block.children()) for block in self.blocks)
        fine = first(x)
        middle = second(self.down[f"{WIDTHS[0]}_2"](fine))
        coarse = third(self.down[f"{WIDTHS[1]}_2"](middle))
        streams = [fine, self.last_up["1"](middle), self.last_up["2"](coarse)]
        del fine, middle, coarse
        return self.conv_out(self.selective_kernel[0](streams)) + x


class MIRNet(nn.Module):
    """RGB (B, 3, H, W) float32 -> cube (B, C, H, W) float32, unbounded; H and W any size of which
    reflection to a multiple of 8 is possible. ``groups``: residual groups, of ``blocks`` each."""

    def __init__(self, bands: int, groups: int = 3, blocks: int = 1) -> None:
        super().__init__()
        act = nn.PReLU()
        self.conv_in = conv(3, WIDTHS[0])
        self.body = nn.Sequential(
            *(
                Residual(*(MultiScaleBlock(act) for _ in range(blocks)), conv(WIDTHS[0], WIDTHS[0]))
                for _ in range(groups)
            )
        )
        self.conv_out = conv(WIDTHS[0], bands)

    @property
    def halo(self) -> int:
        """How many input pixels in each direction an output pixel depends on, all means known.

        A unit reaches 4: two 3 x 3 convolutions and a 5 x 5 one; a halving 2 at the finer resolution. So
        a quarter-resolution row sees 4 of its like, these 2 (2 x 4 + 2 + 4) + 2 + 4 = 34 rows of the image
        beyond their own. A block's convolution and doublings add 7 at most on the way there from any row,
        but 6 from a row at which the reach of a block ends, or 5 and the group's convolution: 40 a block.
        The rest is that one more row of the last block, its group's convolution, conv_in and conv_out.
        """
        blocks = sum(isinstance(module, MultiScaleBlock) for module in self.modules())
        return 40 * blocks + 4

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H, W)."""
        height, width = rgb.shape[-2:]
        rgb = padded(rgb, MULTIPLE)
        first = self.conv_in(rgb)
        cube = self.conv_out(self.body(first))
        if self.conv_out.out_channels == WIDTHS[0]:
            cube = cube + first
        return cube[:, :, :height, :width]


def rename(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The official names, which are ours. Raises FormatError where the one PReLU has several values."""
    return one_value(state, ".body.1.weight", "MIRNet")


def build(bands: BandSet, groups: int = 3, blocks: int = 1) -> MIRNet:
    """MIRNet for these bands; ``groups`` residual groups of ``blocks`` multi-scale blocks each."""
    require_counts("groups", groups, least=1)
    require_counts("blocks", blocks, least=1)
    return MIRNet(len(bands), groups, blocks)


SPEC = toolbox_spec(
    name="mirnet",
    build=build,
    summary="MIRNet: attention at three resolutions side by side, 3.75 M parameters",
    paper=(
        "Zamir et al., Learning Enriched Features for Real Image Restoration and Enhancement, ECCV 2020, "
        "arXiv:2003.06792"
    ),
    multiple=MULTIPLE,
    lr=4e-4,
    official=Official("minmax-image", rename=rename),
    notes=(
        "Two fifths of the weights are in the official checkpoints and have no effect: layers for several "
        "columns of units in a block, of which the published setting has one. They are frozen."
    ),
)
