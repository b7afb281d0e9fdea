"""What the rows of a store say about named runs.

A run is a job of a queue: its name is the ``model`` of its rows. Runs of one kind that differ in their seed
are called ``NAME``, ``NAME.seed-1``, ``NAME.seed-2``; of the bundled ``ARCH.cave`` the others are
``ARCH.seed-1`` and on. A run that was trained anew counts with its newest weights alone, a score that was
computed anew with its newest row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.errors import HsrzooError, StoreError
from hsrzoo.results import HASH_LENGTH
from hsrzoo_benchmark.protocol import CLEAN, Condition
from hsrzoo_benchmark.run.scores import training_cost
from hsrzoo_benchmark.statistics.seeds import Runs
from hsrzoo_benchmark.store import ResultFile, number

METRICS = ("rmse", "mrae", "psnr", "sam", "de2000")
"""A score that lacks one of these was an experiment of somebody and is not read."""
SPEED = "speed"
"""Folder of a store that holds times."""
_COMMIT_LENGTH = 9
_BUNDLED = ".cave"
"""Of the names ``ARCH.cave``, whose other seeds are ``ARCH.seed-N``."""


@dataclass(frozen=True)
class Place:
    """Scenes and how they are scored."""

    dataset: str
    split: str
    protocol: str
    fingerprint: str | None = None
    """Where one name stands for several files (the data set ``folder``); None: the newest."""
    resampled: bool = False
    """Whether the model's bands were resampled to the data's."""

    def __str__(self) -> str:
        return f"{self.dataset}/{self.split}, {self.protocol}"


@dataclass(frozen=True)
class Cell:
    """The rows of one run at one place under one condition; all of one protocol, at most one for each
    scene and seed of the perturbation."""

    rows: tuple[dict[str, Any], ...]

    @property
    def run(self) -> str:
        """Its name, of one seed."""
        return self.rows[0]["model"]

    @property
    def weights(self) -> str:
        """Their digest."""
        return self.rows[0]["weights_sha256"]

    @property
    def group(self) -> str:
        """Hash of what comparable cells share (hex)."""
        return self.rows[0]["protocol_group"]

    def values(self, metric: str) -> dict[str, float]:
        """Scene -> value, averaged over the perturbation's seeds."""
        found: dict[str, list[float]] = {}
        for row in self.rows:
            found.setdefault(row["scene"], []).append(float(number(row["metrics"][metric])))
        return {scene: float(np.mean(values)) for scene, values in sorted(found.items())}


@dataclass(frozen=True)
class Group:
    """Cells of runs that differ in their seed alone, all comparable."""

    name: str
    """Of the first run asked for, whatever the seeds."""
    cells: tuple[Cell, ...]

    @property
    def rows(self) -> Iterator[dict[str, Any]]:
        """Of all runs."""
        return (row for cell in self.cells for row in cell.rows)

    @property
    def protocol(self) -> str:
        """As :attr:`Cell.group`: groups that differ in it are not comparable."""
        return self.cells[0].group

    @property
    def hash(self) -> str:
        """The beginning of :attr:`protocol`, as tables show it."""
        return self.protocol[:HASH_LENGTH]

    @property
    def commits(self) -> str:
        """Of the code that wrote the rows, shortened; ``+``: with changes that were not committed."""
        return commits_of([self])

    def learned_from(self, dataset: str) -> bool:
        """Whether codebooks of a run come from ``dataset`` too, or a scored scene was trained on."""
        return any(dataset in row.get("also_trained_on", ()) or row.get("seen_in_training")
                   for row in self.rows)  # fmt: skip

    def runs(self, metric: str) -> Runs:
        """Scene -> value of each run."""
        return [cell.values(metric) for cell in self.cells]

    def cost(self, kind: str) -> float | None:
        """``steps``, ``cpu_seconds`` or ``wall_seconds`` of training, the codebooks' included, mean over
        runs; None where a run does not tell."""
        found = []
        for cell in self.cells:
            told = cost_of(cell.rows[0])
            if told is None or told.get(kind) is None:
                return None
            found.append(told[kind] + (told.get(f"codebook_{kind}") or 0.0))
        return float(np.mean(found))


def commits_of(groups: Iterable[Group]) -> str:
    """As :attr:`Group.commits`, of several groups."""
    found = {
        (row["provenance"]["commit"] or "unknown")[:_COMMIT_LENGTH]
        + ("+" if row["provenance"]["dirty"] else "")
        for group in groups
        for row in group.rows
    }
    return ", ".join(sorted(found))


def same_runs(groups: Sequence[Group]) -> list[Group] | None:
    """``groups``, those of one name with the seeds alone that all of that name have: what a disturbance or
    an adaptation changes is a difference of one training. None where a name has no such seed."""
    shared: dict[str, set[str]] = {}
    for group in groups:
        own = {cell.run for cell in group.cells}
        shared[group.name] = shared.get(group.name, own) & own
    if not all(shared.values()):
        return None
    return [replace(g, cells=tuple(c for c in g.cells if c.run in shared[g.name])) for g in groups]


def cost_of(row: dict[str, Any]) -> dict[str, Any] | None:
    """What a row's weights took, as :func:`hsrzoo_benchmark.run.scores.training_cost` tells it. Old rows do
    not say: then the weights that a package carries do, if they are still those of the row."""
    if row.get("training"):
        return row["training"]
    from hsrzoo.models.locate import folder_of
    from hsrzoo.models.names import parse_name
    from hsrzoo.models.weights import read_config

    try:
        name = parse_name(row["model"])
        if name.kind == "hf-hub":  # a report fetches nothing
            return None
        config = read_config(folder_of(name))
    except HsrzooError:  # a run of a queue, or weights that are gone
        return None
    return training_cost(config) if config.get("weights_sha256") == row["weights_sha256"] else None


class Evidence:
    """Rows by run."""

    def __init__(self, rows: Iterable[dict[str, Any]], speed: Iterable[dict[str, Any]] = ()) -> None:
        self._rows: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            if row.get("untrained") or not set(METRICS) <= set(row["metrics"]):
                continue
            self._rows.setdefault(row["model"], []).append(row)
        for name, own in self._rows.items():
            newest = max(own, key=_time)["model_sha256"]
            self._rows[name] = [row for row in own if row["model_sha256"] == newest]
        self.speed = sorted(speed, key=_time)

    @classmethod
    def read(cls, root: Path) -> Evidence:
        """All rows of the store ``root``; StoreError where there is none."""
        files = files_of(root)
        by_kind: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
        for file in files:
            by_kind[file.relative_to(root).parts[0] == SPEED] += ResultFile(file).rows
        return cls(by_kind[False], by_kind[True])

    @property
    def names(self) -> list[str]:
        """Of all runs that have rows."""
        return sorted(self._rows)

    @cached_property
    def places(self) -> list[tuple[Place, Condition]]:
        """Wherever a run was scored, fingerprints and resampling told."""
        found: dict[tuple[Place, Condition], None] = {}
        for rows in self._rows.values():
            for row in rows:
                resampled = row["protocol"]["resampled_from"] is not None
                place = Place(
                    row["dataset"], row["split"], row["protocol_name"], row["fingerprint"], resampled
                )
                found[place, Condition(row["perturbation"], row["severity"])] = None
        return sorted(found, key=str)

    def cell(self, name: str, place: Place, condition: Condition = CLEAN, tta: bool = False) -> Cell | None:
        """One run's rows, of the newest files and protocol that it was scored on."""
        wanted = (place.dataset, place.split, place.protocol, *_key(condition), tta)
        own = [row for row in self._rows.get(name, ()) if _place(row) == wanted]
        if place.fingerprint is not None:
            own = [row for row in own if row["fingerprint"] == place.fingerprint]
        own = [r for r in own if (r["protocol"]["resampled_from"] is not None) == place.resampled]
        if not own:
            return None
        newest = max(own, key=_time)
        latest = {
            (row["scene"], row["seed"]): row
            for row in sorted(own, key=_time)
            if _conditions(row) == _conditions(newest)
        }
        return Cell(tuple(latest[key] for key in sorted(latest, key=str)))

    def seeds_of(self, name: str) -> list[str]:
        """``name`` and its repetitions with other seeds, as far as they have rows."""
        stems = {name, name.removesuffix(_BUNDLED)}
        pattern = re.compile(rf"(?:{'|'.join(map(re.escape, sorted(stems)))})\.seed-(\d+)")
        found = [(int(match[1]), other) for other in self._rows if (match := pattern.fullmatch(other))]
        return ([name] if name in self._rows else []) + [other for _, other in sorted(found)]

    def group(
        self, name: str, place: Place, condition: Condition = CLEAN, tta: bool = False
    ) -> Group | None:
        """All seeds of ``name`` that are comparable with its first."""
        cells = [self.cell(own, place, condition, tta) for own in self.seeds_of(name)]
        there = [cell for cell in cells if cell is not None]
        alike = tuple(cell for cell in there if cell.group == there[0].group)
        return Group(name, alike) if alike else None

    def first(
        self, names: Sequence[str], place: Place, condition: Condition = CLEAN, tta: bool = False
    ) -> Group | None:
        """The group of the first of ``names`` that has rows."""
        groups = (self.group(name, place, condition, tta) for name in names)
        return next((group for group in groups if group is not None), None)


def files_of(root: Path) -> list[Path]:
    """All files of rows in the store ``root``; StoreError where there is none."""
    files = sorted(root.rglob("*.jsonl"))
    if not files:
        raise StoreError(
            f"The result store {root} holds no rows",
            expected="what `hsrzoo bench --store DIR` or a queue writes",
            fix="Name the folder with --store DIR, or make rows with one of these",
        )
    return files


def _key(condition: Condition) -> tuple[str | None, str | None]:
    return condition.perturbation, condition.severity


def _place(row: dict[str, Any]) -> tuple[Any, ...]:
    own = row["dataset"], row["split"], row["protocol_name"], row["perturbation"], row["severity"]
    return (*own, row["tta"])


def _conditions(row: dict[str, Any]) -> tuple[Any, ...]:
    """What rows of one cell share; adaptation's settings are no part of the group's hash."""
    return row["fingerprint"], row["protocol_group"], row["protocol"]["tta_settings"]


def _time(row: dict[str, Any]) -> str:
    return row["timestamp"]
