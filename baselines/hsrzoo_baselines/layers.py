"""What several networks of this package share: checks of their arguments, padding, the one PReLU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hsrzoo.errors import FormatError, InputError


def require_counts(
    name: str, value: Any, *, least: int = 0, most: int | None = None, length: int | None = None
) -> None:
    """Raise InputError unless ``value`` is a whole number of ``least`` to ``most``, or with ``length`` a
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


def padded(rgb: Tensor, multiple: int) -> Tensor:
    """(B, K, H, W) with its reflection at the bottom and right, up to the next ``multiple`` of H and W.

    Reflection is possible where less is added than there is: H and W of at least ``multiple`` are safe.
    """
    height, width = rgb.shape[-2:]
    pad = (0, -width % multiple, 0, -height % multiple)
    return F.pad(rgb, pad, mode="reflect") if any(pad) else rgb


def one_value(state: Mapping[str, Tensor], suffix: str, network: str) -> dict[str, Tensor]:
    """``state`` itself, once all tensors of one number whose names end in ``suffix`` are found equal.

    They are one PReLU of ``network``, which the official state_dict has under several names. Raises
    FormatError where they differ.
    """
    values = [x for key, x in state.items() if key.endswith(suffix) and x.shape == (1,)]
    if any(not torch.equal(value, values[0]) for value in values):
        raise FormatError(
            f"The names of {network}'s one PReLU hold different weights",
            expected=f"one value under all its {len(values)} names, which end in {suffix}",
            got="several",
            fix=f"This is no checkpoint of {network} as published",
        )
    return dict(state)
