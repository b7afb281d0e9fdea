"""MCGA's network with few weights, and an image for it."""

from __future__ import annotations

import torch

from hsrzoo.bands import BandSet
from hsrzoo_mcga.stage2.build import build
from hsrzoo_mcga.stage2.network import GANet

TINY = {"widths": (8, 12), "blocks": (1, 1), "stem": 6, "latent": 8, "n_codes": 32, "k": 16, "head": 10}
BANDS = BandSet.regular(400, 700, 50)


def tiny(**changes: object) -> GANet:
    """In eval mode, with weights of a seed; ``changes``: of :data:`TINY`."""
    torch.manual_seed(0)
    return build(BANDS, **{**TINY, **changes}).eval()


def rgb_image(batch: int = 1) -> torch.Tensor:
    """(batch, 3, 16, 24) in [0, 1]."""
    return torch.rand(batch, 3, 16, 24, generator=torch.Generator().manual_seed(3))
