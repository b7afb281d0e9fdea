"""Rows of result stores that belong to certain weights: sorted into files to publish, and their means.

The store is written by the benchmark; here its files are read as plain JSON, and a row is kept or left
out, never changed.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from hsrzoo.errors import StoreError

SCHEMA = "hsrzoo.result/1"
"""Of every result row; another one is no row to this version."""
FOLDER = "results"
"""Where rows lie in a repository."""
HASH_LENGTH = 12
"""Hex digits of a protocol's hash that file names and tables show; rows carry all 64."""
PUBLISHED = re.compile(
    rf"{FOLDER}/([\w.-]+_[0-9a-f]{{{HASH_LENGTH}}}|speed_[\w.-]+-threads)\.jsonl", re.ASCII
)
"""Names that :attr:`Collected.files` gives; other files of that folder are somebody else's."""
DIRTY = "rows made by code with changes that were not committed"
OTHERWISE = "rows of these weights run otherwise (a variant, a precision, tiles, a camera's correction)"
NO_ROW = "lines that are no whole result row"


@dataclass(frozen=True)
class Identity:
    """What a row must name to belong to a model: sha256 of its weights, and of all that decides a cube."""

    weights_sha256: str
    model_sha256: str


@dataclass(frozen=True)
class Figure:
    """Means over the scenes of one data set and split under one protocol."""

    dataset: str
    split: str
    fingerprint: str
    protocol: str
    protocol_hash: str
    condition: str | None
    """Perturbation and severity; None for the input as it is."""
    tta: bool
    scenes: int
    seen: int
    """How many of the scenes the weights were trained on."""
    means: dict[str, float]
    """Metric -> mean, in the order of the protocol; without those that have no finite value somewhere."""

    @property
    def source(self) -> str:
        """Data and protocol in words: ``cave/valid, full-frame``."""
        parts = [f"{self.dataset}/{self.split}", self.protocol, self.condition, self.tta and "adapted"]
        return ", ".join(str(part) for part in parts if part)


@dataclass
class Collected:
    """The rows that belong to a model, and why others were left out."""

    rows: dict[bytes, dict[str, Any]] = field(default_factory=dict)
    """Line without its end -> the row: a line that lies in two stores counts once."""
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def files(self) -> dict[str, bytes]:
        """Path in a repository -> its lines, as they were stored, in an order that no store decides."""
        found: dict[str, list[bytes]] = {}
        for line, _ in sorted(self.rows.items(), key=lambda item: (_order(item[1]), item[0])):
            found.setdefault(f"{FOLDER}/{_stem(self.rows[line])}.jsonl", []).append(line)
        return {path: b"\n".join(lines) + b"\n" for path, lines in sorted(found.items())}

    @property
    def figures(self) -> list[Figure]:
        """One for each data set, split and protocol, input as it is first. Of a data set that changed the
        newest state counts, and of a scene that was scored twice the newest row."""
        groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for row in sorted((r for r in self.rows.values() if r["bench"] != "speed"), key=_order):
            groups.setdefault((row["dataset"], row["split"], row["protocol_hash"]), []).append(row)
        found = [_figure(rows) for rows in groups.values()]
        return sorted(found, key=lambda f: (f.condition is not None, f.tta, f.source, f.protocol_hash))


def collect(
    places: Iterable[Path], identity: Identity, published: Mapping[str, bytes] | None = None
) -> Collected:
    """The rows of ``places`` that belong to ``identity``, together with those ``published`` already.

    A place is a store (a folder) or one file of it. Raises StoreError where a place does not exist, and
    where a file that was named itself has a row of another model.
    """
    found = Collected()
    for place in places:
        for path in _files(place):
            _take(found, path.read_bytes(), identity, named=path if path == place else None)
    for data in (published or {}).values():
        _take(found, data, identity)
    return found


def _files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    if place.is_dir():
        return sorted(place.rglob("*.jsonl"))
    raise StoreError(
        f"There is no result store {place}",
        expected="a folder written by `hsrzoo bench --store DIR`, or one .jsonl file of it",
        fix="Name another one with --store, or leave it out",
    )


def _take(found: Collected, data: bytes, identity: Identity, named: Path | None = None) -> None:
    for line in data.splitlines():
        row = _row(line)
        if row is None:
            found.left_out[NO_ROW] += 1
        elif row["weights_sha256"] != identity.weights_sha256:
            if named is not None:
                raise _foreign(named, row, identity)
        elif row["model_sha256"] != identity.model_sha256:
            found.left_out[OTHERWISE] += 1
        elif row["provenance"].get("dirty"):
            found.left_out[DIRTY] += 1
        else:
            found.rows[line] = row


_NEEDED = ("bench", "weights_sha256", "model_sha256", "provenance")
_SCORED = ("dataset", "split", "scene", "fingerprint", "protocol_name", "protocol_hash", "metrics")


def _row(line: bytes) -> dict[str, Any] | None:
    """None for a line that a kill tore, of another schema, or without what is asked of it here."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    if not isinstance(row, dict) or row.get("schema") != SCHEMA or any(key not in row for key in _NEEDED):
        return None
    complete = row["bench"] == "speed" or all(key in row for key in _SCORED)
    return row if complete and isinstance(row["provenance"], dict) else None


def _foreign(path: Path, row: Mapping[str, Any], identity: Identity) -> StoreError:
    got = row["weights_sha256"]
    return StoreError(
        f"{path} has rows of other weights",
        expected=f"weights_sha256 {identity.weights_sha256[:16]}...",
        got=f"{row.get('model')}, {f'{got[:16]}...' if got else 'random weights'}",
        fix="Name the file of these weights, or the whole store: of that the rows that belong are taken",
    )


def _stem(row: Mapping[str, Any]) -> str:
    """The name that the store gives a protocol's file; of timings, the device's."""
    if row["bench"] == "speed":
        device = row["provenance"].get("device_name") or row["provenance"].get("device")
        return f"speed_{_slug(str(device))}_{row['provenance'].get('threads')}-threads"
    parts = [row["protocol_name"], row.get("perturbation"), row.get("severity"), row.get("tta") and "tta"]
    stem = "_".join(_slug(str(part)) for part in parts if part)
    return f"{stem}_{row['protocol_hash'][:HASH_LENGTH]}"


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "unnamed"


def _order(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(row.get(key, "")) for key in ("dataset", "split", "scene", "size", "timestamp"))


def _figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Of rows that share data set, split and protocol."""
    newest = max(rows, key=lambda row: str(row.get("timestamp", "")))
    fingerprint = newest["fingerprint"]
    scenes = {row["scene"]: row for row in rows if row["fingerprint"] == fingerprint}
    metrics = [row["metrics"] for row in scenes.values()]
    names = [metric[0] for metric in newest.get("protocol", {}).get("metrics", ())] or list(metrics[0])
    condition = " ".join(str(part) for part in (newest.get("perturbation"), newest.get("severity")) if part)
    return Figure(
        dataset=newest["dataset"],
        split=newest["split"],
        fingerprint=fingerprint,
        protocol=newest["protocol_name"],
        protocol_hash=newest["protocol_hash"],
        condition=condition or None,
        tta=bool(newest.get("tta")),
        scenes=len(scenes),
        seen=sum(bool(row.get("seen_in_training")) for row in scenes.values()),
        means={
            name: fmean(m[name] for m in metrics)
            for name in names
            if all(_is_finite(m.get(name)) for m in metrics)
        },
    )


def _is_finite(value: Any) -> bool:
    """Rows hold NaN and infinities as text."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
