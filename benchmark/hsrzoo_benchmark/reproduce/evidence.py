"""What the rows of a store say about named runs.

A run is a job of a queue: its name is the ``model`` of its rows. Runs of one kind that differ in their seed
are called ``NAME``, ``NAME.seed-1``, ``NAME.seed-2``; of the bundled ``ARCH.cave`` the others are
``ARCH.seed-1`` and on. A run that was trained again counts with its newest weights alone, a score that was
computed again with its newest row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo import results
from hsrzoo.datasets.measured import WHOLE
from hsrzoo.results import HASH_LENGTH, ScoreRow, SpeedRow
from hsrzoo_benchmark.grouping import group_by
from hsrzoo_benchmark.protocol import CLEAN, Condition
from hsrzoo_benchmark.results.figures import Entry
from hsrzoo_benchmark.run.scores import training_cost
from hsrzoo_benchmark.statistics.seeds import Runs
from hsrzoo_benchmark.tables.markdown import bundled_config

METRICS = ("rmse", "mrae", "psnr", "sam", "de2000")
"""A score that lacks one of these was an experiment of somebody and is not read."""
COMMIT_LENGTH = 9
SENSORS = "sensors"
"""Data set of the rows on whole scenes of all sensors, which :func:`pool_sensors` puts together."""
_BUNDLED = ".cave"
"""Of the names ``ARCH.cave``, whose other seeds are ``ARCH.seed-N``."""


@dataclass(frozen=True)
class Place:
    """Scenes and how they are scored."""

    dataset: str
    split: str
    protocol: str
    fingerprint: str | None = None
    """Where one name is used for several sets of files (the data set ``folder``); None: the newest."""
    resampled: bool = False
    """Whether the model's bands were resampled to the data's."""

    def __str__(self) -> str:
        return f"{self.dataset}/{self.split}, {self.protocol}"


@dataclass(frozen=True)
class SeedGroup:
    """Entries of runs that differ in their seed alone, all comparable."""

    name: str
    """Of the run without a seed in its name."""
    entries: tuple[Entry, ...]
    """One a seed."""

    @property
    def rows(self) -> Iterator[ScoreRow]:
        """Of all runs."""
        return (row for entry in self.entries for row in entry.rows)

    @property
    def protocol(self) -> str:
        """Hash of what comparable groups share (hex)."""
        return self.entries[0].first.group

    @property
    def hash(self) -> str:
        """The beginning of :attr:`protocol`, as tables show it."""
        return self.protocol[:HASH_LENGTH]

    def learned_from(self, dataset: str) -> bool:
        """Whether codebooks of a run come from ``dataset`` too, or a scored scene was trained on."""
        return any(dataset in row.also_trained_on or row.seen_in_training for row in self.rows)

    def runs(self, metric: str) -> Runs:
        """Scene -> value of each run."""
        return [entry.scenes(metric) for entry in self.entries]

    def values(self, metric: str) -> list[float]:
        """The value of each scene of each run."""
        return [value for run in self.runs(metric) for value in run.values()]

    def cost(self, kind: str) -> float | None:
        """``steps``, ``cpu_seconds`` or ``wall_seconds`` of training, the codebooks' included, mean over
        runs; None where a run has no record of it."""
        records = [cost_of(entry.first) or {} for entry in self.entries]
        if any(record.get(kind) is None for record in records):
            return None
        totals = [record[kind] + (record.get(f"codebook_{kind}") or 0.0) for record in records]
        return float(np.mean(totals))


def commits_of(groups: Iterable[SeedGroup]) -> str:
    """Of the code that wrote the rows of ``groups``, shortened; ``+``: with changes that were not
    committed."""
    found = {
        (row.provenance.get("commit") or "unknown")[:COMMIT_LENGTH]
        + ("+" if row.provenance.get("dirty") else "")
        for group in groups
        for row in group.rows
    }
    return ", ".join(sorted(found))


def same_runs(groups: Sequence[SeedGroup]) -> list[SeedGroup] | None:
    """``groups``, those of one name with the seeds alone that all of that name have: what a disturbance or
    an adaptation changes is a difference of one training. None where a name has no such seed."""
    shared: dict[str, set[str]] = {}
    for group in groups:
        own = {entry.first.model for entry in group.entries}
        shared[group.name] = shared.get(group.name, own) & own
    if not all(shared.values()):
        return None
    return [
        replace(g, entries=tuple(e for e in g.entries if e.first.model in shared[g.name])) for g in groups
    ]


def pool_sensors(rows: Sequence[ScoreRow]) -> list[ScoreRow]:
    """Copies of the rows on whole scenes of sensors as rows of one data set, :data:`SENSORS`, except where
    weights or codebooks learned from the data: one sensor has too few scenes for an interval."""
    unseen = [
        row
        for row in rows
        if row.split == WHOLE and not row.seen_in_training and row.dataset not in row.also_trained_on
    ]
    if len({row.dataset for row in unseen}) < 2:
        return []
    return [_pooled(row) for row in unseen]


def _pooled(row: ScoreRow) -> ScoreRow:
    shared = {key: value for key, value in row.protocol.items() if key != "dataset"}
    protocol = results.digest([shared, row.perturbation, row.severity])
    return replace(
        row,
        dataset=SENSORS,
        scene=f"{row.dataset} {row.scene}",
        fingerprint="",
        protocol_hash=protocol,
        protocol_group=protocol,
    )


def cost_of(row: ScoreRow) -> Any:
    """What a row's weights took, as :func:`hsrzoo_benchmark.run.scores.training_cost` gives it. Old rows do
    not say: then the weights that a package carries do, if they are still those of the row."""
    if row.training:
        return row.training
    config = bundled_config(row.model.partition(":")[0])
    return training_cost(config) if config and config["weights_sha256"] == row.weights_sha256 else None


class Evidence:
    """Rows by run."""

    def __init__(self, scores: Iterable[ScoreRow], speed: Iterable[SpeedRow] = ()) -> None:
        usable = [row for row in scores if not row.untrained and set(METRICS) <= row.metrics.keys()]
        counting = results.pool_folds(results.newest_weights(usable))
        self._rows = group_by([*counting, *pool_sensors(counting)], lambda row: row.model)
        self.speed = results.by_time(speed)

    @classmethod
    def read(cls, root: Path) -> Evidence:
        """All rows of the store ``root``. Raises StoreError where there is none."""
        stored = results.read_store(root, required=True)
        return cls(stored.scores, stored.speed)

    @property
    def names(self) -> list[str]:
        """Of all runs that have rows."""
        return sorted(self._rows)

    @cached_property
    def places(self) -> list[tuple[Place, Condition]]:
        """Wherever a run was scored, with fingerprints and resampling."""
        return sorted({_where(row) for rows in self._rows.values() for row in rows}, key=str)

    def entry(
        self, name: str, place: Place, condition: Condition = CLEAN, tta: bool = False
    ) -> Entry | None:
        """One run's rows, of the newest files and protocol that it was scored on; None without any, or
        where they hold an outdated version of a metric."""

        def fits(row: ScoreRow) -> bool:
            here, under = _where(row)
            return under == condition and place in (here, replace(here, fingerprint=None))

        own = [row for row in self._rows.get(name, ()) if row.tta == tta and fits(row)]
        found = Entry(tuple(results.newest_state(own))) if own else None
        return found if found and found.has(*METRICS) else None

    def seeds_of(self, name: str) -> list[str]:
        """``name`` and its repetitions with other seeds, as far as they have rows."""
        stems = {name, name.removesuffix(_BUNDLED)}
        pattern = re.compile(rf"(?:{'|'.join(map(re.escape, sorted(stems)))})\.seed-(\d+)")
        found = [(int(match[1]), other) for other in self._rows if (match := pattern.fullmatch(other))]
        return ([name] if name in self._rows else []) + [other for _, other in sorted(found)]

    def group(
        self, name: str, place: Place, condition: Condition = CLEAN, tta: bool = False
    ) -> SeedGroup | None:
        """All seeds of ``name`` that are comparable with its first."""
        entries = [self.entry(own, place, condition, tta) for own in self.seeds_of(name)]
        found = [entry for entry in entries if entry is not None]
        alike = tuple(e for e in found if e.first.group == found[0].first.group)
        return SeedGroup(name, alike) if alike else None

    def first(
        self, names: Sequence[str], place: Place, condition: Condition = CLEAN, tta: bool = False
    ) -> SeedGroup | None:
        """The group of the first of ``names`` that has rows."""
        groups = (self.group(name, place, condition, tta) for name in names)
        return next((group for group in groups if group is not None), None)


def _where(row: ScoreRow) -> tuple[Place, Condition]:
    resampled = row.protocol.get("resampled_from") is not None
    place = Place(row.dataset, row.split, row.protocol_name, row.fingerprint, resampled)
    return place, Condition(row.perturbation, row.severity)
