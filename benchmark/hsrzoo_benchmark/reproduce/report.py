"""``docs/results.md``: what the rows of a store say, written from them alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from pathlib import Path

from hsrzoo.cli import output
from hsrzoo_benchmark.plan.models import plain_name
from hsrzoo_benchmark.protocol import CLEAN, Condition
from hsrzoo_benchmark.reproduce import cells as cells_of
from hsrzoo_benchmark.reproduce import claims, tables
from hsrzoo_benchmark.reproduce.claims import FAILS, HOLDS, UNTESTED, Finding, Judged
from hsrzoo_benchmark.reproduce.queues import missing_lines
from hsrzoo_benchmark.reproduce.standings import advice, away, contestants, headline_names, standings
from hsrzoo_benchmark.reproduce.tables import FULL, NETWORKS, OURS, PLACES, headline
from hsrzoo_benchmark.results.figures import better
from hsrzoo_benchmark.results.rows import METRICS, Evidence, Group, Place, commits_of, same_runs
from hsrzoo_benchmark.statistics.seeds import combination, paired
from hsrzoo_benchmark.tables import format

_HOME, _BLOCK = PLACES["cave"][0], PLACES["enmap"][0]
_MIXED = [Condition("mixed-patch", size) for size in ("32", "16", "8")]
_AUGMENTED, _AGREEING = (
    [f"{arch}.{recipe}" for arch in (OURS, "mst-plus-plus")] for recipe in ("augmented", "consistent")
)
_NORMED, _ATTENTIVE = f"{OURS}.normed", f"{OURS}.attentive"
_CONSISTENT = " [consistent "
_CONTROLS = [f"control.{name}" for name in ("random", "bypass", "pooled", "permuted")]
_SYNTHETIC = "synthetic.pairs"
_INTRODUCTION = """\
Written by `hsrzoo reproduce report` from stored rows alone. A figure is the mean over n scenes with its
95 % bootstrap interval over scenes; where a network was trained with several seeds, each scene is averaged
over them first. Hash: the protocol, which figures must share to be compared. Commit: of the code that
scored the rows; `+`: with changes that were not committed. # is the rank group: models level with a leader
share its rank. MCGA is a clean-room implementation, as its authors published neither code nor weights."""


def write(evidence: Evidence, out: Path) -> int:
    """Write the report to ``out``; 0."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(render(evidence), encoding="utf-8")
    output.console.print(f"Report: {out}", markup=False, highlight=False)
    return 0


def lacking(evidence: Evidence) -> list[str]:
    """Runs that the report asks for and that have no rows at all."""
    names = [headline(arch, "cave") for arch in NETWORKS if arch != "hrnet"]
    names += [f"{arch}.seed-{n}" for arch in (OURS, "mst-plus-plus") for n in (1, 2)]
    names += [_NORMED, _ATTENTIVE, *_AUGMENTED, *_AGREEING]
    names += [f"iterations.{arch}" for arch in NETWORKS if arch != "hrnet"]
    specs = [tables.table_spec(name, "cave") for name in ("table-3", "table-4", "table-5", "figure-3")]
    names += [line.jobs[-1] for spec in specs for line in spec.lines]
    names += [*_CONTROLS, _SYNTHETIC, headline(OURS, "enmap"), headline("mst-plus-plus", "enmap")]
    return [name for name in dict.fromkeys(names) if name not in evidence.names]


def render(evidence: Evidence) -> str:
    """The whole report as Markdown."""
    judged = [claims.judge(c, evidence) for c in (*claims.claims(), *claims.elsewhere(evidence))]
    sections: list[tuple[str, Callable[[Evidence], list[str]]]] = [
        ("Which model for which job", lambda e: [f"- {line}" for line in advice(e)]),
        ("Networks at full budget", _headline),
        ("MCGA with its features normed", _normed),
        ("Augmentation", _augmentation),
        ("Trained to agree with the image", _agreeing),
        ("Equal iterations", _iterations),
        ("Mixed patches: what each loses", _mixed),
        ("Brightness, with and without test-time adaptation", _brightness),
        ("What the codebook does: controls", _controls),
        ("Ablations", _ablations),
        ("Synthetic pairs in training", _synthetic),
        ("202 bands: EnMAP's held-out block", _enmap),
        ("Generalisation", _generalisation),
        ("Camera consistency", _consistency),
        ("Training", _training),
        ("Speed", _speed),
    ]
    parts = [_first_line(judged), "# Results", _INTRODUCTION]
    for title, section in sections:
        parts += [f"## {title}", *_blocks(section(evidence) or ["No rows."])]
    parts += ["## The paper's claims", _claims_table(judged)]
    missing = lacking(evidence)
    if missing:
        parts += ["## What is missing", *missing_lines(missing)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _blocks(lines: Sequence[str]) -> list[str]:
    """Items of a list stay together, all else is a paragraph of its own."""
    if all(line.startswith("- ") for line in lines):
        return ["\n".join(lines)]
    return list(lines)


def _first_line(judged: Sequence[Judged]) -> str:
    """Whether learned codes beat random ones, where they do not: then nothing stands above it."""
    codes = next(one for one in judged if one.claim.key == "random")
    if codes.kind == HOLDS:
        return ""
    if codes.kind == UNTESTED:
        return f"**Whether learned codes beat random ones is not known** ({codes.verdict})."
    told = "; ".join(f"{format.metric_heading(f.sum.metric)[:-2]} {_difference(f)}" for f in codes.findings)
    one = codes.findings[0]
    found = "do not beat" if codes.kind == FAILS else "were not shown to beat"
    return (
        f"**Learned codes {found} random ones** ({codes.verdict}): learned less random, {told} "
        f"(n = {one.gap.scenes if one.gap else 0}, protocol {one.hash}, commit {one.commits})."
    )


def markdown(rows: Iterable[dict[str, str]]) -> str:
    """Rows of one set of headings as a table."""
    rows = list(rows)
    heads = list(dict.fromkeys(key for row in rows for key in row))
    lines = [heads, ["---"] * len(heads)]
    lines += [[row.get(head, format.ABSENT).replace("|", "\\|") for head in heads] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _scores(groups: dict[str, Group], metrics: Sequence[str] = METRICS) -> list[dict[str, str]]:
    """A row for each model in the order of the first metric, ranks in the cells."""
    ranks = {metric: {one.name: one.rank for one in standings(groups, metric)} for metric in metrics}
    order = [one.name for one in standings(groups, metrics[0])] or list(groups)
    found = []
    for name in order:
        row = tables.figures(groups[name], metrics)
        cells = {"model": name}
        for metric in metrics:
            rank = ranks[metric].get(name)
            mark = "" if rank is None else f" #{rank}"
            ends = row[f"{metric}_low"], row[f"{metric}_high"]
            cells[format.metric_heading(metric)] = format.interval(row[metric], *ends) + mark
        found.append({**cells, "n": cells_of.counted(row), **cells_of.signature(row)})
    return found


def _against(groups: dict[str, Group], a: str, b: str, metrics: Sequence[str]) -> list[dict[str, str]]:
    """Paired differences a - b with the seeds' own means."""
    if a not in groups or b not in groups:
        return []
    found = []
    for metric in metrics:
        left, right = groups[a], groups[b]
        gap = paired(left.runs(metric), right.runs(metric), better(metric))
        low, high = (gap.interval.low, gap.interval.high) if gap.interval else (None, None)
        cells = {
            f"{a} less {b}": format.metric_heading(metric),
            "difference": format.interval(gap.mean, low, high, sign=True),
            f"scenes for {a}": f"{gap.wins}/{gap.scenes}",
            f"seeds of {a}": ", ".join(map(format.significant, gap.a_per_seed)),
            f"seeds of {b}": ", ".join(map(format.significant, gap.b_per_seed)),
        }
        found.append({**cells, "hash": left.hash, "commit": commits_of((left, right))})
    return found


def _compared(groups: dict[str, Group], a: str, b: str, metrics: Sequence[str] = METRICS) -> list[str]:
    """A table of scores and one of differences, as far as there are rows."""
    found = [markdown(_scores(groups, metrics))] if groups else []
    gaps = _against(groups, a, b, metrics)
    return [*found, markdown(gaps)] if gaps else found


def _headline(evidence: Evidence) -> list[str]:
    groups = contestants(evidence, headline_names("cave"), _HOME)
    return _compared(groups, headline(OURS, "cave"), headline("mst-plus-plus", "cave"))


def _normed(evidence: Evidence) -> list[str]:
    if not any(name in evidence.names for name in (_ATTENTIVE, _NORMED)):
        return []
    told = (
        "Features are normalised as they leave a scale: `.attentive` with the attention, `.normed` "
        "without, what won on training scenes held out ([what was tried](search.md))."
    )
    plain = headline(OURS, "cave"), headline("mst-plus-plus", "cave")
    found = _other_recipe(evidence, (_ATTENTIVE, plain[0]), told, beside=(_NORMED,))
    return [*found, *_gaps(contestants(evidence, [_NORMED, *plain], _HOME), _NORMED, plain)]


def _augmentation(evidence: Evidence) -> list[str]:
    told = f"`.augmented`: trained with physical augmentation; {OURS} as {_NORMED}."
    return _other_recipe(evidence, _AUGMENTED, told, beside=(_NORMED,))


def _agreeing(evidence: Evidence) -> list[str]:
    told = (
        "`.consistent`: camera consistency inside the training loss, and so always behind the network. It "
        "is no part of the paper's MCGA, and any network can have it."
    )
    return _other_recipe(evidence, _AGREEING, told)


def _other_recipe(
    evidence: Evidence, runs: Sequence[str], told: str, beside: Sequence[str] = ()
) -> list[str]:
    """Runs by another recipe than the networks above, and others ``beside`` them: each beside its network
    without. Differences are those of the first run."""
    if not any(name in evidence.names for name in runs):
        return []
    names = [*runs, *beside, headline(OURS, "cave"), headline("mst-plus-plus", "cave")]
    found = [told]
    for condition in (CLEAN, *_MIXED, tables.MINUS, tables.PLUS):
        scores = _scores(contestants(evidence, names, _HOME, condition))
        if scores:
            found.append(markdown({"images": str(condition), **row} for row in scores))
    groups = contestants(evidence, names, _HOME)
    return [*found, *_gaps(groups, runs[0], (runs[1], *beside, names[-1]))]


def _gaps(
    groups: dict[str, Group], name: str, others: Iterable[str], metrics: Sequence[str] = METRICS
) -> list[str]:
    """A table of differences for each of ``others`` that has rows."""
    tables_ = (_against(groups, name, other, metrics) for other in others)
    return [markdown(gaps) for gaps in tables_ if gaps]


def _iterations(evidence: Evidence) -> list[str]:
    groups = contestants(evidence, [f"iterations.{arch}" for arch in NETWORKS], _HOME)
    return _compared(groups, f"iterations.{OURS}", "iterations.mst-plus-plus")


def _enmap(evidence: Evidence) -> list[str]:
    groups = contestants(evidence, headline_names("enmap"), _BLOCK)
    told = ["EnMAP stands in for HySpecNet-11k, whose patches come from the same instrument."]
    tables_ = _compared(groups, headline(OURS, "enmap"), headline("mst-plus-plus", "enmap"))
    return [*told, *tables_] if tables_ else []


def _mixed(evidence: Evidence) -> list[str]:
    """RMSE with patches, and what it is above the clean one, paired over scenes."""
    found = []
    for condition in _MIXED:
        for name, group in contestants(evidence, headline_names("cave"), _HOME, condition).items():
            clean = evidence.group(name, _HOME)
            pair = same_runs([group, clean]) if clean else None
            if pair is not None:
                found.append({"patches": str(condition.severity), **_loss(name, *pair)})
    return [markdown(found)] if found else []


def _loss(name: str, disturbed: Group, clean: Group) -> dict[str, str]:
    row = tables.figures(disturbed, ("rmse",))
    return {
        "model": name,
        "RMSE ↓": format.interval(row["rmse"], row["rmse_low"], row["rmse_high"]),
        **_change((disturbed, clean), "above clean", "scenes that gain"),
        "n": cells_of.counted(row),
        **cells_of.signature(row),
    }


def _change(pair: Sequence[Group], head: str, wins: str) -> dict[str, str]:
    """The paired difference in RMSE, first less second."""
    change, won = _paired(pair, "rmse")
    return {head: change, wins: won}


def _paired(pair: Sequence[Group], metric: str) -> tuple[str, str]:
    """First less second with its interval, and the scenes on which the first is better."""
    terms = [(factor, group.runs(metric)) for factor, group in zip((1, -1), pair, strict=True)]
    gap = combination(terms, better(metric))
    low, high = (gap.interval.low, gap.interval.high) if gap.interval else (None, None)
    return format.interval(gap.mean, low, high, sign=True), f"{gap.wins}/{gap.scenes}"


def _brightness(evidence: Evidence) -> list[str]:
    found = []
    for condition in (tables.MINUS, tables.PLUS, CLEAN):
        groups = contestants(evidence, headline_names("cave"), _HOME, condition, tta=True)
        if any(row.endswith("TTA") for row in groups) or condition != CLEAN:
            scores = _scores(groups, ("rmse", "mrae"))
            found += [{"images": _BRIGHTNESS[condition], **row} for row in scores]
    return [markdown(found)] if found else []


_BRIGHTNESS = {tables.MINUS: "darker", tables.PLUS: "brighter", CLEAN: "clean"}


def _controls(evidence: Evidence) -> list[str]:
    groups = contestants(evidence, [FULL, *_CONTROLS], _HOME)
    if len(groups) < 2:
        return []
    found = [markdown(_scores(groups))]
    found += _gaps(groups, FULL, _CONTROLS, ("rmse", "mrae"))
    patched = []
    for condition in _MIXED:
        disturbed = contestants(evidence, [FULL, "table-5.plain", *_CONTROLS], _HOME, condition)
        patched += [{"patches": str(condition.severity), **row} for row in _scores(disturbed, ("rmse",))]
    return [*found, markdown(patched)] if patched else found


def _synthetic(evidence: Evidence) -> list[str]:
    groups = contestants(evidence, [_SYNTHETIC, FULL], _HOME)
    return _compared(groups, _SYNTHETIC, FULL) if _SYNTHETIC in groups else []


def _ablations(evidence: Evidence) -> list[str]:
    found = []
    for name in ("table-3", "table-4", "table-5", "figure-3"):
        spec = tables.table_spec(name, "cave")
        rows = tables.rows_of(spec, evidence, "cave")
        there = cells_of.table([row for row in rows if not row["missing"]])
        missing = [row["missing"] for row in rows if row["missing"]]
        found.append(f"**{spec.title}** (difference: RMSE less that of {FULL})")
        found += [markdown(there)] if there else []
        found += [f"No rows of {', '.join(missing)}."] if missing else []
    return found if any(part.startswith("|") for part in found) else []


def _generalisation(evidence: Evidence) -> list[str]:
    """The order of the networks wherever CAVE's were scored, whatever it is."""
    found = []
    for place, condition in away(evidence):
        groups = contestants(evidence, headline_names("cave"), place, condition)
        where = _where(place, condition)
        for row in _scores(groups, ("rmse", "mrae", "sam")):
            known = "yes" if groups[row["model"]].learned_from(place.dataset) else "no"
            found.append({"where": where, "learned from that data": known, **row})
    return [markdown(found)] if found else []


def _consistency(evidence: Evidence) -> list[str]:
    """Cubes made to agree with their image, less those of the same weights without."""
    names = [name for name in evidence.names if _CONSISTENT in name]
    found = []
    for name, (place, condition) in product(names, evidence.places):
        ours, plain = (evidence.cell(n, place, condition) for n in (name, plain_name(name)))
        if ours is None or plain is None or (ours.group, ours.weights) != (plain.group, plain.weights):
            continue
        groups = [Group(cell.run, (cell,)) for cell in (ours, plain)]
        changes = {
            f"{format.metric_heading(m)}, less without": ", ".join(_paired(groups, m)) for m in METRICS
        }
        row = {"where": _where(place, condition), "model": name, **changes}
        n = cells_of.counted(tables.figures(groups[0], METRICS[:1]))
        found.append({**row, "n": n, "hash": groups[0].hash, "commit": commits_of(groups)})
    told = "Less the same weights without it; behind each difference the scenes that gain."
    return [told, markdown(found)] if found else []


def _where(place: Place, condition: Condition) -> str:
    resampled = ", resampled" if place.resampled else ""
    files = f" ({place.fingerprint})" if place.dataset == "folder" else ""
    return f"{place.dataset}/{place.split}{files}{resampled}" + (
        "" if condition == CLEAN else f", {condition}"
    )


def _training(evidence: Evidence) -> list[str]:
    """Cost of every run with rows at home, the codebooks' included, means over seeds."""
    found = []
    seeds = {seed for name in evidence.names for seed in evidence.seeds_of(name)[1:]}
    for name in evidence.names:
        again = name in seeds or plain_name(name) != name  # the same weights in another way
        group = None if again else evidence.group(name, _place_of(name))
        if group is not None and group.cost("steps") is not None:
            row = tables.figures(group, ("rmse",))
            cells = {"run": name, "n": cells_of.counted(row), **cells_of.cost(row)}
            found.append({**cells, **cells_of.signature(row)})
    return [markdown(found)] if found else []


def _place_of(name: str) -> Place:
    return _BLOCK if name.startswith("enmap.") else _HOME


def _speed(evidence: Evidence) -> list[str]:
    rows = [row for row in tables.speed_rows(evidence) if not row["missing"]]
    return [markdown(cells_of.table(rows)), *cells_of.notes("table-6", rows, None)] if rows else []


def _claims_table(judged: Sequence[Judged]) -> str:
    found = []
    for one in judged:
        for i, finding in enumerate(one.findings):
            there = finding.gap is not None
            found.append(
                {
                    "claim": one.claim.text if i == 0 else "",
                    "verdict": f"**{one.verdict}**" if i == 0 else "",
                    "metric": format.metric_heading(finding.sum.metric),
                    "what is to be on the better side of 0": _formula(finding),
                    "mean (interval), scenes for it": _difference(finding),
                    "n": f"{finding.gap.scenes}, seeds {finding.seeds}" if finding.gap else format.ABSENT,
                    "hash": finding.hash if there else format.ABSENT,
                    "commit": finding.commits if there else format.ABSENT,
                    "reported by the paper": " / ".join(f"{v:g}" for v in finding.paper) or format.ABSENT,
                }
            )
    return markdown(found)


def _difference(finding: Finding) -> str:
    gap = finding.gap
    if gap is None:
        return finding.missing
    low, high = (gap.interval.low, gap.interval.high) if gap.interval else (None, None)
    return f"{format.interval(gap.mean, low, high, sign=True)}, {gap.wins}/{gap.scenes}"


def _formula(finding: Finding) -> str:
    """``mcga-s2.cave - mst-plus-plus.cave``, factors where they are not 1."""
    parts: list[str] = []
    for term in finding.sum.terms:
        size = "" if abs(term.factor) == 1 else f"{abs(term.factor):g} "
        sign = "- " if term.factor < 0 else "+ " if parts else ""
        parts.append(f"{sign}{size}{claims.title(term)}")
    return " ".join(parts)
