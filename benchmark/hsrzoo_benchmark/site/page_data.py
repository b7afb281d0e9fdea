"""What the page shows, as plain JSON values, numbers with their text.

A *board* is a table of the page, of a group's scores or of times: its columns and the ids of its entries.
An entry is a model on a board: cells, what they were made with, and the rows they come from. All text is
shown as text; nothing here is HTML.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from hsrzoo.registry import METRICS
from hsrzoo.results import HASH_LENGTH, AnyRow, ScoreRow, SpeedRow
from hsrzoo.utils.files import slug
from hsrzoo_benchmark.grouping import group_by
from hsrzoo_benchmark.results.figures import Entry, Group, better, condition_text, figures, learned_from
from hsrzoo_benchmark.results.groups import Current, speed_groups, speed_place
from hsrzoo_benchmark.run import metamer, uncertainty
from hsrzoo_benchmark.site.choice import Choice, choose
from hsrzoo_benchmark.speed.timing import MIN_RUNS
from hsrzoo_benchmark.tables import terminal
from hsrzoo_benchmark.tables.markdown import bundled_config, references_of, speed_columns
from hsrzoo_benchmark.tables.numbers import (
    MAIN_METRICS,
    in_main_order,
    measured,
    metric_heading,
    rank_text,
    threads_text,
)
from hsrzoo_benchmark.tables.terminal import column_key

_MEMORY = {
    "rmse_clean": "RMSE, own spectra ↓",
    "unseen_clean": "unseen part explained ↑",
    "unseen": "on metamers ↑",
    "colour_memory": "colour memory",
}
_MAIN = (*MAIN_METRICS, "ssim")
"""Metrics that are shown at first."""
_MAIN_SPEED = ("p50_ms", "images_s", "speedup", "peak_mib")
_HIGHER = ("speedup", "images_s")
"""Columns of speed in which more is better; colour memory is neither good nor bad, and sorts as less."""
_SPEED_NOTE = (
    "Batch 1, models in turn, medians; ratios from the rounds that both ran. Memory is the whole "
    "process's; above loaded is without what importing torch takes."
)
Data = dict[str, Any]


class Ids:
    """Names for links: letters, digits, dots, hyphens; each one once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, *parts: str) -> str:
        """The next free name made of ``parts``."""
        base = name = "-".join(slug(part) for part in parts)
        counter = 1
        while name in self._taken:
            counter += 1
            name = f"{base}-{counter}"
        self._taken.add(name)
        return name


def describe(current: Current, scored: Sequence[Group]) -> Data:
    """Everything that the page shows, but pictures; ``scored``: the groups of ``current``."""
    ids = Ids()
    protocols: Data = {}
    entries: Data = {}
    found = [_score_board(group, ids, entries, protocols) for group in scored]
    found += _speed_boards(current, ids, entries)
    rows: list[AnyRow] = [*current.scores, *current.speed]
    times = sorted(row.timestamp for row in rows)
    made = {
        "rows": len(times),
        "models": len(current.models),
        "older": current.older,
        "from": times[0],
        "to": times[-1],
    }
    return {"made": made, "boards": found, "entries": entries, "protocols": protocols}


def _score_board(group: Group, ids: Ids, entries: Data, protocols: Data) -> Data:
    choice = choose(group)
    group = choice.first
    found = figures([group])
    first, condition = group.first, str(group.condition)
    hash_ = first.group[:HASH_LENGTH]
    dataset, split = group.place
    name = ids.of(dataset, split, first.protocol_name, condition, hash_)
    columns = _columns(group)
    keys = [column["key"] for column in columns]
    shown = (figure for figure in found if figure["metric"] in keys)
    by_entry = group_by(shown, lambda figure: (figure["model"], figure["tta"]))
    shown_entries = (e for e in group.all_entries if (e.first.model, e.first.tta) in by_entry)
    listed = {ids.of(name, entry.label): entry for entry in shown_entries}
    for key, entry in listed.items():
        own = choice.trainings.get(entry.label, (entry,))
        entries[key] = _entry(own, by_entry[entry.first.model, entry.first.tta], name)
        entries[key]["more"] = entry.label in choice.hidden
        protocols |= {row.protocol_hash: row.protocol for row in entry.rows}
    return {
        "id": name,
        "kind": "scores",
        "place": f"{dataset}/{split}",
        "protocol": f"{first.protocol_name}, files {first.fingerprint[:8]}",
        "condition": condition_text(found[0]),
        "hash": hash_,
        "scenes": len({row.scene for row in group.entries[0].rows}),
        "columns": columns,
        "sort": columns[0]["key"],
        "entries": list(listed),
        "notes": _notes(group, found, choice),
    }


def _columns(group: Group) -> list[Data]:
    memory = group.condition.perturbation == metamer.NAME
    main = ("rmse", "sam") if memory else _MAIN
    found: list[Data] = [
        {"key": METRICS.get(m).columns[0], "heading": metric_heading(m), "better": better(m),
         "more": m not in main}
        for m in in_main_order(group.metrics)
    ]  # fmt: skip
    if not any(not column["more"] for column in found):
        found = [{**column, "more": False} for column in found]
    if memory:
        found += [
            {"key": key, "heading": head, "better": "higher" if "↑" in head else "lower", "more": False}
            for key, head in _MEMORY.items()
        ]
    if group.condition.perturbation in uncertainty.NAMES:
        lower = ("↓", "unlike", "brightness")
        own = [
            {"key": key, "heading": head, "better": "lower" if any(m in head for m in lower) else "higher",
             "more": False}
            for key, head in terminal.INTERVAL_HEADINGS.items()
        ]  # fmt: skip
        found = [*own, *({**column, "more": True} for column in found)]
    return found


def _notes(group: Group, found: Sequence[Data], choice: Choice) -> list[str]:
    """What a reader must know besides the cells, as below the tables of a terminal."""
    rows = [row for entry in group.all_entries for row in entry.rows]
    notes = [*terminal.nodata_note(rows), *terminal.notes(found, group.metrics)]
    change = next((f["rgb_mean_change"] for f in found if f["rgb_mean_change"] is not None), None)
    if change is not None and group.first.bench == "brightness":
        notes.insert(0, f"Mean of RGB changed by {100 * change:+.1f} %.")
    usual = {row.scene for row in group.entries[0].rows}
    if any({row.scene for row in part.entries[0].rows} != usual for part in group.apart):
        notes.append(
            "Scored on other scenes than most: shown with their own n, and without a rank, as their means "
            "are not comparable."
        )
    if choice.hidden:
        notes.append("Ablations, controls and other ways of running have no rank.")
    return notes


def _entry(trainings: Sequence[Entry], found: Sequence[Data], board: str) -> Data:
    """An entry of one training or of several that differ in their seed."""
    figure, first = found[0], trainings[0]
    rows = [row for entry in trainings for row in entry.rows]
    seeds = figure["seeds"] // len(trainings)
    marks = learned_from(figure)
    marks += ["random weights"] if figure["untrained"] else []
    marks += [f"{len(trainings)} trainings"] if len(trainings) > 1 else []
    marks += [f"{seeds} seeds of the perturbation"] if seeds > 1 else []
    return {
        "board": board,
        "model": first.label,
        "marks": marks,
        "n": figure["scenes"],
        "cells": {f["metric"]: {**_cell(f), **_spread(trainings, f["metric"])} for f in found},
        "paper": _paper(found),
        "facts": _facts(rows),
        "scenes": _scenes(rows, several=len(trainings) > 1),
        "protocols": list(dict.fromkeys(row.protocol_hash for row in rows)),
        "identities": [[entry.label, entry.first.model_sha256] for entry in trainings],
    }


def _spread(trainings: Sequence[Entry], column: str) -> Data:
    """Means of several trainings, from the smallest to the greatest."""
    if len(trainings) < 2 or not all(entry.has(column) for entry in trainings):
        return {}
    means = [float(np.mean(list(entry.scenes(column).values()))) for entry in trainings]
    return {"spread": f"{measured(min(means))} to {measured(max(means))}"}


def _cell(figure: Mapping[str, Any]) -> Data:
    n = figure["scenes"]
    if figure["nan_scenes"]:
        return {"value": None, "text": f"NaN on {figure['nan_scenes']} of {n} scenes"}
    low, high = figure["low"], figure["high"]
    return {
        "value": figure["mean"],
        "text": measured(figure["mean"]),
        "low": low,
        "high": high,
        "interval": None if low is None else f"{measured(low)} to {measured(high)}",
        "rank": figure["rank"],
        "rank_text": rank_text(figure["rank"], n),
        "wins": None if figure["wins"] is None else f"{figure['wins']}/{n}",
    }


def _facts(rows: Sequence[ScoreRow] | Sequence[SpeedRow]) -> list[list[str]]:
    """[name, text] pairs: what the rows were made with."""
    first = rows[0]
    machines = [row.provenance for row in rows]
    times = sorted(row.timestamp for row in rows)
    pairs = {
        "architecture": first.architecture,
        "run as": ", ".join(f"{k} {v}" for k, v in first.execution.items() if v),
        "weights sha256": _several(row.weights_sha256 or "" for row in rows),
        "identity (weights and configuration)": _several(row.model_sha256 or "" for row in rows),
        **(_training_facts(first) if isinstance(first, ScoreRow) else {}),
        "training command": _training_command(first),
        "commit": _several(
            (m.get("commit") or "not known") + (", with changes" if m.get("dirty") else "")
            for m in machines
        ),
        "hsrzoo": _several(machine.get("hsrzoo") for machine in machines),
        "torch, numpy, Python": _several(
            ", ".join(str(m.get(key)) for key in ("torch", "numpy", "python")) for m in machines
        ),
        "device": _several(
            f"{m.get('device_name')}, threads {m.get('threads')}, {m.get('dtype')}" for m in machines
        ),
        "time": times[0] if times[0] == times[-1] else f"{times[0]} to {times[-1]}",
        "data files": _several(row.fingerprint for row in rows if isinstance(row, ScoreRow)),
        "test-time adaptation": _items(first.protocol.get("tta_settings", {}))
        if isinstance(first, ScoreRow)
        else "",
        "rows": _several(row.file for row in rows),
    }
    return [[name, text] for name, text in pairs.items() if text]


def _training_facts(row: ScoreRow) -> dict[str, str]:
    return {
        "trained on": ", ".join([str(row.trained_on), *row.also_trained_on]),
        "training": _items(row.training or {}),
    }


def _items(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items() if value is not None)


def _several(values: Iterable[Any]) -> str:
    return "; ".join(dict.fromkeys(str(value) for value in values))


def _training_command(row: AnyRow) -> str:
    """Of bundled weights that are still those of the row."""
    config = bundled_config(row.model.partition(":")[0])
    if config is None or config["weights_sha256"] != row.weights_sha256:
        return ""
    return config["training"].get("command", "")


def _scenes(rows: Sequence[ScoreRow], several: bool) -> Data:
    """Every row's values, NaN as text; ``several``: with the name of the training."""
    columns = list(dict.fromkeys(key for row in rows for key in row.metrics))
    listed = [
        [
            row.scene,
            *([row.model] if several else []),
            row.seed,
            *(_plain(row.metrics.get(key)) for key in columns),
            row.seconds,
        ]
        for row in sorted(rows, key=lambda row: (row.scene, row.model, row.seed or 0))
    ]
    return {
        "columns": ["scene", *(["training"] if several else []), "seed", *columns, "seconds"],
        "rows": listed,
    }


def _plain(value: float | None) -> float | str | None:
    return measured(value) if value is not None and not math.isfinite(value) else value


def _speed_boards(current: Current, ids: Ids, entries: Data) -> Iterator[Data]:
    """One board for each device, number of threads, limit of memory and size."""
    rows = {(speed_place(row), row.model): row for row in current.speed}
    for place, found in speed_groups(current).items():
        device, threads, limit, size = place
        measured_here = (f for f in found if f["condition"])  # not the paper's time for all sizes
        by_model = group_by(measured_here, lambda figure: figure["model"])
        where = f"{device}, {threads_text(threads)}"
        where += f", at most {limit:g} GiB" if limit else ""
        name = ids.of("speed", where, "x".join(map(str, size)))
        listed = {ids.of(name, model): model for model in by_model}
        for key, model in listed.items():
            entries[key] = _speed_entry(by_model[model], rows[place, model], name)
        yield {
            "id": name,
            "kind": "speed",
            "place": "speed",
            "protocol": where,
            "condition": f"{size[0]} x {size[1]} pixels",
            "columns": [
                {
                    "key": f"{metric} {reference}" if reference else metric,
                    "heading": heading,
                    "better": "higher" if metric in _HIGHER else "lower",
                    "more": metric not in _MAIN_SPEED,
                }
                for heading, metric, reference in speed_columns(references_of(found))
            ],
            "sort": "images_s",
            "entries": list(listed),
            "notes": [_SPEED_NOTE],
        }


def _speed_entry(found: Sequence[Data], row: SpeedRow, board: str) -> Data:
    cells: Data = {}
    for f in found:
        if f["metric"] == "status":
            status = {"value": None, "text": f["mean"]}
            cells |= dict.fromkeys(("p50_ms", "images_s", "peak_mib"), status)
            continue
        few = f["metric"] == "p50_ms" and f["scenes"] < MIN_RUNS
        interval = f"{f['scenes']} runs" if few else None
        cells[column_key(f)] = {"value": f["mean"], "text": measured(f["mean"]), "interval": interval}
    return {
        "board": board,
        "model": row.model,
        "marks": ["random weights"] if row.untrained else [],
        "n": row.runs,
        "cells": cells,
        "paper": _paper(found),
        "facts": [*_facts([row]), ["status", row.status], ["run", row.run]],
        "scenes": {"columns": ["run", "seconds"], "rows": [list(one) for one in enumerate(row.seconds, 1)]},
        "protocols": [],
        "identities": [[row.model, row.model_sha256]],
        "more": False,
    }


def _paper(found: Sequence[Data]) -> Data:
    """What the paper reports in place of ``found``."""
    return {
        column_key(f): {"text": measured(f["reported"]), "note": f["reported_note"]}
        for f in found
        if f["reported"] is not None
    }
