"""The summary of the results, two screens: plots, and answers in sentences. Tables have their own pages."""

from __future__ import annotations

from collections.abc import Sequence

from hsrzoo_benchmark.reproduce import claims, knowledge, plots
from hsrzoo_benchmark.reproduce.claims import FAILS, HOLDS, UNTESTED, Finding, Judged
from hsrzoo_benchmark.reproduce.evidence import Evidence
from hsrzoo_benchmark.reproduce.ranking import advice
from hsrzoo_benchmark.reproduce.sensors import GENERAL, ratios
from hsrzoo_benchmark.tables.numbers import metric_name, significant, with_wins

SUMMARY = "results.md"
_ABOUT = """\
---
hide: [toc]
---

# Results

Made of the rows in `records` by `make tables`. MCGA is a clean-room implementation: its authors published
neither code nor weights."""
_TABLES = """\
**All tables.** [Networks](results/networks.md), [other sensors, data and
cameras](results/generalisation.md), [disturbed images](results/disturbances.md), [prediction
intervals](results/intervals.md), [other recipes](results/recipes.md), [MCGA: claims, controls,
ablations](results/mcga.md), [cost](results/cost.md), [protocols and commits](results/provenance.md),
[reported figures on ARAD-1K](results/reported.md), [bundled models](tables.md),
[what was tried](search.md)."""


def render(evidence: Evidence, judged: Sequence[Judged]) -> str:
    """The page."""
    answers = [*advice(evidence)[:1], _sensors(evidence), _learned_codes(judged)]
    parts = [_ABOUT, *_grid(plots.plots(evidence))]
    parts += ["\n".join(f"- {one}" for one in answers if one)]
    parts += [claims.verdicts(judged, "results/mcga.md#the-papers-claims")]
    parts += [knowledge.of_networks(evidence), _TABLES]
    return "\n\n".join(part for part in parts if part) + "\n"


def _grid(found: Sequence[plots.Plot]) -> list[str]:
    """Two plots beside each other, where there is room; docs/hsrzoo.css lays them out."""
    cells = [
        f"<div markdown>\n\n![{plot.alt}](results/{plot.file})\n\n"
        f"**{plot.title}.** {plot.caption}\n\n</div>"
        for plot in found
    ]
    return ['<div class="plots" markdown>', *cells, "</div>"] if cells else []


def _sensors(evidence: Evidence) -> str:
    """Which model generalises best."""
    sensors, found = ratios(evidence)
    best = next(iter(found), None)
    if best is None:
        return ""
    known = next((name for name in found if not name.endswith(GENERAL)), None)
    rest = (
        f"; without other sensors in training **{known}** has {significant(found[known], 3)}"
        if known
        else ""
    )
    return (
        f"Sensors not seen in training ({sensors}): **{best}** has {significant(found[best], 3)} of the "
        f"RMSE of linear regression{rest} "
        f"([table](results/generalisation.md#sensors-not-seen-in-training))."
    )


def _learned_codes(judged: Sequence[Judged]) -> str:
    """Whether learned codes beat random ones; "" where they do."""
    codes = next(one for one in judged if one.claim.key == "random")
    if codes.kind == HOLDS:
        return ""
    if codes.kind == UNTESTED:
        return f"**Whether learned codes beat random ones is not known** ({codes.verdict})."
    differences = "; ".join(f"{metric_name(f.sum.metric)} {difference(f)}" for f in codes.findings)
    one = codes.findings[0]
    found = "do not beat" if codes.kind == FAILS else "were not shown to beat"
    return (
        f"**Learned codes {found} random ones** ({codes.verdict}): learned less random, {differences} "
        f"(n = {one.gap.scenes if one.gap else 0})."
    )


def difference(finding: Finding) -> str:
    """The interval and the wins, or what is missing."""
    return finding.missing if finding.gap is None else ", ".join(with_wins(finding.gap))
