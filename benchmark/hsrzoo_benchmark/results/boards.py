"""What a store holds, as boards: contestants under one condition, comparable with each other.

Nothing but rows is read: no data set, no weights. Of a model that was trained anew the newest weights
count, of a score or a time that was computed anew the newest row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from hsrzoo.errors import StoreError, unknown_name
from hsrzoo.models.locate import bundled
from hsrzoo_benchmark.plan.models import plain_name
from hsrzoo_benchmark.results import figures as report
from hsrzoo_benchmark.results.figures import Comparable, Contestant
from hsrzoo_benchmark.results.rows import SPEED, files_of
from hsrzoo_benchmark.speed import ratios, timing
from hsrzoo_benchmark.store import ResultFile

STORED_IN = "stored_in"
"""Key of a row here: its file within the store."""
HEADINGS = {
    "rmse": "RMSE ↓",
    "psnr": "PSNR dB ↑",
    "sam": "SAM ° ↓",
    "mrae": "MRAE ↓",
    "de2000": "dE2000 ↓",
}
"""Metrics of the README in its order."""
_BENCHES = ("accuracy", "mixed-patch", "brightness", "noise", "jpeg", "camera", "metamer")
"""In the order of boards; other perturbations follow."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Stored:
    """The rows of a store that count."""

    scores: tuple[Row, ...]
    speed: tuple[Row, ...]
    older: int
    """How many rows are left out, of weights that newer ones replaced or scored and timed again."""

    @property
    def models(self) -> list[str]:
        """Names of all models that have rows."""
        return sorted({row["model"] for row in (*self.scores, *self.speed)})

    def of(self, wanted: Callable[[str], bool]) -> Stored:
        """The rows of the models that are wanted."""
        scores, times = ([r for r in rows if wanted(r["model"])] for rows in (self.scores, self.speed))
        return replace(self, scores=tuple(scores), speed=tuple(times))


@dataclass(frozen=True)
class Board:
    """Contestants that share data, protocol and condition; most of them also their scenes."""

    main: Comparable
    others: tuple[Comparable, ...]
    """Those that were scored on other scenes of the split, too few of them, say: they have no rank."""

    @property
    def first(self) -> Row:
        """Any row of the main group."""
        return self.main.first

    @property
    def place(self) -> tuple[str, str]:
        """Data set and split."""
        return self.first["dataset"], self.first["split"]

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics, those of the README first."""
        usual = list(HEADINGS)
        return sorted(self.main.metrics, key=lambda m: usual.index(m) if m in usual else len(usual))

    @property
    def contestants(self) -> list[Contestant]:
        """All of them."""
        return [one for group in (self.main, *self.others) for one in group.contestants]

    @cached_property
    def figures(self) -> list[dict[str, Any]]:
        """As :func:`report.figures`; others have neither rank nor wins."""
        apart = [{**f, "rank": None, "wins": None} for f in report.figures(self.others)]
        return report.figures([self.main]) + apart


def read(root: Path) -> Stored:
    """All rows of the store ``root`` that count; StoreError where there is none."""
    scores: list[Row] = []
    times: list[Row] = []
    for file in files_of(root):
        inside = file.relative_to(root)
        rows = [{**row, STORED_IN: inside.as_posix()} for row in ResultFile(file).rows]
        (times if inside.parts[0] == SPEED else scores).extend(rows)
    kept = _newest(_of_newest_weights(scores), _scored)
    timed = _newest([row for row in times if row["method"] == timing.METHOD], _timed)
    return Stored(tuple(kept), tuple(timed), len(scores) + len(times) - len(kept) - len(timed))


def _of_newest_weights(rows: Sequence[Row]) -> list[Row]:
    newest = {row["model"]: row["model_sha256"] for row in sorted(rows, key=_time)}
    return [row for row in rows if row["model_sha256"] == newest[row["model"]]]


def _newest(rows: Iterable[Row], key: Callable[[Row], tuple[Any, ...]]) -> list[Row]:
    """One row a key, keys in order of appearance."""
    found: dict[tuple[Any, ...], Row] = {}
    for row in sorted(rows, key=_time):
        found[key(row)] = row
    return list(found.values())


def _scored(row: Row) -> tuple[Any, ...]:
    """What a score is of: settings of an adaptation that were changed make it anew."""
    return (*_board(row), row["model"], row["tta"], row["scene"], row["seed"])


def _timed(row: Row) -> tuple[Any, ...]:
    return (*speed_place(row), row["model"])


def speed_place(row: Row) -> tuple[Any, ...]:
    """What times must share to stand in one table: device, threads, limit of memory, size."""
    machine = row["provenance"]
    return machine["device_name"], machine["threads"], row["memory_limit_gib"], tuple(row["size"])


def _board(row: Row) -> tuple[Any, ...]:
    return tuple(row[key] for key in ("dataset", "split", "protocol_name", "protocol_group", "fingerprint"))


def _time(row: Row) -> str:
    return row["timestamp"]


def boards(rows: Iterable[Row]) -> list[Board]:
    """The data set and split with most rows first; within it clean images first, then perturbations."""
    rows = list(rows)
    found: dict[tuple[Any, ...], dict[tuple[str, bool], list[Row]]] = {}
    for row in rows:
        found.setdefault(_board(row), {}).setdefault((row["model"], row["tta"]), []).append(row)
    size = Counter((row["dataset"], row["split"]) for row in rows)
    made = [_made([Contestant(tuple(own)) for own in group.values()]) for group in found.values()]
    return sorted(made, key=lambda board: (-size[board.place], board.place, _order(board.first)))


def _made(contestants: Sequence[Contestant]) -> Board:
    """Contestants grouped by their scenes; the largest group is the main one."""
    groups: dict[frozenset[str], list[Contestant]] = {}
    for one in contestants:
        groups.setdefault(frozenset(row["scene"] for row in one.rows), []).append(one)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), -len(item[0]), sorted(item[0])))
    main, *others = (Comparable(tuple(group)) for _, group in ordered)
    return Board(main, tuple(others))


def _order(row: Row) -> tuple[Any, ...]:
    value = row["protocol"]["severity_value"]
    bench = row["bench"]
    return (
        row["protocol_name"],
        row["perturbation"] is not None,
        _BENCHES.index(bench) if bench in _BENCHES else len(_BENCHES),
        row["perturbation"] or "",
        value if isinstance(value, int | float) else 0,
        row["severity"] or "",
    )


def timed(stored: Stored) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """Figures of speed by :func:`speed_place`, sizes from small to large; ratios are to MST++, as published
    and ours, as far as these are there, else to none."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in sorted(stored.speed, key=lambda row: (row["size"][0] * row["size"][1], row["size"])):
        groups.setdefault(speed_place(row), []).append(row)
    return {place: report.speed_figures(rows, _references(rows)) for place, rows in groups.items()}


def _references(rows: Sequence[Row]) -> list[str]:
    found = []
    for wanted in ratios.DEFAULT_REFERENCES:
        for row in rows:
            variant = ratios.variant_of(row["model"])
            if plain_name(row["model"]) == row["model"] and wanted == row["architecture"] + (
                f":{variant}" if variant else ""
            ):
                found.append(row["model"])
                break
    return found


def named(stored: Stored, patterns: Sequence[str]) -> Callable[[str], bool]:
    """Whether a model is one of ``patterns``, names or shell patterns; UnknownNameError for one that no
    model with rows has."""
    for pattern in patterns:
        if not any(_is(name, pattern) for name in stored.models):
            raise unknown_name("model with rows", pattern, stored.models)
    return lambda name: any(_is(name, pattern) for pattern in patterns)


def _is(name: str, pattern: str) -> bool:
    """A name with a remark has brackets, which a pattern reads as a set of letters."""
    return name == pattern or fnmatchcase(name, pattern)


def of_bundled(stored: Stored) -> Stored:
    """The rows of weights that packages carry, run as usual or as a variant; StoreError without any."""
    own = set(bundled())
    found = stored.of(lambda name: name.partition(":")[0] in own)
    if not found.scores:
        raise StoreError(
            "The store has no scores of bundled weights",
            expected=f"rows of one of {', '.join(sorted(own)) or 'none'}",
            got=f"rows of {', '.join(stored.models[:5])}",
            fix="Name models with --model",
        )
    return found


def at(stored: Stored, dataset: str | None, split: str | None) -> Stored:
    """The scores of one data set and split; UnknownNameError for those that have no rows."""
    scores = stored.scores
    if dataset is not None:
        known = {row["dataset"] for row in scores}
        if dataset not in known:
            raise unknown_name("data set with rows", dataset, known)
        scores = tuple(row for row in scores if row["dataset"] == dataset)
    if split is not None:
        known = {row["split"] for row in scores}
        if split not in known:
            raise unknown_name(f"split with rows{f' of {dataset}' if dataset else ''}", split, known)
        scores = tuple(row for row in scores if row["split"] == split)
    return replace(stored, scores=scores)
