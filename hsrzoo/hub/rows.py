"""Rows of result stores that belong to certain weights, as files to publish.

A row is published or left out, never changed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hsrzoo import results
from hsrzoo.errors import StoreError
from hsrzoo.results import AnyRow, ScoreRow, SkippedLine, SpeedRow, by_protocol, bytes_of, mean

FOLDER = "results"
"""Folder of the rows in a repository."""
PUBLISHED = re.compile(
    rf"{FOLDER}/([\w.-]+_[0-9a-f]{{{results.HASH_LENGTH}}}|speed_[\w.-]+-threads)\.jsonl", re.ASCII
)
"""Names that :attr:`Collected.files` gives; other files of that folder are the owner's."""
DIRTY = "rows made by code with changes that were not committed"
OTHERWISE = "rows of these weights run otherwise (a variant, a precision, tiles, a camera's correction)"
NO_ROW = "lines that are not result rows"


@dataclass(frozen=True)
class Identity:
    """What a row must name to belong to a model: sha256 of its weights, and of all that decides a cube."""

    weights_sha256: str
    model_sha256: str


@dataclass
class Collected:
    """The rows that belong to a model, and why others were left out."""

    rows: dict[bytes, AnyRow] = field(default_factory=dict)
    """Line without its end -> the row: a line that lies in two stores counts once."""
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def files(self) -> dict[str, bytes]:
        """Path in a repository -> its lines, as they were stored, in an order that no store decides."""
        found: dict[str, list[bytes]] = {}
        for line, row in sorted(self.rows.items(), key=lambda item: (_order(item[1]), item[0])):
            found.setdefault(f"{FOLDER}/{_file_name(row)}", []).append(line)
        return {path: b"\n".join(lines) + b"\n" for path, lines in sorted(found.items())}

    @property
    def figures(self) -> list[Figure]:
        """Means of the scores, images as they are first."""
        ordered = sorted(self.rows.values(), key=_order)
        return summarise(row for row in ordered if isinstance(row, ScoreRow))


def collect(
    places: Iterable[Path], identity: Identity, published: Mapping[str, bytes] | None = None
) -> Collected:
    """The rows of ``places`` that belong to ``identity``, together with those ``published`` already.

    Args:
        places: Stores (folders), or single files of them.
        identity: Digests of the model.
        published: Path in the repository -> content of the files of rows that are there.

    Raises:
        StoreError: A place does not exist, or a file that was named itself has a row of other weights.
    """
    found = Collected()
    for place in places:
        for path in _files(place):
            _take(found, bytes_of(path), identity, path, named=path == place)
    for name, data in (published or {}).items():
        _take(found, data, identity, Path(name))
    return found


def _files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    if place.is_dir():
        return sorted(place.rglob("*.jsonl"))
    raise StoreError(
        f"There is no result store {place}",
        expected="a folder written by `hsrzoo bench --store DIR`, or one .jsonl file of it",
        fix="Name another one with --store, or leave it out",
    )


def _take(found: Collected, data: bytes, identity: Identity, path: Path, named: bool = False) -> None:
    skipped = []
    for line, row in results.parse_lines(data, path):
        if isinstance(row, SkippedLine):
            skipped.append(row)
            found.left_out[NO_ROW] += 1
        elif row.weights_sha256 != identity.weights_sha256:
            if named:
                raise _foreign(path, row, identity)
        elif row.model_sha256 != identity.model_sha256:
            found.left_out[OTHERWISE] += 1
        elif row.provenance.get("dirty"):
            found.left_out[DIRTY] += 1
        else:
            found.rows[line] = row
    results.warn_of_skipped(skipped)


def _foreign(path: Path, row: AnyRow, identity: Identity) -> StoreError:
    got = row.weights_sha256
    return StoreError(
        f"{path} has rows of other weights",
        expected=f"weights_sha256 {identity.weights_sha256[:16]}...",
        got=f"{row.model}, {f'{got[:16]}...' if got else 'random weights'}",
        fix="Name the file of these weights, or the whole store: of that the rows that belong are taken",
    )


def _file_name(row: AnyRow) -> str:
    """As the store has it; of times, with their kind in front."""
    if isinstance(row, SpeedRow):
        device, threads = row.machine
        return f"{results.SPEED}_{results.speed_file(str(device or row.provenance.get('device')), threads)}"
    return results.score_file(row.protocol_name, row.perturbation, row.severity, row.tta, row.protocol_hash)


def _order(row: AnyRow) -> tuple[str, ...]:
    if isinstance(row, SpeedRow):
        return "", "", "", str(row.size), row.timestamp
    return row.dataset, row.split, row.scene, "", row.timestamp


@dataclass(frozen=True)
class Figure:
    """Means over the scenes of one data set and split under one protocol."""

    dataset: str
    split: str
    fingerprint: str
    protocol: str
    protocol_hash: str
    condition: str | None
    """Perturbation and severity; None for images as they are."""
    tta: bool
    scenes: int
    seen: int
    """How many of the scenes the weights were trained on."""
    means: dict[str, float]
    """Metric -> mean, in the order of the protocol; without those that are not finite on some scene."""

    @property
    def source(self) -> str:
        """Data and protocol as text: ``cave/valid, full-frame``."""
        parts = [f"{self.dataset}/{self.split}", self.protocol, self.condition, self.tta and "adapted"]
        return ", ".join(str(part) for part in parts if part)


def summarise(rows: Iterable[ScoreRow]) -> list[Figure]:
    """The figures of one model, images as they are first."""
    found = [_figure(group) for group in by_protocol(rows)]
    return sorted(found, key=lambda f: (f.condition is not None, f.tta, f.source, f.protocol_hash))


def _figure(rows: Sequence[ScoreRow]) -> Figure:
    first = rows[0]
    names = [metric[0] for metric in first.protocol.get("metrics", ())] or list(first.metrics)
    means = {name: mean(rows, name) for name in names}
    return Figure(
        dataset=first.dataset,
        split=first.split,
        fingerprint=first.fingerprint,
        protocol=first.protocol_name,
        protocol_hash=first.protocol_hash,
        condition=" ".join(filter(None, (first.perturbation, first.severity))) or None,
        tta=first.tta,
        scenes=len(rows),
        seen=sum(row.seen_in_training for row in rows),
        means={name: value for name, value in means.items() if value is not None},
    )
