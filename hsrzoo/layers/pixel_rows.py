"""Maps as rows of pixels and back."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hsrzoo.layers.pointwise import pointwise


def at_least_fp32(x: Tensor) -> Tensor:
    """Half precision to fp32, anything else as it is: codes are compared at full precision."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def to_rows(x: Tensor) -> Tensor:
    """(B, D, H, W) -> (B*H*W, D); free of copies when x is channels-last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def to_map(rows: Tensor, like: Tensor) -> Tensor:
    """(B*H*W, D) -> (B, D, H, W) with the batch and size of ``like``, channels-last."""
    b, _, h, w = like.shape
    return rows.view(b, h, w, -1).permute(0, 3, 1, 2)


def on_pixels(layer: nn.Module, x: Tensor) -> Tensor:
    """A 1x1 convolution ``layer`` of (B, C, H, W) as the matrix product it is, channels-last."""
    weight = layer.get_parameter("weight")
    bias = None if layer.bias is None else layer.get_parameter("bias")
    if torch.compiler.is_exporting():  # as in pointwise
        return F.conv2d(x, weight, bias)
    return to_map(pointwise(to_rows(x), weight.flatten(1), bias), x)
