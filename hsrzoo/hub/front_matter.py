"""A card's metadata, the YAML between two lines of dashes at its head, changed key by key.

What is not changed keeps its bytes: comments, quotes, keys without a value, the order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from hsrzoo.errors import FormatError

_HEAD = re.compile(r"\s*---\n(.*?)\n---[ \t]*(?:\n|$)", re.DOTALL)


def split(card: str) -> tuple[str, str]:
    """The YAML at the head of a card (empty if there is none) and the Markdown after it."""
    found = _HEAD.match(card)
    return (found[1], card[found.end() :]) if found else ("", card)


def joined(head: str, body: str) -> str:
    """The card that :func:`split` takes apart."""
    return f"---\n{head}\n---\n{body}"


def parsed(head: str) -> dict[Any, Any]:
    """The values of YAML text; {} where it is empty. FormatError for anything but a valid mapping."""
    import yaml  # only where a card is written, as most commands do without it

    try:
        found = yaml.safe_load(head)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that no calendar has
        where = str(getattr(error, "problem_mark", "")).strip() or type(error).__name__
        raise _unreadable(where) from None
    if not isinstance(found, dict | None):
        raise _unreadable(type(found).__name__)
    return found or {}


def changed(head: str, values: Mapping[str, Any]) -> str:
    """``head`` with these values under its top-level keys; None takes a key away, new ones come last.

    Only lines of keys whose values differ are written anew. YAML that cannot be changed line by line, such
    as a mapping in braces, is written anew as a whole.
    """
    before = parsed(head)
    todo = {key: value for key, value in values.items() if before.get(key) != value}
    todo |= {key: None for key, value in values.items() if value is None and key in before}
    gone = {key for key, value in todo.items() if value is None}
    wanted = {key: value for key, value in {**before, **todo}.items() if key not in gone}
    text = _spliced(head, todo)
    try:
        return text if parsed(text) == wanted else _dumped(wanted)
    except FormatError:
        return _dumped(wanted)


def _spliced(head: str, todo: Mapping[str, Any]) -> str:
    lines, spans = head.split("\n") if head else [], _spans(head)
    new = [_dumped({key: value}) for key, value in todo.items() if key not in spans and value is not None]
    for key in sorted(todo.keys() & spans.keys(), key=lambda key: spans[key], reverse=True):
        first, last = spans[key]
        lines[first:last] = [] if todo[key] is None else [_dumped({key: todo[key]})]
    return "\n".join([*lines, *new])


def _spans(head: str) -> dict[str, tuple[int, int]]:
    """Key -> its first line and the one after its last; comments and empty lines before the next key are
    not among them."""
    import yaml

    lines, root = head.split("\n"), yaml.compose(head, Loader=yaml.SafeLoader)
    keys = [(str(key.value), key.start_mark.line) for key, _ in root.value] if root else []
    found = {}
    for (key, first), (_, last) in pairwise([*keys, ("", len(lines))]):
        while last > first + 1 and (not lines[last - 1].strip() or lines[last - 1].startswith("#")):
            last -= 1
        found[key] = (first, last)
    return found


def _dumped(values: Mapping[Any, Any]) -> str:
    import yaml

    text = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=float("inf"))
    return str(text).rstrip("\n") if values else ""


def _unreadable(got: str) -> FormatError:
    return FormatError(
        "The card's metadata cannot be read as YAML",
        expected="keys and values between two lines --- at its head",
        got=got,
        fix="Mend the head of the repository's README.md",
    )
