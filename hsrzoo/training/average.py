"""Exponential moving average of a network's parameters."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn


class MovingAverage:
    """A copy of a module whose parameters follow those of the module; its buffers (codebooks, counters) are
    copied bit for bit.

    Attributes:
        module: The copy, in eval mode.
    """

    def __init__(self, module: nn.Module, decay: float, warmup: bool) -> None:
        self.module = deepcopy(module).eval()
        self.decay, self.warmup = decay, warmup

    @torch.no_grad()
    def set(self, module: nn.Module) -> None:
        """Start from ``module`` as it is."""
        for own, other in zip(self.module.state_dict().values(), module.state_dict().values(), strict=True):
            own.copy_(other)

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Decay by ``decay``; with ``warmup`` by min(``decay``, (1 + k) / (10 + k)) at step k."""
        warm = 1 - (1 + (step + 1) / 9.0) ** -1.0
        decay = min(self.decay, warm) if self.warmup else self.decay
        own: list[torch.Tensor] = list(self.module.parameters())
        other: list[torch.Tensor] = list(module.parameters())
        torch._foreach_lerp_(own, other, weight=1.0 - decay)
        for ours, theirs in zip(self.module.buffers(), module.buffers(), strict=True):
            ours.copy_(theirs)
