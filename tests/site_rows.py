"""Made-up rows of a store with all that a run writes: what a site shows of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import result_rows

METRICS = (
    ("mrae", "1", "m"),
    ("rmse", "1", "r"),
    ("psnr", "1", "p"),
    ("sam", "1", "s"),
    ("de2000", "1", "d"),
)
MACHINE = {
    "hsrzoo": "0.1.0", "commit": "0123456789abcdef", "dirty": False, "python": "3.11", "torch": "2.10",
    "numpy": "2.0", "device": "cpu", "device_name": "AMD", "threads": 1, "dtype": "float32",
}  # fmt: skip


def scored(model: str, rmse: Sequence[float], **changes: Any) -> list[dict[str, Any]]:
    """As :func:`result_rows.rows`, complete; ``bench`` and ``architecture`` follow from the others."""
    condition, tta = changes.get("condition"), changes.get("tta", False)
    rows = result_rows.rows(
        model,
        rmse,
        **{
            "bench": "accuracy" if condition is None else condition[0],
            "architecture": model.partition(".")[0],
            "execution": {"runtime": "torch", "precision": "fp32", "compile": False, "tile": None},
            "untrained": False,
            "trained_on": "cave",
            "also_trained_on": [],
            "seen_in_training": False,
            "info": {},
            "seconds": 0.5,
            "scored_bands": 5,
            "provenance": MACHINE,
            **changes,
            "metrics": {
                "rmse_clamped": list(rmse),
                "psnr": [-20 * math.log10(value) if value == value else value for value in rmse],
                **{name: [0.0] * len(rmse) for name in ("mrae_zero", "sam_zero", "de2000_p95")},
                **changes.get("metrics", {}),
            },
        },
    )
    for row in rows:
        row["protocol_hash"] = sha256(f"{row['protocol_group']}{tta}".encode()).hexdigest()
        row["protocol"] = {
            "name": row["protocol_name"], "crop": 0, "value_range": [0.0, 1.0], "severity_value": None,
            "perturbation": row["perturbation"], "severity": row["severity"], "resampled_from": None,
            "tta": tta, "tta_settings": {"steps": 8} if tta else {}, "metrics": METRICS,
            "bands": {"centres_nm": [400, 475, 550, 625, 700], "widths_nm": None},
        }  # fmt: skip
    return rows


def timed(model: str, seconds: Sequence[float], size: int = 512, **changes: Any) -> dict[str, Any]:
    """One row of the speed benchmark, of ten runs or fewer."""
    return {
        "schema": "hsrzoo.result/1", "bench": "speed", "model": model,
        "architecture": model.partition(".")[0],
        "execution": {}, "weights_sha256": f"w{model}1", "model_sha256": f"m{model}1", "bands": 31,
        "run": "one", "method": 2, "size": [size, size], "memory_limit_gib": 4.0, "cap_seconds": 20.0,
        "search": None, "status": "ok", "peak_mib": 800.0, "loaded_mib": 600.0, "cold_seconds": 1.0,
        "macs": 10**9, "runs": len(seconds), "p90": max(seconds, default=None),
        "p50": sorted(seconds)[len(seconds) // 2] if seconds else None,
        "cpu_p50": 2 * sorted(seconds)[len(seconds) // 2] if seconds else None,
        "seconds": list(seconds), "provenance": {**MACHINE, "threads": 2},
        "timestamp": "2026-01-05T00:00:00", **changes,
    }  # fmt: skip


def store(root: Path, scores: Sequence[Sequence[Mapping[str, Any]]], times: Sequence[Any] = ()) -> Path:
    """A store with these rows; the folder."""
    result_rows.write(root, *scores)
    if times:
        folder = root / "speed" / "made-up"
        folder.mkdir(parents=True)
        (folder / "cpu.jsonl").write_text("".join(json.dumps(row) + "\n" for row in times))
    return root
