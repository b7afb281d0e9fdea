"""The README's results, as Markdown, from the figures that ``hsrzoo bench --json`` prints.

    hsrzoo bench ... --bench all --store records --json | python scripts/results_table.py README.md

replaces what stands between the two markers in the file; without a file it prints. Where the data set
has several protocols, the first one of the figures is shown.
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
SPEED = {"p50_ms": "median ms", "time_ratio": "time / MST++'s", "peak_mib": "peak MiB", "gmacs": "GMAC"}
Figures = Sequence[Mapping[str, Any]]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table, the first column left, the others right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return ["| " + " | ".join(line) + " |" for line in (head, rule, *rows)]


def pick(figures: Figures, **wanted: Any) -> Mapping[str, Any] | None:
    """The figure with these values, or None."""
    return next((f for f in figures if all(f[k] == v for k, v in wanted.items())), None)


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


def speed_table(figures: Figures, models: Sequence[str]) -> list[str]:
    """Cost of one image at two sizes."""
    rows = []
    for size in ("512x512", "1024x1024"):
        for model in models:
            oom = pick(figures, bench="speed", condition=size, model=model, metric="status")
            found = [pick(figures, bench="speed", condition=size, model=model, metric=k) for k in SPEED]
            if oom or any(found):
                values = ["OOM"] if oom else [number(f["mean"]) if f else "n/a" for f in found]
                rows.append([f"{model}, {size}", *values, *[""] * (len(SPEED) - len(values))])
    return table(["batch 1", *SPEED.values()], rows)


def markdown(figures: Figures) -> str:
    """All three tables with the words that belong to them."""
    models = list(dict.fromkeys(f["model"] for f in figures))
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
        "",
        *speed_table(figures, models),
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


def main() -> None:
    """Read figures from standard input; fill the file named, or print."""
    try:
        figures = json.load(sys.stdin)
    except ValueError:
        raise SystemExit("expected the JSON of hsrzoo bench --json on standard input") from None
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
