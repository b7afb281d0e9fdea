"""Networks built from arguments that a user or a file gives: from those of a file never much larger than
the weights beside them.

The arguments of a config.json decide how large a network is, before its weights are compared with those in
the file. So they are tried on torch's device ``meta`` first, which has no memory, and a network that grows
beyond its file is given up while it is being built.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hsrzoo.bands import BandSet
from hsrzoo.errors import HsrzooError, InputError, WeightsError
from hsrzoo.models.tensors import require_safetensors
from hsrzoo.spec import ModelSpec, build_module

if TYPE_CHECKING:
    from torch import nn

Module = TypeVar("Module", bound="nn.Module")
_SLACK = 4
"""A network may register so many times what its file holds: some build parts that they then replace."""
_LARGEST = 1 << 40
"""Of numbers among the arguments: torch takes no larger sizes, and Python overflows somewhere beyond."""


def build_as_asked(spec: ModelSpec, bands: BandSet, arguments: Mapping[str, Any]) -> nn.Module:
    """The network with arguments that a user typed; InputError names what the constructor refuses."""
    try:
        return build_module(spec, bands, arguments)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:  # unknown, or an impossible value
        raise InputError(
            f"{spec.name} cannot be built with these arguments", got=str(error), fix="Check --arg"
        ) from error


@dataclass(frozen=True)
class Size:
    """How much a file of weights holds."""

    tensors: int
    elements: int
    """At most: the bytes of the file, of which every element takes one or more."""
    numbers: int = 0
    """Elements of all tensors, as the header states their shapes."""

    def __add__(self, other: Size) -> Size:
        return Size(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))

    @classmethod
    def of(cls, path: Path) -> Size:
        """Of a safetensors file, from its header. Raises WeightsError where it has none."""
        require_safetensors(path)
        with path.open("rb") as file:
            header = file.read(int.from_bytes(file.read(8), "little"))
        try:
            found = json.loads(header)
            shapes = [entry["shape"] for key, entry in found.items() if key != "__metadata__"]
            numbers = sum(map(math.prod, shapes))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise WeightsError(
                f"{path} is not a complete safetensors file", got=str(error), fix="Fetch or write it again"
            ) from None
        return cls(len(shapes), path.stat().st_size, numbers)


def build_for(
    spec: ModelSpec, bands: BandSet, arguments: Mapping[str, Any], size: Size, where: str
) -> nn.Module:
    """The network ``spec`` for weights of ``size``, from the ``arguments`` in the file ``where``. Raises
    WeightsError as :func:`build_within` does."""
    build = partial(build_module, spec, bands, arguments, fresh=False)
    return build_within(build, size, spec.name, where, arguments)


def build_within(
    build: Callable[[], Module], size: Size, name: str, where: str, arguments: Any = ()
) -> Module:
    """What ``build`` makes for weights of ``size``. WeightsError, naming the network and the file
    ``where``, if it makes none, or one that is much larger, or one of the ``arguments`` is absurd."""
    try:
        _require_bounded(arguments)
        with _limit(size), without_values():
            build()
    except _TooLargeError as error:
        raise WeightsError(
            f"{name} would be much larger than its weights with the arguments in {where}",
            expected=f"about {size.tensors} tensors in {size.elements} bytes",
            got=str(error),
        ) from None
    except Exception:  # not every constructor can run without memory; the next lines tell errors
        pass
    try:
        with _limit(size):
            return build()
    except HsrzooError:
        raise
    except Exception as error:  # a constructor raises anything for arguments that it does not expect
        raise WeightsError(
            f"{name} cannot be built from the arguments in {where}", got=str(error) or repr(error)
        ) from error


@contextmanager
def without_values() -> Iterator[None]:
    """Networks built inside have shapes but no values: they are on torch's device ``meta``.

    Initialisation does nothing. On that device torch would import its compiler to draw from a normal
    distribution, which takes more than a second.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    class Undrawn(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if func is torch.Tensor.normal_ or getattr(func, "__module__", "") == "torch.nn.init":
                return kwargs.get("tensor", *args[:1])
            return (torch.empty if func is torch.randn else func)(*args, **kwargs)

    with torch.device("meta"), Undrawn():
        yield


class _TooLargeError(Exception):
    """A network is larger than its file."""


def _require_bounded(value: Any) -> None:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            _require_bounded(item)
    elif isinstance(value, int | float) and abs(value) > _LARGEST:
        raise _TooLargeError(f"an argument of {value:.3g}")


@contextmanager
def _limit(size: Size) -> Iterator[None]:
    """Modules that are built inside, in this thread, may hold little more than ``size``."""
    from torch.nn.modules import module

    thread, tensors, elements = threading.get_ident(), 0, 0
    most_tensors, most_elements = _SLACK * size.tensors + 1000, _SLACK * size.elements + (1 << 20)

    def count(_: nn.Module, name: str, tensor: Any) -> None:
        nonlocal tensors, elements
        if tensor is None or threading.get_ident() != thread:
            return
        tensors, elements = tensors + 1, elements + tensor.numel()
        if tensors > most_tensors or elements > most_elements:
            raise _TooLargeError(f"{tensors} tensors with {elements} elements, and more to come")

    handles = [
        module.register_module_parameter_registration_hook(count),
        module.register_module_buffer_registration_hook(count),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
