"""From stored speed rows to figures: times, ratios to references, and what the paper reports for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from hsrzoo.results import SpeedRow, by_time
from hsrzoo_benchmark.results.figures import COLUMNS, fields_of, paper_arch
from hsrzoo_benchmark.results.reported import reported_by_paper
from hsrzoo_benchmark.speed.cell import OOM
from hsrzoo_benchmark.speed.ratios import ratios, summarise

PAPER_TIME = "ms_per_megapixel"


def main_machine(rows: Iterable[SpeedRow]) -> tuple[str | None, int | None] | None:
    """Device and number of threads that most models were timed with, of several those of the newest row;
    None without rows."""
    models: dict[tuple[str | None, int | None], set[str]] = {}
    for row in reversed(by_time(rows)):
        models.setdefault(row.machine, set()).add(row.model)
    return max(models, key=lambda machine: len(models[machine]), default=None)


def speed_figures(rows: Sequence[SpeedRow], references: Sequence[str]) -> list[dict[str, Any]]:
    """Stored speed rows as figures of :data:`COLUMNS`; ``scenes`` is the number of timed runs, and
    ratios name the reference that they refer to."""
    by_cell = {(row.model, row.run, row.size): row for row in rows}
    found = []
    for row in rows:
        for metric, value in summarise(row).items():
            if (metric, value) != ("status", "ok"):
                found.append(_speed_figure(row, metric, value))
        for name in references:
            reference = by_cell.get((name, row.run, row.size))
            for metric, value in ratios(row, reference).items():
                found.append(_speed_figure(row, metric, value, reference))
    return found + _times_of_the_paper(rows)


def _times_of_the_paper(rows: Sequence[SpeedRow]) -> list[dict[str, Any]]:
    """One figure a model without a measured value: the paper gives one time for all sizes."""
    found = []
    for model, row in {row.model: row for row in rows}.items():
        reported = reported_by_paper(bench="speed", arch=paper_arch(row), metric=PAPER_TIME)
        if reported:
            figure = {"bench": "speed", "model": model, "metric": PAPER_TIME}
            paper = {"reported": reported["value"], "reported_note": reported["note"]}
            found.append({**dict.fromkeys(COLUMNS), **figure, **paper})
    return found


def _speed_figure(
    row: SpeedRow, metric: str, value: float | str, reference: SpeedRow | None = None
) -> dict[str, Any]:
    reported = (
        _reported_speedup(row, reference)
        if metric == "speedup" and reference
        else reported_by_paper(bench="speed", severity=row.size_text, arch=paper_arch(row), metric=metric)
    )
    device, threads = row.machine
    return {
        **dict.fromkeys(COLUMNS),
        **fields_of(row),
        "condition": row.size_text,
        "metric": metric,
        "mean": value,
        "scenes": row.runs,
        "reference": reference.model if reference else None,
        "device": device,
        "threads": threads,
        "reported": reported.get("value"),
        "reported_note": reported.get("note"),
    }


def _reported_speedup(row: SpeedRow, reference: SpeedRow) -> dict[str, Any]:
    """The paper's images a second over those it gives for the reference's architecture."""
    own, other = (
        reported_by_paper(bench="speed", severity=row.size_text, arch=paper_arch(r), metric="images_s")
        for r in (row, reference)
    )
    if not own or not other or other["value"] == OOM:
        return {}
    value = own["value"] if own["value"] == OOM else own["value"] / other["value"]
    return {"value": value, "note": own["note"]}
