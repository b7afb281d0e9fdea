"""Metadata of a card, the YAML between two lines of dashes at its head, changed key by key.

Unchanged keys keep their bytes, with comments, quotes and order. RepoCard and metadata_update of
huggingface_hub write all the YAML again, and cannot read keys that are not strings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from hsrzoo.errors import FormatError

_MOST_NODES = 100_000
"""Values in a card's metadata."""
_HEAD = re.compile(r"\s*---\n(.*?)\n---[ \t]*(?:\n|$)", re.DOTALL)


def split(card: str) -> tuple[str, str]:
    """The YAML at the head of a card (empty if there is none) and the Markdown after it."""
    found = _HEAD.match(card)
    return (found[1], card[found.end() :]) if found else ("", card)


def join(head: str, body: str) -> str:
    """The inverse of :func:`split`."""
    return f"---\n{head}\n---\n{body}"


def parse(head: str) -> dict[Any, Any]:
    """The values of YAML text; {} where it is empty. FormatError for anything but a valid mapping that is
    not absurdly large."""
    import yaml  # only for writing a card

    try:
        _require_small(yaml.compose(head, Loader=yaml.SafeLoader))
        found = yaml.safe_load(head)
    except RecursionError:
        raise _unreadable("values that are nested too deeply") from None
    # all but the first: values that PyYAML cannot make, such as an impossible date
    except (yaml.YAMLError, ValueError, AttributeError, TypeError, OverflowError) as error:
        where = str(getattr(error, "problem_mark", "")).strip() or type(error).__name__
        raise _unreadable(where) from None
    if not isinstance(found, dict | None):
        raise _unreadable(type(found).__name__)
    return found or {}


def _require_small(root: Any) -> None:
    """FormatError where YAML has more than :data:`_MOST_NODES` values with its aliases written out: a few
    lines of aliases of aliases stand for billions."""
    counts: dict[int, int] = {}  # 0: being counted, so that the value holds itself

    def count(node: Any) -> int:
        if id(node) not in counts:
            counts[id(node)] = 0
            parts = node.value if isinstance(node.value, list) else []
            inner = (part for one in parts for part in (one if isinstance(one, tuple) else (one,)))
            counts[id(node)] = 1 + sum(map(count, inner))
        elif not counts[id(node)]:
            raise _unreadable("a value that holds itself")
        if counts[id(node)] > _MOST_NODES:
            raise _unreadable(f"more than {_MOST_NODES} values, as its aliases stand for many")
        return counts[id(node)]

    if root is not None:
        count(root)


def change(head: str, values: Mapping[str, Any]) -> str:
    """``head`` with these values under its top-level keys; None removes a key, new keys come last.

    Only the lines of keys whose values differ change. YAML that cannot be changed line by line, such as a
    mapping in braces, is written again as a whole.
    """
    before = parse(head)
    todo = {key: value for key, value in values.items() if before.get(key) != value}
    todo |= {key: None for key, value in values.items() if value is None and key in before}
    gone = {key for key, value in todo.items() if value is None}
    wanted = {key: value for key, value in {**before, **todo}.items() if key not in gone}
    text = _splice(head, todo)
    try:
        return text if parse(text) == wanted else _dump(wanted)
    except FormatError:
        return _dump(wanted)


def _splice(head: str, todo: Mapping[str, Any]) -> str:
    lines, spans = head.split("\n") if head else [], _spans(head)
    new = [_dump({key: value}) for key, value in todo.items() if key not in spans and value is not None]
    for key in sorted(todo.keys() & spans.keys(), key=lambda key: spans[key], reverse=True):
        first, last = spans[key]
        lines[first:last] = [] if todo[key] is None else [_dump({key: todo[key]})]
    return "\n".join([*lines, *new])


def _spans(head: str) -> dict[str, tuple[int, int]]:
    """Key -> its first line and the one after its last, without comments and empty lines before the next
    key."""
    import yaml

    lines, root = head.split("\n"), yaml.compose(head, Loader=yaml.SafeLoader)
    keys = [(str(key.value), key.start_mark.line) for key, _ in root.value] if root else []
    found = {}
    for (key, first), (_, last) in pairwise([*keys, ("", len(lines))]):
        while last > first + 1 and (not lines[last - 1].strip() or lines[last - 1].startswith("#")):
            last -= 1
        found[key] = (first, last)
    return found


def _dump(values: Mapping[Any, Any]) -> str:
    import yaml

    text = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=float("inf"))
    return str(text).rstrip("\n") if values else ""


def _unreadable(got: str) -> FormatError:
    return FormatError(
        "The card's metadata cannot be read as YAML",
        expected="keys and values between two lines --- at its head",
        got=got,
        fix="Fix the head of the repository's README.md",
    )
