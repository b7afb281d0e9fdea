"""HINet as in the MST-plus-plus toolbox: two U-Nets with half instance norm, after Chen et al. (2021).

In every convolution block on the way down, the first half of the channels is normalised by mean and
variance over the image, the other half is not. The second U-Net takes the features of the first
at every level, and its output through a gate ("supervised attention").

Written from a description of the MIT-licensed code, with its state_dict names. The official checkpoints
were trained on RGB stretched per image to [0, 1].

5,223,688 parameters at 31 bands (the paper of MST++ prints 5.21 M); 31.3 G multiply-accumulates at
256 x 256.

The official network takes all its widths from the number of bands, which at 202 makes 222 million
parameters. Here the 31-wide body stays for any band count and only ``last`` changes: 5,271,568
parameters at 202. Its outer skip needs 31 bands, so it exists at 31 alone; at other counts the RGB
features reach ``last`` through the U-Nets.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.layers.whole_image import Totals, current_call, whole_image
from hsrzoo_baselines.layers import Gate, conv, padded, require_counts
from hsrzoo_baselines.recipes import toolbox_spec

WIDTH = 31
"""Channels at full resolution, whatever the number of bands; doubled at each level."""
MULTIPLE = 16
"""H and W are padded to this, as the official code does; three halvings need only 8."""
SLOPE = 0.2
"""Of the leaky ReLUs."""

_conv = partial(conv, bias=True)


def _relu(x: Tensor) -> Tensor:
    """Leaky ReLU in place: its backward needs no more than its output."""
    return F.leaky_relu(x, SLOPE, inplace=True)


def _moments(x: Tensor) -> Totals:
    """Sum, sum of squares and number of the pixels of (B, K, h, w); in float64, because the square of
    a mean is subtracted later, where the device has it."""
    wide = x if x.device.type == "mps" else x.double()
    count = wide.new_tensor(x.shape[2] * x.shape[3])
    return wide.sum((2, 3)), wide.square().sum((2, 3)), count


def instance_norm(x: Tensor, norm: nn.InstanceNorm2d) -> Tensor:
    """``norm`` of (B, K, h, w) with mean and variance of the whole image, in tiles too."""
    if torch.compiler.is_compiling() or current_call() is None:
        return norm(x)
    total, squares, count = whole_image(_moments, x)
    mean = total / count
    scale = norm.weight / (squares / count - mean.square()).clamp_min(0).add(norm.eps).sqrt()  # (B, K)
    shift = norm.bias - mean * scale
    return x * scale.to(x.dtype)[..., None, None] + shift.to(x.dtype)[..., None, None]


class Block(nn.Module):
    """Two 3 x 3 convolutions with a 1 x 1 skip, (B, inputs, H, W) -> (B, outputs, H, W).

    ``down``: also has a strided convolution to the next level. ``fuse``: adds the features of the first
    U-Net. ``norm``: normalises half of the channels.
    """

    def __init__(
        self, inputs: int, outputs: int, *, down: bool = False, fuse: bool = False, norm: bool = False
    ) -> None:
        super().__init__()
        self.identity = nn.Conv2d(inputs, outputs, 1)
        self.conv_1 = _conv(inputs, outputs)
        self.conv_2 = _conv(outputs, outputs)
        if fuse:
            self.csff_enc = _conv(outputs, outputs)
            self.csff_dec = _conv(outputs, outputs)
        # of an odd number of channels the larger half
        self.norm = nn.InstanceNorm2d(-(-outputs // 2), affine=True) if norm else None
        if down:
            self.downsample = nn.Conv2d(outputs, outputs, 4, stride=2, padding=1, bias=False)

    def forward(self, x: Tensor, first: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """``first``: the encoder's and the decoder's features of the first U-Net at this level."""
        inner = self.conv_1(x)
        if self.norm is not None:
            half = self.norm.num_features
            inner = torch.cat([instance_norm(inner[:, :half], self.norm), inner[:, half:]], dim=1)
        out = _relu(self.conv_2(_relu(inner))) + self.identity(x)
        if first is not None:
            out = out + self.csff_enc(first[0]) + self.csff_dec(first[1])
        return out


class Up(nn.Module):
    """Doubles the resolution and fuses the features of the encoder."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
        self.conv_block = Block(inputs, outputs)

    def forward(self, x: Tensor, bridge: Tensor) -> Tensor:
        """(B, inputs, H, W), (B, outputs, 2 H, 2 W) -> (B, outputs, 2 H, 2 W)."""
        return self.conv_block(torch.cat([self.up(x), bridge], dim=1))


class HINet(nn.Module):
    """RGB (B, 3, H, W) float32 -> cube (B, C, H, W) float32, unbounded; H and W any size of which
    reflection to a multiple of 16 is possible. ``depth`` levels, 2 to 5."""

    def __init__(self, bands: int, depth: int = 4) -> None:
        super().__init__()
        widths = [WIDTH << level for level in range(depth)]
        inputs = [WIDTH, *widths[:-1]]
        last = depth - 1
        self.conv_in = conv(3, WIDTH)
        self.down_path_1, self.down_path_2 = (
            nn.ModuleList(
                Block(inputs[i], k, down=i < last, fuse=second and i < last, norm=True)
                for i, k in enumerate(widths)
            )
            for second in (False, True)
        )
        self.conv_01 = _conv(WIDTH, WIDTH)
        self.conv_02 = _conv(WIDTH, WIDTH)
        rising = widths[-2::-1]
        self.up_path_1, self.up_path_2 = (nn.ModuleList(Up(2 * k, k) for k in rising) for _ in range(2))
        self.skip_conv_1, self.skip_conv_2 = (nn.ModuleList(_conv(k, k) for k in rising) for _ in range(2))
        self.sam12 = Gate(_conv, WIDTH)
        self.cat12 = nn.Conv2d(2 * WIDTH, WIDTH, 1)
        self.last = _conv(WIDTH, bands)

    @property
    def halo(self) -> int:
        """How many input pixels in each direction an output pixel depends on at most, all statistics known.

        A block reaches 2. Around a coarser level of reach r, the 4 x 4 convolution down and the 2 x 2 one
        up make 2 r + 2 of it, and the blocks on both sides add 4. Convolutions before, between (two, in
        the gate) and after the U-Nets add 5.
        """
        u_net = 2
        for _ in range(len(self.down_path_1) - 1):
            u_net = 2 * u_net + 2 + 4
        return 2 * u_net + 5

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H, W)."""
        height, width = rgb.shape[-2:]
        rgb = padded(rgb, MULTIPLE)
        image = self.conv_in(rgb)
        encoded, decoded = _u_net(self.conv_01(image), self.down_path_1, self.skip_conv_1, self.up_path_1)
        gated = self.sam12(decoded[-1], image)
        x = self.cat12(torch.cat([self.conv_02(image), gated], dim=1))
        first = list(zip(encoded, reversed(decoded), strict=True))
        _, decoded = _u_net(x, self.down_path_2, self.skip_conv_2, self.up_path_2, first)
        cube = self.last(decoded[-1])
        if self.last.out_channels == WIDTH:
            cube = cube + image
        return cube[:, :, :height, :width]


def _u_net(
    x: Tensor,
    down_path: nn.ModuleList,
    skips: nn.ModuleList,
    up_path: nn.ModuleList,
    first: Sequence[tuple[Tensor, Tensor]] = (),
) -> tuple[list[Tensor], list[Tensor]]:
    """Features on the way down, finest first, without the lowest level; and on the way up, finest last.
    ``first``: those of the first U-Net by level."""
    encoded: list[Tensor] = []
    for level, block in enumerate(down_path):
        if level:
            x = cast(Block, down_path[level - 1]).downsample(x)
        x = block(x, first[level] if level < len(first) else None)
        encoded.append(x)
    encoded.pop()
    decoded: list[Tensor] = []
    for skip, up, kept in zip(skips, up_path, reversed(encoded), strict=True):
        x = up(x, skip(kept))
        decoded.append(x)
    return encoded, decoded


def build(bands: BandSet, depth: int = 4) -> HINet:
    """HINet for these bands, with U-Nets of ``depth`` levels, 2 to 5."""
    require_counts("depth", depth, least=2, most=5)
    return HINet(len(bands), depth)


SPEC = toolbox_spec(
    name="hinet",
    build=build,
    summary="HINet: two U-Nets with half instance norm, 5.22 M parameters",
    paper=(
        "Chen et al., HINet: Half Instance Normalization Network for Image Restoration, CVPRW 2021, "
        "arXiv:2105.06086"
    ),
    multiple=MULTIPLE,
    lr=2e-4,
    notes=(
        "Only last changes with the number of bands; the outer skip of the original needs 31 and "
        "exists at 31 alone."
    ),
)
