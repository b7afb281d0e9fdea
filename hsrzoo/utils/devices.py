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
    except (RuntimeError, AssertionError):  # torch asserts when built without CUDA
        device = None
    if device is None or device.type == "meta":  # which holds no values
        raise InputError(f"There is no device {name!r} here", expected=" or ".join(device_names()))
    return device


def device_names() -> list[str]:
    """Names of the devices of this machine: ``cpu``, and those of its accelerator such as ``cuda:0``."""
    if not torch.accelerator.is_available():
        return ["cpu"]
    kind = torch.accelerator.current_accelerator()
    return ["cpu", *(f"{kind}:{index}" for index in range(torch.accelerator.device_count()))]
