"""The first screen of ``docs/results.md``: scores of the networks, and which claims hold."""

from __future__ import annotations

from collections.abc import Sequence

from hsrzoo_benchmark.reproduce import tables, text
from hsrzoo_benchmark.reproduce.claims import FAILS, HOLDS, OPEN, UNTESTED, Judged
from hsrzoo_benchmark.reproduce.evidence import Evidence
from hsrzoo_benchmark.reproduce.ranking import TIMED, comparable, headline_names
from hsrzoo_benchmark.tables.numbers import significant

_METRICS = ("rmse", "sam", "de2000")


def scores(evidence: Evidence) -> list[text.TableRow]:
    """A row for each network on the validation scenes of CAVE, the smallest RMSE first; "-": not timed."""
    groups = comparable(evidence, headline_names("cave"), tables.HOME)
    speeds = {
        tables.headline(row["model"], "cave"): row.get("images_s")
        for row in tables.speed_rows(evidence)
        if row["size"] == TIMED
    }
    more = {name: {f"images/s of {TIMED}": significant(speeds.get(name))} for name in groups}
    return text.scores(groups, _METRICS, intervals=False, more=more)


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
