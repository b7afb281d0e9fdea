"""R3ST (BSPC 2024): Retinex, soft segmentation and a spectral transformer in sequence.

Three one-stage MST++ networks. The first (RREM) turns RGB into a reflectance image, the second (U3SM)
into two soft masks of it, the third maps reflectance and masked reflectances to the cube. It was designed
for the oxygen saturation of retinal images; here it is trained like all others.

Written from a description of the MIT-licensed code, with its state_dict names. 1,643,619 parameters at
31 bands; 22.9 G multiply-accumulates at 256 x 256.

Other band counts, as in ``mst_plus_plus.py``: the 31-wide bodies stay and the last convolution of each of
the three networks has C outputs, of which the first two use 3 and 6, and never have fewer. This
reading gives the 1.79 M parameters reported for 202 bands (1,786,746).

Each of the three networks pads its own input to a multiple of 8, as in the original. Loaded by hsrzoo, the
image is padded once before them, which changes values near the right and bottom border of images of
other sizes; so the network can be exported and run in tiles.

``forward`` returns the cube alone; the official one also returns the reflectance, which is
:meth:`R3ST.reflectance` here. The official code has no training script; the authors' own losses (Retinex
consistency, oxygen saturation in vessels) need retinal data, so there is no recipe of theirs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.spec import ModelSpec, Official, RgbInput
from hsrzoo_baselines.mst_plus_plus import MSTPlusPlus
from hsrzoo_baselines.unet import MULTIPLE

MASKS = 2
"""Soft masks of the reflectance, and as many of their complements."""


class R3ST(nn.Module):
    """RGB (B, 3, H, W) float32 -> cube (B, C, H, W) float32, unbounded."""

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.RREM = MSTPlusPlus(max(bands, 3), stages=1)
        self.U3SM = MSTPlusPlus(max(bands, 3 * MASKS), stages=1, inputs=6)
        self.Spectral_wise_Transformer = MSTPlusPlus(bands, stages=1, inputs=9 * MASKS)

    @property
    def halo(self) -> int:
        """How many input pixels in each direction an output pixel depends on, all statistics known: as many
        as the three networks one after the other."""
        return self.RREM.halo + self.U3SM.halo + self.Spectral_wise_Transformer.halo

    def reflectance(self, rgb: Tensor) -> Tensor:
        """The image without its illumination, (B, 3, H, W) -> (B, 3, H, W)."""
        return self.RREM(rgb)[:, :3] + rgb

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H, W)."""
        reflectance = self.reflectance(rgb)
        # nothing bounds the masks: the published code has neither sigmoid nor softmax here
        masks = self.U3SM(torch.cat([reflectance, rgb], dim=1))[:, : 3 * MASKS]
        repeated = reflectance.repeat(1, MASKS, 1, 1)
        parts = torch.cat([repeated, masks * repeated, (1 - masks) * repeated], dim=1)
        return self.Spectral_wise_Transformer(parts)


def build(bands: BandSet) -> R3ST:
    """R3ST for these bands."""
    return R3ST(len(bands))


SPEC = ModelSpec(
    name="r3st",
    build=build,
    summary="R3ST: Retinex reflectance, soft masks and a spectral transformer, 1.64 M parameters",
    use="images without the layout of scenes",
    source=(
        "R3ST, Biomedical Signal Processing and Control 2024, doi:10.1016/j.bspc.2024.106301; "
        "https://github.com/telesc0pe/R3ST at b4f04e3"
    ),
    licence="MIT",
    input=RgbInput(multiple=MULTIPLE, min_size=MULTIPLE),
    official=Official("none", note="the authors publish no training script and no weights for 31 bands"),
    notes=(
        "The image is padded to a multiple of 8 once, where the original pads the input of each of its "
        "three networks: values near the right and bottom border of other sizes differ. No recipe of the "
        "authors': their losses need retinal data, and they publish no training script."
    ),
    default_tag="cave",
    tags=("baseline", "transformer"),
)
