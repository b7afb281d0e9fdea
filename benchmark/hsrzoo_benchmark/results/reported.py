"""What the MCGA paper and others report: figures, tables and claims, as the folder ``paper`` has them."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from hsrzoo_benchmark.protocol import Condition

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def reported_score(
    dataset: str, split: str, protocol: str, condition: Condition, tta: bool, **key: str
) -> dict[str, Any]:
    """As :func:`reported_by_paper`, of a score."""
    return reported_by_paper(
        dataset=dataset,
        split=split,
        protocol=protocol,
        perturbation=condition.perturbation or "",
        severity=condition.severity or "",
        tta=str(int(tta)),
        **key,
    )


def reported_by_paper(**key: str) -> dict[str, Any]:
    """``{"value": float or "OOM", "note": its table}`` of the paper's figure; empty: none. Without
    ``variant`` it is that of the whole model, without ``dataset`` that of none, as of speed on ARAD-1K."""
    key = {"variant": "", "dataset": "", **key}
    found = _paper_by(tuple(key)).get(tuple(key.values()))
    if found is None:
        return {}
    value = found["value"]
    note = ", ".join(filter(None, [f"reported by the paper, table {found['table']}", found["note"]]))
    return {"value": value if value == "OOM" else float(value), "note": note}


@cache
def _paper() -> list[dict[str, str]]:
    return list(csv.DictReader(_read("reported.csv").splitlines()))


@cache
def _paper_by(columns: tuple[str, ...]) -> dict[tuple[str, ...], dict[str, str]]:
    """The first row for each combination of values in these columns."""
    return {tuple(row[column] for column in columns): row for row in reversed(_paper())}


def scores_of_tables(tables: Sequence[str]) -> list[dict[str, str]]:
    """The paper's figures of undisturbed ARAD-1K, one entry a model, as those of :func:`published`."""
    found: dict[str, dict[str, str]] = {}
    for row in _paper():
        whole = (row["bench"], row["dataset"], row["variant"]) == ("accuracy", "arad", "")
        if whole and row["table"] in tables:
            named = {"network": row["arch"], "source": "paper", "note": f"table {row['table']}"}
            found.setdefault(row["arch"], named)[row["metric"]] = row["value"]
    return list(found.values())


@cache
def published() -> dict[str, Any]:
    """What others report on ARAD-1K, as ``arad.toml`` describes it."""
    return tomllib.loads(_read("arad.toml"))


@cache
def paper_tables() -> dict[str, Any]:
    """Name of a table or figure -> what it shows, as ``tables.toml`` describes it."""
    return tomllib.loads(_read("tables.toml"))


@cache
def paper_claims() -> list[dict[str, Any]]:
    """The claims, as ``claims.toml`` describes them."""
    return tomllib.loads(_read("claims.toml"))["claim"]


def _read(name: str) -> str:
    return (files("hsrzoo_benchmark") / "paper" / name).read_text(encoding="utf-8")
