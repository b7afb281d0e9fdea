"""Made-up rows of a store: scores that a test chooses, all else as a run writes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from hsrzoo.results import ScoreRow

SCENES = ("a", "b", "c", "d")


def rows(
    model: str,
    rmse: Sequence[float],
    *,
    dataset: str = "cave",
    split: str = "valid",
    protocol: str = "full-frame",
    condition: tuple[str, str] | None = None,
    tta: bool = False,
    metrics: Mapping[str, Sequence[float]] | None = None,
    weights: str = "1",
    group: str = "",
    day: int = 1,
    **changes: Any,
) -> list[dict[str, Any]]:
    """One row a scene with the values ``rmse``; the other metrics follow it unless they are given."""
    perturbation, severity = condition or (None, None)
    shared = sha256(f"{dataset}{split}{protocol}{condition}{group}".encode()).hexdigest()
    found = []
    for i, (scene, value) in enumerate(zip(SCENES, rmse, strict=False)):
        scores = {
            "rmse": value,
            "mrae": 5 * value,
            "psnr": 40 - 100 * value,
            "sam": 300 * value,
            "de2000": 1.0,
        }
        found.append({
            "schema": "hsrzoo.result/1", "bench": "accuracy" if condition is None else condition[0],
            "model": model, "architecture": model.partition(".")[0], "scene": scene,
            "dataset": dataset, "split": split,
            "protocol_name": protocol, "protocol_hash": f"{shared}{tta:d}", "protocol_group": shared,
            "perturbation": perturbation,
            "severity": severity, "seed": None if condition is None else 0, "tta": tta,
            "fingerprint": "f", "weights_sha256": f"w{model}{weights}",
            "model_sha256": f"m{model}{weights}", "timestamp": f"2026-01-{day:02}T00:00:00",
            "protocol": {"resampled_from": None, "tta_settings": {}},
            "provenance": {"commit": "0123456789abcdef", "dirty": False},
            "training": {"steps": 100, "wall_seconds": 20.0, "cpu_seconds": 10.0, "seed": 0,
                         "recipe_sha256": "r", "codebook_wall_seconds": 2.0, "codebook_cpu_seconds": 1.0},
            "metrics": {**scores, **{k: v[i] for k, v in (metrics or {}).items()}},
            **changes,
        })  # fmt: skip
    return found


def folds(
    model: str, rmse: Sequence[Sequence[float]], make: Callable[..., Any] = rows, **changes: Any
) -> list[dict[str, Any]]:
    """Rows of cross-validation: one list of values and weights for each fold, all scenes different.

    ``make``: what makes the rows of a fold.
    """
    return [
        {**row, "scene": f"{row['scene']}-{k}"}
        for k, values in enumerate(rmse)
        for row in make(
            model, values, split=f"fold-{k}", weights=str(k), **{"protocol_group": "0" * 64, **changes}
        )
    ]


def typed(*groups: Sequence[Mapping[str, Any]]) -> list[ScoreRow]:
    """The rows as the reader gives them."""
    return [ScoreRow.from_json(row) for group in groups for row in group]


def write(root: Path, *groups: Sequence[Mapping[str, Any]]) -> Path:
    """A store with these rows; the folder."""
    folder = root / "cave-valid" / "made-up"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{len(list(folder.iterdir()))}.jsonl", "w") as file:
        file.writelines(json.dumps(row) + "\n" for group in groups for row in group)
    return root
