"""Size and cost of a network: numbers of parameters and multiply-accumulates."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def parameters(module: nn.Module) -> tuple[int, int]:
    """(trainable, fixed): elements with a gradient, and frozen parameters plus buffers (codebooks)."""
    trainable = sum(p.numel() for p in module.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in module.parameters() if not p.requires_grad)
    return trainable, frozen + sum(b.numel() for b in module.buffers())


def macs(module: nn.Module, height: int, width: int) -> int:
    """Multiply-accumulates of one forward pass on (1, 3, height, width).

    Half of what torch's counter calls floating-point operations: matrix products and convolutions
    on the module's device; and what the module declares (see :func:`unseen_macs`).
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    device = next((p.device for p in [*module.parameters(), *module.buffers()]), torch.device("cpu"))
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        module(torch.full((1, 3, height, width), 0.5, device=device))
    return int(counter.get_total_flops()) // 2 + unseen_macs(module, height, width)


def unseen_macs(module: nn.Module, height: int, width: int) -> int:
    """What a module does outside torch, where no counter sees it (a nearest-code search), as its own
    method ``unseen_macs(height, width)`` declares; 0 without one."""
    declared = getattr(module, "unseen_macs", None)
    return int(declared(height, width)) if declared else 0
