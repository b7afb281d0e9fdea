"""Which model is best for which job, by rules on figures: no sentence here names a model beforehand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hsrzoo_benchmark.protocol import CLEAN, Condition
from hsrzoo_benchmark.reproduce import tables
from hsrzoo_benchmark.reproduce.evidence import Evidence, Place, SeedGroup
from hsrzoo_benchmark.results.figures import better
from hsrzoo_benchmark.statistics import intervals
from hsrzoo_benchmark.statistics.seeds import averaged, common_scenes
from hsrzoo_benchmark.tables.numbers import metric_name, significant

FLOORS = ("pixel-mlp", "linear", "poly", "mean-spectrum")
NEWER = ("hysat", "ssthyper", "msfn", "ssrnet", "hsiformer")
"""Networks since 2023 that the paper does not compare."""
OWN = ("mcga-plus",)
"""What the paper does not have."""
_TTA = " + TTA"
TIMED = "512x512"
"""Size of the images that speeds in sentences are of."""


@dataclass(frozen=True)
class Ranked:
    """A model among those that it can be compared with."""

    name: str
    group: SeedGroup
    mean: float
    rank: int | None
    """None for NaN and under 4 scenes."""
    scenes: int


def comparable(
    evidence: Evidence, names: Sequence[str], place: Place, condition: Condition = CLEAN, tta: bool = False
) -> dict[str, SeedGroup]:
    """Groups of ``names`` that share a protocol with most others, with TTA too where asked for."""
    found = {}
    for name in names:
        for adapted in (False, True) if tta else (False,):
            group = evidence.group(name, place, condition, adapted)
            if group is not None:
                found[name + (_TTA if adapted else "")] = group
    protocols = [group.protocol for group in found.values()]
    usual = max(protocols, key=protocols.count, default="")
    return {name: group for name, group in found.items() if group.protocol == usual}


def ranking(groups: Mapping[str, SeedGroup], metric: str) -> list[Ranked]:
    """The best first and NaN last, on the scenes that all have; models level with a leader share its
    rank."""
    runs = {name: group.runs(metric) for name, group in groups.items()}
    scenes = common_scenes(*runs.values())
    if not scenes:
        return []
    values = np.array([averaged(own, scenes) for own in runs.values()])
    direction = better(metric)
    ranks = intervals.ranks(values, direction)
    found = [
        Ranked(name, groups[name], float(row.mean()), rank, len(scenes))
        for name, row, rank in zip(groups, values, ranks, strict=True)
    ]
    sign = 1 if direction == "lower" else -1
    return sorted(found, key=lambda one: (math.isnan(one.mean), sign * one.mean))


def headline_names(dataset: str) -> list[str]:
    """The networks of the paper, newer ones, ensembles and, where they are fitted, floors."""
    return [tables.headline(arch, dataset) for arch in (*tables.NETWORKS, *NEWER, *OWN, *FLOORS)]


def advice(evidence: Evidence) -> list[str]:
    """Which model for which job, one sentence each; jobs without rows are left out."""
    home, block = tables.HOME, tables.BLOCK
    jobs = [
        ("Spectra of scenes like those of training", home, CLEAN, "rmse"),
        ("The shape of spectra, whatever their brightness", home, CLEAN, "sam"),
        ("Colours", home, CLEAN, "de2000"),
        ("Pictures darker than those of training", home, tables.MINUS, "rmse"),
        ("Pictures brighter than those of training", home, tables.PLUS, "rmse"),
        ("Pictures without the structure of scenes", home, Condition("mixed-patch", "8"), "rmse"),
        ("202 bands from space (EnMAP)", block, CLEAN, "rmse"),
        *((_job(place, condition), place, condition, "rmse") for place, condition in away(evidence)),
    ]
    found = []
    for job, place, condition, metric in jobs:
        own = "enmap" if place == block else "cave"
        names, tta = headline_names(own), condition in (tables.PLUS, tables.MINUS)
        groups = comparable(evidence, names, place, condition, tta)
        if place.dataset != own:  # who learned from other data would not show what is asked
            groups = {name: g for name, g in groups.items() if not g.learned_from(place.dataset)}
        ordered = ranking(groups, metric)
        if len(ordered) > 1 and not math.isnan(ordered[0].mean):
            found.append(_sentence(job, ordered, metric))
    return [*found, *_fastest(evidence)]


def away(evidence: Evidence) -> list[tuple[Place, Condition]]:
    """Places and cameras that CAVE's networks were scored on and not trained on."""
    return [
        (place, condition)
        for place, condition in evidence.places
        if tables.away_from_home(place, condition)
        and len(comparable(evidence, headline_names("cave"), place, condition)) > 1
    ]


def _job(place: Place, condition: Condition) -> str:
    if condition.perturbation == "camera":
        return f"Another camera ({condition.severity})"
    return f"Other data ({place.dataset}/{place.split})"


def _sentence(job: str, ordered: Sequence[Ranked], metric: str) -> str:
    best, *others = ordered
    figure = f"{metric_name(metric)} {significant(best.mean)}"
    signature = f"n = {best.scenes}, {len(ordered)} models compared"
    if best.rank is None:
        rest = f"{intervals.TOO_FEW}: no interval and no rank"
    else:
        level = [one.name for one in others if one.rank == best.rank]
        rest = f"level with it: {', '.join(level)}" if level else "ahead of all others by interval"
    return f"{job}: **{best.name}** ({figure}); {rest} ({signature})."


def _fastest(evidence: Evidence) -> list[str]:
    """Of the networks level with the best on clean scenes the one that runs fastest."""
    ordered = ranking(comparable(evidence, headline_names("cave"), tables.HOME), "rmse")
    floors = [tables.headline(name, "cave") for name in FLOORS]
    level = [one.name for one in ordered if one.rank == 1 and one.name not in floors]
    times = {
        tables.headline(row["model"], "cave"): row
        for row in tables.speed_rows(evidence, (*tables.NETWORKS, *NEWER, *OWN))
        if row["size"] == TIMED and isinstance(row.get("images_s"), float)
    }
    timed = sorted((name for name in level if name in times), key=lambda n: -times[n]["images_s"])
    if not timed:
        return []
    row = times[timed[0]]
    untimed = [name for name in level if name not in times]
    rest = f"; without times: {', '.join(untimed)}" if untimed else ""
    return [
        f"Speed: of the networks level with the best RMSE **{timed[0]}** is the fastest of {len(timed)} "
        f"timed, {significant(row['images_s'])} images/s of {TIMED} on {row['device']}, {row['threads']} "
        f"threads (n = {row['runs']} runs){rest}."
    ]
