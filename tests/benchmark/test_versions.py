"""Rows of earlier versions: what they hold still counts, and what they lack is scored again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import site_rows
from files_as_modules import SCRIPTS, import_file
from hsrzoo.errors import StoreError
from hsrzoo.results import ScoreRow, digest, parse_row, read_store
from hsrzoo_benchmark.protocol import DEFAULT_METRICS
from hsrzoo_benchmark.results import groups
from hsrzoo_benchmark.results.figures import figures
from hsrzoo_benchmark.results.versions import current, held
from hsrzoo_benchmark.session import Options, run_bench
from hsrzoo_benchmark.tables import markdown
from site_rows import scored

OLD = ("mrae", "rmse", "psnr", "sam", "ssim", "ergas", "de2000")
"""The metrics of the first rows."""


def options(tmp_path: Path, model: str, metrics: Sequence[str] = DEFAULT_METRICS) -> Options:
    return Options(
        models=(model,), dataset="toy", benches=("accuracy",), metrics=tuple(metrics),
        store=tmp_path / "results", data_root=tmp_path,
    )  # fmt: skip


def lines(store: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in sorted(store.rglob("*.jsonl")) for line in file.open()]


def as_first_written(row: dict[str, Any], sam_zero: int = 0) -> dict[str, Any]:
    """The row as the first version of hsrzoo stored it: SAM version 1, its hashes cover the metrics."""
    protocol = {**row["protocol"], "metrics": [[name, "1", ""] for name in OLD]}
    hash_ = digest({key: value for key, value in protocol.items() if key != "name"})
    columns = {key: value for key, value in row["metrics"].items() if "-lit" not in key}
    old = {**row, "protocol": protocol, "protocol_hash": hash_, "protocol_group": hash_}
    del old["per_band"]
    return {**old, "metrics": {**columns, "sam_zero": sam_zero}, "timestamp": "2026-01-01T00:00:00+00:00"}


@pytest.fixture
def old_store(tmp_path: Path, save_model) -> tuple[Path, str]:
    """A store of five rows as the first version wrote them, of scene-3 with a zero pixel; its model."""
    model = save_model("net", offset=0.05)
    assert run_bench(options(tmp_path, model), None) == 0
    store = tmp_path / "results"
    (file,) = store.rglob("*.jsonl")
    rows = [as_first_written(json.loads(line), int("scene-3" in line)) for line in file.open()]
    file.unlink()
    name = f"full-frame_{rows[0]['protocol_hash'][:12]}.jsonl"
    file.with_name(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return store, model


def test_values_that_cannot_have_changed_are_not_scored_again(tmp_path: Path, old_store, capsys) -> None:
    store, model = old_store
    before = lines(store)
    fewer = [name for name in OLD if name != "sam"]
    assert run_bench(options(tmp_path, model, fewer), None) == 0 and lines(store) == before
    capsys.readouterr()
    assert run_bench(options(tmp_path, model, OLD), None) == 0
    again = [row["scene"] for row in lines(store) if row not in before]
    assert again == ["scene-3"]  # its SAM left a pixel out
    assert run_bench(options(tmp_path, model, OLD), None) == 0
    assert len(lines(store)) == len(before) + 1
    assert "sam ↓" in capsys.readouterr().out


def test_a_run_shows_the_metrics_that_it_asks_for(tmp_path: Path, old_store, capsys) -> None:
    _, model = old_store
    capsys.readouterr()
    assert run_bench(replace(options(tmp_path, model, ["psnr", "rmse"]), as_json=True), None) == 0
    shown = [figure["metric"] for figure in json.loads(capsys.readouterr().out)]
    assert shown == ["psnr", "rmse_clamped", "rmse"]


def test_rows_that_lack_a_metric_are_scored_again_once(tmp_path: Path, old_store) -> None:
    store, model = old_store
    before = lines(store)
    assert run_bench(options(tmp_path, model), None) == 0
    rows = lines(store)
    assert len(rows) == 2 * len(before)
    newest = next(row for row in rows if "per_band" in row)
    assert newest["protocol_group"] == parse_row(json.dumps(before[0]).encode()).group  # type: ignore[union-attr]
    assert len(newest["per_band"]["rmse"]) == len(newest["per_band"]["bias"]) == 5
    assert run_bench(options(tmp_path, model), None) == 0 and lines(store) == rows
    found = groups.read(store)
    assert (len(found.scores), found.older) == (5, 5) and all(row.per_band for row in found.scores)


def test_a_run_of_other_metrics_hides_no_earlier_ones(tmp_path: Path, old_store) -> None:
    store, model = old_store
    assert run_bench(options(tmp_path, model, ["sam-lit"]), None) == 0
    (group,) = groups.groups(groups.read(store).scores)
    found = {figure["metric"]: figure for figure in figures([group])}
    assert {"rmse", "psnr", "sam-lit"} <= found.keys() and found["rmse"]["scenes"] == 5
    assert "sam" not in found  # of scene-3 there is none


def test_replaced_rows_are_dropped_file_by_file(tmp_path: Path, old_store) -> None:
    store, model = old_store
    rescore = import_file(SCRIPTS / "rescore.py")
    before = lines(store)
    rescore.main(store, "--drop")
    assert lines(store) == before  # nothing replaces them yet
    assert rescore.lacking(list(read_store(store).scores)) == []  # the weights are not bundled
    assert run_bench(options(tmp_path, model), None) == 0
    rescore.main(store, "--drop")
    assert len(lines(store)) == 5 and all("per_band" in row for row in lines(store))


def typed(row: dict[str, Any], **changes: Any) -> ScoreRow:
    return ScoreRow.from_json({**row, **changes})


@pytest.mark.parametrize(
    ("version", "sam_zero", "counts"), [("2", 7, True), ("1", 0, True), ("1", 7, False), ("3", 0, False)]
)
def test_an_earlier_version_counts_where_its_value_cannot_have_changed(
    version: str, sam_zero: int, counts: bool
) -> None:
    (row,) = scored("m", [0.1], metrics={"sam_zero": [sam_zero]})
    row["protocol"]["metrics"] = [["rmse", "1", ""], ["sam", version, ""]]
    found = typed(row)
    assert held(found) == ["rmse"] + ["sam"] * counts
    assert ("sam" in current(found), "sam_zero" in current(found)) == (counts, counts)
    assert current(found)["rmse"] == 0.1


def test_a_metric_that_is_not_installed_is_left_out_with_a_warning() -> None:
    (row,) = scored("m", [0.1], metrics={"of-a-plugin": [0.2]})
    row["protocol"]["metrics"] = [["rmse", "1", ""], ["of-a-plugin", "1", ""]]
    with pytest.warns(UserWarning, match="'of-a-plugin' of stored rows is not installed"):
        assert held(typed(row)) == ["rmse"]


def test_tables_do_not_mix_versions(tmp_path: Path) -> None:
    a, b = "mcga-s2.cave", "linear.cave"
    rows = [
        scored(a, [0.1, 0.2, 0.3, 0.4]),
        scored(b, [0.3, 0.4, 0.5, 0.6], metrics={"sam_zero": [0, 9, 0, 0]}),
    ]
    for row in [*rows[0], *rows[1]]:
        row["protocol"]["metrics"] = [["rmse", "1", ""], ["sam", "1", ""]]
    text = markdown.render(groups.of_bundled(groups.read(site_rows.store(tmp_path, rows))))
    lines = [line for line in text.splitlines() if line.startswith("| ") and "#" in line]
    first, second = (line.split(" | ") for line in lines)
    assert (first[0], second[0]) == (f"| {a}", f"| {b}")
    assert first[3].endswith("#1") and second[3] == "n/a" and second[1].startswith("0.4500 ")


def test_a_row_that_contradicts_itself_is_named_with_file_and_line(tmp_path: Path) -> None:
    rows = scored("mcga-s2.cave", [0.1, 0.2, 0.3, 0.4])
    rows[2]["metrics"]["psnr"] = 50.0
    store = site_rows.store(tmp_path, [rows])
    with pytest.raises(
        StoreError, match=r"contradict each other: cave-valid/made-up/0\.jsonl, line 3.*50\.0"
    ):
        figures(groups.groups(groups.read(store).scores))
