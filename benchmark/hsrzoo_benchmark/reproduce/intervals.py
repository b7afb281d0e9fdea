"""What rows of ``--bench uncertainty`` say: tables of prediction intervals, and a picture."""

from __future__ import annotations

from typing import Any

import numpy as np

from hsrzoo.colour.responses import STANDARD
from hsrzoo.zoo import LOW_COVERAGE
from hsrzoo_benchmark.protocol import Condition
from hsrzoo_benchmark.reproduce import text
from hsrzoo_benchmark.reproduce.evidence import SENSORS, Evidence, Place, SeedGroup, commits_of
from hsrzoo_benchmark.reproduce.tables import HOME
from hsrzoo_benchmark.run.uncertainty import NAME, NAMES
from hsrzoo_benchmark.site.coverage import condition_title
from hsrzoo_benchmark.statistics.seeds import summarise
from hsrzoo_benchmark.tables.numbers import significant

CLEAN = Condition(NAME, "clean")
_NOTE = """\
Intervals of 90 % ([what they are](../intervals.md), [columns](../protocols.md#prediction-intervals)): mean
over scenes, and the least coverage of a scene and of a band. Width is upper - lower. AUSE: of the scale,
and of brightness alone. No scene was seen in training."""
_FIRST = [CLEAN, *(Condition(NAME, f"gain-both-{factor}") for factor in ("0.5", "2"))]
SHOWN = ("mcga-plus.cave", "mst-plus-plus.cave", "mcga-s2.cave", "pixel-mlp.cave")
"""Models of the picture."""


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
    """A sentence on the conditions where intervals of a model cover less than :data:`.LOW_COVERAGE`."""
    low: dict[str, list[str]] = {}
    for name, places in low_coverages(evidence).items():
        for where, mean in places.items():
            low.setdefault(where, []).append(f"{name} {100 * mean:.1f} %")
    if not low:
        return []
    items = "; ".join(f"{where}: {', '.join(found)}" for where, found in low.items())
    return [
        f"**Do not trust intervals where those of 90 % cover less than {100 * LOW_COVERAGE:.0f} % of the "
        f"values**: {items}."
    ]


def low_coverages(evidence: Evidence) -> dict[str, dict[str, float]]:
    """Every scored model -> where its intervals cover less than :data:`.LOW_COVERAGE`, and how much."""
    found: dict[str, dict[str, float]] = {}
    for place, condition in _places(evidence):
        for name, group in _groups(evidence, place, condition).items():
            mean, low = summarise(group.runs("coverage")).mean, found.setdefault(name, {})
            if mean < LOW_COVERAGE:
                where = _title(group, place, condition)
                low[f"{where}, not mapped" if condition.severity in STANDARD else where] = mean
    return found


def coverages(evidence: Evidence) -> dict[str, dict[str, list[float]]]:
    """Model of :data:`SHOWN` -> where -> coverage of each scene."""
    found: dict[str, dict[str, list[float]]] = {name: {} for name in SHOWN}
    for place, condition in _places(evidence):
        for name, group in _groups(evidence, place, condition).items():
            if name in found:
                found[name][_title(group, place, condition)] = group.values("coverage")
    return {name: values for name, values in found.items() if values}


def _places(evidence: Evidence) -> list[tuple[Place, Condition]]:
    """cave/valid first, the scenes as they are first."""
    found = [
        (place, condition)
        for place, condition in evidence.places
        if condition.perturbation in NAMES
        and place.dataset != SENSORS
        and (place.dataset == HOME.dataset or condition == CLEAN)
    ]

    def key(one: tuple[Place, Condition]) -> tuple[Any, ...]:
        place, condition = one
        rank = _FIRST.index(condition) if condition in _FIRST else len(_FIRST)
        return place.dataset != HOME.dataset, str(place), rank, str(condition)

    return sorted(found, key=key)


def _groups(evidence: Evidence, place: Place, condition: Condition) -> dict[str, SeedGroup]:
    found = {name: evidence.group(name, place, condition) for name in evidence.names}
    return {name: group for name, group in found.items() if group is not None}


def _where(place: Place, condition: Condition) -> str:
    under = condition_title(condition.perturbation, condition.severity)
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
    """(C,): mean coverage of each band over scenes; NaN where none has data."""
    values = np.array([row.per_band["coverage"] for row in group.rows])
    known = ~np.isnan(values)
    sums, counts = np.where(known, values, 0).sum(axis=0), known.sum(axis=0)
    return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)


def _rows(evidence: Evidence, place: Place, condition: Condition) -> list[text.TableRow]:
    found = []
    for name, group in _groups(evidence, place, condition).items():

        def percent(value: float) -> str:
            return f"{100 * value:.1f} %"

        def mean(column: str, group: SeedGroup = group) -> float:
            return summarise(group.runs(column)).mean

        covered = group.values("coverage")
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
