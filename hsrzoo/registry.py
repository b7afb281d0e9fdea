"""One generic registry for models, data sets, metrics and perturbations.

Names come from entry-point metadata, so listing them imports nothing; a value is imported when it
is asked for. A broken plugin breaks only itself; two plugins with one name are an error that names
both. The project's own plugins come in by the same door.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Generic, TypeVar

from hsrzoo.errors import PluginError, unknown_name

T = TypeVar("T")


@dataclass
class Registry(Generic[T]):
    """Named values of one kind.

    ``kind`` is the word used in messages ("model"), ``group`` the entry-point group
    ("hsrzoo.models"), ``spec_type`` a zero-argument callable that imports and returns the class
    every value must have (lazily, so that a registry costs no import).
    """

    kind: str
    group: str
    spec_type: type[T]
    _values: dict[str, T] = field(default_factory=dict)
    _origins: dict[str, str] = field(default_factory=dict)

    def names(self) -> list[str]:
        """All known names, sorted, without importing any plugin."""
        load_plugin_files_from_environment()
        return sorted({*self._values, *self._entry_points()})

    def __contains__(self, name: str) -> bool:
        return name in self.names()

    def add(self, name: str, value: T, origin: str) -> None:
        """Register ``value``; a wrong type or a taken name raises and changes nothing."""
        if not isinstance(value, self.spec_type):
            raise PluginError(
                f"{origin} offers the {self.kind} {name!r} as something else",
                expected=f"a {self.spec_type.__name__}",
                got=type(value).__name__,
            )
        declared = getattr(value, "name", name)
        if declared != name:
            raise PluginError(
                f"{origin} registers a {self.kind} under a name that is not its own",
                expected=f"the name {declared!r}",
                got=repr(name),
            )
        known = self._origins.get(name) or self._entry_origin(name)
        if known is not None:
            raise PluginError(
                f"Two plugins offer the {self.kind} {name!r}",
                got=f"{known} and {origin}",
                fix="Rename one of them or uninstall its package",
            )
        self._values[name] = value
        self._origins[name] = origin

    def get(self, name: str) -> T:
        """The value called ``name``; unknown names raise with the nearest known ones."""
        load_plugin_files_from_environment()
        if name in self._values:
            return self._values[name]
        found = self._entry_points().get(name)
        if found is None:
            raise unknown_name(self.kind, name, self.names())
        if len(found) > 1:
            raise PluginError(
                f"Two plugins offer the {self.kind} {name!r}",
                got=" and ".join(_describe(e) for e in found),
                fix="Rename one of them or uninstall its package",
            )
        try:
            value = found[0].load()
        except Exception as error:
            raise PluginError(
                f"The {self.kind} {name!r} cannot be loaded",
                got=f"{type(error).__name__}: {error} (from {_describe(found[0])})",
                fix="Mend or uninstall that package; all other names still work",
            ) from error
        if not isinstance(value, self.spec_type) or getattr(value, "name", name) != name:
            raise PluginError(
                f"The entry point of the {self.kind} {name!r} does not hold one",
                expected=f"a {self.spec_type.__name__} named {name!r}",
                got=f"{type(value).__name__} {getattr(value, 'name', '')!r} (from {_describe(found[0])})",
            )
        self._values[name] = value
        self._origins[name] = _describe(found[0])
        return value

    def origin(self, name: str) -> str:
        """Where a name comes from, for messages and ``hsrzoo list``."""
        known = self._origins.get(name) or self._entry_origin(name)
        if known is None:
            raise unknown_name(self.kind, name, self.names())
        return known

    def working(self) -> Iterator[tuple[str, T]]:
        """All (name, value) pairs; a plugin that does not load is warned about and left out."""
        for name in self.names():
            try:
                yield name, self.get(name)
            except PluginError as error:
                warnings.warn(str(error), stacklevel=2)

    def _entry_points(self) -> dict[str, list[EntryPoint]]:
        return entry_points_of(self.group)

    def _entry_origin(self, name: str) -> str | None:
        found = self._entry_points().get(name)
        return " and ".join(_describe(e) for e in found) if found else None


def _describe(entry: EntryPoint) -> str:
    package = entry.dist.name if entry.dist else "an unknown package"
    return f"{package} ({entry.value})"


@cache
def entry_points_of(group: str) -> dict[str, list[EntryPoint]]:
    """Entry points of a group by name; the same value listed twice on the path counts once."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=group):
        same = found.setdefault(entry.name, [])
        if all(e.value != entry.value for e in same):
            same.append(entry)
    return found


_loaded_files: dict[Path, ModuleType] = {}


def load_plugin_files_from_environment() -> None:
    """Load every file named in ``HSRZOO_PLUGINS`` (separated as PATH is), once each."""
    for name in filter(None, os.environ.get("HSRZOO_PLUGINS", "").split(os.pathsep)):
        load_plugin_file(Path(name))


def load_plugin_file(path: Path) -> ModuleType:
    """Import one Python file and register every spec that it holds at module level."""
    path = path.expanduser().resolve()
    if path in _loaded_files:
        return _loaded_files[path]
    if not path.is_file():
        raise PluginError("A plugin file is missing", expected="a Python file", got=str(path))
    name = f"hsrzoo_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError("A plugin must be a Python file", expected="a name ending in .py", got=str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise PluginError(
            f"The plugin file {path} cannot be imported", got=f"{type(error).__name__}: {error}"
        ) from error
    _loaded_files[path] = module  # before registration: names() below asks for plugins again
    from hsrzoo import registries

    specs = [
        (registry, value)
        for value in vars(module).values()
        for registry in registries.ALL
        if isinstance(value, registry.spec_type)
    ]
    if not specs:
        raise PluginError(
            f"The plugin file {path} registers nothing",
            expected="a module-level ModelSpec, DatasetSpec, MetricSpec or PerturbationSpec",
        )
    for registry, value in specs:
        registry.add(value.name, value, origin=str(path))
    return module
