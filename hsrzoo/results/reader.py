"""The reader of stored results: every row that ``hsrzoo bench`` wrote is read, checked and chosen here.

:mod:`hsrzoo.results.rows` has the types of rows. Stores are append-only, so that a scene may have several
rows; :func:`newest_scores` and :func:`newest_state` choose those that count.
"""

from __future__ import annotations

import json
import math
import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from hsrzoo.errors import StoreError
from hsrzoo.results.rows import (
    FOLD,
    HASH_LENGTH,
    SCHEMA,
    SPEED,
    AnyRow,
    R,
    RowError,
    ScoreRow,
    SpeedRow,
)
from hsrzoo.utils.files import require_regular, slug

POOLED = "cv"
"""Split of the rows of all folds of a data set, which :func:`pool_folds` puts together."""
_SHOWN_LINES = 5
"""Further skipped lines of one file that a warning names."""


@dataclass(frozen=True)
class SkippedLine:
    """A line of a file that is not used."""

    file: Path
    line: int
    reason: str
    newer: bool = False
    """Whether a newer version of hsrzoo wrote it."""
    torn: bool = False
    """Whether it is a last line that a killed run did not finish, which is no error."""


@dataclass(frozen=True)
class StoredRows:
    """All rows of a store, older ones too, in the order of files and lines."""

    scores: tuple[ScoreRow, ...]
    speed: tuple[SpeedRow, ...]
    skipped: tuple[SkippedLine, ...] = ()


def parse_row(line: bytes, file: str = "", number: int = 0) -> AnyRow:
    """The row of one line. Raises RowError."""
    try:
        value = json.loads(line)
    except ValueError:
        raise RowError("no JSON") from None
    if not isinstance(value, dict):
        raise RowError("no JSON object")
    schema = str(value.get("schema"))
    if schema != SCHEMA:
        stem, version = SCHEMA.rsplit("/", 1)
        match = re.fullmatch(rf"{re.escape(stem)}/(\d+)", schema)
        newer = match is not None and int(match[1]) > int(version)
        raise RowError(f"schema {schema}, not {SCHEMA}" + ("; upgrade hsrzoo" if newer else ""), newer)
    kind = SpeedRow if value.get("bench") == SPEED else ScoreRow
    return kind.from_json(value, file, number)


def parse_lines(
    data: bytes, path: Path, root: Path | None = None
) -> Iterator[tuple[bytes, AnyRow | SkippedLine]]:
    """Each line of a file's ``data`` with its row, or with the reason why it has none.

    ``root``: the store, within which rows name their file.
    """
    file = (path.relative_to(root) if root else path).as_posix()
    *lines, rest = data.split(b"\n")
    for i, line in enumerate([*lines, rest] if rest else lines, 1):
        try:
            yield line, parse_row(line, file, i)
        except RowError as error:
            torn = i > len(lines) and not error.newer
            reason = "an unfinished line" if torn else str(error)
            yield line, SkippedLine(path, i, reason, error.newer, torn)


def bytes_of(path: Path) -> bytes:
    """The content of a file of rows. Raises InputError for a pipe, a socket or a device."""
    require_regular(path)
    return path.read_bytes()


def read_file(path: Path, root: Path | None = None) -> tuple[list[AnyRow], list[SkippedLine]]:
    """The rows of one file, and the lines that are skipped. Warns once of a file with such lines."""
    rows: list[AnyRow] = []
    skipped: list[SkippedLine] = []
    for _, found in parse_lines(bytes_of(path), path, root):
        if isinstance(found, SkippedLine):
            skipped.append(found)
        else:
            rows.append(found)
    warn_of_skipped(skipped)
    return rows, skipped


def read_store(root: Path, *, required: bool = False) -> StoredRows:
    """All rows below the folder ``root``.

    Args:
        root: A result store, as ``hsrzoo bench --store`` writes it.
        required: Whether a folder without files of rows is an error.

    Raises:
        StoreError: There are no files of rows and they are ``required``, or a file cannot be read.
    """
    files = sorted(root.rglob("*.jsonl"))
    if required and not files:
        raise StoreError(
            f"The result store {root} holds no rows",
            expected="what `hsrzoo bench --store DIR` or a queue writes",
            fix="Name the folder with --store DIR, or make rows with one of these",
        )
    rows: list[AnyRow] = []
    skipped: list[SkippedLine] = []
    for file in files:
        try:
            found = read_file(file, root)
        except OSError as error:
            raise StoreError(f"{file} cannot be read", got=error.strerror or str(error)) from None
        rows += found[0]
        skipped += found[1]
    scores = tuple(row for row in rows if isinstance(row, ScoreRow))
    return StoredRows(scores, tuple(row for row in rows if isinstance(row, SpeedRow)), tuple(skipped))


def warn_of_skipped(skipped: Sequence[SkippedLine]) -> None:
    """Warn once of the lines of a file that are no rows; an unfinished last line is no error."""
    bad = [one for one in skipped if not one.torn]
    if not bad:
        return
    shown = next((one for one in bad if one.newer), bad[0])
    text = f"{shown.file}, line {shown.line}: not a result row ({shown.reason}), skipped"
    others = [str(one.line) for one in bad if one is not shown]
    if others:
        more = ", ..." * (len(others) > _SHOWN_LINES)
        text += f", like lines {', '.join(others[:_SHOWN_LINES])}{more} ({len(bad)} in all)"
    warnings.warn(text, stacklevel=3)


def score_file(protocol: str, perturbation: str | None, severity: str | None, tta: bool, hash_: str) -> str:
    """Name of the file that rows of one protocol are stored in."""
    parts = [protocol, perturbation, severity, "tta" if tta else None]
    return f"{'_'.join(slug(part) for part in parts if part)}_{hash_[:HASH_LENGTH]}.jsonl"


def speed_file(device: str, threads: int | None) -> str:
    """Name of the file that times on one device with a number of threads are stored in."""
    return f"{slug(device)}_{threads}-threads.jsonl"


def newest(rows: Iterable[R], key: Callable[[R], Hashable]) -> list[R]:
    """The newest row of each key, by time; of rows of one time the one that was read last."""
    return list({key(row): row for row in by_time(rows)}.values())


def by_time(rows: Iterable[R]) -> list[R]:
    """The oldest first; rows of one time stay in the order in which they were read."""
    return sorted(rows, key=lambda row: row.time)


def newest_scores(
    rows: Iterable[ScoreRow], held: Callable[[ScoreRow], Iterable[str]] = lambda row: row.metrics
) -> list[ScoreRow]:
    """Of each model and scene under comparable protocols the newest row, before it older ones as far as
    they hold a metric that no newer one does.

    Rows of other files of the data set, or of another seed, are other scores. Another setting of
    test-time adaptation is not: the newest counts.

    Args:
        rows: In any order.
        held: Names of the metrics of a row that count. Rows without any are left out.
    """
    groups: dict[Hashable, list[ScoreRow]] = {}
    for row in by_time(rows):
        key = (
            *(row.dataset, row.split, row.fingerprint, row.protocol_name, row.group),
            *(row.model, row.model_sha256, row.tta, row.scene, row.seed),
        )
        groups.setdefault(key, []).append(row)
    return [row for group in groups.values() for row in _supplementing(group, held)]


def _supplementing(rows: Sequence[ScoreRow], held: Callable[[ScoreRow], Iterable[str]]) -> list[ScoreRow]:
    """Those of ``rows``, the oldest first, that hold what no later one does."""
    known: set[str] = set()
    found = []
    for row in reversed(rows):
        names = set(held(row))
        if names - known:
            found.append(row)
        known |= names
    return found[::-1]


def newest_state(rows: Sequence[ScoreRow]) -> list[ScoreRow]:
    """The rows of one model that count, by scene: scored on the newest state of the data set, under the
    newest protocol and adaptation settings; empty without ``rows``."""

    def state(row: ScoreRow) -> tuple[Any, ...]:
        return row.fingerprint, row.group, row.protocol.get("tta_settings")

    latest = by_time(rows)
    current = (row for row in latest if state(row) == state(latest[-1]))
    found = newest(current, lambda row: (row.scene, row.seed))
    return sorted(found, key=lambda row: str((row.scene, row.seed)))


def newest_weights(rows: Sequence[ScoreRow]) -> list[ScoreRow]:
    """The rows of each model's newest weights: a model that was trained again counts with them alone. Under
    cross-validation it has weights for each fold, which replace those of the same fold."""

    def run(row: ScoreRow) -> Hashable:
        return (row.model, row.dataset, row.split) if FOLD.fullmatch(row.split) else row.model

    weights = {run(row): row.model_sha256 for row in by_time(rows)}
    return [row for row in rows if row.model_sha256 == weights[run(row)]]


def pool_folds(rows: Sequence[ScoreRow]) -> list[ScoreRow]:
    """The rows with those of all folds of a data set as rows of one split, :data:`POOLED`: the result of
    cross-validation, in which one model has weights for each fold.

    Left out, with a warning, are rows of weights that were trained on the scene, and rows of weights that
    were trained by another recipe than the newest ones of their model. Versions of hsrzoo differ in how
    they digest a recipe: all digests in rows of the same weights are of one.
    """
    folds = by_time(row for row in rows if FOLD.fullmatch(row.split))
    recipes: dict[str | None, set[Any]] = defaultdict(set)
    for row in folds:
        recipes[row.weights_sha256].add((row.training or {}).get("recipe_sha256"))
    newest_recipe = {(row.model, row.dataset): recipes[row.weights_sha256] for row in folds}
    found, left_out = [], set()
    for row in rows:
        if not FOLD.fullmatch(row.split):
            found.append(row)
        elif row.seen_in_training:
            left_out.add(f"{row.model} on {row.split} (trained on its scenes)")
        elif recipes[row.weights_sha256].isdisjoint(newest_recipe[row.model, row.dataset]):
            left_out.add(f"{row.model} on {row.split} (another recipe than on other folds)")
        else:
            found.append(replace(row, split=POOLED))
    if left_out:
        warnings.warn(f"Left out of cross-validation: {'; '.join(sorted(left_out))}", stacklevel=2)
    return found


def by_protocol(
    rows: Iterable[ScoreRow], also: Callable[[ScoreRow], Hashable] = lambda row: None
) -> list[list[ScoreRow]]:
    """The rows that count, one list for each model identity, data set, split and protocol.

    ``also``: what else the rows of a list share.
    """
    groups: dict[Hashable, list[ScoreRow]] = {}
    for row in rows:
        key = row.model_sha256, row.dataset, row.split, row.protocol_name, row.protocol_hash, also(row)
        groups.setdefault(key, []).append(row)
    return [newest_state(group) for group in groups.values()]


def mean(rows: Sequence[ScoreRow], metric: str) -> float | None:
    """The mean of a metric over ``rows``; None where a row lacks it or its value is not finite."""
    values = [row.metrics.get(metric, math.nan) for row in rows]
    return fmean(values) if all(map(math.isfinite, values)) else None
