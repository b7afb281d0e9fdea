"""From stored rows to figures: means, intervals, ranks, and what the paper reports for them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hsrzoo.errors import StoreError
from hsrzoo.metrics import MetricInvariantError, check_psnr_invariant
from hsrzoo.registry import METRICS
from hsrzoo.results import HASH_LENGTH, ScoreRow, SpeedRow, newest_scores
from hsrzoo_benchmark.grouping import group_by
from hsrzoo_benchmark.plan.cells import Cell, Source
from hsrzoo_benchmark.plan.models import plain_name
from hsrzoo_benchmark.protocol import Condition
from hsrzoo_benchmark.results.reported import reported_score
from hsrzoo_benchmark.results.versions import current, held
from hsrzoo_benchmark.run import brightness, metamer, uncertainty
from hsrzoo_benchmark.speed.ratios import variant_of
from hsrzoo_benchmark.statistics import intervals
from hsrzoo_benchmark.statistics.intervals import Better, Difference, Interval
from hsrzoo_benchmark.statistics.seeds import paired

COLUMNS = (
    "bench", "dataset", "split", "protocol", "hash", "condition", "severity_value",
    "rgb_mean_change", "model", "weights_sha256", "model_sha256", "untrained", "tta", "trained_on",
    "also_trained_on", "seen_in_training", "metric", "mean", "low", "high", "interval", "rank",
    "wins", "wins_low", "wins_high", "scenes", "nan_scenes", "seeds", "scored_bands", "data_bands",
    "cap_seconds", "reference", "device", "threads", "memory_limit_gib", "reported", "reported_note",
)  # fmt: skip
"""Keys of a figure, the same for scores and speed, so that one CSV holds both."""
NOT_SIGNIFICANT = "no significant difference"
"""The verdict on two models whose difference's interval holds 0."""
_PSNR = {"psnr", "rmse_clamped"}
PUBLISHED = "reference"
"""The variant that is a network in its published structure."""


@dataclass(frozen=True)
class Entry:
    """A model that is compared, with or without test-time adaptation: its rows under one condition."""

    rows: tuple[ScoreRow, ...]
    """At least one for each scene and seed of the perturbation; of several, which hold other metrics, the
    newest is the last."""

    @property
    def first(self) -> ScoreRow:
        """Any row: what all of them share can be read from it."""
        return self.rows[0]

    @property
    def label(self) -> str:
        """The model's name, as tables show it."""
        return self.first.model + (" + TTA" if self.first.tta else "")

    @cached_property
    def values(self) -> dict[tuple[str, int | None], dict[str, float]]:
        """(scene, seed) -> its columns, each from the newest row that has it."""
        found: dict[tuple[str, int | None], dict[str, float]] = {}
        for row in self.rows:
            found.setdefault((row.scene, row.seed), {}).update(current(row))
        return found

    @cached_property
    def metrics(self) -> list[str]:
        """Names of the metrics that every scene has, as the installed versions define them."""
        return [name for name in _names(self.rows) if self.has(METRICS.get(name).columns[0])]

    def has(self, *columns: str) -> bool:
        """Whether there are values of ``columns`` for every scene."""
        return all(set(columns) <= values.keys() for values in self.values.values())

    def scenes(self, column: str) -> dict[str, float]:
        """Scene -> value, averaged over the perturbation's seeds; NaN stays NaN."""
        return {
            scene: runs[0][column] if len(runs) == 1 else float(np.mean([run[column] for run in runs]))
            for scene, runs in self._by_scene.items()
        }

    @cached_property
    def _by_scene(self) -> dict[str, list[dict[str, float]]]:
        """:attr:`values` of each scene, one for each seed."""
        keys = sorted(self.values, key=lambda key: (key[0], str(key[1])))
        by_scene = group_by(keys, lambda key: key[0])
        return {scene: [self.values[key] for key in own] for scene, own in by_scene.items()}

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The columns of a figure that are the same for all metrics."""
        row = self.first
        changes = [r.info["mean_change"] for r in self.rows if "mean_change" in r.info]
        return {
            **fields_of(row),
            **{key: _shared(self, key) for key in ("weights_sha256", "model_sha256")},
            "protocol": row.protocol_name,
            "hash": row.group[:HASH_LENGTH],
            "severity_value": row.protocol["severity_value"],
            # relative change of RGB's mean that the perturbation made, averaged over rows
            "rgb_mean_change": float(np.mean(changes)) if changes else None,
            "also_trained_on": ", ".join(row.also_trained_on) or None,
            "seen_in_training": any(r.seen_in_training for r in self.rows),
            "seeds": len({r.seed for r in self.rows}),
            "data_bands": len(row.protocol["bands"]["centres_nm"]),
        }


@dataclass(frozen=True)
class Group:
    """Entries that can be compared: of one data set, split and condition, under one protocol."""

    entries: tuple[Entry, ...]
    apart: tuple[Group, ...] = ()
    """Entries that were scored on other scenes of the split: they have no rank."""
    wanted: tuple[str, ...] | None = None
    """The metrics to show, in this order; None: all that an entry has."""

    @property
    def first(self) -> ScoreRow:
        """Any row."""
        return self.entries[0].first

    @property
    def all_entries(self) -> list[Entry]:
        """Those that were scored on other scenes too."""
        return [entry for group in (self, *self.apart) for entry in group.entries]

    @property
    def place(self) -> tuple[str, str]:
        """Data set and split."""
        return self.first.dataset, self.first.split

    @property
    def condition(self) -> Condition:
        """What was done to the input."""
        return Condition(self.first.perturbation, self.first.severity)

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics that an entry has, of those that are wanted."""
        names = self.wanted
        if names is None:
            names = _names(row for entry in self.all_entries for row in entry.rows)
        return [name for name in names if any(name in entry.metrics for entry in self.all_entries)]

    @cached_property
    def figures(self) -> tuple[Mapping[str, Any], ...]:
        """What :func:`figures` says of this group alone, computed once."""
        return tuple(_of_group(self))

    def having(self, *columns: str) -> list[Entry]:
        """The entries that have ``columns`` on every scene."""
        return [entry for entry in self.entries if entry.has(*columns)]


def _names(rows: Iterable[ScoreRow]) -> tuple[str, ...]:
    """Of the metrics of all ``rows``, in the order of the row that has most of them."""
    lists = [[name for name, _, _ in row.protocol["metrics"]] for row in rows]
    return tuple(dict.fromkeys(name for names in sorted(lists, key=len, reverse=True) for name in names))


def gather(cells: Iterable[Cell], source: Source) -> list[Group]:
    """The stored rows of the planned cells, on the run's scenes and files, with the metrics that they ask
    for, in table order."""
    scenes = set(source.scenes)
    rows: list[ScoreRow] = []
    wanted: dict[str, None] = {}
    for cell in cells:
        wanted |= dict.fromkeys(name for name, _, _ in cell.protocol.metrics)
        own = (row for row in cell.file.rows if row.fingerprint == source.fingerprint)
        rows += newest_scores((row for row in own if row.scene in scenes), held)
    found = entries_by(rows, lambda row: (row.bench, row.group))
    return [Group(entries, wanted=tuple(wanted)) for entries in found]


def entries_by(rows: Iterable[ScoreRow], key: Callable[[ScoreRow], Hashable]) -> list[tuple[Entry, ...]]:
    """The entries of each value of ``key``, all in order of appearance."""
    return [
        tuple(Entry(tuple(own)) for own in group_by(part, lambda row: (row.model, row.tta)).values())
        for part in group_by(rows, key).values()
    ]


def better(metric: str) -> Better:
    """Which way a metric improves."""
    return METRICS.get(metric).better


def figures(groups: Iterable[Group]) -> list[dict[str, Any]]:
    """One dict of :data:`COLUMNS` for every column of every metric of every entry, and for the floor of
    conditions that have one."""
    return [dict(figure) for group in groups for figure in group.figures]


def _of_group(group: Group) -> list[dict[str, Any]]:
    none = dict.fromkeys(("rank", "wins", "wins_low", "wins_high"))
    found = _of_entries(group)
    found += [{**figure, **none} for part in group.apart for figure in _of_entries(part)]
    return found + [{**figure, **none} for figure in _floor(group)]


def _of_entries(group: Group) -> list[dict[str, Any]]:
    """The figures of all entries but those apart."""
    found = []
    for metric in group.metrics:
        if metric == "psnr":
            _check_psnr(group)
        for i, column in enumerate(METRICS.get(metric).columns):
            found += _figures_of(group, metric, column, headline=i == 0)
    if group.condition.perturbation == metamer.NAME:
        for column in metamer.COLUMNS:
            found += _figures_of(group, column, column, headline=False)
    if group.condition.perturbation in uncertainty.NAMES:
        for column in uncertainty.COLUMNS:
            found += _figures_of(group, column, column, headline=False)
        found += [_worst(group, entry) for entry in group.having("coverage")]
    return found


def _worst(group: Group, entry: Entry) -> dict[str, Any]:
    """The least coverage of a scene, without an interval: a mean hides it."""
    least = np.array([min(entry.scenes("coverage").values())])
    figure = _figure(group, entry, uncertainty.WORST, least, None)
    return {**figure, "scenes": len(entry.scenes("coverage"))}


def _floor(group: Group) -> list[dict[str, Any]]:
    """The unavoidable RMSE as a figure of its own: it is that of the scenes, which all entries share, so
    any entry whose rows have it will do."""
    entries = group.having(brightness.COLUMN)
    if not entries or "rmse" not in group.metrics:
        return []
    values = np.array(list(entries[0].scenes(brightness.COLUMN).values()))
    figure = _figure(group, entries[0], "rmse", values, intervals.mean_interval(values))
    of_a_model = (
        "weights_sha256",
        "model_sha256",
        "trained_on",
        "also_trained_on",
        "reported",
        "reported_note",
    )
    own = {"model": brightness.LABEL, "tta": False, "untrained": False, "seen_in_training": False}
    return [{**figure, **dict.fromkeys(of_a_model), **own}]


def _check_psnr(group: Group) -> None:
    """The invariant between stored PSNR and RMSE, over each entry's scenes."""
    peak = group.first.protocol["value_range"][1]
    for entry in group.entries:
        rows = [row for row in entry.rows if row.metrics.keys() >= _PSNR]
        try:
            _check_rows(rows, peak)
        except MetricInvariantError:
            for row in rows:
                _check_row(row, peak)
            raise


def _check_rows(rows: Sequence[ScoreRow], peak: float) -> None:
    psnrs, roots = ([row.metrics[column] for row in rows] for column in ("psnr", "rmse_clamped"))
    check_psnr_invariant(psnrs, roots, peak)


def _check_row(row: ScoreRow, peak: float) -> None:
    """StoreError for a row whose PSNR and RMSE contradict each other."""
    try:
        _check_rows([row], peak)
    except MetricInvariantError as error:
        raise StoreError(
            f"PSNR and RMSE of a stored row contradict each other: {row.file}, line {row.line}",
            expected="psnr = 20 log10(peak / rmse_clamped)",
            got=error,
            fix=f"Remove this row of {row.model} on {row.scene} and score the scene again",
        ) from None


def _figures_of(group: Group, metric: str, column: str, headline: bool) -> list[dict[str, Any]]:
    """Of the entries that have the column, over the scenes that all of them have, so that a scene on which
    one of them failed does not make means incomparable; where there is none, over each one's own, without
    ranks."""
    entries = group.having(column)
    if not entries:
        return []
    values = [entry.scenes(column) for entry in entries]
    common = sorted(set.intersection(*(set(v) for v in values)))
    if common:
        values = [{scene: v[scene] for scene in common} for v in values]
    matrix = np.array([[v[scene] for scene in common] for v in values])
    none: list[Any] = [None] * len(values)
    ranked = intervals.ranks(matrix, better(metric)) if headline else none
    wins = intervals.wins(matrix, better(metric)) if headline else none
    own = matrix if common else [np.array(list(v.values())) for v in values]
    found = intervals.mean_intervals(matrix) if common else list(map(intervals.mean_interval, own))
    return [
        _figure(group, entry, column, v, interval, rank=rank, wins=won)
        for entry, v, interval, rank, won in zip(entries, own, found, ranked, wins, strict=True)
    ]


def _figure(
    group: Group,
    entry: Entry,
    column: str,
    values: np.ndarray,
    interval: Interval | None,
    *,
    rank: int | None = None,
    wins: int | None = None,
) -> dict[str, Any]:
    row = entry.first
    low, high = intervals.bounds(interval)
    wins_low, wins_high = _wins_bounds(wins, len(values))
    arch = "" if row.untrained else paper_arch(row)
    where = row.dataset, row.split, row.protocol_name
    reported = reported_score(*where, group.condition, row.tta, arch=arch, metric=column)
    found = {
        **entry.facts,
        "condition": str(group.condition),
        "metric": column,
        "mean": float(np.mean(values)),
        "low": low,
        "high": high,
        "interval": None if low is None else intervals.METHOD,
        "rank": rank,
        "wins": wins,
        "wins_low": wins_low,
        "wins_high": wins_high,
        "scenes": len(values),
        "nan_scenes": int(np.isnan(values).sum()),
        "reported": reported.get("value"),
        "reported_note": reported.get("note"),
    }
    return {key: found[key] for key in COLUMNS if key in found}


def _shared(entry: Entry, key: str) -> Any:
    """What all rows have as ``key``; None where they differ, as weights of folds do."""
    found = {getattr(row, key) for row in entry.rows}
    return found.pop() if len(found) == 1 else None


def _wins_bounds(wins: int | None, scenes: int) -> tuple[float | None, float | None]:
    """Interval of the share of scenes won."""
    return intervals.bounds(None if wins is None else intervals.share_interval(wins, scenes))


def fields_of(row: ScoreRow | SpeedRow) -> dict[str, Any]:
    """The columns that are fields of a row."""
    return {key: getattr(row, key) for key in COLUMNS if hasattr(row, key)}


def learned_from(figure: Mapping[str, Any]) -> list[str]:
    """What a model learned from that a reader would not expect of this data set's figures."""
    found = []
    if figure["trained_on"] not in (None, figure["dataset"]):
        found.append(f"out of domain: trained on {figure['trained_on']}")
    if figure["also_trained_on"]:
        found.append(f"codebooks also from {figure['also_trained_on']}")
    if figure["seen_in_training"]:
        found.append("scored on its own training scenes")
    return found


def condition_text(figure: Mapping[str, Any]) -> str:
    """The condition, with the parameter of a severity whose name does not have it."""
    name, value = figure["condition"], figure["severity_value"]
    return f"{name} ({value:.4g})" if isinstance(value, float) and f"{value:g}" not in name else name


def paper_arch(row: ScoreRow | SpeedRow) -> str:
    """The architecture whose figures in the paper belong to this row; "" for a cheaper variant, for
    another way of running it and for a title that does not begin with it, of an ablation, say. Random
    weights take as long as trained ones."""
    label = row.model.removesuffix(" [untrained]")
    usual = plain_name(label) == label and variant_of(label) in (None, PUBLISHED)
    usual = usual and (":" in label or label.partition(".")[0] == row.architecture)
    return row.architecture if usual else ""


def compare(group: Group) -> list[dict[str, Any]]:
    """``group`` has two entries, A and B: for each metric the paired difference and a verdict."""
    a, b = group.entries
    found: list[dict[str, Any]] = []
    for metric in (name for name in group.metrics if name in a.metrics and name in b.metrics):
        column = METRICS.get(metric).columns[0]
        gap = paired([a.scenes(column)], [b.scenes(column)], better(metric))
        low, high = intervals.bounds(gap.interval)
        wins_low, wins_high = intervals.bounds(gap.wins_interval)
        found.append(
            {
                "bench": group.first.bench,
                "protocol": group.first.protocol_name,
                "hash": group.first.group[:HASH_LENGTH],
                "condition": str(group.condition),
                "metric": metric,
                "a": gap.a_per_seed[0],
                "b": gap.b_per_seed[0],
                "difference": gap.mean,
                "low": low,
                "high": high,
                "interval": None if low is None else intervals.METHOD,
                "wins": gap.wins,
                "wins_low": wins_low,
                "wins_high": wins_high,
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
        return f"none: n = {gap.scenes}, {intervals.MIN_SCENES} scenes needed"
    if not gap.significant:
        return NOT_SIGNIFICANT
    return f"{a if (gap.mean < 0) == (direction == 'lower') else b} is better"
