"""The network itself as a step: how its module runs on a device, and what a run of it takes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from hsrzoo.errors import InputError
from hsrzoo.models.complexity import KeptUse, MemoryUse, kept_use, memory_use
from hsrzoo.models.metadata import network_identity
from hsrzoo.models.steps.base import LoadedModel, Needs, Step
from hsrzoo.models.tiling.passes import count_statistics

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
COMPILE_SAMPLE = 128
"""Side in pixels of the part of the first image that a compiled network is compared on."""
COMPILE_TOLERANCE = 1e-3
"""Relative norm of the difference that compiling may make: rounding, and the few nearest codes that it
may change where two are equally near."""


class Network(Step):
    """``module`` on ``device``, run as ``model.execution`` says."""

    name = "network"

    def __init__(self, module: nn.Module, device: torch.device, model: LoadedModel) -> None:
        self.module, self.device, self.model = module.to(device).eval(), device, model
        self._fast: Callable[[Tensor], Tensor] | None = None

    @property
    def needs(self) -> Needs:
        return Needs(halo=declared_halo(self.module))

    def identity(self) -> Mapping[str, Any]:
        model = self.model
        return network_identity(model.spec.name, model.config["arguments"], model.bands, model.execution)

    def run(self, padded: Tensor, compiled: bool = True) -> Tensor:
        """The cube (B, C, H, W) of a normalised and padded batch on the device."""
        how = self.model.execution
        half = _HALF.get(how.precision)
        with torch.no_grad(), torch.autocast(self.device.type, half, enabled=half is not None):
            network = self._compiled(padded) if how.compile and compiled else self.module
            return network(padded)

    def _compiled(self, padded: Tensor) -> Callable[[Tensor], Tensor]:
        """The compiled network; the uncompiled one, with a warning, where the two disagree."""
        if self._fast is None:
            fast = torch.compile(self.module, dynamic=True)
            need = self.model.spec.input
            side = max(COMPILE_SAMPLE, need.min_size)
            side -= side % need.multiple
            sample = padded[:1, :, :side, :side]
            expected, got = self.module(sample).float(), fast(sample).float()
            difference = float((got - expected).norm() / expected.norm().clamp_min(1e-12))
            self._fast = fast if difference <= COMPILE_TOLERANCE else self.module
            if self._fast is self.module:
                warnings.warn(
                    f"The compiled {self.model.name} differs from the uncompiled one by {difference:.1e} "
                    f"of its norm (allowed: {COMPILE_TOLERANCE:g}), so the uncompiled one runs.",
                    stacklevel=3,
                )
        return self._fast

    @cached_property
    def statistics(self) -> int:
        """How many statistics of the whole image the network asks for, one after the other."""
        side = self.model.spec.input.padded(32)
        return count_statistics(partial(self.run, compiled=False), side, self.device)

    @cached_property
    def memory_use(self) -> MemoryUse:
        """Of the network's tensors at their peak, measured on small images."""
        return memory_use(partial(self.run, compiled=False), self.model.spec.input, str(self.device))

    @cached_property
    def kept_use(self) -> KeptUse:
        """Of a tile between passes, measured on a small image."""
        return kept_use(partial(self.run, compiled=False), self.model.spec.input, str(self.device))


def declared_halo(module: nn.Module) -> int | None:
    """The reach that a network declares, in input pixels; None if it declares none."""
    halo = getattr(module, "halo", None)
    if halo is None:
        return None
    if isinstance(halo, bool) or not isinstance(halo, int) or halo < 0:
        raise InputError(
            f"{type(module).__name__} declares an impossible halo", expected="an int >= 0", got=repr(halo)
        )
    return halo
