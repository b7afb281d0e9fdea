"""Which rows of a store go along with weights, and what their means are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import result_rows
from hsrzoo.errors import StoreError
from hsrzoo.hub.rows import DIRTY, NO_ROW, OTHERWISE, PUBLISHED, Identity, collect

OURS = Identity("w" * 64, "m" * 64)
BELONGS = {"weights_sha256": OURS.weights_sha256, "model_sha256": OURS.model_sha256, "bench": "accuracy"}
HASH = "0123456789ab" + "c" * 52
METRICS = [["rmse", "1", ""], ["sam", "1", ""], ["de2000", "1", ""]]


def rows(*rmse: float, **changes: Any) -> list[dict[str, Any]]:
    changes = {**BELONGS, "protocol_hash": HASH, **changes}
    found = result_rows.rows(changes.pop("model", "poly.cave"), rmse, **changes)
    for row in found:
        bands = {"centres_nm": [500.0, 600.0], "widths_nm": None}
        row["protocol"] |= {
            "metrics": METRICS,
            "bands": bands,
            "value_range": [0, 1],
            "severity_value": None,
        }
    return found


def test_rows_that_belong_become_a_file_named_as_the_protocol(tmp_path: Path) -> None:
    ours = rows(0.1, 0.3)
    result_rows.write(tmp_path, ours, rows(0.9, weights_sha256="x" * 64), rows(0.8, weights_sha256=None))
    found = collect([tmp_path], OURS)
    lines = found.files["results/full-frame_0123456789ab.jsonl"].decode().splitlines()
    assert [json.loads(line) for line in lines] == ours
    assert list(found.files) == ["results/full-frame_0123456789ab.jsonl"]
    assert not found.left_out, "rows of other weights are nobody's business here"


def test_files_do_not_depend_on_the_store_they_lie_in(tmp_path: Path) -> None:
    first, second = rows(0.1, 0.2, 0.3), rows(0.4, 0.5, split="test")
    result_rows.write(tmp_path / "a", first, second)
    result_rows.write(tmp_path / "b", list(reversed(second)), list(reversed(first)))
    a, b = collect([tmp_path / "a"], OURS), collect([tmp_path / "b"], OURS)
    both = collect([tmp_path / "b", tmp_path / "a"], OURS)
    assert a.files == b.files == both.files
    assert len(both.rows) == 5
    assert a.figures == both.figures


def test_figures_are_means_over_the_newest_rows_of_the_newest_data(tmp_path: Path) -> None:
    old_data = rows(9.0, 9.0, 9.0, fingerprint="old", day=1)
    again = rows(0.5, day=2)
    newest = rows(0.1, 0.2, day=3)
    result_rows.write(tmp_path, newest, again, old_data)
    (figure,) = collect([tmp_path], OURS).figures
    assert (figure.scenes, figure.seen, figure.condition, figure.tta) == (2, 0, None, False)
    assert figure.means == pytest.approx({"rmse": 0.15, "sam": 45.0, "de2000": 1.0})
    assert figure.source == "cave/valid, full-frame"


def test_figures_say_condition_adaptation_and_scenes_seen_in_training(tmp_path: Path) -> None:
    gamma = rows(0.2, condition=("gamma", "e=0.9"), tta=True, seen_in_training=True)
    result_rows.write(tmp_path, gamma, rows(0.1, protocol_hash="f" * 64))
    clean, disturbed = collect([tmp_path], OURS).figures
    assert (clean.condition, clean.seen) == (None, 0)
    assert disturbed.source == "cave/valid, full-frame, gamma e=0.9, adapted"
    assert disturbed.seen == 1
    assert "results/full-frame_gamma_e-0.9_tta_0123456789ab.jsonl" in collect([tmp_path], OURS).files


def test_a_metric_without_a_number_on_some_scene_has_no_mean(tmp_path: Path) -> None:
    found = rows(0.1, 0.2)
    found[1]["metrics"]["sam"] = "NaN"
    (figure,) = collect([result_rows.write(tmp_path, found)], OURS).figures
    assert list(figure.means) == ["rmse", "de2000"]


def test_rows_that_are_left_out_are_counted_with_the_reason(tmp_path: Path) -> None:
    dirty = rows(0.1, 0.2, provenance={"commit": "a", "dirty": True})
    otherwise = rows(0.3, model_sha256="v" * 64)
    result_rows.write(tmp_path, dirty, otherwise, rows(0.4))
    with open(next(tmp_path.rglob("*.jsonl")), "a") as file:
        file.write('[]\n{"schema": "hsrzoo.result/9"}\n{"schema": "hsrzoo.resu')
    found = collect([tmp_path], OURS)
    assert found.left_out == {DIRTY: 2, OTHERWISE: 1, NO_ROW: 3}
    assert len(found.rows) == 1


def test_a_file_that_is_named_must_hold_rows_of_these_weights_alone(tmp_path: Path) -> None:
    result_rows.write(tmp_path, rows(0.1), rows(0.2, weights_sha256="x" * 64, model="other.cave"))
    path = next(tmp_path.rglob("*.jsonl"))
    with pytest.raises(StoreError, match=r"0\.jsonl has rows of other weights.*Got other\.cave, xxxx"):
        collect([path], OURS)
    assert len(collect([tmp_path], OURS).rows) == 1


def test_a_store_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="There is no result store"):
        collect([tmp_path / "none"], OURS)


def test_published_rows_are_kept_while_they_belong(tmp_path: Path) -> None:
    other = json.dumps(rows(0.9, weights_sha256="x" * 64)[0]).encode()
    ours = json.dumps(rows(0.1)[0]).encode()
    found = collect([], OURS, {"results/a.jsonl": other + b"\n" + ours + b"\n"})
    assert list(found.files.values()) == [ours + b"\n"]


def test_timings_have_a_file_for_each_device(tmp_path: Path) -> None:
    machine = {"device_name": "AMD EPYC", "threads": 2, "dirty": False}
    timing = {
        "schema": "hsrzoo.result/1",
        **BELONGS,
        "bench": "speed",
        "model": "poly.cave",
        "architecture": "poly",
        "size": [8, 8],
        "status": "ok",
        "timestamp": "2026-01-01",
        "provenance": machine,
    }
    found = collect([result_rows.write(tmp_path, [timing])], OURS)
    assert list(found.files) == ["results/speed_AMD-EPYC_2-threads.jsonl"]
    assert found.figures == []


def test_names_of_published_files_are_told_from_those_of_others(tmp_path: Path) -> None:
    result_rows.write(tmp_path, rows(0.1), rows(0.1, condition=("gamma", "e=0.9"), tta=True))
    assert all(PUBLISHED.fullmatch(path) for path in collect([tmp_path], OURS).files)
    for other in ("results/mine.jsonl", "results/stage1.jsonl", "results/a/full-frame_0123456789ab.jsonl"):
        assert not PUBLISHED.fullmatch(other)
