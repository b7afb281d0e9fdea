"""``docs/results.md`` and the pages of tables behind it: what the rows of a store say, from them alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from hsrzoo.cli import output
from hsrzoo.results import POOLED
from hsrzoo_benchmark.plan.models import plain_name
from hsrzoo_benchmark.protocol import CLEAN, Condition
from hsrzoo_benchmark.reproduce import claims, intervals, knowledge, light, published, summary, tables, text
from hsrzoo_benchmark.reproduce.claims import Finding, Judged
from hsrzoo_benchmark.reproduce.evidence import METRICS, Evidence, Place, SeedGroup, same_runs
from hsrzoo_benchmark.reproduce.queues import missing_lines
from hsrzoo_benchmark.reproduce.ranking import advice, away, comparable, headline_names
from hsrzoo_benchmark.reproduce.sensors import unseen_sensors
from hsrzoo_benchmark.reproduce.summary import SUMMARY
from hsrzoo_benchmark.reproduce.tables import (
    BLOCK,
    COMPARED,
    FOLDS,
    FULL,
    HOME,
    NETWORKS,
    OURS,
    headline,
)
from hsrzoo_benchmark.results.figures import Entry
from hsrzoo_benchmark.statistics.intervals import METHOD
from hsrzoo_benchmark.tables.numbers import ABSENT, metric_heading

_PLAIN = [headline(arch, "cave") for arch in COMPARED]
_ABLATIONS = ("table-3", "table-4", "table-5", "figure-3")
_MIXED = [Condition("mixed-patch", size) for size in ("32", "16", "8")]
_AUGMENTED, _AGREEING = (
    [f"{arch}.{recipe}" for arch in COMPARED] for recipe in ("augmented", "consistent")
)
_NORMED, _ATTENTIVE = f"{OURS}.normed", f"{OURS}.attentive"
_CONSISTENT = " [consistent "
_CONTROLS = [f"control.{name}" for name in ("random", "bypass", "pooled", "permuted")]
_SYNTHETIC = "synthetic.pairs"
_ITERATIONS = [f"iterations.{arch}" for arch in NETWORKS]
_EQUAL = [f"iterations.{arch}" for arch in COMPARED]
_WITH_FOLDS = f".cave-{POOLED}"
"""Of the names of models that have weights for each fold."""
_FOLD_METRICS = ("rmse", "sam", "mrae", "psnr", "de2000")
_CROSS_VALIDATION = """\
Scores over the {scenes} training scenes of CAVE, each by weights that were trained without the four
scenes of its fold ([cross-validation](../protocols.md#cross-validation)). Networks have the recipes of the
bundled weights with a third of the steps; bundled weights, which were trained on these scenes, are not in
the table."""
ARCHIVE = "results"
"""Folder of the tables, beside the summary."""
PROVENANCE = "provenance"
"""Page of protocols and commits."""
_READING = f"""\
A score is the mean over n scenes with its {METHOD} over scenes; if a network was trained with several
seeds, each scene is averaged over them first. `#` is the rank group: models with the same rank are not
significantly different from its leader. Protocol and commit of every row: [Protocols and
commits]({PROVENANCE}.md).
Definitions: [Protocols and metrics](../protocols.md)."""
_SIGNED = """\
The hash of the protocol and the commit of the code that computed them, of every row of the
[tables](networks.md). Only scores with the same hash are comparable. `+`: with uncommitted changes."""


@dataclass(frozen=True)
class Page:
    """A page of tables."""

    title: str
    sections: Mapping[str, Callable[[Evidence], list[str]]]
    """Heading -> what gives its paragraphs and tables."""


def write(evidence: Evidence, out: Path) -> int:
    """Write the summary to ``out``, its plots beside it and the tables into a folder there; 0."""
    from hsrzoo_benchmark.reproduce import plots

    for name, page in pages(evidence).items():
        path = out if name == SUMMARY else out.parent / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    plots.draw(evidence, out.parent / ARCHIVE)
    output.say(f"Report: {out}, tables in {out.parent / ARCHIVE}")
    return 0


def lacking(evidence: Evidence) -> list[str]:
    """Runs that the report asks for and that have no rows at all."""
    names = [headline(arch, "cave") for arch in NETWORKS if arch != "hrnet"]
    names += [f"{arch}.seed-{n}" for arch in COMPARED for n in (1, 2)]
    names += [_NORMED, _ATTENTIVE, *_AUGMENTED, *_AGREEING]
    names += [name for name in _ITERATIONS if name != "iterations.hrnet"]
    specs = [tables.table_spec(name, "cave") for name in _ABLATIONS]
    names += [line.jobs[-1] for spec in specs for line in spec.lines]
    names += [*_CONTROLS, _SYNTHETIC, *(headline(arch, "enmap") for arch in COMPARED)]
    return [name for name in dict.fromkeys(names) if name not in evidence.names]


def pages(evidence: Evidence) -> dict[str, str]:
    """Name of a page, relative to that of the summary -> its Markdown."""
    judged = [claims.judge(c, evidence) for c in (*claims.claims(), *claims.elsewhere(evidence))]
    found = {SUMMARY: summary.render(evidence, judged)}
    signed: list[text.TableRow] = []
    for name, page in _archive(judged).items():
        parts = [f"# {page.title}", _READING]
        for title, section in page.sections.items():
            blocks = [part for part in section(evidence) if part] or ["No rows."]
            parts.append(f"## {title}")
            for block in _blocks(blocks):
                plain, rows = text.without_signature(block)
                parts.append(plain)
                signed += [{"table": f"[{title}]({name}.md#{_anchor(title)})", **row} for row in rows]
        found[f"{ARCHIVE}/{name}.md"] = "\n\n".join(parts) + "\n"
    found[f"{ARCHIVE}/{published.REPORTED}.md"] = published.render()
    parts = ["# Protocols and commits", _SIGNED, text.markdown(text.joined(signed)) or "No rows."]
    missing = lacking(evidence)
    if missing:
        parts += ["## What is missing", *missing_lines(missing)]
    found[f"{ARCHIVE}/{PROVENANCE}.md"] = "\n\n".join(parts) + "\n"
    return found


def _archive(judged: Sequence[Judged]) -> dict[str, Page]:
    """All pages of tables."""
    return {
        "networks": Page("Networks", {
            "Networks at full budget": lambda e: _compared(e, headline_names("cave"), *_PLAIN),
            "Cross-validation": _folds,
            "Which model for which job": lambda e: [f"- {line}" for line in advice(e)],
            "Equal iterations": lambda e: _compared(e, _ITERATIONS, *_EQUAL),
        }),
        "generalisation": Page("Other sensors, data and cameras", {
            "Sensors not seen in training": unseen_sensors,
            "Generalisation": _generalisation,
            "202 bands: the held-out block of EnMAP": _enmap,
        }),
        "disturbances": Page("Disturbed images", {
            "Mixed patches": _mixed,
            "Brightness, with and without test-time adaptation": _brightness,
            "Darker and brighter light": _light,
            "Camera consistency": _consistency,
        }),
        "intervals": Page("Prediction intervals", {
            "Coverage, width and order of errors": intervals.sections,
            "Coverage by band": intervals.by_band,
        }),
        "recipes": Page("Other recipes of training", {
            "MCGA with normalised features": _normed,
            "Augmentation": _augmentation,
            "Trained through camera consistency": _agreeing,
            "Synthetic pairs in training": _synthetic,
        }),
        "mcga": Page("MCGA", {
            "The paper's claims": lambda _: [_claims_table(judged)],
            "Codebook controls": lambda e: [knowledge.of_codes(judged), *_controls(e)],
            "Ablations": _ablations,
        }),
        "cost": Page("Cost", {"Training": _training, "Speed": _speed}),
    }  # fmt: skip


def _anchor(title: str) -> str:
    """As Markdown makes it of a heading."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title.lower())).strip("-")


def _blocks(lines: Sequence[str]) -> list[str]:
    """Items of a list stay together, all else is a paragraph of its own."""
    if all(line.startswith("- ") for line in lines):
        return ["\n".join(lines)]
    return list(lines)


def _folds(evidence: Evidence) -> list[str]:
    """The scores of all models ``NAME.cave-cv`` that have rows of all folds, and their paired differences
    from MST++."""
    names = [name for name in evidence.names if name.endswith(_WITH_FOLDS)]
    groups = comparable(evidence, names, FOLDS)
    counts = {name: len(group.runs("rmse")[0]) for name, group in groups.items()}
    scenes = max(counts.values(), default=0)
    whole = {name: groups[name] for name, count in counts.items() if count == scenes}
    if not whole:
        return []
    found = [_CROSS_VALIDATION.format(scenes=scenes), text.markdown(text.scores(whole, _FOLD_METRICS))]
    partly = [f"{name} ({count} scenes)" for name, count in counts.items() if count < scenes]
    found += [f"Not scored on all folds: {', '.join(partly)}."] if partly else []
    return [*found, text.less(whole, COMPARED[1] + _WITH_FOLDS, _FOLD_METRICS)]


def _compared(
    evidence: Evidence, names: Sequence[str], a: str, b: str, *, place: Place = HOME
) -> list[str]:
    """A table of the scores of ``names`` and one of the differences ``a`` less ``b``, as far as there are
    rows."""
    groups = comparable(evidence, names, place)
    return [text.markdown(text.scores(groups)), text.against(groups, a, b)]


def _normed(evidence: Evidence) -> list[str]:
    if not any(name in evidence.names for name in (_ATTENTIVE, _NORMED)):
        return []
    note = (
        "Features are normalised as they leave a scale: `.attentive` with the attention, `.normed` "
        "without, what won on training scenes held out ([what was tried](../search.md))."
    )
    found = _other_recipe(evidence, (_ATTENTIVE, _PLAIN[0]), note, others=(_NORMED,))
    groups = comparable(evidence, [_NORMED, *_PLAIN], HOME)
    return [*found, *(text.against(groups, _NORMED, other) for other in _PLAIN)]


def _augmentation(evidence: Evidence) -> list[str]:
    note = f"`.augmented`: trained with physical augmentation; {OURS} as {_NORMED}."
    return _other_recipe(evidence, _AUGMENTED, note, others=(_NORMED,))


def _agreeing(evidence: Evidence) -> list[str]:
    note = (
        "`.consistent`: camera consistency inside the training loss, and so always behind the network. It "
        "is no part of the paper's MCGA, and any network can have it."
    )
    return _other_recipe(evidence, _AGREEING, note)


def _other_recipe(
    evidence: Evidence, runs: Sequence[str], note: str, others: Sequence[str] = ()
) -> list[str]:
    """Runs by another recipe than the networks above, with ``others`` and the networks without it.
    Differences are those of the first run."""
    if not any(name in evidence.names for name in runs):
        return []
    names = [*runs, *others, *_PLAIN]
    found = [note]
    for condition in (CLEAN, *_MIXED, tables.MINUS, tables.PLUS):
        scores = text.scores(comparable(evidence, names, HOME, condition))
        found.append(text.markdown({"images": str(condition), **row} for row in scores))
    groups = comparable(evidence, names, HOME)
    return [*found, *(text.against(groups, runs[0], other) for other in (runs[1], *others, _PLAIN[1]))]


def _enmap(evidence: Evidence) -> list[str]:
    note = "EnMAP stands in for HySpecNet-11k, whose patches come from the same instrument."
    pair = (headline(arch, "enmap") for arch in COMPARED)
    scores, gaps = _compared(evidence, headline_names("enmap"), *pair, place=BLOCK)
    return [note, scores, gaps] if scores else []


def _mixed(evidence: Evidence) -> list[str]:
    """RMSE with patches, and what it is above the clean one, paired over scenes."""
    found = []
    for condition in _MIXED:
        for name, group in comparable(evidence, headline_names("cave"), HOME, condition).items():
            clean = evidence.group(name, HOME)
            pair = same_runs([group, clean]) if clean else None
            if pair is not None:
                row = {"patches": str(condition.severity), "model": name}
                row["RMSE ↓"] = text.mean(pair[0], "rmse")
                row["above clean"], row["scenes that gain"] = text.difference(pair, "rmse")
                found.append({**row, **text.signature(pair[0])})
    return [text.markdown(found)]


def _brightness(evidence: Evidence) -> list[str]:
    found = []
    for condition, images in ((tables.MINUS, "darker"), (tables.PLUS, "brighter"), (CLEAN, "clean")):
        groups = comparable(evidence, headline_names("cave"), HOME, condition, tta=True)
        if any(name.endswith("TTA") for name in groups) or condition != CLEAN:
            found += [{"images": images, **row} for row in text.scores(groups, ("rmse", "mrae"))]
    return [text.markdown(found)]


def _light(evidence: Evidence) -> list[str]:
    names = [*headline_names("cave"), *(name for name in evidence.names if name.endswith(_WITH_FOLDS))]
    return light.sections(evidence, names, (FOLDS, HOME))


def _controls(evidence: Evidence) -> list[str]:
    groups = comparable(evidence, [FULL, *_CONTROLS], HOME)
    if len(groups) < 2:
        return []
    patched = []
    for condition in _MIXED:
        disturbed = comparable(evidence, [FULL, "table-5.plain", *_CONTROLS], HOME, condition)
        scores = text.scores(disturbed, ("rmse",))
        patched += [{"patches": str(condition.severity), **row} for row in scores]
    gaps = [text.against(groups, FULL, control, ("rmse", "mrae")) for control in _CONTROLS]
    return [text.markdown(text.scores(groups)), *gaps, text.markdown(patched)]


def _synthetic(evidence: Evidence) -> list[str]:
    there = _SYNTHETIC in evidence.names
    return _compared(evidence, [_SYNTHETIC, FULL], _SYNTHETIC, FULL) if there else []


def _ablations(evidence: Evidence) -> list[str]:
    found = []
    for name in _ABLATIONS:
        spec = tables.table_spec(name, "cave")
        rows = tables.rows_of(spec, evidence, "cave")
        missing = [row["missing"] for row in rows if row["missing"]]
        found.append(f"**{spec.title}** (difference: RMSE less that of {FULL})")
        found.append(text.markdown(text.table([row for row in rows if not row["missing"]])))
        found += [f"No rows of {', '.join(missing)}."] if missing else []
    return found if any(part.startswith("|") for part in found) else []


def _generalisation(evidence: Evidence) -> list[str]:
    """The order of the networks wherever CAVE's were scored and not trained."""
    found = []
    for place, condition in away(evidence):
        groups = comparable(evidence, headline_names("cave"), place, condition)
        for row in text.scores(groups, ("rmse", "mrae", "sam")):
            known = "yes" if groups[row["model"]].learned_from(place.dataset) else "no"
            found.append({"where": _where(place, condition), "learned from that data": known, **row})
    return [text.markdown(found)]


def _consistency(evidence: Evidence) -> list[str]:
    """Cubes made to agree with their image, less those of the same weights without."""
    names = [name for name in evidence.names if _CONSISTENT in name]
    found = []
    for name, (place, condition) in product(names, evidence.places):
        ours, plain = (evidence.entry(n, place, condition) for n in (name, plain_name(name)))
        if ours is None or plain is None or _weights(ours) != _weights(plain):
            continue
        groups = [SeedGroup(entry.first.model, (entry,)) for entry in (ours, plain)]
        changes = {
            f"{metric_heading(m)}, less without": ", ".join(text.difference(groups, m)) for m in METRICS
        }
        row = {"where": _where(place, condition), "model": name, **changes}
        found.append({**row, **text.signature(*groups)})
    note = "Less the same weights without it; behind each difference the scenes that gain."
    return [note, text.markdown(found)] if found else []


def _weights(entry: Entry) -> tuple[str, str | None]:
    return entry.first.group, entry.first.weights_sha256


def _where(place: Place, condition: Condition) -> str:
    resampled = ", resampled" if place.resampled else ""
    files = f" ({place.fingerprint})" if place.dataset == "folder" else ""
    under = "" if condition == CLEAN else f", {condition}"
    return f"{place.dataset}/{place.split}{files}{resampled}{under}"


def _training(evidence: Evidence) -> list[str]:
    """Cost of every run with rows at home, the codebooks' included, means over seeds."""
    found = []
    seeds = {seed for name in evidence.names for seed in evidence.seeds_of(name)[1:]}
    for name in evidence.names:
        again = name in seeds or plain_name(name) != name  # the same weights in another way
        group = None if again else evidence.group(name, BLOCK if name.startswith("enmap.") else HOME)
        if group is not None and group.cost("steps") is not None:
            signature = text.signature(group)
            costs = {kind: group.cost(kind) for kind in ("steps", "cpu_seconds", "wall_seconds")}
            found.append({"run": name, "n": signature["n"], **text.cost(costs), **signature})
    return [text.markdown(found)]


def _speed(evidence: Evidence) -> list[str]:
    rows = [row for row in tables.speed_rows(evidence) if not row["missing"]]
    return [text.markdown(text.table(rows)), *text.notes("table-6", rows, None)] if rows else []


def _claims_table(judged: Sequence[Judged]) -> str:
    return text.markdown(
        {
            "claim": one.claim.text if i == 0 else "",
            "verdict": f"**{one.verdict}**" if i == 0 else "",
            "metric": metric_heading(finding.sum.metric),
            "what is to be on the better side of 0": _formula(finding),
            "mean (interval), scenes for it": summary.difference(finding),
            "n": f"{finding.gap.scenes}, seeds {finding.seeds}" if finding.gap else ABSENT,
            "hash": finding.hash if finding.gap else ABSENT,
            "commit": finding.commits if finding.gap else ABSENT,
            "reported by the paper": " / ".join(f"{v:g}" for v in finding.paper) or ABSENT,
        }
        for one in judged
        for i, finding in enumerate(one.findings)
    )


def _formula(finding: Finding) -> str:
    """``mcga-s2.cave - mst-plus-plus.cave``, factors where they are not 1."""
    parts: list[str] = []
    for term in finding.sum.terms:
        size = "" if abs(term.factor) == 1 else f"{abs(term.factor):g} "
        sign = "- " if term.factor < 0 else "+ " if parts else ""
        parts.append(f"{sign}{size}{claims.title(term)}")
    return " ".join(parts)
