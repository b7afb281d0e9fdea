"""MST++ (Cai et al., CVPRW 2022): spectral-wise transformers, three U-shaped stages in sequence.

Attention runs between channels, not pixels: each of the 31 channels of a head is a unit vector over
the image, and the 31 x 31 matrix of their cosines mixes the channels.

Written from a description of the MIT-licensed code, with its state_dict names, so that the official
checkpoints load after conversion. Those were trained on RGB stretched per image to [0, 1].
1,619,625 parameters at 31 bands; 22.2 G multiply-accumulates at 256 x 256 in the published structure,
20.8 G in the one below, the rows that strips see twice included.

The official network can only give 31 bands. Here the 31-wide body stays for any band count and only
``conv_out`` changes. Its outer skip needs 31 bands too, so it exists at 31 bands alone; at other
counts the RGB features still reach ``conv_out``, through the skip of every stage.

What differs from the published structure (kept as ``mst-plus-plus:reference``, see
``mst_plus_plus_published.py``), all equal up to rounding:

- Tensors between layers are (B, H, W, K) in memory, which Linear and LayerNorm need and convolutions
  take as a channels-last view, so nothing is copied between the two.
- Without gradients, Q and K are never computed. Every cosine follows from the Gram matrix X^T X of the
  attention's input: K^T Q = Wk (X^T X) Wq^T, and the norms are the diagonals of similar products.
- Without gradients, the mixing of the channels is linear in the input, so proj, the attention matrix
  and Wv become one K x K matrix per image.
- Without gradients, what follows a Gram matrix, up to the end of its pair of attention and
  feed-forward, runs on strips of rows, whose four times wider features stay in the cache. Rows in the
  halo of two strips are computed twice, so no pixel's sum changes.
- Products over channels are done as :func:`hsrzoo.layers.pointwise.pointwise` does them.
"""

from __future__ import annotations

from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo_baselines.layers import conv, require_choice, require_counts
from hsrzoo_baselines.mst_plus_plus_layers import WIDTH
from hsrzoo_baselines.recipes import toolbox_spec
from hsrzoo_baselines.unet import MULTIPLE, Stage, in_sequence


class MSTPlusPlus(nn.Module):
    """RGB (B, 3, H, W) float32 -> cube (B, C, H, W) float32, unbounded; H and W any size of which
    reflection to a multiple of 8 is possible. ``inputs``: channels of the input, where it is not RGB."""

    def __init__(self, bands: int, stages: int = 3, inputs: int = 3) -> None:
        super().__init__()
        self.conv_in = conv(inputs, WIDTH)
        self.body = nn.Sequential(*(Stage() for _ in range(stages)))
        self.conv_out = conv(WIDTH, bands)

    @property
    def halo(self) -> int:
        """How many input pixels in each direction an output pixel depends on, all Gram matrices known.

        A pair of blocks reaches 3 (position term 2, feed-forward 1). Around a coarser level of reach r,
        the 4 x 4 convolution down and the 2 x 2 one up make 2 r + 2 of it, and the pairs before and
        after add 3 each: 3, then 14, then 36; embedding and mapping add 2, so a stage reaches 38. That
        is from one row in four alone, and ends on a row from which the stage before reaches only 36, as
        from then on every one does. conv_in and conv_out add 2.
        """
        return 36 * len(self.body) + 4

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H, W)."""
        skip = self.conv_out.out_channels == WIDTH
        return in_sequence(self.conv_in, self.body, self.conv_out, rgb, MULTIPLE, skip)


def build(bands: BandSet, stages: int = 3, structure: str = "optimised") -> nn.Module:
    """MST++ for these bands; ``stages`` U-shaped stages (the paper compares 1, 2, 3 and 4).

    ``structure``: "optimised", or "published" for the order of operations of the published code, which
    gives the same cube in more time and memory.
    """
    require_counts("stages", stages)
    require_choice("structure", structure, "optimised", "published")
    if structure == "published":
        from hsrzoo_baselines.mst_plus_plus_published import PublishedMSTPlusPlus

        return PublishedMSTPlusPlus(len(bands), stages)
    return MSTPlusPlus(len(bands), stages)


SPEC = toolbox_spec(
    name="mst-plus-plus",
    build=build,
    summary="MST++: three stages of attention between spectral channels, 1.62 M parameters",
    use="accuracy in colours",
    paper=(
        "Cai et al., MST++: Multi-stage Spectral-wise Transformer for Efficient Spectral Reconstruction, "
        "CVPRW 2022, arXiv:2204.07908"
    ),
    multiple=MULTIPLE,
    default_tag="cave",
    kind="transformer",
    lr=4e-4,
    notes=(
        "Only conv_out changes with the number of bands; the outer skip of the original needs 31 and "
        "exists at 31 alone."
    ),
    variants={"reference": {"structure": "published"}},
)
