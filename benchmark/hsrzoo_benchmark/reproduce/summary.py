"""The first screen of ``docs/results.md``: scores of the networks, and which claims hold."""

from __future__ import annotations

from collections.abc import Sequence

from hsrzoo_benchmark.reproduce import cells as cells_of
from hsrzoo_benchmark.reproduce import tables
from hsrzoo_benchmark.reproduce.claims import FAILS, HOLDS, OPEN, UNTESTED, Judged
from hsrzoo_benchmark.reproduce.standings import contestants, headline_names, standings
from hsrzoo_benchmark.results.rows import Evidence
from hsrzoo_benchmark.tables import format

_METRICS = ("rmse", "sam", "de2000")
_TIMED = "512x512"


def scores(evidence: Evidence) -> list[dict[str, str]]:
    """A row for each network on the validation scenes of CAVE, the smallest RMSE first; "-": not timed."""
    groups = contestants(evidence, headline_names("cave"), tables.PLACES["cave"][0])
    ranks = {metric: {one.name: one.rank for one in standings(groups, metric)} for metric in _METRICS}
    speeds = {
        tables.headline(row["model"], "cave"): row.get("images_s")
        for row in tables.speed_rows(evidence)
        if row["size"] == _TIMED
    }
    found = []
    for name in ranks[_METRICS[0]]:
        means = tables.figures(groups[name], _METRICS)
        cells = {"model": name}
        for metric in _METRICS:
            rank = ranks[metric].get(name)
            mark = "" if rank is None else f" #{rank}"
            cells[format.metric_heading(metric)] = format.significant(means[metric]) + mark
        cells[f"images/s of {_TIMED}"] = format.significant(speeds.get(name))
        found.append({**cells, "n": cells_of.counted(means), **cells_of.signature(means)})
    return found


def verdicts(judged: Sequence[Judged]) -> str:
    """The claims by verdict, as a Markdown list; those without a decision are only counted."""
    by_kind = {
        kind: [one.claim.text for one in judged if one.kind == kind]
        for kind in (HOLDS, FAILS, OPEN, UNTESTED)
    }
    lines = [
        f"- **Claims that {verb}** ({len(texts)}): {'; '.join(texts)}."
        for verb, texts in (("hold", by_kind[HOLDS]), ("do not hold", by_kind[FAILS]))
        if texts
    ]
    rest = [f"{len(by_kind[kind])} {kind}" for kind in (OPEN, UNTESTED) if by_kind[kind]]
    if rest:
        lines.append(f"- **Other claims**: {', '.join(rest)} ([table](#the-papers-claims)).")
    return "\n".join(lines)
