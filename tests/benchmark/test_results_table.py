"""The script that fills the README: figures in, Markdown out."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "results_table.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("results_table", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def figure(model: str, metric: str, mean: float | str | None, **changes: Any) -> dict[str, Any]:
    base = {
        "bench": "accuracy", "dataset": "cave", "split": "test", "protocol": "full-frame",
        "hash": "abc", "condition": "clean", "model": model, "tta": False, "metric": metric,
        "mean": mean, "low": None, "high": None, "rank": None, "wins": None, "scenes": 4,
        "trained_on": "cave", "also_trained_on": None, "seen_in_training": False,
    }  # fmt: skip
    return {**base, **changes}


def speed(model: str, metric: str, mean: float | str) -> dict[str, Any]:
    return figure(
        model, metric, mean, bench="speed", protocol=None, condition="512x512", tta=None, scenes=10
    )


FIGURES = [
    figure("a", "rmse", 0.02, low=0.01, high=0.03, rank=1),
    figure("a", "rmse", 0.5, protocol="ntire2022", rank=1),
    figure("b", "rmse", 0.04, low=0.03, high=0.05, rank=2, wins=0),
    figure("b", "psnr", None),  # JSON's NaN
    figure("a", "rmse", 0.06, bench="brightness", condition="gamma paper-plus10"),
    figure("b", "rmse", 0.9, bench="brightness", condition="gamma paper-plus10", protocol="ntire2022"),
    figure("b", "rmse", 0.05, bench="brightness", condition="gamma paper-plus10", tta=True, wins=3),
    speed("a", "p50_ms", 12345.6),
    speed("b", "status", "OOM"),
]
EXPECTED = """\
cave/test, 4 scenes, protocol full-frame (hash abc): mean over scenes, 95 % bootstrap interval, \
scenes won against the best mean, rank group.

| model | RMSE ↓ | PSNR dB ↑ | SAM ° ↓ | MRAE ↓ | dE2000 ↓ |
| --- | ---: | ---: | ---: | ---: | ---: |
| a | 0.02000 (0.01000 to 0.03000) #1 | n/a | n/a | n/a | n/a |
| b | 0.04000 (0.03000 to 0.05000, 0/4) #2 | NaN | n/a | n/a | n/a |

| RMSE ↓ | mixed patches 16 | mixed patches 8 | darker (e = 1/0.9) | brighter (e = 1/1.1) |
| --- | ---: | ---: | ---: | ---: |
| a | n/a | n/a | n/a | 0.06000 |
| b + TTA | n/a | n/a | n/a | 0.05000 (3/4) |

| batch 1 | median ms | time / MST++'s | peak MiB | GMAC |
| --- | ---: | ---: | ---: | ---: |
| a, 512x512 | 12346 | n/a | n/a | n/a |
| b, 512x512 | OOM |  |  |  |"""


def test_three_tables_of_one_protocol(script: ModuleType) -> None:
    assert script.markdown(FIGURES) == EXPECTED


def test_remarks_on_what_a_model_learned_from(script: ModuleType) -> None:
    figures = [
        figure("a", "rmse", 0.1, also_trained_on="indian-pines"),
        figure("b", "rmse", 0.1, trained_on="arad"),
        figure("c", "rmse", 0.1, trained_on=None, seen_in_training=True),
    ]
    assert script.remarks(figures, ["a", "b", "c"]) == [
        "a: codebooks also from indian-pines.",
        "b: out of domain, trained on arad.",
        "c: scored on its own training scenes.",
    ]


def run(script: ModuleType, monkeypatch: pytest.MonkeyPatch, figures: Any, *arguments: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(figures)))
    monkeypatch.setattr(sys, "argv", ["results_table.py", *arguments])
    script.main()


def test_only_what_stands_between_the_markers_is_replaced(script, monkeypatch, tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"# Head\n{script.START}\nold\n{script.END}\ntail\n", encoding="utf-8")
    for _ in range(2):  # a second time changes nothing
        run(script, monkeypatch, FIGURES, str(path))
        filled = f"# Head\n{script.START}\n{EXPECTED}\n{script.END}\ntail\n"
        assert path.read_text(encoding="utf-8") == filled


@pytest.mark.parametrize("text", ["", "<!-- results -->", "<!-- end of results -->"])
def test_missing_markers_end_with_their_names_and_an_untouched_file(
    script, monkeypatch, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "README.md"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit, match=r"needs the markers <!-- results --> and <!-- end of results -->"):
        run(script, monkeypatch, FIGURES, str(path))
    assert path.read_text(encoding="utf-8") == text


def test_figures_without_accuracy_are_refused(script, monkeypatch) -> None:
    with pytest.raises(SystemExit, match="no accuracy"):
        run(script, monkeypatch, [speed("a", "p50_ms", 1.0)])
