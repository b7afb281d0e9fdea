"""What JSON of config files, records and rows must hold, as a declaration; a list of what is wrong.

A kind is a type (``int`` and ``float`` exclude true and false, ``float`` takes whole numbers), a tuple of
kinds of which one must fit, a list with the one kind of all its items, a dict with the kinds of its fields
(``"name?"`` may be absent; other fields are not looked at), :class:`Whole`, :class:`Each`, or ``object``:
anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Kind = Any
"""See above: no type can say it."""


@dataclass(frozen=True)
class Whole:
    """A whole number from ``low`` to ``high``."""

    low: int
    high: int


@dataclass(frozen=True)
class Each:
    """An object with any fields, each of one kind."""

    kind: Kind


TEXT = (str, type(None))


def problems(value: object, kind: Kind, name: str = "") -> Iterator[str]:
    """What keeps ``value`` from being of ``kind``: ``no field``, or ``field.inner: type``. ``name``: of the
    value itself."""
    if isinstance(kind, dict):
        if isinstance(value, dict):
            yield from _of_fields(value, kind, name)
        else:
            yield _wrong(value, name)
    elif isinstance(kind, list):
        if isinstance(value, list | tuple):
            inner = kind[0]
            for i, item in enumerate(value):
                if not (isinstance(inner, type) and _is(item, inner)):  # long lists of numbers
                    yield from problems(item, inner, f"{name}[{i}]")
        else:
            yield _wrong(value, name)
    elif isinstance(kind, Each):
        yield from problems(value, dict, name)
        for key, item in value.items() if isinstance(value, dict) else ():
            yield from problems(item, kind.kind, f"{name}.{key}")
    elif isinstance(kind, tuple):
        found = [list(problems(value, one, name)) for one in kind]
        if all(found):
            yield max(found, key=lambda one: len(one[0]))[0]  # of the kind that was meant: deepest inside
    elif isinstance(kind, Whole):
        if not _is(value, int):
            yield _wrong(value, name)
        elif not kind.low <= value <= kind.high:  # type: ignore[operator]  # an int
            yield f"{name}: {str(value)[:20]}, not {kind.low} to {kind.high}"
    elif not _is(value, kind):
        yield _wrong(value, name)


def _of_fields(value: dict[str, Any], kind: dict[str, Kind], name: str) -> Iterator[str]:
    for key, inner in kind.items():
        field = key.removesuffix("?")
        where = f"{name}.{field}" if name else field
        if field in value:
            yield from problems(value[field], inner, where)
        elif field == key:
            yield f"no {where}"


def _is(value: object, kind: type) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


def _wrong(value: object, name: str) -> str:
    shown = str(value) if isinstance(value, float) else type(value).__name__
    return f"{name}: {shown}" if name else shown
