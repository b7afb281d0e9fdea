"""The README's results, as Markdown, from the figures that ``hsrzoo bench --json`` prints.

    hsrzoo bench ... --bench all --store records --json | python scripts/results_table.py README.md

replaces what stands between the two markers in the file; without a file it prints. The output of several
commands may follow one another. Where the data set has several protocols, the first one of the figures
is shown.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

START, END = "<!-- results -->", "<!-- end of results -->"
CLEAN = {"rmse": "RMSE ↓", "psnr": "PSNR dB ↑", "sam": "SAM ° ↓", "mrae": "MRAE ↓", "de2000": "dE2000 ↓"}
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
MIN_RUNS = 10
"""Of a cell of the speed benchmark, unless it was capped."""
Figures = Sequence[Mapping[str, Any]]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table, the first column left, the others right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return ["| " + " | ".join(line) + " |" for line in (head, rule, *rows)]


def pick(figures: Figures, **wanted: Any) -> Mapping[str, Any] | None:
    """The figure with these values, or None."""
    return next((f for f in figures if all(f.get(k) == v for k, v in wanted.items())), None)


def number(value: float | str) -> str:
    """Four significant digits without an exponent; "OOM" as it is."""
    if isinstance(value, str):
        return value
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:#.4g}".rstrip(".")


def cell(figure: Mapping[str, Any] | None) -> str:
    """Mean, 95 % interval, scenes on which it beats the best mean, rank; n/a: nothing was measured."""
    if figure is None:
        return "n/a"
    if figure["mean"] is None:  # JSON has no NaN
        return "NaN"
    text = number(figure["mean"])
    beside = []
    if figure["low"] is not None:
        beside.append(f"{number(figure['low'])} to {number(figure['high'])}")
    if figure["wins"] is not None:
        beside.append(f"{figure['wins']}/{figure['scenes']}")
    text += f" ({', '.join(beside)})" if beside else ""
    return text + (f" #{figure['rank']}" if figure["rank"] else "")


def clean_table(figures: Figures, models: Sequence[str]) -> list[str]:
    """Accuracy on the undisturbed scenes."""
    rows = [
        [m, *(cell(pick(figures, bench="accuracy", model=m, metric=k, tta=False)) for k in CLEAN)]
        for m in models
        if pick(figures, bench="accuracy", model=m)
    ]
    return table(["model", *CLEAN.values()], rows)


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
    """RMSE under disturbances; models that can adapt have a second line."""
    rows = []
    for model in models:
        for tta in (False, True):
            found = [pick(figures, condition=c, model=model, metric="rmse", tta=tta) for c in DISTURBED]
            if any(found):
                rows.append([model + (" + TTA" if tta else ""), *(cell(f) for f in found)])
    return table(["RMSE ↓", *DISTURBED.values()], rows)


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
        if figure["bench"] == "speed" and figure["condition"]:
            place = figure["device"], figure["threads"], figure["memory_limit_gib"]
            groups.setdefault(place, []).append(figure)
    parts = [["", *speed_table(group, models)] for group in groups.values()]
    return [line for part in parts for line in part][1:]


def speed_table(figures: Figures, models: Sequence[str]) -> list[str]:
    """Cost of one image, measured in one place, from the smallest size to the largest."""
    references = list(dict.fromkeys(f["reference"] for f in figures if f["reference"]))
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


def markdown(figures: Figures) -> str:
    """All tables with the words that belong to them."""
    models = list(dict.fromkeys(f["model"] for f in figures))
    speeds = speed_tables(figures, models)
    first = pick(figures, bench="accuracy")
    if first is None:
        raise SystemExit("expected the figures of hsrzoo bench --bench all --json, got no accuracy")
    figures = [f for f in figures if f["bench"] == "speed" or f["protocol"] == first["protocol"]]
    lines = [
        f"{first['dataset']}/{first['split']}, {first['scenes']} scenes, protocol {first['protocol']} "
        f"(hash {first['hash']}): mean over scenes, 95 % bootstrap interval, "
        "scenes won against the best mean, rank group.",
        *remarks(figures, models),
        "",
        *clean_table(figures, models),
        "",
        *disturbed_table(figures, models),
        *memory_table(figures, models),
        *(["", *speeds] if speeds else []),
    ]
    return "\n".join(lines)


def training_table(models: Sequence[str]) -> list[str]:
    """What the trained weights of ``models`` cost, from their records; + : stage 1's runs."""
    from hsrzoo.names import parse_name
    from hsrzoo.weights import bundled, folder_of, read_config

    rows = []
    for model in models:
        if model not in bundled():
            continue
        config = read_config(folder_of(parse_name(model)))
        training = config["training"]
        if "recipe" not in training:
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


def read(text: str) -> list[Mapping[str, Any]]:
    """The figures of one or several JSON lists, one after another."""
    decoder, figures, text = json.JSONDecoder(), [], text.strip()
    try:
        while True:
            part, end = decoder.raw_decode(text)
            figures += part
            text = text[end:].strip()
            if not text:
                return figures
    except ValueError:
        raise SystemExit("expected the JSON of hsrzoo bench --json on standard input") from None


def main() -> None:
    """Read figures from standard input; fill the file named, or print."""
    figures = read(sys.stdin.read())
    models = list(dict.fromkeys(f["model"] for f in figures))
    costs = training_table(models)
    text = "\n".join([markdown(figures), *([""] if costs else []), *costs])
    if len(sys.argv) < 2:
        print(text)
        return
    path = Path(sys.argv[1])
    head, start, rest = path.read_text(encoding="utf-8").partition(START)
    _, end, tail = rest.partition(END)
    if not start or not end:
        raise SystemExit(f"{path} needs the markers {START} and {END}")
    path.write_text(f"{head}{START}\n{text}\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
