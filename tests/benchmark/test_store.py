"""The store: durable rows, torn lines, files per protocol, unusable folders."""

from __future__ import annotations

import json
import math
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import result_rows
from hsrzoo import results
from hsrzoo.errors import InputError, LockedError, StoreError
from hsrzoo.results import ScoreRow
from hsrzoo.utils import locks
from hsrzoo.utils.files import slug
from hsrzoo_benchmark.protocol import Protocol
from hsrzoo_benchmark.store import ResultFile, Store


def row(scene: str, **metrics: float) -> ScoreRow:
    (one,) = result_rows.rows("m", [0.1])
    return ScoreRow.from_json({**one, "scene": scene, "metrics": metrics})


def opened(path: Path) -> ResultFile[ScoreRow]:
    return ResultFile(path, ScoreRow)


def scenes(path: Path) -> list[str]:
    return [row.scene for row in opened(path).rows]


def test_rows_come_back_as_written(tmp_path: Path) -> None:
    path = tmp_path / "a" / "rows.jsonl"
    opened(path).append(row("one", mrae=float("nan"), psnr=float("inf")))
    opened(path).append(row("two"))
    rows = opened(path).rows
    assert [row.scene for row in rows] == ["one", "two"]
    assert math.isnan(rows[0].metrics["mrae"])
    assert rows[0].metrics["psnr"] == math.inf
    for line in path.read_text().splitlines():
        json.loads(line, parse_constant=lambda token: pytest.fail(f"{token} is not strict JSON"))


@pytest.mark.parametrize("torn", ['{"schema": "hsrzoo.res', "{", '{"schema": "hsrzoo.result/1"}'])
def test_torn_last_line_is_cut_off_and_the_file_goes_on(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "rows.jsonl"
    opened(path).append(row("one"))
    whole = path.read_bytes()
    path.write_bytes(whole + torn.encode())
    again = opened(path)
    assert [row.scene for row in again.rows] == ["one"]
    again.append(row("two"))
    assert path.read_bytes().startswith(whole + b'{"schema": "hsrzoo.result/1", "bench"')
    assert scenes(path) == ["one", "two"]


def test_opening_a_file_leaves_the_row_that_another_process_is_writing(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    opened(path).append(row("one"))
    begun = path.read_bytes()
    whole = begun + json.dumps(row("two").to_json()).encode() + b"\n"
    path.write_bytes(whole[:-20])
    assert scenes(path) == ["one"] and path.read_bytes() == whole[:-20]
    path.write_bytes(whole)
    assert scenes(path) == ["one", "two"]


@pytest.mark.parametrize("damage", [b"garbage", b"[]", b'{"schema": "hsrzoo.result/1", "scene": "one"}'])
def test_damaged_line_in_the_middle_is_named_and_skipped(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    opened(path).append(row("one"))
    damaged = damage + b"\n" + path.read_bytes()
    path.write_bytes(damaged)
    with pytest.warns(UserWarning, match=r"rows\.jsonl, line 1: not a result row"):
        assert scenes(path) == ["one"]
    assert path.read_bytes() == damaged


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("metrics", {"rmse": "much"}), ("metrics", [1]), ("scene", None), ("timestamp", "yesterday"),
        ("tta", "no"), ("also_trained_on", "cave"), ("provenance", None),
        ("per_band", {"rmse": [0.1, "much"]}), ("per_band", {"rmse": 0.1}),
    ],
)  # fmt: skip
def test_a_field_of_another_type_makes_no_row(tmp_path: Path, field: str, value: Any) -> None:
    path = tmp_path / "rows.jsonl"
    good, bad = row("one").to_json(), {**row("two").to_json(), field: value}
    path.write_text("".join(json.dumps(one) + "\n" for one in (good, bad)))
    with pytest.warns(UserWarning, match=rf"line 2: not a result row \({field}: expected"):
        assert scenes(path) == ["one"]


def test_rows_of_a_newer_schema_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"schema": "hsrzoo.result/99"}\n')
    with warnings.catch_warnings():  # the error says it once
        warnings.simplefilter("error")
        with pytest.raises(StoreError, match=r"newer schema.*result/99.*Upgrade hsrzoo"):
            opened(path)


def test_files_differ_by_model_weights_data_and_protocol(tmp_path: Path) -> None:
    store = Store(tmp_path)
    base = ("m", "a" * 64, "cave", "valid", Protocol("p"))
    others = [
        ("n", *base[1:]),
        ("m", "b" * 64, *base[2:]),
        (*base[:2], "arad", *base[3:]),
        (*base[:3], "train", base[4]),
        (*base[:4], Protocol("p", crop=1)),
    ]
    paths = {store.scores(*key).path for key in [base, *others]}
    assert len(paths) == 6
    assert store.scores(*base) is store.scores(*base)


def test_store_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for root in (file, file / "below"):
        with pytest.raises(StoreError, match="--store"):
            Store(root)


def test_opening_a_store_leaves_nothing_behind(tmp_path: Path) -> None:
    Store(tmp_path / "results")
    assert list((tmp_path / "results").iterdir()) == []


KEY = ("m", "a" * 64, "cave", "valid")


def test_a_run_waits_for_another_one_of_its_model_and_reads_its_rows(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(locks, "_POLL_SECONDS", 0.001)
    stores = Store(tmp_path), Store(tmp_path)
    first, second = (store.scores(*KEY, Protocol("p")) for store in stores)
    said: list[str] = []

    def later() -> list[str]:
        with stores[1].hold([second], said.append):
            return [row.scene for row in second.rows]

    with ThreadPoolExecutor(1) as pool:
        with stores[0].hold([first], pytest.fail):
            waiting = pool.submit(later)
            while not said:
                assert not waiting.done()
            first.append(row("one"))
        assert waiting.result() == ["one"]
    assert len(said) == 1 and f"process {os.getpid()}" in said[0] and "m@aaaaaaaaaaaa" in said[0]


def test_runs_that_name_their_models_in_other_orders_do_not_wait_for_each_other(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(locks, "_POLL_SECONDS", 0.0)

    def run(names: str) -> None:
        store = Store(tmp_path)
        files = [store.scores(name, *KEY[1:], Protocol("p")) for name in names]
        for _ in range(30):
            with store.hold(files, lambda _: None):
                pass

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, ["mn", "nm"]))


def test_a_row_is_not_appended_beside_another_run(tmp_path: Path) -> None:
    store = Store(tmp_path)
    file = store.scores(*KEY, Protocol("p"))
    with (
        store.hold([file], pytest.fail),
        ThreadPoolExecutor(1) as pool,
        pytest.raises(LockedError, match="in use by process"),
    ):
        pool.submit(file.append, row("one")).result()
    assert not file.path.exists() and not file.rows


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_a_store_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows.jsonl")
    for read in (opened, lambda path: results.read_store(path.parent)):
        with pytest.raises(InputError, match=r"rows\.jsonl is a pipe"):
            read(tmp_path / "rows.jsonl")


def test_slug_is_a_safe_file_name() -> None:
    assert slug("local-dir:/a/b c/../d") == "local-dir-a-b-c-..-d"
    assert slug("../..") == "unnamed"
