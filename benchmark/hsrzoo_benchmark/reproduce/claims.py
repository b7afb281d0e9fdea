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
    place: Place = tables.PLACES["cave"][0]
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


def better_than(a: str, b: str, *metrics: str, condition: Condition = CLEAN) -> tuple[Sum, ...]:
    """``a`` is better than ``b`` in each of ``metrics``."""
    return tuple(Sum(m, (Term(1, a, condition), Term(-1, b, condition))) for m in metrics)


def _adapts(metric: str, condition: Condition, factor: float = 1.0) -> Sum:
    """With TTA the figure is below ``factor`` times the one without."""
    return Sum(metric, (Term(1, _OURS, condition, True), Term(-factor, _OURS, condition)))


def _loses_half(size: str) -> tuple[Sum, Sum]:
    """What patches cost MCGA in RMSE, less half of what they cost MST++; and that they cost MST++ anything,
    without which half of it is no yardstick."""
    mixed = Condition("mixed-patch", size)
    terms = (Term(1, _OURS, mixed), Term(-1, _OURS), Term(-0.5, _MST, mixed), Term(0.5, _MST))
    return Sum("rmse", terms), Sum("rmse", (Term(1, _MST), Term(-1, _MST, mixed)))


def claims() -> list[Claim]:
    """All of them, in the report's order."""
    return [*_controls(), *_networks(), *_adaptation(), *_components()]


def _controls() -> list[Claim]:
    """What the paper does not test, and without which nobody knows what a codebook does."""
    controls = {
        "random": "Learned codes beat random frozen ones",
        "bypass": "A look-up beats the same layers without codes",
        "pooled": "A mixture beats as many codes learned from the pooled sources",
        "permuted": "The network reads its codes: permuted at test time they cost accuracy",
    }
    return [
        Claim(text, better_than(tables.FULL, f"control.{name}", "rmse", "mrae"), key=name)
        for name, text in controls.items()
    ]


def _networks() -> list[Claim]:
    """MCGA against the others, clean and disturbed."""
    name, metrics = tables.OURS.upper(), ("rmse", "psnr", "sam")
    on_enmap = better_than(*(tables.headline(a, "enmap") for a in tables.COMPARED), *metrics)
    others = [
        arch for arch in tables.NETWORKS if arch not in (*tables.COMPARED, "hrnet")
    ]  # too costly here
    return [
        Claim(f"{name} beats MST++", better_than(_OURS, _MST, *metrics)),
        *(
            Claim(f"{name} beats {arch}", better_than(_OURS, tables.headline(arch, "cave"), "rmse"))
            for arch in others
        ),
        Claim(f"{name} beats MST++ on EnMAP, 202 bands", on_enmap, tables.PLACES["enmap"][0]),
        *(
            Claim(
                f"Mixed patches of {size} cost {name} less than half of what they cost MST++",
                _loses_half(size),
            )
            for size in ("16", "8")
        ),
        *(
            Claim(
                f"{name} is better than MST++ on {text} images",
                better_than(_OURS, _MST, "rmse", condition=condition),
            )
            for text, condition in (("brighter", tables.PLUS), ("darker", tables.MINUS))
        ),
    ]


def _adaptation() -> list[Claim]:
    """Test-time adaptation against none."""
    darker, brighter = (
        tuple(_adapts(metric, condition) for metric in ("mrae", "rmse"))
        for condition in (tables.MINUS, tables.PLUS)
    )
    not_below = Sum("rmse", (Term(-1, _OURS, CLEAN, True), Term(0.99, _OURS)))
    return [
        Claim("TTA helps on darker images (paper-minus10)", darker),
        Claim("TTA helps on brighter images (paper-plus10)", brighter),
        Claim(
            "TTA changes the RMSE of clean images by less than 1 %",
            (_adapts("rmse", CLEAN, 1.01), not_below),
        ),
    ]


def _components() -> list[Claim]:
    """Tables 3 to 5 and figure 3, in MRAE as the paper has them."""
    full = tables.FULL
    pairs = [
        ("The mixture of codebooks helps a plain network", "table-5.moc", "table-5.plain"),
        ("Grayscale-aware curves help", "table-5.moc-ga", "table-5.moc"),
        ("Quantized attention helps", full, "table-5.moc-ga"),
        ("The mixture beats a single codebook", full, "table-5.single"),
        *((f"Two scales are better than {n}", full, f"table-3.scales-{n}") for n in (1, 3, 4)),
        (
            "Attention that keeps more is better: K = 128 x 128 against 8 x 8",
            "table-4.k-16384",
            "table-4.k-64",
        ),
        *(
            (f"More gamma than log hurts: {share} % against 50 %", full, f"figure-3.gamma-{share}")
            for share in (75, 100)
        ),
    ]
    found = [Claim(text, better_than(a, b, "mrae")) for text, a, b in pairs]
    cheap = Sum("mrae", (Term(1, full), Term(-1.05, "table-5.full-attention")))
    return [*found, Claim("Quantized attention costs less than 5 % of full attention's MRAE", (cheap,))]


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
        found.append(Claim(text, better_than(_OURS, _MST, "rmse", condition=condition), place))
    return found
