"""Rows of the paper's tables as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hsrzoo_benchmark.reproduce.tables import STANDS_FOR, default_dataset
from hsrzoo_benchmark.statistics.bootstrap import Interval
from hsrzoo_benchmark.tables.numbers import ABSENT, metric_heading, significant, with_interval


def table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Rows of a table of the paper as heading -> text; columns without any text are left out."""
    found = [_speed_cells(row) if "size" in row else _cells(row) for row in rows]
    filled = {head for row in found for head, text in row.items() if text != ABSENT}
    return [{head: text for head, text in row.items() if head in filled} for row in found]


def _cells(row: Mapping[str, Any]) -> dict[str, str]:
    found = {
        "condition": f"{row['split']}, {row['condition']}",
        "model": row["model"],
        "n": "no rows" if row["missing"] else scenes(row),
    }
    for key in row:
        metric = key.removesuffix("_paper")
        if metric != key:
            found[metric_heading(metric)] = figure(row, metric)
            found[f"{metric.upper()}, reported by the paper"] = _printed(row[key])
    gap = f"{figure(row, 'gap', sign=True)}, {row['wins']}/{row['scenes']}" if "gap" in row else ABSENT
    return {**found, "difference (wins)": gap, **cost(row), **signature(row)}


def _speed_cells(row: Mapping[str, Any]) -> dict[str, str]:
    return {
        "size": row["size"],
        "model": row["model"],
        "images/s": significant(row.get("images_s")),
        "images/s, reported by the paper": _printed(row["images_s_paper"]),
        "times faster than MST++ as published": significant(row.get("faster")),
        "over MST++, reported by the paper": significant(row["faster_paper"], 3),
        "runs": str(row.get("runs", "no times")),
        "commit": row.get("commits", ABSENT),
    }


def _printed(value: float | str | None) -> str:
    """A figure of the paper as it prints it."""
    return f"{value:g}" if isinstance(value, float) else str(value or ABSENT)


def figure(row: Mapping[str, Any], key: str, sign: bool = False) -> str:
    """A mean of a row with its interval."""
    low, high = row.get(f"{key}_low"), row.get(f"{key}_high")
    interval = None if low is None or high is None else Interval(low, high)
    return with_interval(row.get(key), interval, sign)


def scenes(row: Mapping[str, Any]) -> str:
    """Number of scenes and, where there are several, of seeds."""
    seeds = f", {row['seeds']} seeds" if row["seeds"] > 1 else ""
    return f"{row['scenes']}{seeds}"


def cost(row: Mapping[str, Any]) -> dict[str, str]:
    """Training: steps, seconds of CPU and of wall-clock."""
    keys = {"steps": "steps", "cpu_seconds": "CPU s", "wall_seconds": "wall s"}
    return {head: ABSENT if row.get(key) is None else f"{row[key]:.0f}" for key, head in keys.items()}


def signature(row: Mapping[str, Any]) -> dict[str, str]:
    """Protocol hash, and commit of the rows."""
    return {"hash": row.get("hash", ABSENT), "commit": row.get("commits", ABSENT)}


def notes(what: str, rows: Sequence[Mapping[str, Any]], dataset: str | None) -> list[str]:
    """What a reader must know besides the cells."""
    if what == "table-6":
        devices = sorted({f"{r['device']}, {r['threads']} threads" for r in rows if "device" in r})
        return [f"Ours: {'; '.join(devices) or 'no times'}. Reported by the paper: Jetson Orin NX 16 GB."]
    dataset = dataset or default_dataset(what)
    found = [
        "Mean over scenes, 95 % bootstrap interval; seeds are averaged first. CPU and wall seconds are of "
        "training, the codebooks' included. MCGA is a clean-room implementation: its authors published "
        "neither code nor weights."
    ]
    reference = next((row for row in rows if row.get("reference")), None)
    if reference:
        found.append(
            f"Difference: {reference['gap_metric']} less that of {reference['reference']}, scene by scene."
        )
    if dataset in STANDS_FOR:
        found.append(
            f"{dataset} stands in for {STANDS_FOR[dataset]}, of which the paper's figures are: values are "
            "of different scenes, only their order compares."
        )
    return found
