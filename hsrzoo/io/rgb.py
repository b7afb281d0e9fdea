"""What RGB images must be, on numpy arrays and torch tensors alike: range, shape, padded size.

Torch is not imported: images are validated by the same rules where it is not installed
(:mod:`hsrzoo.models.onnx_runtime`). Operations on tensors alone are in :mod:`hsrzoo.models.rgb`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from hsrzoo.errors import InputError
from hsrzoo.io.values import FULL_SCALE
from hsrzoo.spec import RgbInput

if TYPE_CHECKING:
    from torch import Tensor

Values = TypeVar("Values", np.ndarray, "Tensor")

_ROUNDING = 1e-6
"""How far a float may leave its range, relative to the range, before it is an error (it is clipped)."""
_NUMBERS = "uint8, uint16 or float"
_DECLARE = "Declare the range: value_range=(low, high), or --value-range LOW HIGH in a command"


def check_numpy(rgb: object) -> np.ndarray:
    """``rgb`` itself, if it is an array (H, W, 3) of numbers, or InputError."""
    if not isinstance(rgb, np.ndarray):
        raise InputError(
            "An image must be an array",
            expected="numpy (H, W, 3) or torch (B, 3, H, W)",
            got=type(rgb).__name__,
            fix="Read files with hsrzoo.io.read_image, or convert with numpy.asarray",
        )
    check_shape(rgb.shape, rgb.dtype.name, channels_axis=2, form="numpy (H, W, 3)")
    if rgb.dtype.kind not in "uif":
        raise not_numbers(rgb.dtype.name)
    return rgb


def not_numbers(dtype: str) -> InputError:
    """The error for pixels that are booleans, complex or objects."""
    return InputError("Pixels must be numbers", expected=_NUMBERS, got=dtype)


def check_shape(shape: tuple[int, ...], dtype: str, channels_axis: int, form: str) -> None:
    """InputError unless ``shape`` is that of RGB images; the error suggests what the image may be."""
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
        fix = f"The channels are on another axis: use {move}"
    else:
        fix = "Give one RGB image, or a torch batch of them"
    raise InputError("The image has the wrong shape", expected=form, got=f"{shape} {dtype}", fix=fix)


def to_unit(values: Values, dtype: str, value_range: tuple[float, float] | None) -> Values:
    """Floating-point values mapped to [0, 1] by the full scale of ``dtype``, which they had before, or
    by the declared range."""
    smallest, largest = float(values.min()), float(values.max())
    if not (math.isfinite(smallest) and math.isfinite(largest)):
        bad = math.prod(values.shape) - int((abs(values) < math.inf).sum())
        got = f"{bad} NaN or infinite of {math.prod(values.shape)}"
        raise InputError("The image holds values that are not finite", got=got)
    got = f"{dtype} in [{smallest:g}, {largest:g}]"
    low, high = _range(dtype, value_range, got)
    span = high - low
    if (smallest - low) / span < -_ROUNDING or (largest - low) / span > 1 + _ROUNDING:
        raise InputError(
            "The image leaves its range",
            expected=f"values in [{low:g}, {high:g}]",
            got=got,
            fix=f"{_DECLARE}, or clip",
        )
    if (low, span) != (0, 1):
        values = (values - low) / span
    return values.clip(0, 1)


def _range(dtype: str, declared: tuple[float, float] | None, got: str) -> tuple[float, float]:
    """What becomes 0 and what becomes 1."""
    if declared is not None:
        try:
            low, high = (float(v) for v in declared)
        except (TypeError, ValueError, OverflowError):  # one number, three, none, or 10**999
            low = high = 0.0
        if not (low < high and math.isfinite(high - low)):
            raise InputError("value_range is not a range", expected="(low, high), low < high", got=declared)
        return low, high
    if "float" not in dtype and dtype not in FULL_SCALE:
        problem = f"{dtype} images have no natural full scale"
        raise InputError(problem, expected=f"{_NUMBERS} in [0, 1]", got=got, fix=_DECLARE)
    return 0.0, float(FULL_SCALE.get(dtype, 1))


def padded_side(size: int, need: RgbInput) -> tuple[int, bool]:
    """What ``size`` rows (or columns) become, and whether by reflection or by repeating the last one,
    as where the image is too small to reflect."""
    target = need.padded(size)
    return target, target - size < size and size >= need.min_size
