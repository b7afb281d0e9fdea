"""Stored rows of one network as the tables of its card."""

from __future__ import annotations

from typing import Any

from hsrzoo.results import HASH_LENGTH, StoredRows, by_protocol, mean, newest

METRICS = ("mrae", "rmse", "psnr", "sam", "de2000")
"""Columns of a card, as far as rows have them."""


def scores(stored: StoredRows, architecture: str) -> list[dict[str, Any]]:
    """Means over the scenes of images as they are: one dict for each set of weights, data set, split and
    protocol. Random weights are left out."""
    own = (row for row in stored.scores if row.architecture == architecture)
    wanted = [row for row in own if row.perturbation is None and not (row.tta or row.untrained)]
    return [
        {
            "model": rows[0].model,
            "weights_sha256": rows[0].weights_sha256,
            "trained on": rows[0].trained_on,
            "data": f"{rows[0].dataset}/{rows[0].split}",
            "protocol": f"{rows[0].protocol_name} {rows[0].protocol_hash[:HASH_LENGTH]}",
            "scenes": len(rows),
            **{name: mean(rows, name) for name in METRICS if name in rows[0].metrics},
        }
        for rows in by_protocol(wanted, lambda row: (row.model, row.weights_sha256))
    ]


def timings(stored: StoredRows, architecture: str) -> list[dict[str, Any]]:
    """The newest time of every model, device, number of threads and image size."""
    wanted = (row for row in stored.speed if row.architecture == architecture)
    return [
        {
            "model": row.model,
            "size": row.size_text,
            "device": row.machine[0],
            "threads": row.machine[1],
            "p50 ms": None if row.p50 is None else 1e3 * row.p50,
            "peak MiB": row.peak_mib,
            "status": row.status,
        }
        for row in newest(wanted, lambda row: (row.model, row.model_sha256, row.machine, row.size))
    ]
