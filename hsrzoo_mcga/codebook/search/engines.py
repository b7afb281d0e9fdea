"""The search engines: which of them runs where, and a search by the one that is chosen."""

from __future__ import annotations

import functools
import importlib
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from hsrzoo.errors import InputError, PluginError, require_known

ENGINES = {"torch": "blocked", "faiss": "cpu_faiss", "triton": "gpu_triton"}
"""Name of an engine -> the module here whose ``search`` runs it; imported where it is first used, since
faiss and Triton are optional and slow to import."""
_VARIABLE = "HSRZOO_SEARCH"
_FUSED = {"cpu": ("faiss", 32), "cuda": ("triton", 64)}
"""Device -> its fused engine and the widest codes that it pays for; for wider ones torch's matrix
product is as fast."""

_forced: str | None = None


@torch.no_grad()
def search(features: Tensor, codes: Tensor) -> Tensor:
    """:func:`~hsrzoo_mcga.codebook.search.nearest_code` outside of any graph."""
    if features.ndim != 2 or codes.ndim != 2 or features.shape[1] != codes.shape[1] or len(codes) == 0:
        raise InputError(
            "Features and codes do not fit together",
            expected="features (M, D) and codes (N, D), N >= 1",
            got=f"{tuple(features.shape)} and {tuple(codes.shape)}",
        )
    features, codes = to_common_dtype(features, codes)
    name = engine_for(features, codes)
    if len(features) == 0 or len(codes) == 1:
        return features.new_zeros(len(features), dtype=torch.int64)
    return importlib.import_module(f"hsrzoo_mcga.codebook.search.{ENGINES[name]}").search(features, codes)


def to_common_dtype(features: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Both as float64 if one of them is, else as float32."""
    # plain Python: torch.promote_types and needless casts would stay in an exported graph
    dtype = torch.float64 if torch.float64 in (features.dtype, codes.dtype) else torch.float32
    if features.dtype != dtype:
        features = features.to(dtype)
    if codes.dtype != dtype:
        codes = codes.to(dtype)
    return features, codes


@contextmanager
def search_engine(name: str | None) -> Iterator[None]:
    """Force an engine within the block, for the whole process.

    Args:
        name: ``"torch"``, ``"faiss"`` or ``"triton"``; None chooses automatically again.

    Raises:
        UnknownNameError: For another name.
    """
    global _forced
    if name is not None:
        require_known("search engine", name, ENGINES)
    before, _forced = _forced, name
    try:
        yield
    finally:
        _forced = before


def forced_engine() -> str | None:
    """The engine that a :func:`search_engine` block forces."""
    return _forced


def engine_for(features: Tensor, codes: Tensor) -> str:
    """The name of the engine that these tensors get; a forced one that cannot run is an error."""
    forced = _forced or os.environ.get(_VARIABLE)
    if forced:
        check_engine(forced, features)
        return forced
    fused, widest = _FUSED.get(features.device.type, ("torch", 0))
    if features.dtype != torch.float32 or features.shape[1] > widest:
        return "torch"
    return fused if _can_import(fused) else _fall_back(fused)


def check_engine(name: str, features: Tensor) -> None:
    """Raise an error with the reason if the engine ``name`` cannot search ``features``."""
    require_known("search engine", name, ENGINES)
    if name == "torch":
        return
    if not _can_import(name):
        package = {"faiss": '"hsrzoo[faiss]"', "triton": "triton"}[name]
        raise PluginError(
            f"The search engine {name} is forced, but {name} cannot be imported",
            fix=f"pip install {package}, or unset {_VARIABLE} to choose an engine automatically",
        )
    # Triton's interpreter runs kernels on the CPU: for tests
    interpreted = name == "triton" and os.environ.get("TRITON_INTERPRET") == "1"
    device = "cuda" if name == "triton" and not interpreted else "cpu"
    if features.device.type != device or features.dtype != torch.float32:
        raise InputError(
            f"The search engine {name} is forced, but cannot search these features",
            expected=f"float32 on {device}",
            got=f"{str(features.dtype).removeprefix('torch.')} on {features.device.type}",
            fix=f"Unset {_VARIABLE}, or choose torch",
        )


@functools.cache
def _can_import(package: str) -> bool:
    try:
        importlib.import_module(package)
    except (ImportError, OSError):  # OSError: a shared library of the package does not load
        return False
    return True


@functools.cache
def _fall_back(missing: str) -> str:
    """The name of the engine to use in place of one that is missing. Warns once per process, but not of
    faiss, which is an optional part of hsrzoo."""
    if missing == "faiss":
        return "torch"
    text = f"{missing} cannot be imported: nearest codes are searched with torch, exactly but slower."
    warnings.warn(text, RuntimeWarning, stacklevel=6)
    return "torch"
