"""Durable checkpoints: a new one replaces the old one only when it is complete on the disk."""

from __future__ import annotations

import dataclasses
import io
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from hsrzoo.errors import TrainingError
from hsrzoo.models.weights import write_atomically
from hsrzoo.spec import Recipe

SCHEMA = 1


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write ``value`` as indented JSON, durably."""
    write_atomically(path, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write ``state`` (tensors, numbers, strings, dicts and lists of them) to ``path``, durably."""
    content = io.BytesIO()
    torch.save({"schema": SCHEMA, **state}, content)
    write_atomically(path, content.getvalue())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; it can hold no code. Raises TrainingError if it is damaged."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
        raise TrainingError(
            f"The checkpoint {path} cannot be read",
            got=f"{type(error).__name__}: {str(error).splitlines()[0]}",
            fix="Remove it and start again with --resume, or train into another folder",
        ) from None
    if not isinstance(state, dict) or state.get("schema") != SCHEMA:
        raise TrainingError(
            f"{path} is not a checkpoint that this version reads",
            expected=f"schema {SCHEMA}",
            got=f"schema {state.get('schema') if isinstance(state, dict) else None}",
        )
    return state


def differences(before: Any, now: Any, name: str = "") -> list[str]:
    """Where two JSON values differ, as ``recipe.lr: 0.001 before, 0.002 now``."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        return [
            line
            for key in sorted({*before, *now})
            for line in differences(
                before.get(key, "nothing"), now.get(key, "nothing"), f"{name}.{key}" if name else key
            )
        ]
    if before == now:
        return []
    return [f"{name}: {_short(before)} before, {_short(now)} now"]


def _short(value: Any, limit: int = 60) -> str:
    text = str(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _completed(before: Mapping[str, Any], now: Mapping[str, Any]) -> Mapping[str, Any]:
    """``before`` with the defaults of those fields that only the recipe of ``now`` has."""
    recipe, fields = before.get("recipe"), now.get("recipe")
    if not isinstance(recipe, Mapping) or not isinstance(fields, Mapping):
        return before
    defaults = json.loads(json.dumps(dataclasses.asdict(Recipe())))
    return {**before, "recipe": {**{k: v for k, v in defaults.items() if k in fields}, **recipe}}


def require_same_run(before: Mapping[str, Any], now: Mapping[str, Any], what: Path) -> None:
    """Raise TrainingError naming what differs between the run that wrote ``what`` and this one.

    A field of the recipe that the run does not know, since an older version wrote it, had its default
    value: defaults of new fields keep what was done before there were any.
    """
    now = json.loads(json.dumps(now))
    found = differences(_completed(before, now), now)
    if found:
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise TrainingError(
            f"{what} belongs to another run",
            got="; ".join(found[:5]) + more,
            fix="Repeat the command that started that run with --resume, or train into another folder",
        )
