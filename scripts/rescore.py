"""Score rows of a store again that lack a metric, with the bundled weights and the data that are at hand.

    python scripts/rescore.py records            # what would be scored
    python scripts/rescore.py records --run      # score it, or only --run MODEL ...; again: what is left
    python scripts/rescore.py records --drop     # then remove the files whose rows newer ones replace

A row lacks a metric that it does not hold in the installed version; values of earlier versions that cannot
have changed count, so that the rows of weights that are not at hand stay as they are.
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from pathlib import Path

from hsrzoo.errors import HsrzooError
from hsrzoo.models.locate import bundled
from hsrzoo.results import ScoreRow, newest_scores, newest_weights, read_store
from hsrzoo_benchmark.grouping import group_by
from hsrzoo_benchmark.plan.models import RunModes, plain_name
from hsrzoo_benchmark.plan.options import Options
from hsrzoo_benchmark.protocol import DEFAULT_METRICS
from hsrzoo_benchmark.results.versions import held
from hsrzoo_benchmark.session import compute, open_session

Kind = tuple[str, str, str, str, bool, bool, str | None]
"""Data set, split, protocol, benchmark, resampled, with adaptation, camera of the correction."""


def kind_of(row: ScoreRow) -> Kind:
    """What one run of the benchmark can score together."""
    resampled = row.protocol["resampled_from"] is not None
    camera = row.execution.get("consistency")
    return row.dataset, row.split, row.protocol_name, row.bench, resampled, row.tta, camera


def lacking(rows: list[ScoreRow]) -> list[ScoreRow]:
    """Of the rows that count those that lack a metric, of weights that are bundled."""
    found = group_by(
        newest_scores(newest_weights(rows), held),
        lambda row: (kind_of(row), row.setting, row.model, row.scene),
    )
    own = set(bundled())
    return [
        group[-1]
        for group in found.values()
        if plain_name(group[-1].model) in own
        and not set(DEFAULT_METRICS) <= {name for row in group for name in held(row)}
    ]


def score(store: Path, kind: Kind, rows: list[ScoreRow]) -> int:
    """Score ``rows`` of one kind again: the number of new rows."""
    dataset, split, protocol, bench, resample, tta, camera = kind
    options = Options(
        models=tuple(dict.fromkeys(plain_name(row.model) for row in rows)),
        dataset=dataset, benches=(bench,), split=split, protocols=(protocol,), resample=resample, tta=tta,
        store=store, device="cpu", threads=1, ways=RunModes(consistency=camera),
    )  # fmt: skip
    session = open_session(options)
    wanted = {(row.model, row.model_sha256, row.setting) for row in rows}
    cells = [c for c in session.cells if (c.model.name, c.model.identity, c.protocol.setting) in wanted]
    session.cells = cells
    outcome = compute(session)
    for failure in outcome.failures:
        print(f"{failure.scene}, {failure.what}: {failure.error}", file=sys.stderr)
    return outcome.computed


def drop(store: Path, rows: list[ScoreRow]) -> int:
    """Remove the files all of whose rows are replaced by newer ones; the number of rows in them."""
    counting = {(row.file, row.line) for row in newest_scores(rows, held)}
    dropped = 0
    for file, own in group_by(rows, lambda row: row.file).items():
        if not any((row.file, row.line) in counting for row in own):
            (store / file).unlink()
            dropped += len(own)
    return dropped


def main(store: Path, action: str = "", *models: str) -> None:
    """List, score (``models``: only these) or drop."""
    rows = list(read_store(store, required=True).scores)
    if action == "--drop":
        print(f"{drop(store, rows)} replaced rows removed")
        return
    found = [row for row in lacking(rows) if not models or plain_name(row.model) in models]
    for kind, own in group_by(found, kind_of).items():
        seconds = sum(row.seconds for row in own)
        print(f"{kind}: {len(own)} rows, {seconds:.0f} s of prediction", flush=True)
        if action == "--run":
            try:
                print(f"  {score(store, kind, own)} rows scored", flush=True)
            except HsrzooError as error:
                print(f"  {error}", file=sys.stderr)
    kept = Counter(len(set(held(row)) & {"sam"}) for row in rows)
    print(f"{len(found)} rows lack a metric; of {len(rows)}, {kept[1]} hold SAM in its present version")


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[2:3] not in ([], ["--run"], ["--drop"]):
        raise SystemExit("Usage: python scripts/rescore.py STORE [--run [MODEL ...] | --drop]")
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]), *sys.argv[2:])
