"""The accuracy benchmark: the scenes as they are."""

from __future__ import annotations

from hsrzoo_benchmark.protocol import CLEAN, Condition


def conditions() -> tuple[Condition, ...]:
    """One: undisturbed input."""
    return (CLEAN,)
