"""HySAT (Wang et al., ACM MM 2023): MST++ whose Q, K and V come from kernels that all channels share.

Three U-shaped stages of attention between channels, as in ``mst_plus_plus.py``. What differs:

- Q, K and V mix no channels. Each is made by three successive depthwise 3 x 3 convolutions, and all
  channels of a head have the same three kernels.
- A term computed from the position is added to the input of the attention, not to its output.
- The attention matrix gets a second term: on its diagonal, a number for each channel from the mean of V
  over the image ("recalibration").

Written from a description of the PyTorch port in vccimaging/OpticsAwareHSI-Analysis, with its state_dict
names; the authors' own code is for MindSpore. Theirs has fewer biases (1,397,445 parameters), a floor of
1e-7 in its normalisation instead of 1e-5, and 1e-4 instead of 1e-24 for the squared norms of Q and K.

1,408,790 parameters at 31 bands, 22 G multiply-accumulates at 256 x 256. The head's width is the number of
bands, so all widths grow with it: 57,350,756 parameters at 202.

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
from hsrzoo.layers.activations import gelu
from hsrzoo.layers.whole_image import can_strip, whole_image
from hsrzoo.spec import Recipe
from hsrzoo_baselines.layers import NORM_FLOOR, conv, require_counts
from hsrzoo_baselines.mst_plus_plus_layers import (
    AttentionBlocks,
    convolve,
    mix_pixels,
    normed_feed_forward,
    projected,
)
from hsrzoo_baselines.recipes import optics_aware_spec
from hsrzoo_baselines.unet import MULTIPLE, UNet, in_sequence

KERNELS = 3
"""Successive convolutions that make each of Q, K and V."""


class SharedKernelAttention(nn.Module):
    """Attention between the channels of each head, whose Q, K and V have a few kernels for each head."""

    reach = 2 + KERNELS
    """How many rows the position term and the kernels of V reach."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        for kind in "qkv":
            for i in range(1, KERNELS + 1):
                kernel = nn.Parameter(torch.empty(heads, 1, 3, 3))
                nn.init.normal_(kernel, std=(2 / 9) ** 0.5)  # Kaiming's, for 9 inputs
                setattr(self, f"to_{kind}_share{i}", kernel)
        self.rescale = nn.Parameter(torch.ones(heads, 1, 1))
        self.rescale2 = nn.Parameter(torch.ones(heads, 1, 1))
        self.pos_emb = nn.Sequential(
            nn.Conv2d(dim, dim, 3, padding=1, groups=dim),
            nn.GELU(),
            nn.Conv2d(dim, dim, 3, padding=1, groups=dim),
        )
        self.conv = nn.Conv1d(heads, heads, 3, padding=1)
        self.proj = nn.Linear(dim, dim)

    def placed(self, x: Tensor) -> Tensor:
        """``x`` plus its position term, (B, H, W, K) -> (B, H, W, K)."""
        first, _, second = self.pos_emb.children()
        return x + convolve(second, gelu(convolve(first, x)))

    def mapped(self, x: Tensor, kind: str) -> Tensor:
        """Q, K or V of the input with its position term: (B, H, W, K) -> (B, H, W, K)."""
        channels = x.shape[-1]
        x = x.permute(0, 3, 1, 2)
        for i in range(1, KERNELS + 1):
            kernels = getattr(self, f"to_{kind}_share{i}").repeat_interleave(channels // self.heads, dim=0)
            x = F.conv2d(x, kernels, padding=1, groups=channels)
        return x.permute(0, 2, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, K) -> (B, H, W, K)."""
        x = self.placed(x)
        value = self.mapped(x, "v")
        return mix_pixels(value, self.mixing_of(x, value), self.proj.bias)

    def mixing(self, x: Tensor) -> Tensor:
        """The attention of the image ``x`` (B, H, W, K) as matrices (B, K, K) that map a pixel's values to
        the projection of their mixture, without its bias."""
        x = self.placed(x)
        return self.mixing_of(x, self.mapped(x, "v"))

    def mix(self, x: Tensor, matrices: Tensor) -> Tensor:
        """:meth:`forward` with the matrices of :meth:`mixing` known."""
        return mix_pixels(self.mapped(self.placed(x), "v"), matrices, self.proj.bias)

    def mixing_of(self, x: Tensor, value: Tensor) -> Tensor:
        """:meth:`mixing` of an input with its position term, and its V."""
        maps = [m.permute(0, 3, 1, 2) for m in (self.mapped(x, "q"), self.mapped(x, "k"), value)]
        with torch.autocast(x.device.type, enabled=False):  # products of up to all pixels: not in 16 bits
            maps = [m if m.dtype == torch.float64 else m.float() for m in maps]
            sums = whole_image(partial(_sums, self.heads), *maps)
            products, query_squares, key_squares, total, pixels = sums
            norms = [squares.clamp_min(NORM_FLOOR**2).sqrt() for squares in (key_squares, query_squares)]
            scores = products / norms[0][..., :, None] / norms[1][..., None, :]
            mean = (total / pixels[..., None]).to(self.conv.weight.dtype)
            own = torch.diag_embed(self.conv(mean)).to(scores.dtype)  # (B, heads, d, d)
            shares = (scores * self.rescale + own * self.rescale2).softmax(dim=-1)
            return projected(shares, self.proj.weight).to(value.dtype)


def _sums(heads: int, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
    """Over the pixels of three maps (B, K, h, w), for each head: K Q^T (B, heads, d of K, d of Q), squares
    of Q and of K, and V (B, heads, d each); and the number of pixels (B, 1).

    In float64 where strips are summed, so that a sum over millions of pixels is as exact as that over one.
    """
    q, k, v = (x.unflatten(1, (heads, -1)).flatten(3) for x in (query, key, value))  # (B, heads, d, N)
    pixels = torch.ones_like(value[:, :1]).sum((2, 3))
    found = (k @ q.transpose(2, 3), q.square().sum(-1), k.square().sum(-1), v.sum(-1), pixels)
    wide = can_strip() and value.device.type != "mps"
    return tuple(x.double() for x in found) if wide else found


class Stage(UNet):
    """One U with a skip around it; ``width``: channels at full resolution and of each head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embedding = conv(width, width, bias=True)
        normed = partial(normed_feed_forward, bias=True)
        blocks = partial(AttentionBlocks, attention=SharedKernelAttention, feed_forward=normed, width=width)
        self.add_levels(blocks=blocks, width=width, bias=True)
        self.mapping = conv(width, width, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, K) -> (B, H, W, K); H and W multiples of 4."""
        return convolve(self.mapping, self.through_levels(convolve(self.embedding, x))) + x


class HySAT(nn.Module):
    """RGB (B, 3, H, W) float32 -> cube (B, C, H, W) float32, unbounded; H and W any size of which
    reflection to a multiple of 8 is possible."""

    def __init__(self, bands: int, stages: int = 3) -> None:
        super().__init__()
        self.conv_in = conv(3, bands, bias=True)
        self.body = nn.Sequential(*(Stage(bands) for _ in range(stages)))
        self.conv_out = conv(bands, bands, bias=True)

    @property
    def halo(self) -> int:
        """How many input pixels in each direction an output pixel depends on, all statistics known.

        A pair of attention and feed-forward reaches 6. Around a coarser level of reach r, the 4 x 4
        convolution down and the 2 x 2 one up make 2 r + 2 of it, and the pairs before and after add 6
        each: 6, then 26, then 66; embedding and mapping add 2. conv_in and conv_out add 2.
        """
        return 68 * len(self.body) + 2

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H, W)."""
        return in_sequence(self.conv_in, self.body, self.conv_out, rgb, MULTIPLE, skip=True)


def build(bands: BandSet, stages: int = 3) -> HySAT:
    """HySAT for these bands; ``stages`` U-shaped stages."""
    require_counts("stages", stages)
    return HySAT(len(bands), stages)


SPEC = optics_aware_spec(
    name="hysat",
    build=build,
    summary="HySAT: attention between channels with kernels shared by all of them, 1.41 M parameters",
    paper="Wang et al., HySAT, ACM MM 2023, https://gitee.com/hongyuan-wang-bit/models (branch hysat_mm23)",
    lr=4e-4,
    recipe=Recipe(lr=5e-3),
    default_tag="cave",
    multiple=MULTIPLE,
    notes=(
        "The PyTorch port; checkpoints of the authors' MindSpore code have other names and fewer biases. "
        "All widths follow the number of bands."
    ),
)
