"""Boards as the page needs them: plain JSON values, numbers beside their text.

A *board* is a table: its columns and the ids of its *entries*. An entry is a model on a board: cells, what
they were made with, and the rows they come from. All text is shown as text; nothing here is HTML.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hsrzoo.registry import METRICS
from hsrzoo.results import HASH_LENGTH
from hsrzoo_benchmark.results.boards import STORED_IN, Board, Stored, speed_place, timed
from hsrzoo_benchmark.results.figures import Contestant, better
from hsrzoo_benchmark.run import metamer
from hsrzoo_benchmark.speed.timing import MIN_RUNS
from hsrzoo_benchmark.statistics.bootstrap import MIN_SCENES
from hsrzoo_benchmark.store import number as stored_number
from hsrzoo_benchmark.store import slug
from hsrzoo_benchmark.tables import terminal
from hsrzoo_benchmark.tables.format import metric_heading
from hsrzoo_benchmark.tables.readme import bundled_config, number, references_of, speed_columns

_MEMORY = {
    "rmse_clean": "RMSE, own spectra ↓",
    "unseen_clean": "unseen part explained ↑",
    "unseen": "on metamers ↑",
    "colour_memory": "colour memory",
}
_HIGHER = ("speedup", "images_s")
"""Columns of speed in which more is better; colour memory is neither good nor bad, and sorts as less."""
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


def describe(stored: Stored, scored: Sequence[Board]) -> Data:
    """Everything that the page shows, but pictures; ``scored``: the boards of ``stored``."""
    ids = Ids()
    protocols: Data = {}
    entries: Data = {}
    found = [_score_board(board, ids, entries, protocols) for board in scored]
    found += _speed_boards(stored, ids, entries)
    rows = [*stored.scores, *stored.speed]
    times = sorted(row["timestamp"] for row in rows)
    made = {
        "rows": len(rows),
        "models": len(stored.models),
        "older": stored.older,
        "from": times[0],
        "to": times[-1],
    }
    return {"made": made, "boards": found, "entries": entries, "protocols": protocols}


def _score_board(board: Board, ids: Ids, entries: Data, protocols: Data) -> Data:
    figures = board.figures
    first, condition = board.first, str(board.main.condition)
    hash_ = first["protocol_group"][:HASH_LENGTH]
    dataset, split = board.place
    name = ids.of(dataset, split, first["protocol_name"], condition, hash_)
    columns = _columns(board)
    by_entry: dict[tuple[str, bool], list[Data]] = {}
    for figure in figures:
        by_entry.setdefault((figure["model"], figure["tta"]), []).append(figure)
    listed = []
    for contestant in board.contestants:
        own = by_entry[contestant.first["model"], contestant.first["tta"]]
        key = ids.of(name, contestant.label)
        entries[key] = _entry(contestant, own, [c["key"] for c in columns], name)
        protocols |= {row["protocol_hash"]: row["protocol"] for row in contestant.rows}
        listed.append(key)
    scenes = len({row["scene"] for row in board.main.contestants[0].rows})
    return {
        "id": name,
        "kind": "scores",
        "place": f"{dataset}/{split}",
        "protocol": f"{first['protocol_name']}, files {first['fingerprint'][:8]}",
        "condition": _condition(figures[0]),
        "hash": hash_,
        "scenes": scenes,
        "columns": columns,
        "sort": columns[0]["key"],
        "entries": listed,
        "notes": _notes(board, figures),
    }


def _columns(board: Board) -> list[Data]:
    found: list[Data] = [
        {"key": METRICS.get(m).columns[0], "heading": metric_heading(m), "better": better(m)}
        for m in board.metrics
    ]
    if board.main.condition.perturbation == metamer.NAME:
        found += [
            {"key": key, "heading": head, "better": "higher" if "↑" in head else "lower"}
            for key, head in _MEMORY.items()
        ]
    return found


def _condition(figure: Mapping[str, Any]) -> str:
    """With the parameter of a severity whose name does not tell it."""
    name, value = figure["condition"], figure["severity_value"]
    return f"{name} ({value:.4g})" if isinstance(value, float) and f"{value:g}" not in name else name


def _notes(board: Board, figures: Sequence[Data]) -> list[str]:
    """What a reader must know besides the cells, as the tables of a terminal tell it."""
    counters = [c for m in board.main.metrics for c in METRICS.get(m).columns if c.endswith("_zero")]
    rows = [row for one in board.contestants for row in one.rows]
    found = [*terminal.nodata_note(rows), *terminal.notes(figures, counters)]
    change = next((f["rgb_mean_change"] for f in figures if f["rgb_mean_change"] is not None), None)
    if change is not None and board.first["bench"] == "brightness":
        found.insert(0, f"Mean of RGB changed by {100 * change:+.1f} %.")
    if board.others:
        found.append(
            "Scored on other scenes than most: shown with their own n, and without a rank, as their means "
            "are not comparable."
        )
    return found


def _entry(contestant: Contestant, figures: Sequence[Data], columns: Sequence[str], board: str) -> Data:
    first, figure = contestant.first, figures[0]
    marks = terminal.learned_from(figure)
    marks += ["random weights"] if figure["untrained"] else []
    marks += [f"{figure['seeds']} seeds of the perturbation"] if figure["seeds"] > 1 else []
    return {
        "board": board,
        "model": contestant.label,
        "marks": marks,
        "n": figure["scenes"],
        "cells": {f["metric"]: _cell(f) for f in figures if f["metric"] in columns},
        "paper": {
            f["metric"]: {"text": number(f["reported"]), "note": f["reported_note"]}
            for f in figures
            if f["metric"] in columns and f["reported"] is not None
        },
        "facts": _facts(contestant.rows),
        "scenes": _scenes(contestant.rows),
        "protocols": list(dict.fromkeys(row["protocol_hash"] for row in contestant.rows)),
        "identity": first["model_sha256"],
    }


def _cell(figure: Mapping[str, Any]) -> Data:
    n = figure["scenes"]
    if figure["nan_scenes"]:
        return {"value": None, "text": f"NaN on {figure['nan_scenes']} of {n} scenes"}
    low, high = figure["low"], figure["high"]
    return {
        "value": figure["mean"],
        "text": number(figure["mean"]),
        "low": low,
        "high": high,
        "interval": None if low is None else f"{number(low)} to {number(high)}",
        "rank": figure["rank"],
        "wins": None if figure["wins"] is None or n < MIN_SCENES else f"{figure['wins']}/{n}",
    }


def _facts(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """[name, text] pairs: what the rows were made with."""
    first = rows[0]
    machines = [row["provenance"] for row in rows]
    times = sorted(row["timestamp"] for row in rows)
    trained_on = [str(first["trained_on"]), *first["also_trained_on"]] if "trained_on" in first else []
    pairs = {
        "architecture": first["architecture"],
        "run as": ", ".join(f"{k} {v}" for k, v in first.get("execution", {}).items() if v),
        "weights sha256": first["weights_sha256"],
        "identity (weights and configuration)": first["model_sha256"],
        "trained on": ", ".join(trained_on),
        "training": _told(first.get("training") or {}),
        "training command": _training_command(first),
        "commit": _several(
            (m["commit"] or "not known") + (", with changes" if m["dirty"] else "") for m in machines
        ),
        "hsrzoo": _several(machine["hsrzoo"] for machine in machines),
        "torch, numpy, Python": _several(
            ", ".join(str(m.get(key)) for key in ("torch", "numpy", "python")) for m in machines
        ),
        "device": _several(
            f"{m.get('device_name')}, threads {m.get('threads')}, {m.get('dtype')}" for m in machines
        ),
        "time": times[0] if times[0] == times[-1] else f"{times[0]} to {times[-1]}",
        "data files": _several(row.get("fingerprint", "") for row in rows),
        "test-time adaptation": _told(first.get("protocol", {}).get("tta_settings", {})),
        "rows": _several(row[STORED_IN] for row in rows),
    }
    return [[name, text] for name, text in pairs.items() if text]


def _told(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items() if value is not None)


def _several(values: Iterable[Any]) -> str:
    return "; ".join(dict.fromkeys(str(value) for value in values))


def _training_command(row: Mapping[str, Any]) -> str:
    """Of bundled weights that are still those of the row."""
    config = bundled_config(row["model"].partition(":")[0])
    if config is None or config["weights_sha256"] != row["weights_sha256"]:
        return ""
    return config["training"].get("command", "")


def _scenes(rows: Sequence[Mapping[str, Any]]) -> Data:
    """Every row's values, NaN as text."""
    columns = list(dict.fromkeys(key for row in rows for key in row["metrics"]))
    listed = [
        [row["scene"], row["seed"], *(_plain(row["metrics"].get(key)) for key in columns), row["seconds"]]
        for row in sorted(rows, key=lambda row: (row["scene"], row["seed"] or 0))
    ]
    return {"columns": ["scene", "seed", *columns, "seconds"], "rows": listed}


def _plain(value: Any) -> Any:
    value = stored_number(value)
    return number(value) if isinstance(value, float) and not math.isfinite(value) else value


def _speed_boards(stored: Stored, ids: Ids, entries: Data) -> list[Data]:
    """One board for each device, number of threads, limit of memory and size."""
    rows = {(*speed_place(row), row["model"]): row for row in stored.speed}
    found = []
    for place, figures in timed(stored).items():
        device, threads, limit, size = place
        measured = [f for f in figures if f["condition"]]
        where = f"{device}, {threads} thread{'s' if threads > 1 else ''}"
        where += f", at most {limit:g} GiB" if limit else ""
        name = ids.of("speed", where, "x".join(map(str, size)))
        columns = [
            {
                "key": _speed_key(metric, reference),
                "heading": heading,
                "better": "higher" if metric in _HIGHER else "lower",
            }
            for heading, metric, reference in speed_columns(references_of(measured))
        ]
        listed = []
        for model in dict.fromkeys(f["model"] for f in measured):
            key, cell = ids.of(name, model), (*place, model)
            own = [f for f in measured if f["model"] == model]
            entries[key] = _speed_entry(own, rows[cell], name)
            listed.append(key)
        found.append(
            {
                "id": name,
                "kind": "speed",
                "place": "speed",
                "protocol": where,
                "condition": f"{size[0]} x {size[1]} pixels",
                "columns": columns,
                "sort": "images_s",
                "entries": listed,
                "notes": [
                    "Batch 1, models in turn, medians; ratios from the rounds that both ran. Memory is the "
                    "whole process's; above loaded is without what importing torch takes."
                ],
            }
        )
    return found


def _speed_key(metric: str, reference: str | None) -> str:
    return f"{metric} {reference}" if reference else metric


def _speed_entry(figures: Sequence[Data], row: Mapping[str, Any], board: str) -> Data:
    cells: Data = {}
    paper: Data = {}
    for f in figures:
        key = _speed_key(f["metric"], f["reference"])
        if f["metric"] == "status":
            told = {"value": None, "text": f["mean"]}
            cells |= dict.fromkeys(("p50_ms", "images_s", "peak_mib"), told)
            continue
        few = f["metric"] == "p50_ms" and f["scenes"] < MIN_RUNS
        cells[key] = {
            "value": f["mean"],
            "text": number(f["mean"]),
            "interval": f"{f['scenes']} runs" if few else None,
        }
        if f["reported"] is not None:
            paper[key] = {"text": number(f["reported"]), "note": f["reported_note"]}
    seconds = [[i + 1, value] for i, value in enumerate(row["seconds"])]
    return {
        "board": board,
        "model": row["model"],
        "marks": ["random weights"] if row.get("untrained") else [],
        "n": row["runs"],
        "cells": cells,
        "paper": paper,
        "facts": [*_facts([row]), ["status", row["status"]], ["run", row["run"]]],
        "scenes": {"columns": ["run", "seconds"], "rows": seconds},
        "protocols": [],
        "identity": row["model_sha256"],
    }
