"""Wrong values in the place of every field of a JSON value, one at a time."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

MISSING = object()
WRONG: tuple[Any, ...] = (
    MISSING, None, [], {}, "x", -1, 0, 1.5, 10**30, float("nan"), True, [[None]], {"a": {"b": None}},
    "../x",
)  # fmt: skip


def mutated(value: Any, depth: int = 3, wrong: Sequence[Any] = WRONG) -> Iterator[tuple[str, Any]]:
    """What was changed, and a copy of ``value`` with it; of lists the first item stands for all."""
    for path in _paths(value, (), depth):
        for replacement in wrong:
            changed = copy.deepcopy(value)
            place = changed
            for key in path[:-1]:
                place = place[key]
            if replacement is MISSING:
                del place[path[-1]]
            else:
                place[path[-1]] = copy.deepcopy(replacement)
            what = "missing" if replacement is MISSING else repr(replacement)[:30]
            yield f"{'.'.join(map(str, path))}: {what}", changed


def _paths(value: Any, prefix: tuple[Any, ...], depth: int) -> Iterator[tuple[Any, ...]]:
    keys: Any = (
        value if isinstance(value, dict) else range(min(len(value), 1)) if isinstance(value, list) else ()
    )
    if len(prefix) < depth:
        for key in keys:
            yield (*prefix, key)
            yield from _paths(value[key], (*prefix, key), depth)
