"""Figures that the MCGA paper reports."""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files
from typing import Any


def reported_by_paper(**key: str) -> dict[str, Any]:
    """``{"value": float or "OOM", "note": its table}`` of the paper's figure; empty: none. Without
    ``variant`` it is that of the whole model, without ``dataset`` that of none, as of speed on ARAD-1K."""
    key = {"variant": "", "dataset": "", **key}
    found = next((r for r in _paper() if all(r[k] == v for k, v in key.items())), None)
    if found is None:
        return {}
    value = found["value"]
    note = ", ".join(filter(None, [f"reported by the paper, table {found['table']}", found["note"]]))
    return {"value": value if value == "OOM" else float(value), "note": note}


@cache
def _paper() -> list[dict[str, str]]:
    text = (files("hsrzoo_benchmark") / "paper" / "reported.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))
