"""Activation functions that take no memory where nothing needs their input."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hsrzoo.layers.whole_image import can_strip


def gelu(x: Tensor) -> Tensor:
    """GELU, in place where ``x`` is not needed again: a new map costs more than the function."""
    return torch.ops.aten.gelu_(x) if can_strip() else F.gelu(x)
