"""A model under test: how the contract (:mod:`hsrzoo.contract`) builds it, feeds it and compares it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.datasets.synthetic import Synthetic
from hsrzoo.errors import HsrzooError
from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo.models.weights import make_config
from hsrzoo.spec import ModelSpec, build_module, resolve


class ContractError(HsrzooError):
    """A model that breaks the contract."""

    exit_code = 1


@dataclass(frozen=True)
class Subject:
    """A model under test."""

    spec: ModelSpec

    def build(self, bands: BandSet, seed: int = 0) -> nn.Module:
        """The module in eval mode, with the same random (or fitted) weights at every call with a seed."""
        with fixed_seed(seed):
            module = build_module(self.spec, bands, {})
            what, kind = "build returns something else than a network", type(module).__name__
            require(isinstance(module, nn.Module), what, "a torch.nn.Module", kind)
            if self.spec.fit is not None and not any(p.requires_grad for p in module.parameters()):
                self.fit(module, bands)  # a closed form is 0 before it
        return module.eval()

    def fit(self, module: nn.Module, bands: BandSet) -> nn.Module:
        """``module``, fitted to synthetic scenes by the spec's own ``fit``."""
        resolve(self.spec.fit)(module, Synthetic(bands), "train")  # type: ignore[arg-type]
        return module

    @cached_property
    def module(self) -> nn.Module:
        """The module at 31 bands, shared by the checks, which leave it as it is."""
        return self.build(VISIBLE_31)

    def reconstructor(self, module: nn.Module | None = None) -> Reconstructor:
        """The shared module, or ``module``, as ``hsrzoo.load`` hands it to users."""
        config = make_config(self.spec, VISIBLE_31, arguments={}, training={"weights": "random"})
        name = self.spec.name
        network = module or self.module
        return Reconstructor(network, self.spec, VISIBLE_31, name=name, config=config, device="cpu")

    def rgb(self, batch: int, size: tuple[int, int] = (32, 48)) -> Tensor:
        """A random batch in [0, 1], of ``size`` or what the spec needs above that."""
        height, width = (self.spec.input.padded(side) for side in size)
        return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(7))

    def forward(self, rgb: Tensor, module: nn.Module | None = None) -> Tensor:
        """The cube (B, C, H, W) that the shared module, or ``module``, makes of a batch."""
        with torch.inference_mode():
            cube = (module or self.module)(rgb)
        is_tensor = isinstance(cube, Tensor)
        what = f"The forward pass of {self.spec.name} gives no cube"
        got = f"a tensor of shape {tuple(cube.shape)}" if is_tensor else type(cube).__name__
        require(is_tensor and cube.ndim == 4, what, "a tensor (B, C, H, W)", got)
        return cube


@contextmanager
def fixed_seed(seed: int = 0) -> Iterator[None]:
    """Torch's random state at ``seed`` inside, as it was before outside."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def require(holds: bool, summary: str, expected: object, got: object, fix: str | None = None) -> None:
    """Raise ContractError unless ``holds``."""
    if not holds:
        raise ContractError(summary, expected=expected, got=got, fix=fix)


def require_equal(summary: str, expected: object, got: object) -> None:
    """Raise ContractError unless both are equal."""
    require(expected == got, summary, expected, got)


def require_finite(values: Tensor, what: str) -> None:
    """Raise ContractError for NaN and infinities."""
    wrong = int((~values.isfinite()).sum())
    require(wrong == 0, f"{what} is not finite", "no NaN, no infinity", f"{wrong} of them")


def require_close(a: Tensor, b: Tensor, summary: str, allowed: float, fix: str | None = None) -> float:
    """The relative difference of two cubes; ContractError where it is larger than allowed."""
    gap = relative_gap(a, b)
    expected = f"a relative difference of at most {allowed:g}" if allowed else "the same bits"
    require(gap <= allowed, summary, expected, f"a relative difference of {gap:.2g}", fix)
    return gap


def require_unchanged(before: dict[str, Tensor], module: nn.Module, summary: str) -> None:
    """Raise ContractError naming the first weight or buffer that is no longer what it was."""
    changed = (k for k, v in module.state_dict().items() if not torch.equal(before[k], v))
    first = next(changed, None)
    require(first is None, summary, "the weights as they were", first)


def state(module: nn.Module) -> dict[str, Tensor]:
    """A copy of all weights and buffers."""
    return {key: value.clone() for key, value in module.state_dict().items()}


def attributes(module: nn.Module) -> dict[str, Any]:
    """What a network holds apart from weights, buffers and layers, by name: numbers, texts and arrays,
    alone or in containers, in a form that can be compared."""
    own = vars(nn.Module())
    return {
        f"{path}.{name}".lstrip("."): _frozen(value)
        for path, part in module.named_modules()
        for name, value in vars(part).items()
        if name not in own
    }


def _frozen(value: Any) -> Any:
    if isinstance(value, Tensor):
        value = value.detach().cpu().float().numpy()
    if isinstance(value, np.ndarray):
        return value.shape, value.tobytes()
    if isinstance(value, dict):
        return tuple((repr(key), _frozen(item)) for key, item in value.items())
    if isinstance(value, list | tuple | set | frozenset | deque):
        return tuple(_frozen(item) for item in value)
    plain = value is None or isinstance(value, bool | int | float | complex | str | bytes)
    return repr(value) if plain else type(value).__name__


def relative_gap(a: Tensor, b: Tensor) -> float:
    """Norm of the difference over the norm of ``a``, 0 for equal tensors."""
    difference = (a.double() - b.double()).norm().item()
    return difference / max(a.double().norm().item(), 1e-12) if difference else 0.0
