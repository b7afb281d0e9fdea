"""hsrzoo: RGB photographs to hyperspectral cubes, a model zoo with a benchmarking harness.

``import hsrzoo`` imports no torch; the public names are resolved when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hsrzoo.bands import BandSet
    from hsrzoo.errors import HsrzooError
    from hsrzoo.models.loading import list_models, load
    from hsrzoo.spec import DatasetSpec, MetricSpec, ModelSpec, PerturbationSpec, Recipe, RgbInput
    from hsrzoo.zoo import recommended

_HOMES = {
    "BandSet": "hsrzoo.bands",
    "HsrzooError": "hsrzoo.errors",
    "list_models": "hsrzoo.models.loading",
    "load": "hsrzoo.models.loading",
    "recommended": "hsrzoo.zoo",
}
"""Modules of the public names; all others are in hsrzoo.spec."""

__all__ = [
    "BandSet",
    "DatasetSpec",
    "HsrzooError",
    "MetricSpec",
    "ModelSpec",
    "PerturbationSpec",
    "Recipe",
    "RgbInput",
    "list_models",
    "load",
    "recommended",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("hsrzoo")
    if name not in __all__:
        raise AttributeError(f"module 'hsrzoo' has no attribute {name!r}")
    if name == "load":
        from hsrzoo.utils.allocator import keep_freed_memory
        from hsrzoo.utils.threads import prepare_threads

        prepare_threads()
        keep_freed_memory()
    return getattr(import_module(_HOMES.get(name, "hsrzoo.spec")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
