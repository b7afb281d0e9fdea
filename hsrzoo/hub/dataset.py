"""A store of result rows as a data set repository on the Hub: the files of the store as they are, and a
card with one configuration for each data set that was scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from hsrzoo import results
from hsrzoo.errors import StoreError
from hsrzoo.hub import client
from hsrzoo.hub.card import TAGS, fence, table
from hsrzoo.hub.evaluation import title
from hsrzoo.hub.push import Push, Target, publish
from hsrzoo.hub.rows import DIRTY, NO_ROW
from hsrzoo.results import AnyRow, ScoreRow, SkippedLine, by_protocol, mean

_SHOWN = ("rmse", "sam", "mrae")
"""Metrics of the card's table."""


@dataclass
class Rows:
    """Lines of a store, and why others were left out."""

    lines: dict[str, dict[bytes, AnyRow]] = field(default_factory=dict)
    """Path in the store -> line -> its row, in the order of the file."""
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def files(self) -> dict[str, bytes]:
        """Path in the repository -> content."""
        return {path: b"\n".join(lines) + b"\n" for path, lines in self.lines.items() if lines}

    @property
    def rows(self) -> list[AnyRow]:
        return [row for lines in self.lines.values() for row in lines.values()]

    def take(self, path: str, data: bytes, file: Path) -> None:
        """Add the rows of a file; a row is taken as it is, or left out."""
        held, skipped = self.lines.setdefault(path, {}), []
        for line, row in results.parse_lines(data, file):
            if isinstance(row, SkippedLine):
                skipped.append(row)
                self.left_out[NO_ROW] += 1
            elif row.provenance.get("dirty"):
                self.left_out[DIRTY] += 1
            else:
                held[line] = row
        results.warn_of_skipped(skipped)


def push_rows(store: Path, target: Target) -> tuple[Push, Rows]:
    """Push the rows of a store to a data set repository; rows that are there already stay.

    Raises:
        StoreError: ``store`` is no folder with rows.
        HubError: The Hub refuses.
    """
    target = replace(target, kind="dataset")
    before = client.state(target.repo, target.revision, target.kind)
    rows = Rows()
    for path in sorted(before.files) if before else ():
        if path.endswith(".jsonl"):
            data = client.read_file(target.repo, path, before.oid if before else None, target.kind)
            rows.take(path, data or b"", Path(path))
    for file in sorted(store.rglob("*.jsonl")):
        rows.take(file.relative_to(store).as_posix(), results.bytes_of(file), file)
    if not rows.files:
        raise StoreError(
            f"{store} holds no rows that can be published",
            expected="a folder written by `hsrzoo bench --store DIR`, by committed code",
            got=", ".join(f"{count} {reason}" for reason, count in rows.left_out.items()) or "no rows",
        )
    block = _block(target, rows.rows)
    target = replace(target, message=target.message or f"{len(rows.rows)} rows")
    return publish(target, rows.files, _metadata(rows.files), block, before, ours=None), rows


def _metadata(paths: Iterable[str]) -> dict[str, Any]:
    """The managed keys of the card: a configuration for each folder, because rows of times have other
    columns than those of scores."""
    folders = sorted({PurePosixPath(path).parts[0] for path in paths if "/" in path})
    configs = [{"config_name": name, "data_files": f"{name}/**/*.jsonl"} for name in folders]
    if any("/" not in path for path in paths):
        configs.append({"config_name": "rows", "data_files": "*.jsonl"})
    return {"tags": [*TAGS, "benchmark-results"], "configs": configs}


def _block(target: Target, rows: Iterable[AnyRow]) -> str:
    scores = [row for row in rows if isinstance(row, ScoreRow) and row.perturbation is None and not row.tta]
    groups = by_protocol(results.newest_scores(scores), lambda row: (row.model, row.weights_sha256))
    lines = [
        (
            f"{group[0].dataset}/{group[0].split}, {group[0].protocol_name}",
            group[0].model,
            len(group),
            *(_short(mean(group, name)) for name in _SHOWN),
        )
        for group in groups
    ]
    fetch = f"hf download {target.repo} --repo-type dataset --local-dir rows"
    return "\n\n".join(
        [
            f"# {target.title}",
            "Rows of hsrzoo, a benchmark of spectral reconstruction from RGB: one for each model, scene "
            "and protocol, and of times one for each model, size and machine. A row names the sha256 of "
            "the weights, the fingerprint of the data, the versions of the metrics and the code.",
            fence(fetch, "hsrzoo report --store rows", language="sh"),
            "Means over scenes of images as they are; compare models of one data set and protocol only:",
            table(("data and protocol", "model", "scenes", *map(title, _SHOWN)), sorted(lines)),
        ]
    )


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
