"""Entry points of installed packages, read from metadata: listing them imports no plugin."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from hsrzoo.errors import PluginError


def describe(entry: EntryPoint) -> str:
    """``distribution (module:attribute)``, for messages."""
    package = entry.dist.name if entry.dist else "an unknown package"
    return f"{package} ({entry.value})"


def duplicate_name(kind: str, name: str, origins: str) -> PluginError:
    """The error for two plugins with one name; ``origins`` names both."""
    return PluginError(
        f"Two plugins offer the {kind} {name!r}",
        got=origins,
        fix="Rename one of them or uninstall its package",
    )


def load_entry(kind: str, name: str, entries: Sequence[EntryPoint], others: str) -> Any:
    """Import what the one entry point of a name holds; a PluginError names its package if that fails."""
    origin = " and ".join(describe(entry) for entry in entries)
    if len(entries) > 1:
        raise duplicate_name(kind, name, origin)
    try:
        return entries[0].load()
    except (Exception, SystemExit) as error:  # a script that ends the process is not a plugin
        raise PluginError(
            f"The {kind} {name!r} cannot be loaded",
            got=f"{type(error).__name__}: {error} (from {origin})",
            fix=f"Fix or uninstall that package; all other {others} still work",
        ) from error


@cache
def installed() -> Any:
    """Entry points of all groups: reading the metadata of all packages again for each group would take
    longer than most commands. Their type depends on Python's version; each has ``select(group=...)``."""
    return entry_points()


@cache
def entry_points_of(group: str) -> dict[str, list[EntryPoint]]:
    """Entry points of a group by name; the same value listed twice on the path counts once."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in installed().select(group=group):
        same = found.setdefault(entry.name, [])
        if all(e.value != entry.value for e in same):
            same.append(entry)
    return found


def paths_of(module: str) -> list[Path]:
    """Where a module or package is, without suffix; nothing is imported.

    find_spec of a dotted name would import its parents: only the top-level package is looked up.
    """
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is not None and spec.submodule_search_locations is not None:
        return [Path(location, *rest) for location in spec.submodule_search_locations]
    return [Path(spec.origin).with_suffix("")] if spec and spec.origin and not rest else []
