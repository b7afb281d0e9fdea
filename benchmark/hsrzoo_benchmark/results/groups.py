"""What a store holds, as groups of models that can be compared.

Nothing but rows is read: no data set, no weights. Of a model that was trained again the newest weights
count, of a score or a time that was computed again the newest row. Folds of cross-validation are one place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from hsrzoo.errors import StoreError, unknown_name
from hsrzoo.models.locate import bundled
from hsrzoo.results import (
    POOLED,
    ScoreRow,
    SpeedRow,
    newest,
    newest_scores,
    newest_weights,
    pool_folds,
    read_store,
)
from hsrzoo_benchmark.grouping import group_by
from hsrzoo_benchmark.plan.models import plain_name
from hsrzoo_benchmark.results.figures import Entry, Group, entries_by
from hsrzoo_benchmark.results.speeds import speed_figures
from hsrzoo_benchmark.results.versions import held
from hsrzoo_benchmark.speed import timing
from hsrzoo_benchmark.speed.ratios import default_references

_BENCHES = ("accuracy", "mixed-patch", "brightness", "noise", "jpeg", "camera", "metamer")
"""In the order of groups; other perturbations follow."""
SpeedPlace = tuple[str | None, int | None, float | None, tuple[int, int]]
"""Device, threads, limit of memory, size."""


@dataclass(frozen=True)
class Current:
    """The rows of a store that count."""

    scores: tuple[ScoreRow, ...]
    speed: tuple[SpeedRow, ...]
    older: int
    """How many rows do not: of weights that newer ones replaced, scored and timed again, or left out of
    cross-validation."""

    @property
    def models(self) -> list[str]:
        """Names of all models that have rows."""
        return sorted({row.model for row in self.scores} | {row.model for row in self.speed})

    def of(self, wanted: Callable[[str], bool]) -> Current:
        """The rows of the models that are wanted."""
        return replace(
            self,
            scores=tuple(row for row in self.scores if wanted(row.model)),
            speed=tuple(row for row in self.speed if wanted(row.model)),
        )


def read(root: Path) -> Current:
    """All rows of the store ``root`` that count. Raises StoreError where there is none, or none counts."""
    stored = read_store(root, required=True)
    scores = newest_scores(pool_folds(newest_weights(stored.scores)), held)
    usable = (row for row in stored.speed if row.method == timing.METHOD)
    times = newest(usable, lambda row: (*speed_place(row), row.model))
    older = len(stored.scores) + len(stored.speed) - len(scores) - len(times)
    if not scores and not times:
        raise StoreError(
            f"No row in {root} counts",
            expected="scores by the present versions of the metrics, or times by the present method",
            got=f"{older} rows of earlier versions, or left out of cross-validation",
            fix="Run `hsrzoo bench` again",
        )
    return Current(tuple(scores), tuple(times), older)


def speed_place(row: SpeedRow) -> SpeedPlace:
    """What times must share to be in one table."""
    return (*row.machine, row.memory_limit_gib, row.size)


def groups(rows: Iterable[ScoreRow]) -> list[Group]:
    """Entries that share data, protocol and condition. The data set and split with most rows comes first;
    within it clean images, then perturbations; of data sets that changed the newest state."""
    rows = list(rows)
    found = entries_by(rows, lambda r: (r.dataset, r.split, r.protocol_name, r.group, r.fingerprint))
    size = Counter((row.dataset, row.split) for row in rows)
    made = [_group(entries) for entries in found]
    made.sort(key=lambda group: max(row.time for e in group.all_entries for row in e.rows), reverse=True)
    return sorted(made, key=lambda group: (-size[group.place], group.place, _order(group.first)))


def _group(entries: Sequence[Entry]) -> Group:
    """The largest number of entries with the same scenes; the others are apart."""
    by_scenes = group_by(entries, lambda entry: frozenset(row.scene for row in entry.rows))
    ordered = sorted(by_scenes.items(), key=lambda item: (-len(item[1]), -len(item[0]), sorted(item[0])))
    main, *apart = (tuple(own) for _, own in ordered)
    return Group(main, tuple(Group(own) for own in apart))


def _order(row: ScoreRow) -> tuple[Any, ...]:
    value = row.protocol["severity_value"]
    return (
        row.protocol_name,
        row.perturbation is not None,
        _BENCHES.index(row.bench) if row.bench in _BENCHES else len(_BENCHES),
        row.perturbation or "",
        value if isinstance(value, int | float) else 0,
        row.severity or "",
    )


def clean_group(found: Sequence[Group]) -> Group:
    """The first group of images as they are. Raises StoreError without one."""
    group = next((group for group in found if group.first.perturbation is None), None)
    if group is None:
        raise StoreError(
            "There are no scores of undisturbed images",
            expected="rows of `hsrzoo bench --bench accuracy`",
            fix="Choose others with --dataset, --split and --model",
        )
    return group


def speed_groups(current: Current) -> dict[SpeedPlace, list[dict[str, Any]]]:
    """Figures of speed by :func:`speed_place`, sizes from small to large; ratios are to MST++, as published
    and ours, as far as these are there, else to none."""
    ordered = sorted(current.speed, key=lambda row: (row.size[0] * row.size[1], row.size))
    figures = {}
    for place, rows in group_by(ordered, speed_place).items():
        usual = {row.model: row.architecture for row in rows if plain_name(row.model) == row.model}
        figures[place] = speed_figures(rows, default_references(usual))
    return figures


def named(current: Current, patterns: Sequence[str]) -> Current:
    """The rows of the models that ``patterns``, names or shell patterns, match; UnknownNameError for one
    that no model with rows has."""
    for pattern in patterns:
        if not any(_is(name, pattern) for name in current.models):
            raise unknown_name("model with rows", pattern, current.models)
    return current.of(lambda name: any(_is(name, pattern) for pattern in patterns))


def _is(name: str, pattern: str) -> bool:
    """A name with a remark has brackets, which a pattern reads as a set of letters."""
    return name == pattern or fnmatchcase(name, pattern)


def of_bundled(current: Current) -> Current:
    """The rows of weights that packages carry, run as usual or as a variant, and of their networks under
    cross-validation (``ARCH.cave-cv`` beside ``ARCH.cave``); StoreError without any."""
    own = {name + end for name in bundled() for end in ("", f"-{POOLED}")}
    found = current.of(lambda name: name.partition(":")[0] in own)
    if not found.scores:
        raise StoreError(
            "The store has no scores of bundled weights",
            expected=f"rows of one of {', '.join(sorted(own)) or 'none'}",
            got=f"rows of {', '.join(current.models[:5])}",
            fix="Name models with --model",
        )
    return found


def at(current: Current, dataset: str | None, split: str | None) -> Current:
    """The scores of one data set and split; UnknownNameError for those that have no rows."""
    scores = current.scores
    splits = f"split with rows of {dataset}" if dataset else "split with rows"
    for field, what, wanted in (("dataset", "data set with rows", dataset), ("split", splits, split)):
        known = {getattr(row, field) for row in scores}
        if wanted is not None and wanted not in known:
            raise unknown_name(what, wanted, known)
        scores = tuple(row for row in scores if wanted in (None, getattr(row, field)))
    return replace(current, scores=scores)
