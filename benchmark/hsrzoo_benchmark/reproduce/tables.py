"""The tables of the MCGA paper: the figures of the runs that each row shows, and the paper's.

The paper's data sets are ARAD-1K (tables 1, 3, 4, 5, 8) and HySpecNet-11k (2, 3, 4, 5, 7, 9). Where they
are not at hand, CAVE stands in for the first and EnMAP's held-out block for the second: then ours and the
paper's are figures of different scenes and only their order can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hsrzoo.errors import InputError
from hsrzoo.results import POOLED, SpeedRow
from hsrzoo_benchmark.protocol import CLEAN, Condition
from hsrzoo_benchmark.reproduce.evidence import (
    COMMIT_LENGTH,
    SENSORS,
    Evidence,
    Place,
    SeedGroup,
    commits_of,
)
from hsrzoo_benchmark.results.figures import better
from hsrzoo_benchmark.results.reported import paper_tables, reported_by_paper, reported_score
from hsrzoo_benchmark.results.speeds import main_machine
from hsrzoo_benchmark.speed.ratios import time_ratio
from hsrzoo_benchmark.statistics.intervals import METHOD, bounds
from hsrzoo_benchmark.statistics.seeds import paired, summarise

NETWORKS = ("hscnn-plus", "hrnet", "agdnet", "gmsr", "r3st", "mst-plus-plus", "mcga-s2")
"""In the paper's order."""
OURS = "mcga-s2"
COMPARED = (OURS, "mst-plus-plus")
"""The pair whose differences the report shows."""
FULL = "table-5.full"
"""The run that ablations share: two scales, K = 256, half gamma and half log, all components."""
ARAD, HYSPECNET = "arad", "hyspecnet-11k"
PLACES = {
    "cave": (Place("cave", "valid", "full-frame"),),
    ARAD: (Place(ARAD, "valid", "ntire2022"),),
    "enmap": (Place("enmap", "test", "full-frame"),),
    SENSORS: (Place(SENSORS, "whole", "full-frame"),),
    HYSPECNET: (Place(HYSPECNET, "valid", "full-frame"), Place(HYSPECNET, "test", "full-frame")),
}
FOLDS = Place("cave", POOLED, "full-frame")
"""Cross-validation over the training scenes of CAVE."""
HOME, BLOCK = PLACES["cave"][0], PLACES["enmap"][0]
"""Where the networks of the report are scored: like their training scenes, and with 202 bands."""
STANDS_FOR = {"cave": ARAD, "enmap": HYSPECNET}
SIZES = ("256x256", "512x512", "1024x1024")
PLUS, MINUS = Condition("gamma", "paper-plus10"), Condition("gamma", "paper-minus10")


@dataclass(frozen=True)
class Line:
    """One row of a table."""

    label: str
    jobs: tuple[str, ...]
    """Names of the run; the first that has rows is shown, the first is what is missing."""
    arch: str = OURS
    variant: str = ""
    """As the paper's figures are filed."""
    tta: bool = False


@dataclass(frozen=True)
class TableSpec:
    """One table of the paper."""

    title: str
    lines: tuple[Line, ...]
    conditions: tuple[Condition, ...] = (CLEAN,)
    metrics: tuple[str, ...] = ("rmse", "mrae", "psnr")
    compared: str = "rmse"
    """Metric of the paired difference."""
    reference: tuple[str, ...] = (FULL,)
    """Run, as of a line, from which every line's difference is taken."""


def away_from_home(place: Place, condition: Condition) -> bool:
    """Whether networks of CAVE meet there what they were not trained on: other data, or a camera."""
    return condition.perturbation == "camera" or (place.dataset != "cave" and condition == CLEAN)


def headline(arch: str, dataset: str) -> str:
    """The run of a network at full budget: weights ``ARCH.cave``, elsewhere the job ``DATASET.ARCH``."""
    return f"{arch}.cave" if dataset == "cave" else f"{dataset}.{arch}"


def _networks(dataset: str, tta: bool = False) -> tuple[Line, ...]:
    own = tuple(Line(arch, (headline(arch, dataset),), arch) for arch in NETWORKS)
    return (*own, Line(f"{OURS} + TTA", (headline(OURS, dataset),), tta=True)) if tta else own


def default_dataset(name: str) -> str:
    """The data at hand that stands in for the paper's."""
    of = paper_tables()[name].get("networks", ARAD)
    return next(stand_in for stand_in, dataset in STANDS_FOR.items() if dataset == of)


def table_spec(name: str, dataset: str) -> TableSpec:
    """The table ``name`` on ``dataset``; InputError where the paper has it for other data only."""
    table = paper_tables()[name]
    if "lines" in table:
        # An ablation's runs on another data set than CAVE carry its name in front.
        prefix = "" if dataset == "cave" else f"{dataset}."
        lines = tuple(
            Line(**{**line, "jobs": tuple(prefix + job for job in line["jobs"])}) for line in table["lines"]
        )
        return TableSpec(table["title"], lines, reference=(prefix + FULL,))
    of = table["networks"]
    if STANDS_FOR.get(dataset, dataset) != of:
        allowed = [of, *(stand_in for stand_in, stood_for in STANDS_FOR.items() if stood_for == of)]
        raise InputError(
            f"{name} is not about {dataset}", expected=f"--dataset {' or '.join(allowed)}", got=dataset
        )
    conditions = tuple(map(Condition.parse, table["conditions"]))
    networks, reference = _networks(dataset, PLUS in conditions), (headline("mst-plus-plus", dataset),)
    return TableSpec(table["title"], networks, conditions, reference=reference)


def rows_of(spec: TableSpec, evidence: Evidence, dataset: str) -> list[dict[str, Any]]:
    """One dict for each place, condition and line; ``missing`` is the job that lacks rows, or None."""
    return [
        table_row(spec, line, evidence, place, condition)
        for place in PLACES[dataset]
        for condition in spec.conditions
        for line in spec.lines
        if not (line.tta and condition not in (PLUS, MINUS))
    ]


def table_row(
    spec: TableSpec, line: Line, evidence: Evidence, place: Place, condition: Condition
) -> dict[str, Any]:
    """What a run scored at one place under one condition, and what the paper prints there."""
    found = evidence.first(line.jobs, place, condition, line.tta)
    row: dict[str, Any] = {
        "split": place.split,
        "condition": str(condition),
        "model": line.label,
        "job": found.name if found else line.jobs[0],
        "missing": None if found else line.jobs[0],
    }
    for metric in spec.metrics:
        row[f"{metric}_paper"] = paper_figure(place, condition, line.tta, line.arch, line.variant, metric)
    if found is None:
        return row
    return {**row, **figures(found, spec.metrics), **_gap(spec, found, evidence, place, condition)}


def figures(group: SeedGroup, metrics: Sequence[str]) -> dict[str, Any]:
    """Means with intervals over scenes, seeds averaged first; what training cost; signature."""
    found: dict[str, Any] = {}
    for metric in metrics:
        one = summarise(group.runs(metric))
        low, high = bounds(one.interval)
        found |= {metric: one.mean, f"{metric}_low": low, f"{metric}_high": high}
        found |= {"interval": None if low is None else METHOD}
        found |= {f"{metric}_per_seed": list(one.per_seed), "scenes": one.scenes}
    found |= {kind: group.cost(kind) for kind in ("steps", "cpu_seconds", "wall_seconds")}
    return {**found, "seeds": len(group.entries), "hash": group.hash, "commits": commits_of([group])}


def _gap(
    spec: TableSpec, group: SeedGroup, evidence: Evidence, place: Place, condition: Condition
) -> dict[str, Any]:
    """The paired difference from the table's reference; nothing for the reference itself or where
    protocols differ."""
    other = evidence.first(spec.reference, place, condition)
    if other is None or other.entries == group.entries or other.protocol != group.protocol:
        return {}
    gap = paired(group.runs(spec.compared), other.runs(spec.compared), better(spec.compared))
    low, high = bounds(gap.interval)
    return {
        "gap": gap.mean,
        "gap_low": low,
        "gap_high": high,
        "wins": gap.wins,
        "gap_metric": spec.compared,
        "reference": other.name,
    }


def paper_figure(
    place: Place, condition: Condition, tta: bool, arch: str, variant: str, metric: str
) -> float | None:
    """What the paper prints for the data set that ``place`` is or stands in for; None: nothing."""
    dataset = STANDS_FOR.get(place.dataset, place.dataset)
    if dataset not in (ARAD, HYSPECNET):
        return None
    split = "valid" if dataset == ARAD else place.split
    where = dataset, split, PLACES[dataset][0].protocol
    return reported_score(*where, condition, tta, arch=arch, variant=variant, metric=metric).get("value")


def speed_rows(evidence: Evidence, networks: Sequence[str] = NETWORKS) -> list[dict[str, Any]]:
    """Table 6: images a second at batch 1, and over MST++'s as published from the same run, of the newest
    times on the main machine; ``missing`` is a model without any."""
    machine = main_machine(evidence.speed)
    times = {
        (row.architecture, row.size_text): row
        for row in evidence.speed
        if row.machine == machine and _is_usual(row)
    }
    reference = {
        (row.run, row.size_text): row
        for row in evidence.speed
        if row.architecture == "mst-plus-plus" and row.model.endswith(":reference")
    }
    cells = [(arch, size, times.get((arch, size))) for size in SIZES for arch in networks]
    return [
        _speed_row(arch, size, own, reference.get((own.run, size)) if own else None)
        for arch, size, own in cells
    ]


def _speed_row(arch: str, size: str, own: SpeedRow | None, base: SpeedRow | None) -> dict[str, Any]:
    reported, mst = (
        reported_by_paper(bench="speed", severity=size, arch=a, metric="images_s").get("value")
        for a in (arch, "mst-plus-plus")
    )
    ratio = reported / mst if isinstance(reported, float) and isinstance(mst, float) else reported
    found = {"size": size, "model": arch, "images_s_paper": reported, "faster_paper": ratio}
    if own is None:
        return {**found, "missing": f"{arch}.cave"}
    found |= {"missing": None, "images_s": 1 / own.p50 if own.p50 else own.status, "runs": own.runs}
    if own.p50 and base and base.p50:
        found["faster"] = time_ratio(base, own)
    device, threads = own.machine
    commit = (own.provenance.get("commit") or "unknown")[:COMMIT_LENGTH]
    return {**found, "device": device, "threads": threads, "commits": commit}


def _is_usual(row: SpeedRow) -> bool:
    """A network as this zoo runs it: no variant, precision or runtime of another kind."""
    return ":" not in row.model and "[" not in row.model
