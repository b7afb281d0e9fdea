"""What rows of ``--bench uncertainty`` say: tables of prediction intervals, and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo_benchmark.protocol import Condition
from hsrzoo_benchmark.reproduce import text
from hsrzoo_benchmark.reproduce.evidence import SENSORS, Evidence, Place, SeedGroup, commits_of
from hsrzoo_benchmark.reproduce.tables import HOME
from hsrzoo_benchmark.run.uncertainty import NAME, NAMES, RENDERED
from hsrzoo_benchmark.site.plots import STYLE
from hsrzoo_benchmark.statistics.seeds import summarise
from hsrzoo_benchmark.tables.numbers import significant
from hsrzoo_benchmark.tables.pictures import new_figure, save

LOW = 0.75
"""Coverage below which a page and `predict` say so in words."""
CLEAN = Condition(NAME, "clean")
_NOTE = """\
Intervals of 90 % ([what they are](../intervals.md), [columns](../protocols.md#prediction-intervals)): mean
over scenes, and the least coverage of a scene and of a band. Width is upper - lower. AUSE: of the scale,
and of brightness alone. No scene was seen in training."""
_TITLES = {
    CLEAN: "as they are",
    Condition(NAME, "gain-both-0.5"): "image and truth x 0.5",
    Condition(NAME, "gain-both-2"): "image and truth x 2",
    Condition(RENDERED, "metamer-1"): "metamers",
}
SHOWN = {"mcga-plus.cave": "#D55E00", "mst-plus-plus.cave": "#0072B2", "pixel-mlp.cave": "#009E73"}
"""Models of the picture, and their colours."""


def sections(evidence: Evidence) -> list[str]:
    """A table for each set of scenes and condition."""
    found = [row for place, condition in _places(evidence) for row in _rows(evidence, place, condition)]
    return [_NOTE, *warnings(evidence), text.markdown(found)] if found else []


def by_band(evidence: Evidence) -> list[str]:
    """Coverage of every third band of cave/valid."""
    found = []
    for name in evidence.names:
        group = evidence.group(name, HOME, CLEAN)
        if group is None:
            continue
        covered = _bands(group)
        centres = next(group.rows).protocol["bands"]["centres_nm"]
        row = {"model": name}
        row |= {f"{centres[i]:g} nm": f"{100 * covered[i]:.0f} %" for i in range(0, len(covered), 3)}
        found.append({**row, "commit": commits_of([group])})
    return (
        ["Share of the values of a band that 90 % intervals cover on cave/valid.", text.markdown(found)]
        if found
        else []
    )


def warnings(evidence: Evidence) -> list[str]:
    """Sentences on the conditions where intervals of a model cover less than :data:`LOW`."""
    low: dict[str, list[str]] = {}
    for place, condition in _places(evidence):
        for name, group in _groups(evidence, place, condition).items():
            mean = summarise(group.runs("coverage")).mean
            if mean < LOW:
                low.setdefault(_title(group, place, condition), []).append(f"{name} {100 * mean:.0f} %")
    if not low:
        return []
    items = "; ".join(f"{where}: {', '.join(found)}" for where, found in low.items())
    return [
        f"**Do not trust intervals where those of 90 % cover less than {100 * LOW:.0f} % of the values**: "
        f"{items}."
    ]


def coverages(evidence: Evidence) -> dict[str, dict[str, list[float]]]:
    """Model of :data:`SHOWN` -> where -> coverage of each scene."""
    found: dict[str, dict[str, list[float]]] = {name: {} for name in SHOWN}
    for place, condition in _places(evidence):
        for name, group in _groups(evidence, place, condition).items():
            if name in found:
                values = [value for run in group.runs("coverage") for value in run.values()]
                found[name][_title(group, place, condition)] = values
    return {name: values for name, values in found.items() if values}


def draw(found: Mapping[str, Mapping[str, Sequence[float]]], out: Path) -> Path:
    """Coverage of the scenes in percent: a mark at the mean, a line to the worst and the best."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        places = list(dict.fromkeys(where for values in found.values() for where in values))
        figure = new_figure(7.2, 1.3 + 0.42 * len(places), arrange=False)
        inside = {"left": 0.34, "right": 0.98, "bottom": 0.6 / figure.get_figheight(), "top": 0.9}
        axes: Any = figure.subplots(gridspec_kw=inside)
        axes.axvline(90, color="#595959", lw=1)
        for shift, (name, values) in zip((-0.2, 0, 0.2), found.items(), strict=False):
            at = [places.index(where) + shift for where in values]
            ends = [(100 * min(scenes), 100 * max(scenes)) for scenes in values.values()]
            means = [100 * float(np.mean(scenes)) for scenes in values.values()]
            axes.hlines(at, *zip(*ends, strict=True), color=SHOWN[name], lw=1.5)
            axes.plot(means, at, "o", color=SHOWN[name], ms=6, label=name)
        axes.set(xlabel="values that 90 % intervals hold, %", yticks=range(len(places)),
                 ylim=(len(places) - 0.5, -0.5), xlim=(None, 101))  # fmt: skip
        axes.set_yticklabels(places)
        axes.grid(True, axis="x", color="#dddddd", lw=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="lower center", bbox_to_anchor=(0.35, 1), ncols=3, frameon=False, fontsize=9)
        return save(figure, out)


def _places(evidence: Evidence) -> list[tuple[Place, Condition]]:
    """cave/valid first, the scenes as they are first."""
    found = [
        (place, condition)
        for place, condition in evidence.places
        if condition.perturbation in NAMES
        and place.dataset != SENSORS
        and (place.dataset == HOME.dataset or condition == CLEAN)
    ]
    order = list(_TITLES)

    def key(one: tuple[Place, Condition]) -> tuple[Any, ...]:
        place, condition = one
        rank = order.index(condition) if condition in order else len(order)
        return place.dataset != HOME.dataset, str(place), rank, str(condition)

    return sorted(found, key=key)


def _groups(evidence: Evidence, place: Place, condition: Condition) -> dict[str, SeedGroup]:
    found = {name: evidence.group(name, place, condition) for name in evidence.names}
    return {name: group for name, group in found.items() if group is not None}


def _where(place: Place, condition: Condition) -> str:
    under = _TITLES.get(condition, f"camera {condition.severity}")
    return (
        f"{place.dataset}/{place.split}"
        if condition == CLEAN
        else f"{place.dataset}/{place.split}, {under}"
    )


def _title(group: SeedGroup, place: Place, condition: Condition) -> str:
    """With the sensor of data sets that have several."""
    sensor = str(next(group.rows).protocol.get("dataset", {}).get("sensor", ""))
    return " ".join(filter(None, (_where(place, condition), sensor if sensor != place.dataset else "")))


def _bands(group: SeedGroup) -> np.ndarray:
    """(C,): mean coverage of each band over scenes."""
    return np.nanmean([row.per_band["coverage"] for row in group.rows], axis=0)


def _rows(evidence: Evidence, place: Place, condition: Condition) -> list[text.TableRow]:
    found = []
    for name, group in _groups(evidence, place, condition).items():

        def percent(value: float) -> str:
            return f"{100 * value:.1f} %"

        def mean(column: str, group: SeedGroup = group) -> float:
            return summarise(group.runs(column)).mean

        covered = [value for run in group.runs("coverage") for value in run.values()]
        found.append({
            "scenes": _title(group, place, condition), "model": name,
            "n": str(len(covered)), "coverage": percent(mean("coverage")),
            "worst scene": percent(min(covered)), "worst band": percent(float(np.nanmin(_bands(group)))),
            "width": significant(mean("width")), "interval score ↓": significant(mean("interval_score")),
            "calibration error ↓": significant(mean("calibration_error"), 2),
            "AUSE ↓": f"{mean('ause'):.2f}", "AUSE of brightness": f"{mean('ause_brightness'):.2f}",
            "correlation": f"{mean('scale_correlation'):.2f}", "unlike": percent(mean("unlike")),
            **text.signature(group),
        })  # fmt: skip
    return found
