"""What the MCGA paper claims, as tests on rows, with a verdict by interval.

A claim says that sums of figures, ``factor * value`` scene by scene, are below 0. It holds where all their
95 % intervals over scenes lie below 0, does not hold where one lies above, and is not decided else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from hsrzoo_benchmark.protocol import CLEAN, Condition
from hsrzoo_benchmark.reproduce import tables
from hsrzoo_benchmark.reproduce.evidence import Evidence, Place, commits_of, same_runs
from hsrzoo_benchmark.results.figures import better
from hsrzoo_benchmark.statistics.bootstrap import MIN_SCENES, Difference
from hsrzoo_benchmark.statistics.seeds import combination

HOLDS, FAILS, OPEN, UNTESTED = "holds", "does not hold", "not decided", "not tested"
_OURS, _MST = (tables.headline(arch, "cave") for arch in tables.COMPARED)
_NAME = tables.OURS.upper()
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
            few = next((f.gap.scenes for f in self.findings if f.gap and f.gap.interval is None), None)
            return f"{OPEN}: {'interval holds 0' if few is None else _why(few)}"
        return self.kind


def _why(scenes: int) -> str:
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


def _better(
    text: str,
    a: str,
    b: str,
    *metrics: str,
    condition: Condition = CLEAN,
    place: Place = tables.HOME,
    key: str = "",
) -> Claim:
    """That ``a`` is better than ``b`` in each of ``metrics``."""
    sums = tuple(Sum(m, (Term(1, a, condition), Term(-1, b, condition))) for m in metrics)
    return Claim(text, sums, place, key)


def _adapts(metric: str, condition: Condition, factor: float = 1.0) -> Sum:
    """With TTA the figure is below ``factor`` times the one without."""
    return Sum(metric, (Term(1, _OURS, condition, True), Term(-factor, _OURS, condition)))


def _loses_half(size: str) -> Claim:
    """What patches cost MCGA in RMSE, less half of what they cost MST++; and that they cost MST++ anything,
    without which half of it is no yardstick."""
    mixed = Condition("mixed-patch", size)
    terms = (Term(1, _OURS, mixed), Term(-1, _OURS), Term(-0.5, _MST, mixed), Term(0.5, _MST))
    costs = Sum("rmse", (Term(1, _MST), Term(-1, _MST, mixed)))
    text = f"Mixed patches of {size} cost {_NAME} less than half of what they cost MST++"
    return Claim(text, (Sum("rmse", terms), costs))


def claims() -> list[Claim]:
    """All of them, in the report's order."""
    full, enmap = tables.FULL, [tables.headline(arch, "enmap") for arch in tables.COMPARED]
    two, three = ("rmse", "mrae"), ("rmse", "psnr", "sam")
    too_costly = "hrnet"
    others = [arch for arch in tables.NETWORKS if arch not in (*tables.COMPARED, too_costly)]
    not_below = Sum("rmse", (Term(-1, _OURS, CLEAN, True), Term(0.99, _OURS)))
    cheap = Sum("mrae", (Term(1, full), Term(-1.05, "table-5.full-attention")))
    return [
        # What the paper does not test, and without which nobody knows what a codebook does.
        _better("Learned codes beat random frozen ones", full, "control.random", *two, key="random"),
        _better("A look-up beats the same layers without codes", full, "control.bypass", *two),
        _better(
            "A mixture beats as many codes learned from the pooled sources", full, "control.pooled", *two
        ),
        _better(
            "The network reads its codes: permuted at test time they cost accuracy",
            full,
            "control.permuted",
            *two,
        ),
        # MCGA against the others, clean and disturbed.
        _better(f"{_NAME} beats MST++", _OURS, _MST, *three),
        *(_better(f"{_NAME} beats {a}", _OURS, tables.headline(a, "cave"), "rmse") for a in others),
        _better(f"{_NAME} beats MST++ on EnMAP, 202 bands", *enmap, *three, place=tables.BLOCK),
        _loses_half("16"),
        _loses_half("8"),
        _better(
            f"{_NAME} is better than MST++ on brighter images", _OURS, _MST, "rmse", condition=tables.PLUS
        ),
        _better(
            f"{_NAME} is better than MST++ on darker images", _OURS, _MST, "rmse", condition=tables.MINUS
        ),
        # Test-time adaptation against none.
        *(
            Claim(f"TTA helps on {images}", tuple(_adapts(m, condition) for m in ("mrae", "rmse")))
            for images, condition in (
                ("darker images (paper-minus10)", tables.MINUS),
                ("brighter images (paper-plus10)", tables.PLUS),
            )
        ),
        Claim(
            "TTA changes the RMSE of clean images by less than 1 %",
            (_adapts("rmse", CLEAN, 1.01), not_below),
        ),
        # Tables 3 to 5 and figure 3, in MRAE as the paper has them.
        _better("The mixture of codebooks helps a plain network", "table-5.moc", "table-5.plain", "mrae"),
        _better("Grayscale-aware curves help", "table-5.moc-ga", "table-5.moc", "mrae"),
        _better("Quantized attention helps", full, "table-5.moc-ga", "mrae"),
        _better("The mixture beats a single codebook", full, "table-5.single", "mrae"),
        *(
            _better(f"Two scales are better than {n}", full, f"table-3.scales-{n}", "mrae")
            for n in (1, 3, 4)
        ),
        _better(
            "Attention that keeps more is better: K = 128 x 128 against 8 x 8",
            "table-4.k-16384",
            "table-4.k-64",
            "mrae",
        ),
        *(
            _better(f"More gamma than log hurts: {n} % against 50 %", full, f"figure-3.gamma-{n}", "mrae")
            for n in (75, 100)
        ),
        Claim("Quantized attention costs less than 5 % of full attention's MRAE", (cheap,)),
    ]


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
        text = f"{_NAME} generalises better than MST++: {where}"
        found.append(_better(text, _OURS, _MST, "rmse", condition=condition, place=place))
    return found
