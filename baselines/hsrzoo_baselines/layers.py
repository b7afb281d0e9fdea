"""What several networks share: convolutions, padding, checks of arguments and of checkpoints."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hsrzoo.errors import FormatError, InputError

NORM_FLOOR = 1e-12
"""Least norm that a vector is divided by, that of F.normalize."""


def conv(inputs: int, outputs: int, size: int = 3, *, bias: bool = False) -> nn.Conv2d:
    """A convolution that keeps H and W: the image is padded with zeros."""
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=bias)


def named(**layers: nn.Module) -> nn.Sequential:
    """Layers in sequence, each under the name that it has in checkpoints."""
    return nn.Sequential(OrderedDict(layers))


def init_layers(module: nn.Module, *kinds: type[nn.Linear | nn.Conv2d]) -> None:
    """First weights of all layers of these kinds: truncated normal, standard deviation 0.02; biases 0."""
    for layer in module.modules():
        if isinstance(layer, kinds):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class Residual(nn.Module):
    """Layers in sequence with a skip around them."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, H, W) -> (B, K, H, W)."""
        return self.body(x) + x


class Gate(nn.Module):
    """SAM: features gated by a first estimate of the image. ``layer``: makes its convolutions."""

    def __init__(self, layer: Callable[[int, int], nn.Conv2d], width: int) -> None:
        super().__init__()
        self.conv1 = layer(width, width)
        self.conv2 = layer(width, width)
        self.conv3 = layer(width, width)

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        """Both (B, K, H, W) -> (B, K, H, W)."""
        return self.conv1(x) * self.conv3(self.conv2(x) + image).sigmoid() + x


class Doubled(nn.Sequential):
    """Twice the resolution and other channels, (B, K, H, W) -> (B, M, 2 H, 2 W)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        double = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        super().__init__(double, conv(inputs, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        # a 1 x 1 convolution and upsampling commute; this order is cheaper
        double, mix = self
        return double(mix(x))


def require_counts(
    name: str, value: Any, *, least: int = 0, most: int | None = None, length: int | None = None
) -> None:
    """Raise InputError unless ``value`` is a whole number from ``least`` to ``most``, or with ``length`` a
    list of so many of them. ``name``: the argument, for the message."""
    listed = isinstance(value, Sequence) and not isinstance(value, str)
    numbers = list(value) if length is not None and listed else [value]
    whole = all(isinstance(number, int) and not isinstance(number, bool) for number in numbers)
    upper = float("inf") if most is None else most
    if len(numbers) == (length or 1) and whole and all(least <= number <= upper for number in numbers):
        return
    kind = "whole number" if length is None else f"list of {length} whole numbers"
    raise InputError(
        f"The argument {name} does not fit the network",
        expected=f"a {kind}, at least {least}" + ("" if most is None else f" and at most {most}"),
        got=repr(value),
    )


def require_choice(name: str, value: str, *choices: str) -> None:
    """Raise InputError unless the argument ``name`` has one of these values."""
    if value not in choices:
        expected = " or ".join(f'"{choice}"' for choice in choices)
        raise InputError(f"The argument {name} is unknown", expected=expected, got=repr(value))


def padded(rgb: Tensor, multiple: int) -> Tensor:
    """(B, K, H, W) padded by reflection at the bottom and right to the next ``multiple`` of H and W.

    Reflection must add fewer pixels than there are: H and W of at least ``multiple`` are safe.
    """
    height, width = rgb.shape[-2:]
    pad = (0, -width % multiple, 0, -height % multiple)
    return F.pad(rgb, pad, mode="reflect") if any(pad) else rgb


def free_size(size: Any) -> Any:
    """``size``; in an exported graph it is a size of its own, at least 1.

    Otherwise the expression of height and width that it is goes into the shapes of all layers after it,
    which torch.export takes many minutes to compare.
    """
    if not torch.compiler.is_exporting():
        return size
    free = torch.scalar_tensor(size, dtype=torch.int64).item()
    torch._check(free >= 1)
    return free


def crop(x: Tensor, height: Any, width: Any) -> Tensor:
    """(B, C, R, S) -> (B, C, H, W); in an exported graph R and S need not be known to be large enough."""
    if not torch.compiler.is_exporting():
        return x[:, :, :height, :width]
    rows, columns = (torch.arange(size, device=x.device) for size in (height, width))
    return x[:, :, rows][:, :, :, columns]


def whole_multiples(rgb: Tensor, multiple: int) -> Tensor:
    """(B, 3, H, W) itself; in an exported graph, in which it is padded already, H and W are ``multiple``
    times sizes of their own, as torch.export does not know that they are divisible."""
    if not torch.compiler.is_exporting():
        return rgb
    return crop(rgb, *(multiple * free_size(size // multiple) for size in rgb.shape[-2:]))


def one_value(state: Mapping[str, Tensor], suffix: str, network: str) -> dict[str, Tensor]:
    """``state`` itself, if its tensors of one number whose names end in ``suffix`` are equal.

    They are one PReLU of ``network``, which the official state_dict has under several names. Raises
    FormatError if they differ.
    """
    values = [x for key, x in state.items() if key.endswith(suffix) and x.shape == (1,)]
    if any(not torch.equal(value, values[0]) for value in values):
        raise FormatError(
            f"The names of {network}'s one PReLU hold different weights",
            expected=f"one value under all its {len(values)} names, which end in {suffix}",
            got="several",
            fix=f"This is not a checkpoint of {network} as published",
        )
    return dict(state)
