"""RGB images as networks take them: shape and range validated, normalised, padded."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hsrzoo.io.rgb import check_numpy, check_shape, not_numbers, padded_side, to_unit
from hsrzoo.spec import RgbInput

Array = np.ndarray | Tensor


def check_rgb(rgb: Array, value_range: tuple[float, float] | None = None) -> Tensor:
    """A float32 (B, 3, H, W) tensor in [0, 1] from what a user gave, or InputError."""
    if isinstance(rgb, Tensor):
        dtype = str(rgb.dtype).removeprefix("torch.")
        check_shape(tuple(rgb.shape), dtype, channels_axis=1, form="torch (B, 3, H, W)")
        if rgb.dtype == torch.bool or rgb.is_complex():
            raise not_numbers(dtype)
        values = rgb.detach().cpu().to(torch.float64)
    else:
        rgb = check_numpy(rgb)
        dtype = rgb.dtype.name
        # float64: uint16 has no torch arithmetic, and / 65535 is rounded once only. float32 in [0, 1] needs
        # neither; a read-only array is copied by the conversion, as torch warns of it.
        as_is = rgb.dtype == np.float32 and value_range is None and rgb.flags.writeable
        pixels = np.ascontiguousarray(rgb, dtype=np.float32 if as_is else np.float64)
        values = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    return to_unit(values, dtype, value_range).to(torch.float32).contiguous()


def normalise(batch: Tensor, how: str) -> Tensor:
    """The network's own input normalisation of (B, 3, H, W) in [0, 1]."""
    if how == "none":
        return batch
    return stretch(batch, batch.amin(dim=(1, 2, 3), keepdim=True), batch.amax(dim=(1, 2, 3), keepdim=True))


def stretch(batch: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """(x - low) / (high - low), for ``minmax-image``; an image of one value becomes zeros, not NaN."""
    span = high - low
    return (batch - low) / torch.where(span > 0, span, torch.ones_like(span))


def pad(batch: Tensor, need: RgbInput) -> Tensor:
    """Pad H and W at the bottom and right to the network's multiple and smallest size."""
    for axis in (-2, -1):
        size = batch.shape[axis]
        target, reflects = padded_side(size, need)
        if target > size:
            extra = target - size
            amount = (0, 0, 0, extra) if axis == -2 else (0, extra, 0, 0)
            batch = F.pad(batch, amount, mode="reflect" if reflects else "replicate")
    return batch


__all__ = ["Array", "check_rgb", "check_shape", "normalise", "pad", "padded_side", "stretch", "to_unit"]
