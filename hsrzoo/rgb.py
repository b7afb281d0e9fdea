"""RGB images at the door of a network: shape and range checked, normalised, padded."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hsrzoo.errors import InputError
from hsrzoo.spec import RgbInput

Array = np.ndarray | Tensor

_FULL_SCALE = {"uint8": 255.0, "uint16": 65535.0}
_ROUNDING = 1e-6
"""How far a float may leave its range, relative to the range, before it is an error (it is clipped)."""


def check_rgb(rgb: Array, value_range: tuple[float, float] | None = None) -> Tensor:
    """A float32 (B, 3, H, W) tensor in [0, 1] from what a user gave, or InputError."""
    if isinstance(rgb, np.ndarray):
        check_shape(tuple(rgb.shape), rgb.dtype.name, channels_axis=2, form="numpy (H, W, 3)")
        if rgb.dtype.kind not in "uif":
            raise InputError("Pixels must be numbers", expected="uint8, uint16 or float", got=rgb.dtype)
        dtype = rgb.dtype.name
        # float64: uint16 has no torch arithmetic, and / 65535 is rounded once only
        values = torch.from_numpy(np.ascontiguousarray(rgb, dtype=np.float64)).permute(2, 0, 1)[None]
    elif isinstance(rgb, Tensor):
        dtype = str(rgb.dtype).removeprefix("torch.")
        check_shape(tuple(rgb.shape), dtype, channels_axis=1, form="torch (B, 3, H, W)")
        if rgb.dtype == torch.bool or rgb.is_complex():
            raise InputError("Pixels must be numbers", expected="uint8, uint16 or float", got=dtype)
        values = rgb.detach().cpu().to(torch.float64)
    else:
        raise InputError(
            "An image must be an array",
            expected="numpy (H, W, 3) or torch (B, 3, H, W)",
            got=type(rgb).__name__,
            fix="Read files with hsrzoo.io.read_image, or convert with numpy.asarray",
        )
    return to_unit(values, dtype, value_range).to(torch.float32).contiguous()


def check_shape(shape: tuple[int, ...], dtype: str, channels_axis: int, form: str) -> None:
    """InputError unless ``shape`` is that of RGB images; says what it looks like instead."""
    rank = 3 if channels_axis == 2 else 4
    if len(shape) == rank and shape[channels_axis] == 3 and 0 not in shape:
        return
    other_axis = 0 if channels_axis == 2 else 3
    channels = shape[channels_axis] if len(shape) == rank else None
    if 0 in shape:
        fix = "The image is empty"
    elif channels == 4:
        fix = "This looks like RGBA: drop the fourth channel if it is alpha"
    elif len(shape) == rank - 1 and shape[0 if channels_axis == 1 else -1] == 3:
        fix = "Add the batch dimension: rgb[None]" if channels_axis == 1 else "Give the image as (H, W, 3)"
    elif channels == 1 or len(shape) == 2:
        fix = "This looks like a grey image: these models need three colour channels"
    elif len(shape) == rank and shape[other_axis] == 3:
        move = "rgb.transpose(1, 2, 0)" if channels_axis == 2 else "rgb.permute(0, 3, 1, 2)"
        fix = f"The channels stand elsewhere: use {move}"
    else:
        fix = "Give one RGB image, or a torch batch of them"
    raise InputError("The image has the wrong shape", expected=form, got=f"{shape} {dtype}", fix=fix)


def to_unit(values: Tensor, dtype: str, value_range: tuple[float, float] | None) -> Tensor:
    """Floating-point values mapped to [0, 1] by the dtype's full scale or the declared range."""
    if not bool(torch.isfinite(values).all()):
        bad = int((~torch.isfinite(values)).sum())
        raise InputError(
            "The image holds values that are not finite", got=f"{bad} NaN or infinite of {values.numel()}"
        )
    low, high = 0.0, _FULL_SCALE.get(dtype, 1.0)
    if value_range is not None:
        try:
            low, high = (float(v) for v in value_range)
        except (TypeError, ValueError):  # one number, three, or none
            low = high = 0.0
        if not (np.isfinite(low) and np.isfinite(high) and low < high):
            raise InputError(
                "value_range is not a range", expected="(low, high), low < high", got=value_range
            )
    elif "float" not in dtype and dtype not in _FULL_SCALE:
        raise InputError(
            f"{dtype} images have no natural full scale",
            expected="uint8, uint16 or float in [0, 1]",
            got=f"{dtype} in [{float(values.min()):g}, {float(values.max()):g}]",
            fix="Declare it: value_range=(low, high)",
        )
    unit = (values - low) / (high - low)
    smallest, largest = float(unit.min()), float(unit.max())
    if smallest < -_ROUNDING or largest > 1 + _ROUNDING:
        raise InputError(
            "The image leaves its range",
            expected=f"values in [{low:g}, {high:g}]",
            got=f"{tuple(values.shape)} {dtype} in [{float(values.min()):g}, {float(values.max()):g}]",
            fix="Declare the range with value_range=(low, high), or clip",
        )
    return unit.clamp(0, 1)


def normalise(batch: Tensor, how: str) -> Tensor:
    """The network's own input normalisation of (B, 3, H, W) in [0, 1]."""
    if how == "none":
        return batch
    return stretch(batch, batch.amin(dim=(1, 2, 3), keepdim=True), batch.amax(dim=(1, 2, 3), keepdim=True))


def stretch(batch: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """(x - low) / (high - low), for ``minmax-image``; an image of one value becomes zeros, not NaN."""
    span = high - low
    return (batch - low) / torch.where(span > 0, span, torch.ones_like(span))


def padded_side(size: int, need: RgbInput) -> tuple[int, bool]:
    """What ``size`` rows (or columns) become, and whether by reflection or by repeating the last one,
    as where the image is too small to reflect."""
    target = -(-max(size, need.min_size) // need.multiple) * need.multiple
    return target, target - size < size and size >= need.min_size


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
