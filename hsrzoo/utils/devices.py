"""Torch devices by name."""

from __future__ import annotations

import torch

from hsrzoo.errors import InputError


def torch_device(name: str | None) -> torch.device:
    """The device called ``name``; None: the GPU if there is one, else the CPU."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts when built without CUDA
        raise InputError(
            f"The device {name!r} cannot be used", got=str(error).splitlines()[0], fix="Try cpu"
        ) from None
    return device
