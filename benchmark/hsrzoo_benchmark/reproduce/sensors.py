"""Scores on the sensors that weights have not seen: those of CAVE's weights beside the generalists'."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import geometric_mean

from hsrzoo_benchmark.protocol import CLEAN
from hsrzoo_benchmark.reproduce import tables, text
from hsrzoo_benchmark.reproduce.evidence import SENSORS, Evidence, Place, SeedGroup, commits_of
from hsrzoo_benchmark.reproduce.ranking import comparable, headline_names
from hsrzoo_benchmark.statistics.seeds import summarise
from hsrzoo_benchmark.tables.numbers import ABSENT, significant

GENERAL, WITHOUT = ".general", ".without-"
"""Of the names of weights trained on several sensors: on all of them, or on all but one."""
REFERENCE = tables.headline("linear", "cave")
_METRICS = ("rmse", "sam")
_NOTE = f"""\
RMSE / SAM in degrees, mean over scenes and seeds. `{GENERAL}`: trained on CAVE and other sensors
([pools](../train.md#several-data-sets)). Where those include the sensor, the column has weights trained
without it, `ARCH{WITHOUT}SENSOR`. Ahead: on how many sensors RMSE and SAM are below those of
{REFERENCE}. RMSE ratio: RMSE divided by that of {REFERENCE}, geometric mean over the sensors."""


@dataclass(frozen=True)
class Sensor:
    """One column."""

    name: str
    groups: Mapping[str, SeedGroup]
    """By the label of the row."""


def unseen_sensors(evidence: Evidence) -> list[str]:
    """A table with a column for each sensor on which generalists were scored, the best first; nothing
    without any."""
    rows = _rows(evidence)[1]
    return [_NOTE, text.markdown(row for _, row in rows)] if rows else []


def ratios(evidence: Evidence) -> tuple[int, dict[str, float]]:
    """The number of sensors, and of each model scored on all of them the RMSE ratio to
    :data:`REFERENCE`, the best first."""
    sensors, rows = _rows(evidence)
    return len(sensors), {row["model"]: mean for mean, row in rows if math.isfinite(mean)}


def relative(evidence: Evidence) -> dict[str, dict[str, float]]:
    """Label of a row of the table -> sensor -> RMSE divided by that of :data:`REFERENCE`."""
    found: dict[str, dict[str, float]] = {}
    for sensor in _rows(evidence)[0]:
        means = {label: summarise(group.runs("rmse")).mean for label, group in sensor.groups.items()}
        for label, mean in means.items() if REFERENCE in means else ():
            found.setdefault(label, {})[sensor.name] = mean / means[REFERENCE]
    return found


def _rows(evidence: Evidence) -> tuple[list[Sensor], list[tuple[float, text.TableRow]]]:
    """The columns, and the rows in their order; none without generalists."""
    places = [place for place, condition in evidence.places if condition == CLEAN]
    other = [_sensor(evidence, place) for place in places if place.dataset not in ("cave", SENSORS)]
    sensors = [one for one in other if any(label.endswith(GENERAL) for label in one.groups)]
    labels = {label for sensor in sensors for label in sensor.groups}
    rows = (_row(label, sensors) for label in labels)
    return sensors, sorted(rows, key=lambda row: (row[0], row[1]["model"]))


def _sensor(evidence: Evidence, place: Place) -> Sensor:
    labels = _labels(evidence, place)
    groups = {
        labels[name]: group
        for name, group in comparable(evidence, list(labels), place).items()
        if not any(row.seen_in_training for row in group.rows)
    }
    rows = [row for group in groups.values() for row in group.rows]
    sensor = str(rows[0].protocol.get("dataset", {}).get("sensor", "")) if rows else ""
    name = f"{place.dataset} {sensor}" if sensor != place.dataset else sensor
    return Sensor(name.strip(), groups)


def _labels(evidence: Evidence, place: Place) -> dict[str, str]:
    """Names of models -> the rows they stand in."""
    names = {name: name for name in headline_names("cave")}
    names |= {name: name for name in evidence.names if name.endswith(GENERAL)}
    for name in evidence.names:
        arch, mark, dataset = name.partition(WITHOUT)
        if mark and dataset == place.dataset:
            names[arch + GENERAL] = name
    return {name: label for label, name in names.items()}


def _row(label: str, sensors: Sequence[Sensor]) -> tuple[float, text.TableRow]:
    """What rows are sorted by, and the row."""
    row, ahead, ratios = {"model": label}, [0, 0], []
    groups: list[SeedGroup] = []
    for sensor in sensors:
        group, reference = sensor.groups.get(label), sensor.groups.get(REFERENCE)
        if group is None:
            row[sensor.name] = ABSENT
            continue
        groups.append(group)
        means = [summarise(group.runs(metric)).mean for metric in _METRICS]
        row[sensor.name] = " / ".join(map(significant, means))
        if reference is not None:
            known = [summarise(reference.runs(metric)).mean for metric in _METRICS]
            ahead = [n + (ours < theirs) for n, ours, theirs in zip(ahead, means, known, strict=True)]
            ratios.append(means[0] / known[0])
    row["ahead"] = ABSENT if label == REFERENCE else " / ".join(f"{n} of {len(ratios)}" for n in ahead)
    mean = geometric_mean(ratios) if len(ratios) == len(sensors) else math.inf
    row["RMSE ratio"] = significant(mean) if math.isfinite(mean) else ABSENT
    return mean, {**row, "commit": commits_of(groups)}
