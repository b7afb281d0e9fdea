"""One generic registry for models, data sets, metrics and perturbations.

Names come from entry-point metadata, so listing them imports nothing; a value is imported when it
is asked for. A broken plugin breaks only itself; two plugins with the same name are an error that names
both. The project's own plugins are registered in the same way.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from shlex import quote
from types import ModuleType, UnionType
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from hsrzoo.errors import PluginError, unknown_name
from hsrzoo.spec import DatasetSpec, MetricSpec, ModelSpec, PerturbationSpec
from hsrzoo.utils.entry_points import describe, duplicate_name, entry_points_of, load_entry

T = TypeVar("T")
_OWN = "hsrzoo"
"""The distribution of this project."""


@dataclass
class Registry(Generic[T]):
    """Named values of one kind.

    Attributes:
        kind: The word for them in messages ("model").
        group: Their entry-point group ("hsrzoo.models").
        spec_type: The class of every value.
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
        """Register a value; nothing changes if that fails.

        Args:
            name: Its name, which must be ``value.name``.
            value: A ``spec_type``.
            origin: Where it comes from, for messages.

        Raises:
            PluginError: The type is wrong, or the name is taken.
        """
        self.check(name, value, origin)
        self._values[name] = value
        self._origins[name] = origin

    def check(self, name: str, value: T, origin: str) -> None:
        """Raise PluginError if :meth:`add` would."""
        self._require_own(name, value, origin)
        known = self._origins.get(name) or self._entry_origin(name)
        if known is not None:
            raise duplicate_name(self.kind, name, f"{known} and {origin}")

    def _require_own(self, name: str, value: object, origin: str) -> None:
        declared = getattr(value, "name", name)
        if not isinstance(value, self.spec_type) or declared != name:
            raise PluginError(
                f"{origin} offers as the {self.kind} {name!r} a value of another class or name",
                expected=f"a {self.spec_type.__name__} named {name!r}",
                got=f"{type(value).__name__} {declared!r}",
            )
        wrong = next(_misfits(value), None) if isinstance(name, str) else "name"
        if wrong is not None:
            raise PluginError(
                f"{origin} offers as the {self.kind} {name!r} a value with a field of another type",
                expected=f"the fields of {self.spec_type.__name__} as hsrzoo.spec documents them",
                got=f"{wrong} = {str(getattr(value, wrong.partition('.')[0]))[:60]}",
            )

    def owns(self, value: T) -> bool:
        """True if ``value`` itself is known already: added, or the imported value of an entry point."""
        if any(value is known for known in self._values.values()):
            return True
        entries = self._entry_points().get(getattr(value, "name", ""), [])
        return any(value is getattr(sys.modules.get(e.module), e.attr, None) for e in entries)

    def get(self, name: str) -> T:
        """The value called ``name``; its plugin is imported on first use.

        Raises:
            UnknownNameError: There is none; the message suggests the nearest names.
            PluginError: The plugin cannot be imported, or does not hold such a value.
        """
        load_plugin_files_from_environment()
        if name in self._values:
            return self._values[name]
        found = self._entry_points().get(name)
        if found is None:
            raise unknown_name(self.kind, name, self.names())
        value = load_entry(self.kind, name, found, others="names")
        origin = describe(found[0])
        self._require_own(name, value, origin)
        self._values[name], self._origins[name] = value, origin
        return value

    def origin(self, name: str) -> str:
        """Where a name comes from, for messages and ``hsrzoo list``."""
        known = self._origins.get(name) or self._entry_origin(name)
        if known is None:
            raise unknown_name(self.kind, name, self.names())
        return known

    def requires(self, name: str) -> str | None:
        """What others need to have ``name``: ``pip install PACKAGE==VERSION`` or ``--plugin FILE``. None
        where it is part of hsrzoo, or nothing is known."""
        file = self._file(name)
        if file is not None:
            return f"--plugin {file.name}"
        found = self._entry_points().get(name)
        package = found[0].dist if found else None
        if package is None or package.name == _OWN:
            return None
        return f"pip install {package.name}=={package.version}"

    def program(self, name: str) -> str:
        """How a command that uses ``name`` begins: ``hsrzoo``, or ``hsrzoo --plugin FILE``."""
        file = self._file(name)
        if file is None:
            return _OWN
        here = Path.cwd()
        shown = file.relative_to(here) if file.is_relative_to(here) else file
        return f"{_OWN} --plugin {quote(str(shown))}"

    def _file(self, name: str) -> Path | None:
        """The plugin file that ``name`` comes from."""
        return next((path for path in _files if self._origins.get(name) == str(path)), None)

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
        return " and ".join(describe(e) for e in found) if found else None


def _misfits(value: Any, prefix: str = "") -> Iterator[str]:
    """Names of the fields of a spec, and of specs in it, whose values are not of the declared types."""
    hints = get_type_hints(type(value))
    for one in fields(value):
        own = getattr(value, one.name)
        if not _is_of(own, hints[one.name]):
            yield f"{prefix}{one.name}"
        elif is_dataclass(own) and not isinstance(own, type):
            yield from _misfits(own, f"{prefix}{one.name}.")


def _is_of(value: object, hint: Any) -> bool:
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return any(_is_of(value, one) for one in get_args(hint))
    if origin is Literal:
        return value in get_args(hint)
    if hint is Any or origin is Callable:
        return hint is Any or callable(value)
    kind = origin or hint
    return isinstance(value, {float: (int, float), tuple: (tuple, list)}.get(kind, kind))


_files: dict[Path, ModuleType | None] = {}
"""Plugin files that were loaded; None for one that did not load, or is loading now."""


def load_plugin_files_from_environment() -> None:
    """Load every file named in ``HSRZOO_PLUGINS`` (separated as PATH is), once each.

    A file that does not load is warned about once and left out: it must not break the others.
    """
    for name in filter(None, os.environ.get("HSRZOO_PLUGINS", "").split(os.pathsep)):
        path = _absolute(Path(name))
        if path in _files:
            continue
        # Marked before it runs: a plugin that asks for names while it is imported comes back here.
        _files[path] = None
        try:
            load_plugin_file(path)
        except PluginError as error:
            warnings.warn(f"HSRZOO_PLUGINS: {error}", stacklevel=3)


def load_plugin_file(path: Path | str) -> ModuleType:
    """Import one Python file and register every spec that it holds at module level.

    Specs that it merely imports from other plugins stay theirs. Raises PluginError, and then
    nothing of the file is registered.
    """
    path = _absolute(Path(path))
    loaded = _files.get(path)
    if loaded is not None:
        return loaded
    module = _import_file(path)
    specs: dict[tuple[str, str], tuple[Registry, object]] = {}
    for value in {id(v): v for v in vars(module).values()}.values():
        for registry in ALL:
            if not isinstance(value, registry.spec_type) or registry.owns(value):
                continue
            registry.check(value.name, value, origin=str(path))
            if (registry.kind, value.name) in specs:
                raise duplicate_name(registry.kind, value.name, f"{path}, twice")
            specs[registry.kind, value.name] = (registry, value)
    if not specs:
        raise PluginError(
            f"The plugin file {path} registers nothing",
            expected="a module-level ModelSpec, DatasetSpec, MetricSpec or PerturbationSpec",
        )
    for (_, name), (registry, value) in specs.items():
        registry.add(name, value, origin=str(path))
    _files[path] = module
    return module


def _absolute(path: Path) -> Path:
    try:
        return path.expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:  # no such home, a loop of links, a NUL
        raise PluginError("A plugin file has an impossible path", got=f"{str(path)!r}: {error}") from None


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise PluginError("A plugin file is missing", expected="a Python file", got=str(path))
    # The digest keeps two files of one name apart.
    name = f"hsrzoo_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError("A plugin must be a Python file", expected="a name ending in .py", got=str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a script that ends the process is not a plugin
        del sys.modules[name]
        raise PluginError(
            f"The plugin file {path} cannot be imported", got=f"{type(error).__name__}: {error}"
        ) from error
    return module


MODELS: Registry[ModelSpec] = Registry("model", "hsrzoo.models", ModelSpec)
DATASETS: Registry[DatasetSpec] = Registry("data set", "hsrzoo.datasets", DatasetSpec)
METRICS: Registry[MetricSpec] = Registry("metric", "hsrzoo.metrics", MetricSpec)
PERTURBATIONS: Registry[PerturbationSpec] = Registry(
    "perturbation", "hsrzoo.perturbations", PerturbationSpec
)
ALL: tuple[Registry[Any], ...] = (MODELS, DATASETS, METRICS, PERTURBATIONS)
