"""Trials of recipes and settings on held-out training scenes: their rows, and docs/search.md from them.

    python scripts/trials.py runs/trial-a runs/trial-b    # adds one row each to docs/trials.jsonl
    python scripts/trials.py                              # writes docs/search.md anew

A trial is a run of ``hsrzoo train ... --holdout N``; what it was, what it cost and every figure on the
scenes held out stand in its folder. Notes that say why a trial was made are kept by hand in NOTES.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hsrzoo.spec import Recipe

ROWS = Path("docs/trials.jsonl")
PAGE = Path("docs/search.md")
FREE = ("steps", "holdout", "valid_every", "checkpoint_every", "seed", "precision")
"""Fields of the recipe that are shown apart or decide nothing."""
USUAL = ("widths", "blocks", "n_codes", "latent", "scales")
"""Arguments that say no more than the model's name and its codebooks do."""
NOTES = json.loads((Path(__file__).parent / "trials_notes.json").read_text(encoding="utf-8"))
HEAD = """# What was tried

Written by `python scripts/trials.py` from `docs/trials.jsonl`: every trial that chose, or failed to
choose, a recipe or a setting. All were trained on 16 of the 20 training scenes of CAVE and are judged on
the other four: the last by name, or with "fold 2" the 9th to the 12th. No trial read a scene of
cave/valid, and the one choice that was made after seeing figures there is told below. One seed each, so
differences below about 3 % say nothing. "Best" is the best validation of the run, "last" is what the run
returns.

| trial | what | steps | CPU s | RMSE, best | RMSE, last | SAM, last | MRAE, last | commit |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |
"""


def row_of(run: Path) -> dict[str, Any]:
    """One row from the folder of a finished or stopped run."""
    config = json.loads((run / "config.json").read_text())
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    valid = [
        {k.removeprefix("valid_"): v for k, v in line.items() if k.startswith("valid_") or k == "step"}
        for line in lines
        if "valid_rmse" in line
    ]
    return {
        "trial": run.name,
        "model": config["task"]["model"],
        "arguments": config["task"]["arguments"],
        "codebooks": config["task"]["start"].get("sources", []),
        "recipe": config["recipe"],
        "held_out": config["task"]["held_out"],
        "steps": lines[-1]["step"],
        "cpu_seconds": lines[-1]["cpu_seconds"],
        "valid": valid,
        "provenance": config["notes"].get("provenance"),
    }


def what(row: Mapping[str, Any]) -> str:
    """What makes this trial: the model, and what differs from the common recipe."""
    common = {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(Recipe()).items()}
    changed = [
        f"{key} {', '.join(value) if isinstance(value, list) else value}"
        for key, value in row["recipe"].items()
        if key not in FREE and key in common and value != common[key]
    ]
    own = {k: v for k, v in row["arguments"].items() if k not in USUAL}
    changed += [f"{key}={value}" for key, value in own.items()]
    return "; ".join([row["model"], *changed, *NOTES.get(row["trial"], [])])


def line(row: Mapping[str, Any]) -> str:
    """One line of the table."""
    last, best = row["valid"][-1], min(row["valid"], key=lambda v: v["rmse"])
    origin = row["provenance"] or {}
    commit = str(origin.get("commit"))[:9] + ("+" if origin.get("dirty") else "")
    cells = [
        row["trial"],
        what(row),
        f"{row['steps']}",
        f"{row['cpu_seconds']:.0f}",
        f"{best['rmse']:.4f} at {best['step']}",
        *(f"{last[key]:.4f}" if key == "rmse" else f"{last[key]:.3g}" for key in ("rmse", "sam", "mrae")),
        commit,
    ]
    return "| " + " | ".join(cells) + " |"


def main(runs: list[Path]) -> None:
    """Add rows of ``runs``, replacing those of the same name; without any, write the page."""
    rows = [json.loads(text) for text in ROWS.read_text().splitlines()] if ROWS.is_file() else []
    for run in runs:
        rows = [row for row in rows if row["trial"] != run.name] + [row_of(run)]
    ROWS.parent.mkdir(parents=True, exist_ok=True)
    ROWS.write_text("".join(json.dumps(row, sort_keys=True) + "\n" for row in rows))
    if not runs:
        table = "\n".join(line(row) for row in rows if row["valid"])
        PAGE.write_text(HEAD + table + "\n\n" + "\n\n".join(NOTES["conclusions"]) + "\n")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
