"""One store, one answer: every command counts the newest row of a scene, wherever it lies in the store."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

import result_rows
from hsrzoo.cli.show import command as show
from hsrzoo.hub import card
from hsrzoo.hub.rows import collect
from hsrzoo.models.push import checked_weights
from hsrzoo.results import RowError, ScoreRow, SpeedRow, newest_scores, parse_row, plain, read_store
from hsrzoo_benchmark.command import bench, compare
from hsrzoo_benchmark.reproduce.command import command as reproduce
from hsrzoo_benchmark.site.command import command as report
from hsrzoo_benchmark.store import ResultFile
from make_fixtures import CAVE_VALID, make_cave_tree

RECORDS = Path(__file__).parents[2] / "records"
A, B = "linear.cave", "poly.cave"
WRONG = 1.0
"""RMSE of the older rows, far from all others."""
Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    make_cave_tree(root, valid=CAVE_VALID)
    return root


@pytest.fixture(scope="module")
def scored(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with real rows of two models."""
    store = tmp_path_factory.mktemp("scored") / "store"
    run(bench, *(part for name in (A, B) for part in ("--model", name)), *bench_options(store, data))
    rewrite(store, lambda rows: [{**r, "provenance": {**r["provenance"], "dirty": False}} for r in rows])
    return store


def bench_options(store: Path, data: Path) -> list[str]:
    return [
        "--dataset",
        "cave",
        "--data-root",
        str(data),
        "--store",
        str(store),
        "--threads",
        "1",
        "--json",
    ]


def run(command: click.Command, *arguments: str) -> str:
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def older(row: dict[str, Any]) -> dict[str, Any]:
    return {
        **row,
        "timestamp": "2001-01-01T00:00:00+00:00",
        "metrics": {**row["metrics"], "rmse": WRONG, "rmse_clamped": WRONG, "psnr": 0.0},
    }


def rewrite(store: Path, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    for path in store.rglob("*.jsonl"):
        rows = change([json.loads(line) for line in path.read_text().splitlines()])
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def append_older(store: Path) -> None:
    rewrite(store, lambda rows: [*rows, *map(older, rows)])


def reverse_among_older(store: Path) -> None:
    rewrite(store, lambda rows: [*map(older, rows[:2]), *reversed(rows), *map(older, rows[2:])])


def append_older_data(store: Path) -> None:
    """Rows of an earlier state of the data set."""
    rewrite(store, lambda rows: [*rows, *({**older(row), "fingerprint": "earlier"} for row in rows)])


def copy_older_to_another_file(store: Path) -> None:
    for path in list(store.rglob("*.jsonl")):
        copy = path.with_name(f"z-{path.name}")
        shutil.copyfile(path, copy)
        rows = [older(json.loads(line)) for line in copy.read_text().splitlines()]
        copy.write_text("".join(json.dumps(row) + "\n" for row in rows))


def add_damaged_lines(store: Path) -> None:
    """Half a row in the middle, an older one, and a row that a kill cut off."""
    append_older(store)
    for path in store.rglob("*.jsonl"):
        data = path.read_bytes()
        path.write_bytes(data[:40] + b"\n" + data + data[:60])


def table_row(text: str, name: str) -> list[str]:
    """Cells of the first Markdown row of a model that has numbers."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {name} | 0."))
    return [cell.strip() for cell in line.strip("|").split("|")]


def figures(store: Path, data: Path, folder: Path) -> dict[str, float]:
    """Mean RMSE of A as each command gives it."""
    options = bench_options(store, data)
    scores = json.loads(run(bench, "--model", A, *options))
    gaps = json.loads(run(compare, A, B, *options))
    run(reproduce, "report", "--store", str(store), "--out", str(folder / "results.md"))
    tables = run(report, "--store", str(store), "--markdown")
    (shown,) = (row for row in json.loads(run(show, A, "--store", str(store), "--json"))["scores"]
                if row["model"] == A)  # fmt: skip
    (pushed,) = collect([store], checked_weights(A).identity).figures
    return {
        "bench": next(f["mean"] for f in scores if f["metric"] == "rmse"),
        "compare": next(g["a"] for g in gaps if g["metric"] == "rmse"),
        "reproduce": float(table_row((folder / "results" / "networks.md").read_text(), A)[1].split()[0]),
        "report": float(table_row(tables, A)[1].split()[0]),
        "show": shown["rmse"],
        "card": float(table_of(card.figure_table([pushed]))["RMSE"]),
    }


def test_newer_rows_in_another_file_count_in_all_commands(scored: Path, data: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(scored, store)
    for path in list(store.rglob("*.jsonl")):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            row["timestamp"] = "2100-01-01T00:00:00+00:00"
            row["metrics"] |= {"rmse": 0.5, "rmse_clamped": 0.5, "psnr": 20 * math.log10(2)}
        path.with_name("merged.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert set(figures(store, data, tmp_path).values()) == {0.5}


def test_a_whole_last_row_without_a_newline_counts(scored: Path, tmp_path: Path) -> None:
    (path, *_) = sorted(scored.rglob("*.jsonl"))
    copy = tmp_path / "rows.jsonl"
    copy.write_bytes(path.read_bytes().rstrip(b"\n"))
    rows = ResultFile(copy, ScoreRow).rows
    assert len(rows) == len(CAVE_VALID)
    file = ResultFile(copy, ScoreRow)
    file.append(rows[0])
    assert len(ResultFile(copy, ScoreRow).rows) == len(rows) + 1


def table_of(text: str) -> dict[str, str]:
    heads, _, cells = ([cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines())
    return dict(zip(heads, cells, strict=True))


@pytest.fixture(scope="module")
def expected(scored: Path) -> float:
    """The mean of what bench stored at first, computed here."""
    (path,) = (p for p in scored.rglob("*.jsonl") if p.parent.name.startswith(A))
    values = [json.loads(line)["metrics"]["rmse"] for line in path.read_text().splitlines()]
    assert len(values) == len(CAVE_VALID)
    return sum(values) / len(values)


@pytest.mark.parametrize(
    "change",
    [append_older, reverse_among_older, append_older_data, copy_older_to_another_file, add_damaged_lines],
)
@pytest.mark.filterwarnings("ignore:.*not a result row")
def test_all_commands_give_the_same_figure(
    change: Change, scored: Path, data: Path, expected: float, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(scored, store)
    change(store)
    before = {path: path.read_bytes() for path in store.rglob("*.jsonl")}
    found = figures(store, data, tmp_path)
    assert found == pytest.approx(dict.fromkeys(found, expected), rel=1e-3)
    after = {path: path.read_bytes() for path in store.rglob("*.jsonl")}
    assert all(before[path].startswith(after[path]) for path in before), "nothing is computed again"


@pytest.mark.skipif(not RECORDS.is_dir(), reason="needs a checkout")
def test_every_committed_row_is_read_and_written_back_unchanged() -> None:
    files = sorted(RECORDS.rglob("*.jsonl"))
    assert len(files) > 400
    for path in files:
        for i, line in enumerate(path.read_bytes().splitlines(), 1):
            row = parse_row(line, path.name, i)
            assert row.to_json() == json.loads(line)
            if not row.absent:  # as this version writes rows: the same bytes
                assert json.dumps(row.to_json(), ensure_ascii=False).encode() == line


def test_fields_that_this_version_does_not_know_are_kept() -> None:
    (row,) = result_rows.rows("m", [math.nan])
    stored = {**json.loads(json.dumps(plain(row))), "later": {"a": ["NaN"]}}
    read = ScoreRow.from_json(stored)
    assert read.extra == {"later": {"a": ["NaN"]}} and math.isnan(read.metrics["rmse"])
    assert read.to_json() == stored


FULL = {
    "metrics": [["rmse", "1", "r"]], "bands": {"centres_nm": [500.0]}, "value_range": [0, 1],
    "severity_value": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"also_trained_on": [None]}, "also_trained_on: expected tuple"),
        ({"protocol": {"tta_settings": None}}, "protocol.tta_settings: NoneType"),
        ({"protocol": {**FULL, "metrics": None}}, "protocol.metrics: NoneType"),
        ({"protocol": {**FULL, "metrics": [["rmse"]]}}, "protocol.metrics: expected name, version and"),
        ({"protocol": {**FULL, "metrics": [["ssim", "1", ""]]}}, "no metrics.ssim"),
        ({"protocol": {"metrics": FULL["metrics"]}}, "no protocol.bands"),
        ({"protocol": {**FULL, "bands": {"centres_nm": ["x"]}}}, r"protocol.bands.centres_nm\[0\]: str"),
        ({"protocol": {**FULL, "value_range": [0]}}, "protocol.value_range: expected two numbers"),
        ({"provenance": {"commit": 3}}, "provenance.commit: int"),
    ],
)
def test_parts_of_a_row_that_are_read_are_checked(changes: dict[str, Any], reason: str) -> None:
    (row,) = result_rows.rows("m", [0.1])
    ScoreRow.from_json({**row, "protocol": FULL})
    with pytest.raises(RowError, match=reason):
        ScoreRow.from_json({**row, **changes})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"p50": 0}, "p50: expected seconds above 0, got 0"),
        ({"p90": "NaN"}, "p90: expected seconds above 0"),
        ({"size": [8]}, "size: expected tuple"),
        ({"size": [8, 0]}, "size: expected tuple"),
        ({"seconds": ["x"]}, "seconds: expected tuple"),
        ({"provenance": {"threads": "2"}}, "provenance.threads: str"),
    ],
)
def test_parts_of_a_row_of_times_that_are_read_are_checked(changes: dict[str, Any], reason: str) -> None:
    row = {
        "bench": "speed", "model": "m", "architecture": "m", "weights_sha256": None, "model_sha256": None,
        "size": [8, 8], "status": "ok", "timestamp": "2026-01-01", "provenance": {"threads": 2}, "p50": 0.1,
    }  # fmt: skip
    SpeedRow.from_json(row)
    with pytest.raises(RowError, match=reason):
        SpeedRow.from_json({**row, **changes})


def test_skipped_lines_are_counted_and_named_once(tmp_path: Path) -> None:
    result_rows.write(tmp_path, result_rows.rows("m", [0.1]))
    (path,) = tmp_path.rglob("*.jsonl")
    path.write_bytes(b"[]\n{}\n" + path.read_bytes() + b'{"schema": "hsrz')
    with pytest.warns(UserWarning) as caught:
        stored = read_store(tmp_path)
    assert [str(w.message).partition("jsonl, ")[2] for w in caught] == [
        "line 1: not a result row (no JSON object), skipped, like lines 2 (2 in all)"
    ]
    assert len(stored.scores) == 1 and [line.torn for line in stored.skipped] == [False, False, True]


def test_time_decides_and_not_its_text() -> None:
    first = {"timestamp": "2026-01-01T12:00:00+02:00"}
    second = {"timestamp": "2026-01-01T11:00:00+00:00"}
    rows = result_rows.typed(result_rows.rows("m", [0.2], **second), result_rows.rows("m", [0.1], **first))
    assert [row.metrics["rmse"] for row in newest_scores(rows)] == [0.2]
    assert [row.metrics["rmse"] for row in newest_scores([rows[0], *rows])] == [0.2]
