"""The store: durable rows, torn lines, files per protocol, unusable folders."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from hsrzoo.errors import StoreError
from hsrzoo_benchmark.protocol import Protocol
from hsrzoo_benchmark.store import ResultFile, Store, number, slug


def test_rows_come_back_as_written(tmp_path: Path) -> None:
    path = tmp_path / "a" / "rows.jsonl"
    ResultFile(path).append({"scene": "one", "metrics": {"mrae": float("nan"), "psnr": float("inf")}})
    ResultFile(path).append({"scene": "two", "metrics": {}})
    rows = ResultFile(path).rows
    assert [row["scene"] for row in rows] == ["one", "two"]
    assert math.isnan(number(rows[0]["metrics"]["mrae"]))
    assert number(rows[0]["metrics"]["psnr"]) == math.inf
    for line in path.read_text().splitlines():
        json.loads(line, parse_constant=lambda token: pytest.fail(f"{token} is not strict JSON"))


@pytest.mark.parametrize("torn", ['{"schema": "hsrzoo.res', "{", '{"schema": "hsrzoo.result/1"}'])
def test_torn_last_line_is_cut_off_and_the_file_goes_on(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "rows.jsonl"
    ResultFile(path).append({"scene": "one"})
    whole = path.read_bytes()
    path.write_bytes(whole + torn.encode())
    again = ResultFile(path)
    assert [row["scene"] for row in again.rows] == ["one"]
    assert path.read_bytes() == whole
    again.append({"scene": "two"})
    assert [row["scene"] for row in ResultFile(path).rows] == ["one", "two"]


def test_damaged_line_in_the_middle_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    ResultFile(path).append({"scene": "one"})
    path.write_bytes(b"garbage\n" + path.read_bytes())
    with pytest.raises(StoreError, match=r"Line 1 of .*rows\.jsonl"):
        ResultFile(path)


def test_rows_of_another_schema_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"schema": "hsrzoo.result/99"}\n')
    with pytest.raises(StoreError, match="another schema"):
        ResultFile(path)


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


def test_slug_is_a_safe_file_name() -> None:
    assert slug("local-dir:/a/b c/../d") == "local-dir-a-b-c-..-d"
    assert slug("../..") == "unnamed"
