"""Stored rows of one network, for its card: the files that ``hsrzoo bench`` writes, read as plain JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from hsrzoo.results import SCHEMA

METRICS = ("mrae", "rmse", "psnr", "sam", "de2000")
"""Columns of a card, as far as rows have them."""


def scores(store: Path, architecture: str) -> list[dict[str, Any]]:
    """Means over the scenes of undisturbed input: one dict for each set of weights, data set, split and
    protocol. Of a file whose data changed the newest rows count; random weights do not."""
    found = []
    for rows in _files(store):
        last = rows[-1]
        clean = last["bench"] != "speed" and last.get("perturbation") is None and not last.get("tta")
        if not clean or last["architecture"] != architecture or last.get("untrained"):
            continue
        same = {row["scene"]: row for row in rows if row["fingerprint"] == last["fingerprint"]}
        found.append(
            {
                "model": last["model"],
                "weights_sha256": last["weights_sha256"],
                "trained on": last["trained_on"],
                "data": f"{last['dataset']}/{last['split']}",
                "protocol": f"{last['protocol_name']} {last['protocol_hash'][:12]}",
                "scenes": len(same),
                **{name: _mean(list(same.values()), name) for name in METRICS if name in last["metrics"]},
            }
        )
    return found


def timings(store: Path, architecture: str) -> list[dict[str, Any]]:
    """The newest speed row of every model, device, number of threads and image size."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for rows in _files(store):
        for row in rows:
            if row["bench"] != "speed" or row["architecture"] != architecture:
                continue
            device, threads = row["provenance"]["device_name"], row["provenance"]["threads"]
            size = "x".join(str(side) for side in row["size"])
            found[row["model"], row["model_sha256"], device, threads, size] = {
                "model": row["model"],
                "size": size,
                "device": device,
                "threads": threads,
                "p50 ms": None if row["p50"] is None else 1e3 * row["p50"],
                "peak MiB": row.get("peak_mib"),
                "status": row["status"],
            }
    return list(found.values())


def _mean(rows: list[dict[str, Any]], metric: str) -> float | None:
    """None where a scene's value is not a finite number, which files hold as text."""
    values = [row["metrics"][metric] for row in rows]
    return fmean(values) if all(isinstance(value, int | float) for value in values) else None


def _files(store: Path) -> Iterator[list[dict[str, Any]]]:
    """The rows of each file; lines that are torn or of another schema are left to ``hsrzoo bench``."""
    for path in sorted(store.rglob("*.jsonl")):
        rows = [row for line in path.read_bytes().splitlines() if (row := _row(line))]
        if rows:
            yield rows


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and row.get("schema") == SCHEMA else None
