"""EDSR as in the MST-plus-plus toolbox: 32 residual blocks after Lim et al. (CVPRW 2017).

The network of single-image super-resolution without its enlarging tail, its mean shift and its scaled
residuals: a plain stack of 3 x 3 convolutions. Written from a description of the MIT-licensed code, with
its state_dict names. The official checkpoints were trained on RGB stretched per image to [0, 1].

2,419,999 parameters at 31 bands, 158 G multiply-accumulates at 256 x 256; 2,518,666 parameters at 202
bands. What we changed: the number of bands, fixed at 31 in the original, decides the last convolution.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo_baselines.layers import Residual, conv, require_counts
from hsrzoo_baselines.recipes import toolbox_spec

WIDTH = 64
"""Channels of all features."""

conv_biased = partial(conv, bias=True)


class ResBlock(Residual):
    """Two convolutions and a skip; no normalisation, residual not scaled."""

    def __init__(self, width: int) -> None:
        super().__init__(conv_biased(width, width), nn.ReLU(inplace=True), conv_biased(width, width))


class EDSR(nn.Module):
    """RGB (B, 3, H, W) float32 -> cube (B, C, H, W) float32, unbounded; any H and W."""

    def __init__(self, bands: int, blocks: int = 32) -> None:
        super().__init__()
        self.head = nn.Sequential(conv_biased(3, WIDTH))
        self.body = nn.Sequential(*(ResBlock(WIDTH) for _ in range(blocks)), conv_biased(WIDTH, WIDTH))
        self.tail = nn.Sequential(conv_biased(WIDTH, bands))

    @property
    def halo(self) -> int:
        """How many input pixels in each direction an output pixel depends on: one for each convolution in
        sequence, two in a block and three around them."""
        return 2 * (len(self.body) - 1) + 3

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H, W)."""
        first = self.head(rgb)
        return self.tail(self.body(first) + first)


def build(bands: BandSet, blocks: int = 32) -> EDSR:
    """EDSR for these bands, of ``blocks`` residual blocks."""
    require_counts("blocks", blocks)
    return EDSR(len(bands), blocks)


SPEC = toolbox_spec(
    name="edsr",
    build=build,
    summary="EDSR: 32 residual blocks of two convolutions, 2.42 M parameters",
    paper=(
        "Lim et al., Enhanced Deep Residual Networks for Single Image Super-Resolution, CVPRW 2017, "
        "arXiv:1707.02921"
    ),
    lr=1e-4,
    notes=(
        "The toolbox's variant for spectral reconstruction, of 64 channels and without enlarging; not a "
        "network of the EDSR paper."
    ),
)
