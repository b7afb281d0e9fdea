"""Tables of the bundled models as Markdown (docs/tables.md), from stored rows alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hsrzoo.errors import HsrzooError, InputError, StoreError
from hsrzoo.utils.files import write_atomically
from hsrzoo_benchmark.results.boards import HEADINGS, Stored, boards, timed
from hsrzoo_benchmark.speed.timing import MIN_RUNS

START, END = "<!-- results -->", "<!-- end of results -->"
DISTURBED = {
    "mixed-patch 16": "mixed patches 16",
    "mixed-patch 8": "mixed patches 8",
    "gamma paper-minus10": "darker (e = 1/0.9)",
    "gamma paper-plus10": "brighter (e = 1/1.1)",
}
MEMORY = {
    ("rmse", "metamer 0.5"): "RMSE, metamers 0.5 ↓",
    ("rmse", "metamer 1"): "RMSE, metamers 1 ↓",
    ("unseen_clean", "metamer 1"): "unseen part explained ↑",
    ("unseen", "metamer 1"): "on metamers 1",
    ("colour_memory", "metamer 1"): "colour memory",
}
"""(metric, condition) -> heading."""
_ADAPTED = "brightness"
"""The benchmark that takes models with test-time adaptation too, whether that was asked for or not."""
Figures = Sequence[Mapping[str, Any]]


def fill(path: Path, text: str) -> None:
    """Put ``text`` between the two markers of a file; InputError where they are not there."""
    try:
        head, start, rest = path.read_text(encoding="utf-8").partition(START)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read", expected="a Markdown file in UTF-8", got=error) from None
    _, end, tail = rest.partition(END)
    if not start or not end:
        raise InputError(f"{path} has no place for the results", expected=f"the markers {START} and {END}")
    write_atomically(path, f"{head}{START}\n{text}\n{END}{tail}".encode())


def render(stored: Stored) -> str:
    """All tables of the data set and split with most rows, with the words that belong to them; of several
    protocols the first. StoreError without scores of undisturbed images."""
    ranked = [board for board in boards(_without_adapted(stored)) if board.main.contestants]
    home = next((board for board in ranked if board.first["perturbation"] is None), None)
    if home is None:
        raise StoreError(
            "There are no scores of undisturbed images",
            expected="rows of `hsrzoo bench --bench accuracy`",
            fix="Choose others with --dataset, --split and --model",
        )
    own = home.first
    same = ("dataset", "split", "protocol_name", "fingerprint")
    scores = [
        figure
        for board in ranked
        if all(board.first[key] == own[key] for key in same)
        for figure in board.figures
    ]
    speeds = [figure for group in timed(stored).values() for figure in group]
    models = in_order([*scores, *speeds])
    costs = training_table(models)
    first = next(f for f in scores if f["bench"] == "accuracy")
    lines = [
        f"{first['dataset']}/{first['split']}, {first['scenes']} scenes, protocol {first['protocol']} "
        f"(hash {first['hash']}): mean over scenes, 95 % bootstrap interval, "
        "scenes won against the best mean, rank group.",
        *remarks(scores, models),
        "",
        *clean_table(scores, models),
        *disturbed_table(scores, models),
        *memory_table(scores, models),
        *(["", *speed_tables(speeds, models)] if speeds else []),
        *(["", *costs] if costs else []),
    ]
    return "\n".join(lines)


def _without_adapted(stored: Stored) -> list[dict[str, Any]]:
    """Scores as a run without --tta has them."""
    return [row for row in stored.scores if not row["tta"] or row["bench"] == _ADAPTED]


def in_order(figures: Figures) -> list[str]:
    """Models by their mean RMSE on undisturbed images, those that were only timed last."""
    means = {
        f["model"]: f["mean"]
        for f in figures
        if f["bench"] == "accuracy" and f["metric"] == "rmse" and math.isfinite(f["mean"])
    }
    names = dict.fromkeys(f["model"] for f in figures)
    return sorted(names, key=lambda name: means.get(name, math.inf))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table, the first column left, the others right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    escaped = [[text.replace("|", "\\|") for text in row] for row in rows]
    return ["| " + " | ".join(line) + " |" for line in (head, rule, *escaped)]


def pick(figures: Figures, **wanted: Any) -> Mapping[str, Any] | None:
    """The figure with these values, or None."""
    return next((f for f in figures if all(f.get(k) == v for k, v in wanted.items())), None)


def number(value: float | str) -> str:
    """Four significant digits without an exponent; "OOM" as it is."""
    if isinstance(value, str):
        return value
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{value:g}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:#.4g}".rstrip(".")


def cell(figure: Mapping[str, Any] | None) -> str:
    """Mean, 95 % interval, scenes on which it beats the best mean, rank; n/a: nothing was measured."""
    if figure is None:
        return "n/a"
    beside = []
    if figure["low"] is not None:
        beside.append(f"{number(figure['low'])} to {number(figure['high'])}")
    if figure["wins"] is not None:
        beside.append(f"{figure['wins']}/{figure['scenes']}")
    text = number(figure["mean"]) + (f" ({', '.join(beside)})" if beside else "")
    return text + (f" #{figure['rank']}" if figure["rank"] else "")


def clean_table(figures: Figures, models: Sequence[str]) -> list[str]:
    """Accuracy on the undisturbed scenes."""
    rows = [
        [m, *(cell(pick(figures, bench="accuracy", model=m, metric=k, tta=False)) for k in HEADINGS)]
        for m in models
        if pick(figures, bench="accuracy", model=m)
    ]
    return table(["model", *HEADINGS.values()], rows)


def remarks(figures: Figures, models: Sequence[str]) -> list[str]:
    """What a model learned from besides this data set's training scenes, one line each."""
    found = []
    for model in models:
        figure = pick(figures, bench="accuracy", model=model)
        if figure and figure["trained_on"] not in (None, figure["dataset"]):
            found.append(f"{model}: out of domain, trained on {figure['trained_on']}.")
        if figure and figure["also_trained_on"]:
            found.append(f"{model}: codebooks also from {figure['also_trained_on']}.")
        if figure and figure["seen_in_training"]:
            found.append(f"{model}: scored on its own training scenes.")
    return found


def disturbed_table(figures: Figures, models: Sequence[str]) -> list[str]:
    """RMSE under disturbances, nothing without figures; models that can adapt have a second line."""
    rows = []
    for model in models:
        for tta in (False, True):
            found = [pick(figures, condition=c, model=model, metric="rmse", tta=tta) for c in DISTURBED]
            if any(found):
                rows.append([model + (" + TTA" if tta else ""), *(cell(f) for f in found)])
    return ["", *table(["RMSE ↓", *DISTURBED.values()], rows)] if rows else []


def memory_table(figures: Figures, models: Sequence[str]) -> list[str]:
    """What happens where the same picture has another truth; nothing without figures."""
    rows = []
    for model in models:
        found = [pick(figures, metric=m, condition=c, model=model, tta=False) for m, c in MEMORY]
        if any(found):
            rows.append([model, *(cell(f) for f in found)])
    return ["", *table(["same picture, other spectra", *MEMORY.values()], rows)] if rows else []


def speed_tables(figures: Figures, models: Sequence[str]) -> list[str]:
    """A table for each device, number of threads and limit of memory, as times of different ones are
    not comparable; nothing without figures."""
    groups: dict[Any, list[Mapping[str, Any]]] = {}
    for figure in figures:
        if figure["condition"]:
            place = figure["device"], figure["threads"], figure["memory_limit_gib"]
            groups.setdefault(place, []).append(figure)
    parts = [["", *speed_table(group, models)] for group in groups.values()]
    return [line for part in parts for line in part][1:]


def speed_table(figures: Figures, models: Sequence[str]) -> list[str]:
    """Cost of one image, measured in one place, from the smallest size to the largest."""
    references = references_of(figures)
    rows = []
    for size in sorted({f["condition"] for f in figures}, key=pixels):
        for model in models:
            found = {
                (f["metric"], f["reference"]): f
                for f in figures
                if (f["condition"], f["model"]) == (size, model)
            }
            if found:
                rows.append([f"{model}, {size}", *speed_cells(found, references)])
    head = ["batch 1", *(heading for heading, _, _ in speed_columns(references))]
    return [*speed_remarks(figures), "", *table(head, rows)]


def references_of(figures: Figures) -> list[str]:
    """What ratios refer to, the main one first."""
    return list(dict.fromkeys(f["reference"] for f in figures if f["reference"]))


def speed_columns(references: Sequence[str]) -> list[tuple[str, str, str | None]]:
    """(heading, metric, reference) of each; memory is compared with the first reference."""
    times = [(f"time / {short(name)}", "time_ratio", name) for name in references]
    against_main = [
        (heading.format(short(name)), metric, name)
        for name in references[:1]
        for heading, metric in (
            ("times faster than {} (paper)", "speedup"),
            ("peak / {}", "memory_ratio"),
            ("above loaded / {}", "growth_ratio"),
        )
    ]
    return [
        ("median ms", "p50_ms", None),
        ("images/s", "images_s", None),
        *times,
        *against_main[:1],
        ("peak MiB", "peak_mib", None),
        *against_main[1:],
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
    text, runs = number(figure["mean"]), figure["scenes"]
    if figure["metric"] == "p50_ms" and runs < MIN_RUNS:
        return f"{text} ({runs} run{'s' if runs > 1 else ''})"
    paper = figure["reported"]
    if figure["metric"] == "speedup" and paper is not None:
        return f"{text} ({paper if isinstance(paper, str) else f'{paper:.2f}'})"
    return text


def speed_remarks(figures: Figures) -> list[str]:
    """Where all these times are from, and what stands in brackets."""
    first = figures[0]
    limit, plural = first["memory_limit_gib"], "s" if first["threads"] > 1 else ""
    found = [
        f"Speed on {first['device']}, {first['threads']} thread{plural}: models in turn, medians, ratios "
        "from the rounds that both ran; in brackets the number of runs where time ran out before ten. "
        "Memory is the whole process's, what importing torch takes included; above loaded is without it."
    ]
    if limit:
        found.append(f"OOM: needs more than {limit:g} GiB.")
    if any(f["metric"] == "speedup" and f["reported"] is not None for f in figures):
        found.append(
            "(paper): images/s over MST++'s as the paper reports them, from a Jetson Orin NX 16 GB: "
            "another device."
        )
    return found


def short(name: str) -> str:
    """A reference as headings call it."""
    if name.startswith("mst-plus-plus"):
        return "MST++ as published" if ":reference" in name else "our MST++"
    return name


def pixels(size: str) -> int:
    """Of ``HEIGHTxWIDTH``."""
    height, width = size.split("x")
    return int(height) * int(width)


def training_table(models: Sequence[str]) -> list[str]:
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
    return table(["training", "steps", "crops", "lr", "precision", "wall s", "CPU s"], rows) if rows else []


def bundled_config(model: str) -> dict[str, Any] | None:
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
