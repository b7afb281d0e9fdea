"""From stored rows to figures: means, intervals, ranks, and what the paper reports beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hsrzoo.metrics import check_psnr_invariant
from hsrzoo.registry import METRICS
from hsrzoo.results import HASH_LENGTH
from hsrzoo_benchmark.plan.cells import Cell, Source
from hsrzoo_benchmark.plan.models import plain_name
from hsrzoo_benchmark.protocol import Condition
from hsrzoo_benchmark.results.reported import reported_by_paper
from hsrzoo_benchmark.run import metamer
from hsrzoo_benchmark.speed.cell import OOM
from hsrzoo_benchmark.speed.ratios import ratios, summarise, variant_of
from hsrzoo_benchmark.statistics import bootstrap
from hsrzoo_benchmark.statistics.bootstrap import Better, Difference
from hsrzoo_benchmark.store import number

COLUMNS = (
    "bench", "dataset", "split", "protocol", "hash", "condition", "severity_value",
    "rgb_mean_change", "model", "weights_sha256", "model_sha256", "untrained", "tta", "trained_on",
    "also_trained_on", "seen_in_training", "metric", "mean", "low", "high", "rank", "wins",
    "scenes", "nan_scenes", "seeds", "scored_bands", "data_bands", "cap_seconds", "reference",
    "device", "threads", "memory_limit_gib", "reported", "reported_note",
)  # fmt: skip
"""Keys of a figure, the same for scores and speed, so that one CSV holds both."""
PAPER_TIME = "ms_per_megapixel"
PUBLISHED = "reference"
"""The variant that is a network in its published structure."""


@dataclass(frozen=True)
class Contestant:
    """A model, with or without TTA, under one condition: its rows, all seeds."""

    rows: tuple[dict[str, Any], ...]

    @property
    def first(self) -> dict[str, Any]:
        """Any row: what all of them share can be read from it."""
        return self.rows[0]

    @property
    def label(self) -> str:
        """The model's name, as tables show it."""
        return self.first["model"] + (" + TTA" if self.first["tta"] else "")

    def scenes(self, column: str) -> dict[str, float]:
        """Scene -> value, averaged over seeds; NaN stays NaN."""
        found: dict[str, list[float]] = {}
        for row in self.rows:
            found.setdefault(row["scene"], []).append(number(row["metrics"][column]))
        return {scene: float(np.mean(values)) for scene, values in sorted(found.items())}


@dataclass(frozen=True)
class Comparable:
    """Contestants whose figures share a protocol but for seed and TTA."""

    contestants: tuple[Contestant, ...]

    @property
    def first(self) -> dict[str, Any]:
        """Any row."""
        return self.contestants[0].first

    @property
    def condition(self) -> Condition:
        """What was done to the input."""
        return Condition(self.first["perturbation"], self.first["severity"])

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics that were computed."""
        return [name for name, _, _ in self.first["protocol"]["metrics"]]


def gather(cells: Iterable[Cell], source: Source) -> list[Comparable]:
    """The stored rows of the planned cells, on the run's scenes and files, in table order."""
    groups: dict[tuple[str, str], dict[tuple[str, bool], list[dict[str, Any]]]] = {}
    wanted = set(source.scenes)
    for cell in cells:
        rows = {
            row["scene"]: row
            for row in cell.file.rows
            if row["scene"] in wanted and row["fingerprint"] == source.fingerprint
        }
        if not rows:
            continue
        group = groups.setdefault((cell.bench, cell.protocol.group), {})
        group.setdefault((cell.model.name, cell.protocol.tta), []).extend(rows.values())
    return [
        Comparable(tuple(Contestant(tuple(rows)) for rows in group.values())) for group in groups.values()
    ]


def better(metric: str) -> Better:
    """Which way a metric improves."""
    return METRICS.get(metric).better


def figures(groups: Iterable[Comparable]) -> list[dict[str, Any]]:
    """One dict of :data:`COLUMNS` for every column of every metric of every contestant."""
    found = []
    for group in groups:
        for metric in group.metrics:
            _check(metric, group)
            for i, column in enumerate(METRICS.get(metric).columns):
                found += _figures_of(group, metric, column, headline=i == 0)
        if group.condition.perturbation == metamer.NAME:
            for column in metamer.COLUMNS:
                found += _figures_of(group, column, column, headline=False)
    return found


def _check(metric: str, group: Comparable) -> None:
    """The invariant between stored PSNR and RMSE, over each contestant's scenes."""
    if metric != "psnr":
        return
    for contestant in group.contestants:
        psnrs, roots = (
            [number(row["metrics"][column]) for row in contestant.rows]
            for column in ("psnr", "rmse_clamped")
        )
        check_psnr_invariant(psnrs, roots, group.first["protocol"]["value_range"][1])


def _figures_of(group: Comparable, metric: str, column: str, headline: bool) -> list[dict[str, Any]]:
    """Over the scenes that all contestants have, so that a scene on which one of them failed does
    not make means incomparable; where there is none, over each one's own, without ranks."""
    values = [c.scenes(column) for c in group.contestants]
    common = sorted(set.intersection(*(set(v) for v in values)))
    if common:
        values = [{scene: v[scene] for scene in common} for v in values]
    matrix = np.array([[v[scene] for scene in common] for v in values])
    ranked = bootstrap.ranks(matrix, better(metric)) if headline else [None] * len(values)
    wins = _wins(matrix, better(metric)) if headline else [None] * len(values)
    return [
        _figure(group, contestant, column, np.array(list(v.values())), rank, won)
        for contestant, v, rank, won in zip(group.contestants, values, ranked, wins, strict=True)
    ]


def _wins(matrix: np.ndarray, direction: Better) -> list[int | None]:
    """For each model on how many scenes it beats the one with the best mean; None for that one."""
    if matrix.shape[1] == 0 or not np.all(np.isfinite(matrix)):
        return [None] * len(matrix)
    means = matrix.mean(axis=1)
    best = int(np.argmin(means) if direction == "lower" else np.argmax(means))
    return [
        None if i == best else bootstrap.difference(row, matrix[best], direction).wins
        for i, row in enumerate(matrix)
    ]


def _figure(
    group: Comparable,
    contestant: Contestant,
    column: str,
    values: np.ndarray,
    rank: int | None,
    wins: int | None,
) -> dict[str, Any]:
    row = contestant.first
    interval = bootstrap.mean_interval(values)
    reported = _reported(row, group.condition, column)
    return {
        "bench": row["bench"],
        "dataset": row["dataset"],
        "split": row["split"],
        "protocol": row["protocol_name"],
        "hash": row["protocol_group"][:HASH_LENGTH],
        "condition": str(group.condition),
        "severity_value": row["protocol"]["severity_value"],
        "rgb_mean_change": _mean_change(contestant),
        "model": row["model"],
        "weights_sha256": row["weights_sha256"],
        "model_sha256": row["model_sha256"],
        "untrained": row.get("untrained", False),
        "tta": row["tta"],
        "trained_on": row["trained_on"],
        "also_trained_on": ", ".join(row["also_trained_on"]) or None,
        "seen_in_training": any(r["seen_in_training"] for r in contestant.rows),
        "metric": column,
        "mean": float(np.mean(values)),
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        "rank": rank,
        "wins": wins,
        "scenes": len(values),
        "nan_scenes": int(np.isnan(values).sum()),
        "seeds": len({r["seed"] for r in contestant.rows}),
        "scored_bands": row["scored_bands"],
        "data_bands": len(row["protocol"]["bands"]["centres_nm"]),
        "reported": reported.get("value"),
        "reported_note": reported.get("note"),
    }


def _mean_change(contestant: Contestant) -> float | None:
    """Relative change of RGB's mean that the perturbation made, averaged over rows."""
    changes = [row["info"]["mean_change"] for row in contestant.rows if "mean_change" in row["info"]]
    return float(np.mean(changes)) if changes else None


def _reported(row: dict[str, Any], condition: Condition, column: str) -> dict[str, Any]:
    return reported_by_paper(
        bench=row["bench"],
        dataset=row["dataset"],
        split=row["split"],
        protocol=row["protocol_name"],
        perturbation=condition.perturbation or "",
        severity=condition.severity or "",
        tta=str(int(row["tta"])),
        arch="" if row.get("untrained") else _paper_arch(row),
        metric=column,
    )


def speed_figures(rows: Sequence[dict[str, Any]], references: Sequence[str]) -> list[dict[str, Any]]:
    """Stored speed rows as figures of :data:`COLUMNS`; ``scenes`` is the number of timed runs, and
    ratios name the reference that they refer to."""
    by_cell = {(r["model"], r["run"], *r["size"]): r for r in rows}
    found = []
    for row in rows:
        for metric, value in summarise(row).items():
            if (metric, value) != ("status", "ok"):
                found.append(_speed_figure(row, metric, value))
        for name in references:
            reference = by_cell.get((name, row["run"], *row["size"]))
            for metric, value in ratios(row, reference).items():
                found.append(_speed_figure(row, metric, value, reference))
    return found + _times_of_the_paper(rows)


def _times_of_the_paper(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One figure a model without a measured value: the paper gives one time for all sizes."""
    found = []
    for model, row in {row["model"]: row for row in rows}.items():
        reported = reported_by_paper(bench="speed", arch=_paper_arch(row), metric=PAPER_TIME)
        if reported:
            figure = {"bench": "speed", "model": model, "metric": PAPER_TIME}
            told = {"reported": reported["value"], "reported_note": reported["note"]}
            found.append({**dict.fromkeys(COLUMNS), **figure, **told})
    return found


def _paper_arch(row: dict[str, Any]) -> str:
    """The architecture whose figures in the paper stand beside this row's; "" for a cheaper variant, for
    another way of running it and for a title that does not begin with it, of an ablation, say. Random
    weights take as long as trained ones."""
    label = row["model"].removesuffix(" [untrained]")
    usual = plain_name(label) == label and variant_of(label) in (None, PUBLISHED)
    usual = usual and (":" in label or label.partition(".")[0] == row["architecture"])
    return row["architecture"] if usual else ""


def _speed_figure(
    row: dict[str, Any], metric: str, value: float | str, reference: dict[str, Any] | None = None
) -> dict[str, Any]:
    size = "x".join(str(side) for side in row["size"])
    reported = (
        _reported_speedup(row, reference, size)
        if metric == "speedup" and reference
        else reported_by_paper(bench="speed", severity=size, arch=_paper_arch(row), metric=metric)
    )
    return {
        **dict.fromkeys(COLUMNS),
        "bench": "speed",
        "condition": size,
        "model": row["model"],
        "weights_sha256": row["weights_sha256"],
        "model_sha256": row["model_sha256"],
        "untrained": row.get("untrained", False),
        "metric": metric,
        "mean": value,
        "scenes": row["runs"],
        "cap_seconds": row["cap_seconds"],
        "reference": reference["model"] if reference else None,
        "device": row["provenance"]["device_name"],
        "threads": row["provenance"]["threads"],
        "memory_limit_gib": row["memory_limit_gib"],
        "reported": reported.get("value"),
        "reported_note": reported.get("note"),
    }


def _reported_speedup(row: dict[str, Any], reference: dict[str, Any], size: str) -> dict[str, Any]:
    """The paper's images a second over those it gives for the reference's architecture."""
    own, other = (
        reported_by_paper(bench="speed", severity=size, arch=_paper_arch(r), metric="images_s")
        for r in (row, reference)
    )
    if not own or not other or other["value"] == OOM:
        return {}
    value = own["value"] if own["value"] == OOM else own["value"] / other["value"]
    return {"value": value, "note": own["note"]}


def compare(group: Comparable) -> list[dict[str, Any]]:
    """``group`` has two contestants, A and B: for each metric the paired difference and a verdict."""
    a, b = group.contestants
    found: list[dict[str, Any]] = []
    for metric in group.metrics:
        column = METRICS.get(metric).columns[0]
        ours, theirs = a.scenes(column), b.scenes(column)
        common = sorted(set(ours) & set(theirs))
        left, right = (np.array([side[scene] for scene in common]) for side in (ours, theirs))
        gap = bootstrap.difference(left, right, better(metric))
        found.append(
            {
                "bench": group.first["bench"],
                "protocol": group.first["protocol_name"],
                "hash": group.first["protocol_group"][:HASH_LENGTH],
                "condition": str(group.condition),
                "metric": metric,
                "a": float(left.mean()),
                "b": float(right.mean()),
                "difference": gap.mean,
                "low": gap.interval.low if gap.interval else None,
                "high": gap.interval.high if gap.interval else None,
                "wins": gap.wins,
                "scenes": gap.scenes,
                "verdict": verdict(gap, better(metric), a.label, b.label),
            }
        )
    return found


def verdict(gap: Difference, direction: Better, a: str, b: str) -> str:
    """What a difference allows one to say."""
    if not np.isfinite(gap.mean):
        return "none: NaN"
    if gap.interval is None:
        return f"none: n = {gap.scenes}, {bootstrap.MIN_SCENES} scenes needed"
    if not gap.significant:
        return "no significant difference"
    return f"{a if (gap.mean < 0) == (direction == 'lower') else b} is better"
