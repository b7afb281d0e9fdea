"""Validation of the JSON that folders of weights and exported files carry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hsrzoo.bands import BandSet
from hsrzoo.errors import HsrzooError

Kind = type | tuple[type, ...]


def require_fields(
    found: Any, fields: Mapping[str, Kind], schema: int, what: str, error: type[HsrzooError]
) -> dict[str, Any]:
    """``found`` itself, if it is a JSON object with ``fields`` (name -> type) and valid bands, written by
    this version or an older one: its own ``schema`` is at most the given one. Raises ``error``."""
    if not isinstance(found, dict):
        raise error(f"{what} is incomplete", expected="a JSON object", got=type(found).__name__)
    if isinstance(found.get("schema"), int) and found["schema"] > schema:
        raise error(
            f"{what} was written by a newer hsrzoo",
            expected=f"schema {schema} or lower",
            got=f"schema {found['schema']}, library {found.get('library_version')}",
            fix="Upgrade: pip install --upgrade hsrzoo",
        )
    missing = [f"no {name}" for name in fields if name not in found]
    wrong = [
        f"{name}: {type(found[name]).__name__}"
        for name, kind in fields.items()
        if name in found and not isinstance(found[name], kind)
    ]
    if missing or wrong:
        raise error(f"{what} is incomplete", expected=", ".join(fields), got=", ".join(missing + wrong))
    try:
        BandSet.from_json(found["bands"])
    except (HsrzooError, KeyError, TypeError, ValueError) as problem:
        raise error(f"{what} holds no valid bands", got=str(problem)) from None
    return found
