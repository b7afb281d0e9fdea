"""The paper's figures beside ours, and the shape of tables."""

from __future__ import annotations

import csv
from importlib.resources import files
from typing import Any

import pytest

from hsrzoo.registry import MODELS, PERTURBATIONS
from hsrzoo.results import SpeedRow
from hsrzoo_benchmark.plan.conditions import conditions_of
from hsrzoo_benchmark.protocol import named_protocol
from hsrzoo_benchmark.results.reported import reported_by_paper
from hsrzoo_benchmark.results.speeds import PAPER_TIME, main_machine, speed_figures
from hsrzoo_benchmark.tables.numbers import trimmed
from hsrzoo_benchmark.tables.terminal import Table, notes, speed_table, split_to_width

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


def speed_row(architecture: str, size: int, runs: int = 10, **changes: Any) -> SpeedRow:
    row = {
        "bench": "speed", "timestamp": "2026-01-01",
        "status": "ok", "size": [size, size], "run": "r", "p50": 12.3456, "p90": 13.0, "runs": runs,
        "seconds": [12.3456], "peak_mib": 300.0, "loaded_mib": 100.0, "macs": 0,
        "model": f"{architecture}.cave",
        "architecture": architecture, "weights_sha256": "0", "model_sha256": "1", "cap_seconds": 30.0,
        "memory_limit_gib": 4.0, "provenance": {"device_name": "AMD", "threads": 2},
    }  # fmt: skip
    return SpeedRow.from_json({**row, **changes})


def test_the_main_machine_timed_most_models_and_of_equals_is_the_newest() -> None:
    def row(model: str, threads: int, day: int) -> SpeedRow:
        provenance = {"device_name": "AMD", "threads": threads}
        return speed_row(model, 512, provenance=provenance, timestamp=f"2026-01-0{day}")

    assert main_machine([]) is None
    both = [row("poly", 2, 1), row("linear", 2, 1), row("poly", 1, 2), row("poly", 1, 3)]
    assert main_machine(both) == ("AMD", 2)
    assert main_machine([*both, row("linear", 1, 4)]) == ("AMD", 1)


def test_speed_table_has_no_exponents_and_the_paper_s_time_once_a_model() -> None:
    rows = [speed_row(m, s, 3 if s == 512 else 10) for s in (256, 512) for m in ("mcga-s2", "poly")]
    figures = speed_figures(rows, ["poly.cave"])
    table = speed_table(figures, ["poly.cave"])
    assert table.columns[PAPER_TIME] == "ms per megapixel,\nreported by the paper (V100)"
    assert [(row["size"], row["model"], row["runs"], row.get(PAPER_TIME)) for row in table.rows] == [
        ("256x256", "mcga-s2.cave", "10", "93.6"),
        ("256x256", "poly.cave", "10", None),
        ("512x512", "mcga-s2.cave", "3 (capped)", None),
        ("512x512", "poly.cave", "3 (capped)", None),
    ]
    first = table.rows[0]
    assert (first["p50_ms"], first["p90_ms"], first["gmacs"]) == ("12346", "13000", "0")
    assert (first["images_s"], first["megapixels_s"]) == ("0.081", "0.005308")
    assert notes(figures, ()) == [
        "Fewer than 10 runs: mcga-s2.cave, 512x512: 3 runs (capped at 30 s); "
        "poly.cave, 512x512: 3 runs (capped at 30 s)."
    ]
    assert notes(speed_figures(rows[:2], ["poly.cave"]), ()) == []


ROWS = [
    speed_row("mcga-s2", 1024, seconds=[2.0], peak_mib=200.0),
    speed_row("mcga-s2", 1024, model="mcga-s2.cave [bf16]", seconds=[1.0]),
    speed_row("hscnn-plus", 1024, status="OOM", runs=0),
    speed_row("mst-plus-plus", 1024, seconds=[8.0]),
    speed_row("mst-plus-plus", 1024, model="mst-plus-plus.cave:reference", seconds=[12.0], peak_mib=500.0),
]
REFERENCES = ["mst-plus-plus.cave:reference", "mst-plus-plus.cave"]


def test_ratios_to_every_reference_and_memory_s_to_the_main_one() -> None:
    figures = speed_figures(ROWS, REFERENCES)
    table = speed_table(figures, REFERENCES)
    assert table.title == "speed: batch 1, AMD, 2 threads, at most 4 GiB"
    published, ours = (f"time_ratio {name}" for name in REFERENCES)
    memory = f"memory_ratio {REFERENCES[0]}"
    told = [table.columns[key] for key in (published, ours, memory)]
    assert told == [
        "time /\nmst-plus-plus.cave:reference's",
        "time /\nmst-plus-plus.cave's",
        "peak /\nmst-plus-plus.cave:reference's",
    ]
    cells = {row["model"]: (row.get(published), row.get(ours), row.get(memory)) for row in table.rows}
    assert cells == {
        "mcga-s2.cave": ("0.1667", "0.25", "0.4"),
        "mcga-s2.cave [bf16]": ("0.08333", "0.125", "0.6"),
        "hscnn-plus.cave": (None, None, None),
        "mst-plus-plus.cave": ("0.6667", "1", "0.6"),
        "mst-plus-plus.cave:reference": ("1", "1.5", "1"),
    }
    oom = next(row for row in table.rows if row["model"] == "hscnn-plus.cave")
    assert (oom["p50_ms"], oom["peak_mib"], oom["runs"]) == ("OOM", "OOM", "0")
    against_ours = [f for f in figures if f["reference"] == REFERENCES[1] and f["model"] == "mcga-s2.cave"]
    assert {f["metric"]: f["mean"] for f in against_ours} == pytest.approx(
        {"time_ratio": 0.25, "speedup": 4.0, "memory_ratio": 2 / 3, "growth_ratio": 0.5}
    )


def test_the_paper_s_speed_up_over_mst_stands_beside_ours_only_where_it_is_the_same_network() -> None:
    figures = speed_figures(ROWS, REFERENCES)
    found = {
        f["model"]: f["reported"]
        for f in figures
        if f["metric"] == "speedup" and f["reference"] == REFERENCES[0] and f["reported"] is not None
    }
    assert found == pytest.approx(
        {
            "mcga-s2.cave": 1.29 / 0.3,  # images a second
            "mst-plus-plus.cave": 1.0,
            "mst-plus-plus.cave:reference": 1.0,
        }
    )
    table = speed_table(figures, REFERENCES)
    key = f"speedup {REFERENCES[0]} paper"
    assert table.columns[key] == "times faster than MST++,\nreported by the paper (Jetson Orin NX 16 GB)"
    assert [row.get(key) for row in table.rows] == ["4.3", None, None, "1", "1"]
    assert [row.get("images_s paper") for row in table.rows] == ["1.29", None, None, "0.3", "0.3"]
    alone = speed_figures(ROWS, ["mcga-s2.cave [bf16]"])  # no figures of the paper for that
    assert all(f["reported"] is None for f in alone if f["metric"] == "speedup")


def test_a_gpu_s_bound_has_columns_only_where_it_was_measured() -> None:
    on_gpu = speed_row("poly", 1000, device_p50=0.5, bandwidth=136e9, bands=31)
    table = speed_table(speed_figures([on_gpu], ["poly.cave"]), ["poly.cave"])
    assert table.rows[0]["device_megapixels_s"] == "2" and table.rows[0]["bound_megapixels_s"] == "1000"
    on_cpu = speed_table(speed_figures([speed_row("poly", 8)], ["poly.cave"]), ["poly.cave"])
    assert "bound_megapixels_s" in table.columns and "bound_megapixels_s" not in on_cpu.columns


@pytest.mark.parametrize(
    ("value", "text"),
    [(12345.6, "12346"), (1234.56, "1235"), (99.999, "100"), (0.081, "0.081"), (2.304e-5, "0.00002304")],
)
def test_numbers_of_the_speed_table(value: float, text: str) -> None:
    assert trimmed(value) == text


def test_every_reported_row_belongs_to_something_that_the_harness_runs() -> None:
    conditions = {(c.perturbation, c.severity) for c in conditions_of("brightness")}
    conditions |= {("mixed-patch", severity) for severity in PERTURBATIONS.get("mixed-patch").default}
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
    row = dict.fromkeys(columns, "0.0311  #1\n0.0218..0.0426")
    table = Table("t", columns, [row])
    parts = split_to_width(table, 120)  # columns of 14 characters and 3 between two
    assert [[k for k in part.columns if k.startswith("x")] for part in parts] == [
        ["x0", "x1", "x2"],
        ["x3", "x4", "x5"],
        ["x6"],
    ]
    assert len(split_to_width(table, 1000)) == 1
    assert len(split_to_width(table, 20)) == 7
    assert len(split_to_width(Table("t", columns), 120)) == 1  # narrow columns need no parts


def test_every_part_of_a_split_speed_table_names_size_model_and_runs() -> None:
    table = speed_table(speed_figures(ROWS, REFERENCES), REFERENCES)
    parts = split_to_width(table, 120)
    assert len(parts) > 1
    assert all(list(part.columns)[:3] == ["size", "model", "runs"] for part in parts)
