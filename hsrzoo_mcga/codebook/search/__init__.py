"""Nearest-code search: for each feature the index of its closest code, exactly, by one of three engines.

``torch`` runs everywhere, ``faiss`` is the CPU's fused search, ``triton`` is CUDA's. All give the index
of a float64 brute force, except where two distances differ by less than rounding (``exactness.py``
has the bound), and all give ties to the lowest index. The engine follows from device, type and size;
``HSRZOO_SEARCH=torch|faiss|triton`` or ``with search_engine(name):`` forces one.
"""

from __future__ import annotations

import functools
import importlib
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from hsrzoo.errors import InputError, PluginError, unknown_name
from hsrzoo_mcga.codebook.search import blocked
from hsrzoo_mcga.codebook.search.op import nearest_code_op

__all__ = [
    "ENGINES",
    "answered_by",
    "check_engine",
    "engine_for",
    "nearest_code",
    "runnable_engines",
    "search_engine",
    "squared_distances",
]

ENGINES = {"torch": "blocked", "faiss": "cpu_faiss", "triton": "gpu_triton"}
"""Name of an engine -> the module of this package whose ``search`` runs it."""
_SETTING = "HSRZOO_SEARCH"
_WIDEST = {"faiss": 32, "triton": 64}
"""Widest codes of a fused kernel that pays; beyond, torch's matrix product is as fast."""
_FUSED = {"cpu": "faiss", "cuda": "triton"}
"""Device -> its fused engine, for fp32."""

_forced: str | None = None
_stand_in: Callable[[Tensor, Tensor], Tensor] | None = None
_is_exporting = getattr(torch.compiler, "is_exporting", torch.onnx.is_in_onnx_export)  # torch >= 2.7


def squared_distances(features: Tensor, codes: Tensor) -> Tensor:
    """Squared L2 distances (M, N) between ``features`` (M, D) and ``codes`` (N, D); differentiable."""
    cross = features @ codes.t()
    return ((features * features).sum(1, keepdim=True) - 2 * cross + (codes * codes).sum(1)).clamp_min(0)


def nearest_code(features: Tensor, codes: Tensor) -> Tensor:
    """Indices (M,) int64 of the nearest of ``codes`` (N, D) for each of ``features`` (M, D).

    Ties go to the lowest index. Half precision is compared as fp32, everything else as it is. A
    feature whose squared norm is not finite gets index 0. Indices carry no gradient. Under
    ``torch.compile`` this is one custom op; ``torch.export``, ONNX and tracing get the blocked torch
    engine, written out with a fixed number of steps.
    """
    features, codes = features.detach(), codes.detach()
    if _is_exporting() or torch.jit.is_tracing():
        return blocked.search_traced(*_comparable(features, codes))
    if torch.compiler.is_compiling():
        if _forced == "torch":
            return blocked.search_traced(*_comparable(features, codes))
        return nearest_code_op(features, codes)
    return look_up(features, codes)


def look_up(features: Tensor, codes: Tensor) -> Tensor:
    """What a running network gets: :func:`search_now`, or who stands in for it."""
    return (_stand_in or search_now)(features, codes)


@torch.no_grad()
def search_now(features: Tensor, codes: Tensor) -> Tensor:
    """:func:`nearest_code` outside of any graph: checks, chooses an engine and runs it."""
    if features.ndim != 2 or codes.ndim != 2 or features.shape[1] != codes.shape[1] or len(codes) == 0:
        raise InputError(
            "Features and codes do not fit together",
            expected="features (M, D) and codes (N, D), N >= 1",
            got=f"{tuple(features.shape)} and {tuple(codes.shape)}",
        )
    features, codes = _comparable(features, codes)
    name = engine_for(features, codes)
    if len(features) == 0 or len(codes) == 1:
        return features.new_zeros(len(features), dtype=torch.int64)
    return importlib.import_module(f"{__name__}.{ENGINES[name]}").search(features, codes)


def _comparable(features: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Both in one floating type, at least fp32."""
    # plain Python: torch.promote_types and needless casts would stay in an exported graph
    dtype = torch.float64 if torch.float64 in (features.dtype, codes.dtype) else torch.float32
    if features.dtype != dtype:
        features = features.to(dtype)
    if codes.dtype != dtype:
        codes = codes.to(dtype)
    return features, codes


@contextmanager
def search_engine(name: str | None) -> Iterator[None]:
    """Force an engine within the block, for the whole process; None chooses automatically again."""
    global _forced
    if name is not None:
        _known(name)
    before, _forced = _forced, name
    try:
        yield
    finally:
        _forced = before


@contextmanager
def answered_by(stand_in: Callable[[Tensor, Tensor], Tensor]) -> Iterator[None]:
    """Within the block ``stand_in(features, codes)`` answers every look-up of the process, compiled
    networks' too; it may ask :func:`search_now`, which is not replaced."""
    global _stand_in
    before, _stand_in = _stand_in, stand_in
    try:
        yield
    finally:
        _stand_in = before


def engine_for(features: Tensor, codes: Tensor) -> str:
    """The name of the engine that these tensors get; a forced one that cannot run is an error."""
    forced = _forced or os.environ.get(_SETTING)
    if forced:
        check_engine(forced, features)
        return forced
    fused = _FUSED.get(features.device.type)
    if fused is None or features.dtype != torch.float32 or features.shape[1] > _WIDEST[fused]:
        return "torch"
    return fused if _found(fused) else _fall_back(fused)


def runnable_engines(features: Tensor) -> list[str]:
    """The engines that can search ``features`` on this machine."""
    names = []
    for name in ENGINES:
        try:
            check_engine(name, features)
        except (InputError, PluginError):
            continue
        names.append(name)
    return names


def _known(name: str) -> str:
    if name not in ENGINES:
        raise unknown_name("search engine", name, ENGINES)
    return name


def check_engine(name: str, features: Tensor) -> None:
    """An error that says why, where the engine ``name`` cannot search ``features``."""
    if _known(name) == "torch":
        return
    if not _found(name):
        package = {"faiss": "faiss-cpu", "triton": "triton"}[name]
        raise PluginError(
            f"The search engine {name} was asked for, but {name} cannot be imported",
            fix=f"pip install {package}, or leave the choice to hsrzoo: unset {_SETTING}",
        )
    # Triton's interpreter runs kernels on the CPU: for tests
    interpreted = name == "triton" and os.environ.get("TRITON_INTERPRET") == "1"
    device = "cuda" if name == "triton" and not interpreted else "cpu"
    if features.device.type != device or features.dtype != torch.float32:
        raise InputError(
            f"The search engine {name} was asked for, but cannot search these features",
            expected=f"float32 on {device}",
            got=f"{str(features.dtype).removeprefix('torch.')} on {features.device.type}",
            fix=f"Unset {_SETTING}, or choose torch",
        )


@functools.cache
def _found(package: str) -> bool:
    try:
        importlib.import_module(package)
    except (ImportError, OSError):  # OSError: a shared library of the package does not load
        return False
    return True


@functools.cache
def _fall_back(missing: str) -> str:
    """Say once per process that an engine is missing; the one that stands in for it."""
    warnings.warn(
        f"{missing} cannot be imported: nearest codes are searched with torch, exactly but slower.",
        RuntimeWarning,
        stacklevel=7,
    )
    return "torch"
