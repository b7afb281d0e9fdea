"""Types of options and arguments that hold names; the shell completes them from metadata alone.

They accept any text: the command validates the name and suggests the nearest ones. No plugin is imported,
so names of plugin files (``--plugin``, HSRZOO_PLUGINS) are not completed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from hsrzoo.cli.output import say
from hsrzoo.errors import nearest_names
from hsrzoo.utils.entry_points import entry_points_of

FOLDER, FILE, HUB = "local-dir:", "onnx:", "hf-hub:"


def chosen(names: Iterable[str], pattern: str | None) -> list[str]:
    """The ``names`` that have the part ``pattern``, or match it where it is a shell pattern, in capitals
    or not; all of them for None. Where there are none, that is said on stderr, with the nearest names."""
    names = list(names)
    if pattern is None:
        return names
    part = pattern.lower()
    shell = part if set("*?[") & set(part) else f"*{part}*"
    found = [name for name in names if fnmatchcase(name.lower(), shell)]
    if not found:
        near = nearest_names(pattern.strip("*"), names)
        say(f"No name matches {pattern}" + (f"; nearest: {', '.join(near)}" if near else ""))
    return found


class Name(click.ParamType):
    """A name out of those that ``known`` returns.

    ``paths``: also complete ``local-dir:PATH`` and ``onnx:FILE``. ``several``: names separated by commas,
    of which the last is completed.
    """

    name = "name"

    def __init__(
        self, known: Callable[[], Iterable[str]], *, paths: bool = False, several: bool = False
    ) -> None:
        self.known, self.paths, self.several = known, paths, several

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The text as it is; for ``several`` without spaces around the commas."""
        if not self.several:
            return value
        parts = [part.strip() for part in str(value).split(",")]
        if not all(parts):
            self.fail(f"{value!r} has an empty name: write A,B", param, ctx)
        return ",".join(parts)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """All names that begin with the typed text; a folder that is not a model ends in a slash."""
        before, last = "", incomplete
        if self.several and "," in incomplete:
            before, _, last = incomplete.rpartition(",")
            before += ","
        found = sorted(self.known())
        if self.paths:
            for scheme in (FOLDER, FILE):
                found += _paths(scheme, last) if last.startswith(scheme) else [scheme]
            found.append(HUB)
        return [CompletionItem(before + name) for name in found if name.startswith(last)]


def _paths(scheme: str, typed: str) -> Iterator[str]:
    """Continuations of ``local-dir:PATH`` or ``onnx:FILE``: folders with weights or ONNX files, and other
    folders, which end in a slash."""
    from hsrzoo.utils.files import CONFIG  # imports numpy

    head, slash, tail = typed.removeprefix(scheme).rpartition("/")
    try:
        entries = sorted(os.scandir(Path(head + slash).expanduser()), key=lambda entry: entry.name)
    except (OSError, RuntimeError):  # missing, not readable, no such home
        return
    for entry in entries:
        if entry.name.startswith(".") and not tail.startswith("."):
            continue
        name = scheme + head + slash + entry.name
        if entry.is_dir():
            is_model = scheme == FOLDER and os.path.isfile(os.path.join(entry.path, CONFIG))
            yield name if is_model else f"{name}/"
        elif scheme == FILE and entry.name.endswith(".onnx"):
            yield name


def _of(*kinds: str) -> Callable[[], Iterable[str]]:
    """Names under the entry-point groups ``hsrzoo.KIND``."""
    return lambda: [name for kind in kinds for name in entry_points_of(f"hsrzoo.{kind}")]


def _responses() -> list[str]:
    from hsrzoo.colour.responses import response_names  # imports numpy

    return response_names()


def _charts() -> Iterable[str]:
    from hsrzoo.colour.chart import CHARTS  # imports numpy

    return CHARTS


ARCHITECTURE = Name(_of("models"))
MODEL = Name(_of("models", "weights"), paths=True)
DATASET = Name(_of("datasets"))
METRIC_LIST = Name(_of("metrics"), several=True)
RESPONSE = Name(_responses)
CHART = Name(_charts)
CAMERA = Name(lambda: [*_responses(), "estimate"])


def benches(*own: str) -> Name:
    """Benchmarks of a command: its ``own``, and every perturbation."""
    return Name(lambda: {*own, *_of("perturbations")()})
