"""Torch devices by name."""

from __future__ import annotations

from typing import Any

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


def has_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16; without them it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    # not in every supported version of torch
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(known.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
