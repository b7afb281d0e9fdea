"""Validation of the JSON that folders of weights and exported files carry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hsrzoo.bands import BandSet
from hsrzoo.errors import HsrzooError

Kind = type | tuple[type, ...]


def read_object(
    source: Path | str, fields: Mapping[str, Kind], schema: int, what: str, error: type[HsrzooError]
) -> dict[str, Any]:
    """The JSON object in a file or text, with ``fields`` (name -> type) and, if it has any, valid bands,
    written by this version or an older one: its ``schema`` is at most the given one. Raises ``error``."""
    try:
        found = json.loads(source if isinstance(source, str) else source.read_bytes())
    except (OSError, ValueError) as problem:
        raise error(f"{what} cannot be read as JSON", got=str(problem)) from None
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
        if "bands" in fields:
            BandSet.from_json(found["bands"])
    except (HsrzooError, KeyError, TypeError, ValueError) as problem:
        raise error(f"{what} holds no valid bands", got=str(problem)) from None
    return found
