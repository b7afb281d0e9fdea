"""The paper's figures beside ours, and the shape of tables."""

from __future__ import annotations

import csv
from importlib.resources import files
from typing import Any

import pytest
from hsrzoo_benchmark import brightness, mixed_patch
from hsrzoo_benchmark.protocol import named_protocol
from hsrzoo_benchmark.report import PAPER_TIME, reported_by_paper, speed_figures
from hsrzoo_benchmark.tables import Table, _significant, notes, speed_table, split_to_width

from hsrzoo.registries import MODELS

ARAD = {"dataset": "arad", "split": "valid", "protocol": "ntire2022"}


def paper() -> list[dict[str, str]]:
    text = (files("hsrzoo_benchmark") / "paper" / "reported.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def test_reported_figures_are_found_as_fractions_with_their_table() -> None:
    clean = {"bench": "accuracy", **ARAD, "perturbation": "", "severity": "", "tta": "0"}
    found = reported_by_paper(**clean, arch="mcga-s2", metric="mrae")
    assert found == {"value": 0.131, "note": "reported by the paper, table 1"}
    assert reported_by_paper(**clean, arch="mst-plus-plus", metric="psnr")["value"] == 34.32
    assert reported_by_paper(**{**clean, "dataset": "cave"}, arch="mcga-s2", metric="mrae") == {}
    assert reported_by_paper(**{**clean, "protocol": "full-frame"}, arch="mcga-s2", metric="mrae") == {}


def test_the_paper_s_plus_10_percent_stands_beside_the_brighter_row() -> None:
    key = {"bench": "brightness", **ARAD, "perturbation": "gamma", "tta": "1", "arch": "mcga-s2"}
    assert reported_by_paper(**key, severity="paper-plus10", metric="rmse")["value"] == 0.0227
    assert reported_by_paper(**key, severity="paper-minus10", metric="rmse")["value"] == 0.0273


def test_reported_oom_stays_a_word() -> None:
    found = reported_by_paper(bench="speed", severity="1024x1024", arch="hscnn-plus", metric="images_s")
    assert found["value"] == "OOM" and "Jetson" in found["note"]


def speed_row(model: str, size: int, runs: int) -> dict[str, Any]:
    return {
        "status": "ok", "size": [size, size], "run": "r", "p50": 12.3456, "p90": 13.0, "runs": runs,
        "seconds": [12.3456], "peak_mib": 300.0, "loaded_mib": 100.0, "macs": 0, "model": f"{model}.cave",
        "architecture": model, "weights_sha256": "0", "model_sha256": "1", "cap_seconds": 30.0,
    }  # fmt: skip


def test_speed_table_has_no_exponents_and_the_paper_s_time_once_a_model() -> None:
    rows = [speed_row(m, s, 3 if s == 512 else 10) for s in (256, 512) for m in ("mcga-s2", "poly")]
    figures = speed_figures(rows, "poly.cave")
    table = speed_table(figures, "poly.cave")
    assert table.columns[PAPER_TIME] == "ms per megapixel\nreported by the paper (V100)"
    assert [(row["size"], row["model"], row.get(PAPER_TIME)) for row in table.rows] == [
        ("256x256", "mcga-s2.cave", "93.6"),
        ("256x256", "poly.cave", None),
        ("512x512", "mcga-s2.cave", None),
        ("512x512", "poly.cave", None),
    ]
    first = table.rows[0]
    assert (first["p50_ms"], first["p90_ms"], first["gmacs"]) == ("12346", "13000", "0")
    assert (first["images_s"], first["megapixels_s"]) == ("0.081", "0.005308")
    assert notes(figures, ()) == [
        "Fewer than 10 runs: mcga-s2.cave, 512x512: 3 runs (capped at 30 s); "
        "poly.cave, 512x512: 3 runs (capped at 30 s)."
    ]
    assert notes(speed_figures(rows[:2], "poly.cave"), ()) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [(12345.6, "12346"), (1234.56, "1235"), (99.999, "100"), (0.081, "0.081"), (2.304e-5, "0.00002304")],
)
def test_numbers_of_the_speed_table(value: float, text: str) -> None:
    assert _significant(value) == text


def test_every_reported_row_belongs_to_something_that_the_harness_runs() -> None:
    conditions = {
        (c.perturbation, c.severity) for c in (*mixed_patch.conditions(), *brightness.conditions())
    }
    for row in paper():
        assert row["arch"] in MODELS.names()
        if row["bench"] == "speed":
            continue
        named_protocol(row["protocol"])
        if row["perturbation"]:
            assert (row["perturbation"], row["severity"]) in conditions
    keys = [tuple(v for k, v in row.items() if k not in ("value", "table", "note")) for row in paper()]
    assert len(set(keys)) == len(keys)


def test_wide_tables_are_split_by_metric() -> None:
    columns = {"condition": "c", "model": "m", "n": "n", **{f"x{i}": f"x{i}" for i in range(7)}}
    parts = split_to_width(Table("t", columns), 120)
    assert [[k for k in part.columns if k.startswith("x")] for part in parts] == [
        ["x0", "x1", "x2", "x3"],
        ["x4", "x5", "x6"],
    ]
    assert len(split_to_width(Table("t", columns), 1000)) == 1
    assert len(split_to_width(Table("t", columns), 20)) == 7
