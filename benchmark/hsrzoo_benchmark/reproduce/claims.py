"""What the MCGA paper claims, as tests on rows, with a verdict by interval.

A claim says that sums of figures, ``factor * value`` scene by scene, are below 0. It holds where all their
95 % intervals over scenes lie below 0, does not hold where one lies above, and is not decided else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from hsrzoo_benchmark.protocol import CLEAN, Condition
from hsrzoo_benchmark.reproduce import tables
from hsrzoo_benchmark.reproduce.evidence import Evidence, Place, commits_of, same_runs
from hsrzoo_benchmark.results.figures import better
from hsrzoo_benchmark.results.reported import paper_claims
from hsrzoo_benchmark.statistics.intervals import MIN_SCENES, Difference
from hsrzoo_benchmark.statistics.seeds import combination

HOLDS, FAILS, OPEN, UNTESTED = "holds", "does not hold", "not decided", "not tested"
_OURS, _MST = (tables.headline(arch, "cave") for arch in tables.COMPARED)
_SINGLE_JOBS = {f"table-3.scales-{n}": (f"mcga-s{n}", "") for n in (1, 3, 4)}


@dataclass(frozen=True)
class Term:
    """One run's figures in a sum."""

    factor: float
    job: str
    condition: Condition = CLEAN
    tta: bool = False


@dataclass(frozen=True)
class Sum:
    """A sum of which the claim says that it is below 0; of a metric where higher is better, above."""

    metric: str
    terms: tuple[Term, ...]


@dataclass(frozen=True)
class Claim:
    """A sentence and what would have to be so."""

    text: str
    sums: tuple[Sum, ...]
    place: Place = tables.HOME
    key: str = ""
    """By which rules of the report find it."""


@dataclass(frozen=True)
class Finding:
    """What rows say to one sum."""

    sum: Sum
    gap: Difference | None
    missing: str
    """Job without rows, or why there is no difference; "": there is one."""
    hash: str
    commits: str
    seeds: str
    """Numbers of seeds, in the terms' order."""
    paper: tuple[float, ...]
    """The paper's figures of the terms, where it prints all of them."""

    @property
    def verdict(self) -> str:
        """Of this sum alone."""
        if self.gap is None:
            return UNTESTED
        if not self.gap.significant:
            return OPEN
        below = self.gap.mean < 0
        return HOLDS if below == (better(self.sum.metric) == "lower") else FAILS


@dataclass(frozen=True)
class Judged:
    """A claim with all that was found."""

    claim: Claim
    findings: tuple[Finding, ...]

    @property
    def kind(self) -> str:
        """The verdict in one of four words."""
        found = [finding.verdict for finding in self.findings]
        return next(word for word in (FAILS, UNTESTED, OPEN, HOLDS) if word in found)

    @property
    def verdict(self) -> str:
        """With the reason where there is none."""
        if self.kind == UNTESTED:
            return f"{UNTESTED}: {next(f.missing for f in self.findings if f.missing)}"
        if self.kind == OPEN:
            return f"{OPEN}: {_why([f.gap for f in self.findings if f.gap and not f.gap.significant])}"
        return self.kind


def _why(gaps: Sequence[Difference]) -> str:
    """Why differences decide nothing."""
    scenes = next((gap.scenes for gap in gaps if gap.interval is None), None)
    if scenes is None:
        held = any(gap.interval and gap.interval.holds(0.0) for gap in gaps)
        return "interval holds 0" if held else "equal within the tolerance"
    return f"n = {scenes}, {MIN_SCENES} scenes needed" if scenes < MIN_SCENES else "some figures are NaN"


def judge(claim: Claim, evidence: Evidence) -> Judged:
    """Put a claim to the rows."""
    return Judged(claim, tuple(_find(one, claim.place, evidence) for one in claim.sums))


def _find(wanted: Sum, place: Place, evidence: Evidence) -> Finding:
    groups = [evidence.group(t.job, place, t.condition, t.tta) for t in wanted.terms]
    reported = [paper_of(term, place, wanted.metric) for term in wanted.terms]
    paper = tuple(value for value in reported if value is not None)
    lost = [title(t) for t, group in zip(wanted.terms, groups, strict=True) if group is None]
    there = [group for group in groups if group is not None]
    missing = (
        f"no rows of {', '.join(lost)}" if lost else _mismatch(wanted.terms, [g.protocol for g in there])
    )
    gap = None
    if not missing:
        alike = same_runs(there)
        there, missing = alike or there, "" if alike else "no seed was scored under all conditions"
    if not missing:
        pairs = [(t.factor, g.runs(wanted.metric)) for t, g in zip(wanted.terms, there, strict=True)]
        gap = combination(pairs, better(wanted.metric))
        missing = "" if gap.scenes and isfinite(gap.mean) else "no scene in common, or values that are NaN"
    return Finding(
        wanted,
        None if missing else gap,
        missing,
        ", ".join(dict.fromkeys(group.hash for group in there)),
        commits_of(there),
        "/".join(str(len(group.entries)) for group in there),
        paper if len(paper) == len(reported) else (),
    )


def title(term: Term) -> str:
    tta = " with TTA" if term.tta else ""
    return f"{term.job}{tta}" + ("" if term.condition == CLEAN else f" on {term.condition}")


def _mismatch(terms: Sequence[Term], protocols: Sequence[str]) -> str:
    """Terms of one condition must have been scored alike."""
    by_condition: dict[Condition, str] = {}
    for term, found in zip(terms, protocols, strict=True):
        if by_condition.setdefault(term.condition, found) != found:
            return f"protocols differ on {term.condition}"
    return ""


def paper_of(term: Term, place: Place, metric: str) -> float | None:
    """The paper's figure for a term; None where it prints none."""
    arch = next((a for a in tables.NETWORKS if term.job == tables.headline(a, place.dataset)), None)
    table, dot, variant = term.job.rpartition(".")
    if arch is not None:
        key = arch, ""
    elif term.job in _SINGLE_JOBS:
        key = _SINGLE_JOBS[term.job]
    elif dot and table in ("table-4", "table-5"):
        key = tables.OURS, variant
    else:
        return None
    return tables.paper_figure(place, term.condition, term.tta, *key, metric)


def claims() -> list[Claim]:
    """All of them, in the report's order."""
    return [_claim(**one) for one in paper_claims()]


def _claim(
    text: str,
    metrics: Sequence[str],
    better: Sequence[str] = (),
    below_zero: Sequence[Sequence[Mapping[str, Any]]] = (),
    on: str = str(CLEAN),
    place: str = "cave",
    key: str = "",
) -> Claim:
    """A claim as ``paper/claims.toml`` describes it."""
    pair = [{"factor": factor, "run": run, "on": on} for factor, run in zip((1, -1), better, strict=False)]
    sums = [tuple(_term(**term) for term in terms) for terms in below_zero or [pair]]
    return Claim(
        text, tuple(Sum(m, terms) for m in metrics for terms in sums), tables.PLACES[place][0], key
    )


def _term(run: str, factor: float = 1, on: str = str(CLEAN), tta: bool = False) -> Term:
    return Term(factor, run, Condition.parse(on), tta)


def elsewhere(evidence: Evidence) -> list[Claim]:
    """That MCGA generalises better than MST++: CAVE's weights on other data and other cameras, once for
    each place and camera where both were scored."""
    found = []
    for place, condition in evidence.places:
        if not tables.away_from_home(place, condition):
            continue
        groups = [evidence.group(name, place, condition) for name in (_OURS, _MST)]
        if any(group is None or group.learned_from(place.dataset) for group in groups):
            continue  # who has codes from there does not generalise to it
        where = f"{place.dataset}/{place.split}" + (f", {condition}" if condition != CLEAN else "")
        text = f"{tables.OURS.upper()} generalises better than MST++: {where}"
        terms = Term(1, _OURS, condition), Term(-1, _MST, condition)
        found.append(Claim(text, (Sum("rmse", terms),), place))
    return found


def verdicts(judged: Sequence[Judged], table: str) -> str:
    """The claims by verdict, as a Markdown list; those without a decision are only counted.
    ``table``: where a link to the table leads."""
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
        lines.append(f"- **Other claims**: {', '.join(rest)} ([table]({table})).")
    return "\n".join(lines)
