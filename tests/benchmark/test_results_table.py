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


def speed(model: str, metric: str, mean: float | str, size: int = 512, **changes: Any) -> dict[str, Any]:
    base = {
        "bench": "speed", "protocol": None, "condition": f"{size}x{size}", "tta": None, "scenes": 10,
        "reference": None, "reported": None, "device": "AMD", "threads": 2, "memory_limit_gib": 4.0,
    }  # fmt: skip
    return figure(model, metric, mean, **{**base, **changes})


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

Speed on AMD, 2 threads: models in turn, medians, ratios from the rounds that both ran; in brackets \
the number of runs where time ran out before ten. Memory is the whole process's, what importing torch \
takes included; above loaded is without it.
OOM: needs more than 4 GiB.

| batch 1 | median ms | images/s | peak MiB | GMAC |
| --- | ---: | ---: | ---: | ---: |
| a, 512x512 | 12346 | n/a | n/a | n/a |
| b, 512x512 | OOM |  | OOM |  |"""


def test_three_tables_of_one_protocol(script: ModuleType) -> None:
    assert script.markdown(FIGURES) == EXPECTED


REFERENCES = ("mst-plus-plus.cave:reference", "mst-plus-plus.cave")


def ratios(model: str, size: int, published: float, ours: float, paper: float | str | None) -> list[Any]:
    return [
        speed(model, "time_ratio", published, size, reference=REFERENCES[0]),
        speed(model, "speedup", 1 / published, size, reference=REFERENCES[0], reported=paper),
        speed(model, "memory_ratio", 0.5, size, reference=REFERENCES[0]),
        speed(model, "growth_ratio", 0.25, size, reference=REFERENCES[0]),
        speed(model, "time_ratio", ours, size, reference=REFERENCES[1]),
        speed(model, "memory_ratio", 0.75, size, reference=REFERENCES[1]),
    ]


def test_speed_by_size_with_two_references_the_paper_and_few_runs(script: ModuleType) -> None:
    figures = [
        speed("big", "p50_ms", 2000.0, 1024, scenes=1),
        *ratios("big", 1024, 0.2, 0.5, "OOM"),
        speed("big", "p50_ms", 200.0),
        speed("big", "images_s", 5.0),
        *ratios("big", 512, 0.125, 0.5, 4.06306),
        speed("big", "peak_mib", 800.0),
        speed("small", "p50_ms", 20.0, scenes=9),
        {**speed("big", "ms_per_megapixel", 1.0), "condition": None},  # the paper's, of no size
    ]
    *remarks, _, head, _, first, second, third = script.speed_tables(figures, ["big", "small"])
    assert remarks[2].startswith("(paper): images/s over MST++'s as the paper reports them, from a Jetson")
    assert head.strip("| ").split(" | ") == [
        "batch 1",
        "median ms",
        "images/s",
        "time / MST++ as published",
        "time / our MST++",
        "times faster than MST++ as published (paper)",
        "peak MiB",
        "peak / MST++ as published",
        "above loaded / MST++ as published",
        "GMAC",
    ]
    numbers = first.removeprefix("| big, 512x512 | ")
    assert numbers == "200.0 | 5.000 | 0.1250 | 0.5000 | 8.000 (4.06) | 800.0 | 0.5000 | 0.2500 | n/a |"
    assert second == "| small, 512x512 | 20.00 (9 runs) |" + " n/a |" * 8
    assert third.startswith("| big, 1024x1024 | 2000 (1 run) | n/a | 0.2000 | 0.5000 | 5.000 (OOM) | n/a |")


def test_without_speed_there_is_no_speed_table(script: ModuleType) -> None:
    assert script.speed_tables(FIGURES[:1], ["a"]) == []
    assert "batch 1" not in script.markdown(FIGURES[:1])


@pytest.mark.parametrize(
    ("key", "values", "sentences"),
    [
        ("threads", (1, 2), ("Speed on AMD, 1 thread:", "Speed on AMD, 2 threads:")),
        ("device", ("AMD", "H100"), ("Speed on AMD, 2 threads:", "Speed on H100, 2 threads:")),
        (
            "memory_limit_gib",
            (4.0, 8.0),
            ("OOM: needs more than 4 GiB.", "OOM: needs more than 8 GiB."),
        ),
    ],
)
def test_times_of_two_commands_under_other_conditions_have_a_table_each(
    script: ModuleType, key: str, values: tuple[Any, Any], sentences: tuple[str, str]
) -> None:
    outputs = [
        json.dumps([speed(model, "p50_ms", time + i, **{key: value}) for model in ("a", "b")])
        for i, (time, value) in enumerate(zip((100.0, 200.0), values, strict=True))
    ]
    lines = script.speed_tables(script.read("\n".join(outputs)), ["a", "b"])
    places = [next(i for i, line in enumerate(lines) if line.startswith(s)) for s in sentences]
    heads = [i for i, line in enumerate(lines) if line.startswith("| batch 1")]
    assert places[0] < heads[0] < places[1] < heads[1]
    assert [line.split(" | ")[:2] for line in lines if line.startswith(("| a", "| b,"))] == [
        ["| a, 512x512", "100.0"],
        ["| b, 512x512", "100.0"],
        ["| a, 512x512", "201.0"],
        ["| b, 512x512", "201.0"],
    ]


def test_models_that_were_only_timed_have_no_row_of_scores(script: ModuleType) -> None:
    text = script.markdown([*FIGURES, speed("timed", "p50_ms", 1.0)])
    assert [line.split(" | ")[0] for line in text.splitlines() if "timed" in line] == ["| timed, 512x512"]


def test_the_lists_of_several_commands_may_follow_one_another(script: ModuleType) -> None:
    assert script.read("[1, 2]\n[3]\n") == [1, 2, 3] and script.read("[]") == []
    for text in ("", "[1] and more", "[1"):
        with pytest.raises(SystemExit, match="expected the JSON"):
            script.read(text)


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


def test_metamers_have_a_table_of_their_own(script: ModuleType) -> None:
    figures = [
        *FIGURES,
        figure("a", "rmse", 0.1, bench="metamer", condition="metamer 1"),
        figure("a", "colour_memory", 0.75, bench="metamer", condition="metamer 1"),
    ]
    lines = script.markdown(figures).splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("| same picture"))
    assert lines[first] == (
        "| same picture, other spectra | RMSE, metamers 0.5 ↓ | RMSE, metamers 1 ↓ "
        "| unseen part explained ↑ | on metamers 1 | colour memory |"
    )
    assert lines[first + 2 : first + 4] == ["| a | n/a | 0.1000 | n/a | n/a | 0.7500 |", ""]
