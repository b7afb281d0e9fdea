"""A run's work in a file: every number to the bit, replaced as a whole."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hsrzoo.errors import StoreError
from hsrzoo.models.tiling.passes import Work
from hsrzoo.models.tiling.visits import Shares
from hsrzoo.utils.files import write_atomically

SCHEMA = 1
_DAMAGED = (
    OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RuntimeError,
)  # fmt: skip
"""What a damaged file of this form raises."""
_OWN = ("known", "shares", "done", "passes")
"""Fields of :class:`.passes.Work`; the others are what steps have seen, by name."""


@dataclass(frozen=True)
class Saved:
    """``identity``: of what is being made, from what and how; ``tile``: the side that was chosen."""

    identity: Mapping[str, Any]
    tile: int | None
    work: Work

    def write(self, path: Path) -> None:
        """Replace the file at ``path``, durably. Raises StoreError."""
        work = {**self.work.seen, **{name: getattr(self.work, name) for name in _OWN}}
        value = {"schema": SCHEMA, "identity": self.identity, "tile": self.tile, "work": work}
        text = json.dumps(value, indent=1, sort_keys=True, default=_encode)
        write_atomically(path, f"{text}\n".encode())

    @classmethod
    def read(cls, path: Path, device: torch.device) -> Saved | None:
        """The work at ``path``, its statistics on ``device``; None if there is none. Raises StoreError if
        it is damaged or of another version."""
        try:
            value = json.loads(path.read_bytes())
            if value["schema"] != SCHEMA:
                raise ValueError(f"schema {value['schema']}")
            work = value["work"]
            shares = work["shares"]
            return cls(
                value["identity"],
                value["tile"],
                Work(
                    {name: seen for name, seen in work.items() if name not in _OWN and seen is not None},
                    tuple(tuple(_decode(x).to(device) for x in totals) for totals in work["known"]),
                    None if shares is None else _decode_shares(shares),
                    int(work["done"]),
                    int(work["passes"]),
                ),
            )
        except FileNotFoundError:
            return None
        except _DAMAGED as error:
            raise StoreError(
                f"The state of an interrupted run cannot be read: {path}",
                got=f"{type(error).__name__}: {error}",
                fix="Delete it and the .part file next to it to start again",
            ) from None

    def require_same(self, now: Mapping[str, Any], part: Path) -> None:
        """StoreError naming what differs, unless the run that was interrupted was this one."""
        found = _differences(self.identity, json.loads(json.dumps(now)))
        if found:
            more = f" and {len(found) - 5} more" if len(found) > 5 else ""
            raise StoreError(
                f"{part} was written by another run",
                expected="the same model, image and options",
                got="; ".join(found[:5]) + more,
                fix=f"Repeat that run's command to go on, or delete {part} to start again",
            )


def _encode(x: Tensor | torch.dtype | Shares) -> Any:
    """What JSON has no form for; a tensor becomes its bytes."""
    if isinstance(x, Shares):
        return vars(x)
    if isinstance(x, torch.dtype):
        return str(x).removeprefix("torch.")
    x = x.detach().cpu().contiguous()
    data = x.reshape(-1).view(torch.uint8).numpy().tobytes() if x.numel() else b""
    return {"dtype": x.dtype, "shape": list(x.shape), "data": base64.b64encode(data).decode()}


def _decode(value: Mapping[str, Any]) -> Tensor:
    data = np.frombuffer(base64.b64decode(value["data"], validate=True), np.uint8).copy()
    return torch.from_numpy(data).view(_dtype(value["dtype"])).reshape(value["shape"])


def _dtype(name: str) -> torch.dtype:
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype):
        raise ValueError(f"no dtype {name!r}")
    return found


def _decode_shares(value: Mapping[str, Any]) -> Shares:
    return Shares(
        tuple(_decode(x) for x in value["parts"]),
        tuple(_dtype(name) for name in value["dtypes"]),
        tuple(value["reduce"]),
    )


def _differences(before: Any, now: Any, name: str = "") -> list[str]:
    """Where two JSON values differ: ``image.bytes: 3 before, 4 now``."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            line
            for key in sorted({*before, *now})
            for line in _differences(before.get(key), now.get(key), f"{name}.{key}" if name else key)
        ]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True))
        return [line for i, (a, b) in pairs for line in _differences(a, b, f"{name}[{i}]")]
    return [] if before == now else [f"{name}: {before} before, {now} now"]
