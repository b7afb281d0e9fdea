"""Tables of the bundled models as Markdown (docs/tables.md), from stored rows alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any

from hsrzoo.errors import HsrzooError, InputError
from hsrzoo.results import POOLED
from hsrzoo.utils.files import require_regular, write_atomically
from hsrzoo.utils.markdown import markdown_table
from hsrzoo_benchmark.grouping import group_by
from hsrzoo_benchmark.protocol import CLEAN
from hsrzoo_benchmark.results.figures import Group, figures, learned_from
from hsrzoo_benchmark.results.groups import Current, clean_group, groups, speed_groups
from hsrzoo_benchmark.speed.timing import MIN_RUNS
from hsrzoo_benchmark.statistics.intervals import METHOD
from hsrzoo_benchmark.tables.numbers import (
    MAIN_METRICS,
    measured,
    metric_heading,
    rank_text,
    threads_text,
)

START, END = "<!-- results -->", "<!-- end of results -->"
_LIT = ("sam-lit", "mrae-lit")
_DISTURBED = {
    "mixed patches 16": ("rmse", "mixed-patch 16"),
    "mixed patches 8": ("rmse", "mixed-patch 8"),
    "darker (e = 1/0.9)": ("rmse", "gamma paper-minus10"),
    "brighter (e = 1/1.1)": ("rmse", "gamma paper-plus10"),
}
"""Heading -> metric and condition of its figures."""
_BOTH_SCALED = {
    "image and truth x 0.5": ("rmse", "gain-both 0.5"),
    "image and truth x 2": ("rmse", "gain-both 2"),
}
"""Columns that are left out where no row is stored: earlier versions did not score them."""
_MEASURED = {"10 pixels": ("rmse", "refine 10"), "50 pixels": ("rmse", "refine 50")}
"""Left out where no row is stored."""
_MEMORY = {
    "RMSE, metamers 0.5 ↓": ("rmse", "metamer 0.5"),
    "RMSE, metamers 1 ↓": ("rmse", "metamer 1"),
    "unseen part explained ↑": ("unseen_clean", "metamer 1"),
    "on metamers 1": ("unseen", "metamer 1"),
    "colour memory": ("colour_memory", "metamer 1"),
}
_ADAPTED = "brightness"
"""The benchmark that takes models with test-time adaptation too, whether that was asked for or not."""
Figures = Sequence[Mapping[str, Any]]


def _clean() -> dict[str, tuple[str, str]]:
    """Heading -> metric and condition. Headings come from the registry, which no import may read."""
    return {metric_heading(metric): (metric, "clean") for metric in MAIN_METRICS}


def fill(path: Path, text: str) -> None:
    """Put ``text`` between the two markers of a file; InputError where they are not there."""
    require_regular(path)
    try:
        head, start, rest = path.read_text(encoding="utf-8").partition(START)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read", expected="a Markdown file in UTF-8", got=error) from None
    _, end, tail = rest.partition(END)
    if not start or not end:
        raise InputError(f"{path} has no place for the results", expected=f"the markers {START} and {END}")
    write_atomically(path, f"{head}{START}\n{text}\n{END}{tail}".encode())


def render(current: Current) -> str:
    """The tables of cross-validation, then all tables of the data set and split with most rows, with their
    notes; of several protocols the first. Raises StoreError without scores of undisturbed images."""
    # Scores as a run without --tta has them.
    found = groups(row for row in current.scores if not row.tta or row.bench == _ADAPTED)
    pooled = [group for group in found if group.first.split == POOLED]
    parts = [_cross_validation(group) for group in pooled if group.condition == CLEAN]
    own = [group for group in found if group not in pooled]
    if own or not pooled:
        parts += _home(own, current)
    return "\n\n".join(filter(None, parts))


def _home(found: Sequence[Group], current: Current) -> list[str]:
    """The tables of the place of the first undisturbed group, of speed and of training."""
    home = attrgetter("dataset", "split", "protocol_name", "fingerprint")
    wanted = home(clean_group(found).first)
    scores = figures(group for group in found if home(group.first) == wanted)
    speeds = [figure for group in speed_groups(current).values() for figure in group]
    models = in_order([*scores, *speeds])
    first = next(f for f in scores if f["bench"] == "accuracy")
    there = {(figure["metric"], figure["condition"]) for figure in scores}

    def scored(columns: Mapping[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
        return {head: key for head, key in columns.items() if key in there}

    return [
        "\n".join([_heading(first), *remarks(scores, models)]),
        score_table("model", _clean(), scores, models),
        score_table("RMSE ↓", _DISTURBED | scored(_BOTH_SCALED), scores, models),
        score_table("lit pixels", {metric_heading(m): (m, "clean") for m in _LIT}, scores, models),
        score_table("same picture, other spectra", _MEMORY, scores, models),
        score_table("RMSE ↓ with measured spectra", scored(_MEASURED), scores, models),
        speed_tables(speeds, models),
        training_table(models),
    ]


def _cross_validation(group: Group) -> str:
    """The table of models with weights for each fold. Those that were scored on fewer folds than most are
    named below it."""
    found = figures([replace(group, apart=())])
    models = in_order(found)
    note = "Cross-validation: each scene is scored by weights that were trained without it and its fold."
    parts = [
        "\n".join([_heading(found[0]), note, *remarks(found, models)]),
        score_table("cross-validation", _clean(), found, models),
    ]
    apart = [entry.label for other in group.apart for entry in other.entries]
    return "\n\n".join(parts + ([f"Scored on other folds: {', '.join(apart)}."] if apart else []))


def _heading(first: Mapping[str, Any]) -> str:
    """What the figures of a place share."""
    return (
        f"{first['dataset']}/{first['split']}, {first['scenes']} scenes, protocol {first['protocol']} "
        f"(hash {first['hash']}): mean over scenes, {METHOD}, "
        "scenes won against the best mean, rank group."
    )


def in_order(found: Figures) -> list[str]:
    """Models by their mean RMSE on undisturbed images, those that were only timed last."""
    means = {
        f["model"]: f["mean"]
        for f in found
        if f["bench"] == "accuracy" and f["metric"] == "rmse" and math.isfinite(f["mean"])
    }
    names = dict.fromkeys(f["model"] for f in found)
    return sorted(names, key=lambda name: means.get(name, math.inf))


def cell(figure: Mapping[str, Any] | None) -> str:
    """Mean, 95 % interval, scenes on which it beats the best mean, rank or why there is none; n/a: nothing
    was measured."""
    if figure is None:
        return "n/a"
    notes = []
    if figure["low"] is not None:
        notes.append(f"{measured(figure['low'])} to {measured(figure['high'])}")
    if figure["wins"] is not None:
        notes.append(f"{figure['wins']}/{figure['scenes']}")
    text = measured(figure["mean"]) + (f" ({', '.join(notes)})" if notes else "")
    return f"{text} {rank_text(figure['rank'], figure['scenes'])}".rstrip()


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return markdown_table(head, rows, numeric=True) if rows else ""


def remarks(found: Figures, models: Sequence[str]) -> list[str]:
    """What a model learned from other than this data set's training scenes, one line each."""
    clean = {f["model"]: f for f in reversed(found) if f["bench"] == "accuracy"}
    return [f"{m}: {text}." for m in models if m in clean for text in learned_from(clean[m])]


def score_table(
    corner: str, columns: Mapping[str, tuple[str, str]], found: Figures, models: Sequence[str]
) -> str:
    """Models down, with a second line for those that adapted; nothing without figures.

    ``columns``: heading -> metric and condition of the figures of the column.
    """
    key, rows = itemgetter("model", "tta", "metric", "condition"), []
    by_key = {key(f): f for f in reversed(found)}
    for model in models:
        for tta in (False, True):
            row = [by_key.get((model, tta, *column)) for column in columns.values()]
            if any(row):
                rows.append([model + (" + TTA" if tta else ""), *map(cell, row)])
    return _table([corner, *columns], rows)


def speed_tables(found: Figures, models: Sequence[str]) -> str:
    """A table for each device, number of threads and limit of memory, as times of different ones are
    not comparable; nothing without figures."""
    sized = (figure for figure in found if figure["condition"])
    places = group_by(sized, itemgetter("device", "threads", "memory_limit_gib"))
    return "\n\n".join(speed_table(group, models) for group in places.values())


def speed_table(found: Figures, models: Sequence[str]) -> str:
    """Cost of one image, measured in one place, from the smallest size to the largest."""
    references, rows = references_of(found), []
    by_row = group_by(found, itemgetter("condition", "model"))
    for size in sorted({f["condition"] for f in found}, key=pixels):
        for model in models:
            own = {(f["metric"], f["reference"]): f for f in by_row.get((size, model), ())}
            if own:
                rows.append([f"{model}, {size}", *speed_cells(own, references)])
    head = ["batch 1", *(heading for heading, _, _ in speed_columns(references))]
    return "\n".join([*speed_remarks(found), "", _table(head, rows)])


def references_of(found: Figures) -> list[str]:
    """What ratios refer to, the main one first."""
    return list(dict.fromkeys(f["reference"] for f in found if f["reference"]))


def speed_columns(references: Sequence[str]) -> list[tuple[str, str, str | None]]:
    """(heading, metric, reference) of each; memory is compared with the first reference."""
    main = references[:1]
    return [
        ("median ms", "p50_ms", None),
        ("CPU ms", "cpu_ms", None),
        ("images/s", "images_s", None),
        *((f"time / {short(name)}", "time_ratio", name) for name in references),
        *((f"times faster than {short(name)} (paper)", "speedup", name) for name in main),
        ("peak MiB", "peak_mib", None),
        *((f"peak / {short(name)}", "memory_ratio", name) for name in main),
        *((f"above loaded / {short(name)}", "growth_ratio", name) for name in main),
        ("GMAC", "gmacs", None),
    ]


def speed_cells(found: Mapping[Any, Mapping[str, Any]], references: Sequence[str]) -> list[str]:
    """One row; ``found``: (metric, reference) -> figure."""
    keys = [(metric, reference) for _, metric, reference in speed_columns(references)]
    if ("status", None) in found:
        return ["OOM" if metric in ("p50_ms", "peak_mib") else "" for metric, _ in keys]
    return [speed_cell(found[key]) if key in found else "n/a" for key in keys]


def speed_cell(figure: Mapping[str, Any]) -> str:
    """The value; in brackets too small a number of runs, or what the paper reports of a speed-up."""
    text, runs = measured(figure["mean"]), figure["scenes"]
    if figure["metric"] == "p50_ms" and runs < MIN_RUNS:
        return f"{text} ({runs} run{'s' if runs > 1 else ''})"
    paper = figure["reported"]
    if figure["metric"] == "speedup" and paper is not None:
        return f"{text} ({paper if isinstance(paper, str) else f'{paper:.2f}'})"
    return text


def speed_remarks(found: Figures) -> list[str]:
    """Where all these times are from, and what the brackets hold."""
    first = found[0]
    limit = first["memory_limit_gib"]
    lines = [
        f"Speed on {first['device']}, {threads_text(first['threads'])}: models in turn, medians (CPU: of "
        "all threads), ratios from the rounds that both ran; in brackets the number of runs where time ran "
        "out before ten. Memory is the whole process's, what importing torch takes included; above loaded "
        "is without it."
    ]
    if limit:
        lines.append(f"OOM: needs more than {limit:g} GiB.")
    if any(f["metric"] == "speedup" and f["reported"] is not None for f in found):
        lines.append(
            "(paper): images/s over MST++'s as the paper reports them, from a Jetson Orin NX 16 GB: "
            "another device."
        )
    return lines


def short(name: str) -> str:
    """A reference as headings call it."""
    if name.startswith("mst-plus-plus"):
        return "MST++ as published" if ":reference" in name else "our MST++"
    return name


def pixels(size: str) -> int:
    """Of ``HEIGHTxWIDTH``."""
    height, width = size.split("x")
    return int(height) * int(width)


def training_table(models: Sequence[str]) -> str:
    """What the bundled weights among ``models`` cost, from their records; + : stage 1's runs."""
    rows = []
    for model in models:
        config = bundled_config(model)
        training = config["training"] if config else {}
        if config is None or "recipe" not in training:
            continue
        recipe = training["recipe"]
        before = (config["codebook"] or {}).get("stage1", [])
        seconds = [
            f"{training[key]:.0f}" + "".join(f" + {run[key]:.0f}" for run in before)
            for key in ("wall_seconds", "cpu_seconds")
        ]
        crops = f"{recipe['batch']} x {recipe['patch']}²"
        rows.append(
            [model, f"{training['steps']}", crops, f"{recipe['lr']:g}", recipe["precision"], *seconds]
        )
    return _table(["training", "steps", "crops", "lr", "precision", "wall s", "CPU s"], rows)


@cache
def bundled_config(model: str) -> Mapping[str, Any] | None:
    """config.json of the bundled weights of this name; None where a package carries none."""
    from hsrzoo.models.locate import bundled, folder_of
    from hsrzoo.models.names import parse_name
    from hsrzoo.models.weights import read_config

    if model not in bundled():
        return None
    try:
        return read_config(folder_of(parse_name(model)))
    except HsrzooError:  # declared and not installed
        return None
