"""Activation functions, as fast as torch computes them on a CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hsrzoo.layers.whole_image import can_strip


def gelu(x: Tensor) -> Tensor:
    """GELU, in place where ``x`` is not needed again: a new map costs more than the function.

    Torch's fast GELU takes contiguous tensors: a channels-last map (B, C, H, W) is given as (B, H, W, C).
    """
    if not can_strip():
        return F.gelu(x)
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return torch.ops.aten.gelu_(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return torch.ops.aten.gelu_(x)
