"""Whole runs on the toy data: rows, resumption, failures, tables, comparison."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hsrzoo
import site_rows
from forks import Forks
from hsrzoo.bands import BandSet
from hsrzoo.errors import BandsError, InputError, StoreError
from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo_benchmark.plan.models import ModelSetup
from hsrzoo_benchmark.results.figures import Entry, Group, figures
from hsrzoo_benchmark.run import scores
from hsrzoo_benchmark.session import Options, run_bench, run_compare
from make_fixtures import make_arad_tree
from result_rows import typed
from waiting import wait_until

METRICS = ("rmse", "psnr")


def options(tmp_path: Path, models: list[str], **changes: Any) -> Options:
    defaults: dict[str, Any] = {
        "dataset": "toy",
        "benches": ("accuracy",),
        "metrics": METRICS,
        "data_options": {},
        "store": tmp_path / "results",
        "data_root": tmp_path,
    }
    return Options(models=tuple(models), **{**defaults, **changes})


def stored(store: Path) -> list[dict[str, Any]]:
    """All rows without what differs between two runs of the same thing."""
    rows = []
    for path in sorted(store.rglob("*.jsonl")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            for key in ("seconds", "timestamp", "provenance"):
                del row[key]
            rows.append(row)
    return sorted(rows, key=lambda r: (r["model"], r["protocol_hash"], r["scene"]))


def test_a_row_holds_the_score_and_where_it_comes_from(tmp_path: Path, save_model) -> None:
    name = save_model("net", offset=0.05)
    assert run_bench(options(tmp_path, [name], data_options={"scenes": "2"}), None) == 0
    rows = stored(tmp_path / "results")
    assert [row["scene"] for row in rows] == ["scene-0", "scene-1"]
    from hsrzoo.datasets import open_dataset

    scene = open_dataset("toy", tmp_path).load("valid", "scene-0")
    r, g, b = scene.rgb.astype(np.float64)
    pred = np.stack([b, (g + b) / 2, g, (r + g) / 2, r]) + 0.05
    assert rows[0]["metrics"]["rmse"] == pytest.approx(np.sqrt(np.mean((scene.cube - pred) ** 2)), rel=1e-5)
    assert rows[0]["fingerprint"] == "toy-1"
    assert rows[0]["protocol"]["metrics"][0][0] == "rmse"
    full = json.loads(next((tmp_path / "results").rglob("*.jsonl")).read_text().splitlines()[0])
    assert {"commit", "dirty", "torch", "device", "dtype", "threads"} <= set(full["provenance"])


def test_a_second_run_computes_nothing(tmp_path: Path, save_model, monkeypatch) -> None:
    run = options(tmp_path, [save_model("net")], benches=("accuracy", "mixed-patch"))
    assert run_bench(run, None) == 0
    before = {p: p.read_bytes() for p in (tmp_path / "results").rglob("*.jsonl")}

    def refuse(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(scores, "predict", refuse)
    monkeypatch.setitem(sys.modules, "torch", None)  # an import of it fails
    assert run_bench(run, None) == 0
    assert {p: p.read_bytes() for p in (tmp_path / "results").rglob("*.jsonl")} == before


def test_only_models_that_lack_rows_are_loaded(tmp_path: Path, save_model, monkeypatch) -> None:
    old, new = save_model("old"), save_model("new", offset=0.1)
    assert run_bench(options(tmp_path, [old]), None) == 0
    loaded, load = [], ModelSetup.load

    def note(setup: ModelSetup, device: str | None) -> Reconstructor:
        loaded.append(setup.name)
        return load(setup, device)

    monkeypatch.setattr(ModelSetup, "load", note)
    assert run_bench(options(tmp_path, [old, new]), None) == 0
    assert loaded == [new] and len({row["model"] for row in stored(tmp_path / "results")}) == 2


def test_rows_that_do_not_say_how_the_model_was_run_are_still_read(
    tmp_path: Path, save_model, capsys
) -> None:
    run = options(tmp_path, [save_model("net")], benches=("accuracy",), as_json=True)
    assert run_bench(run, None) == 0
    expected = json.loads(capsys.readouterr().out)
    (path,) = (tmp_path / "results").rglob("*.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row.pop("execution")["runtime"] for row in rows] == ["torch"] * len(rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))  # as rows were before
    assert run_bench(run, None) == 0
    told = capsys.readouterr()
    assert json.loads(told.out) == expected and "0 rows computed" in told.err


def test_other_files_on_disk_are_computed_anew(tmp_path: Path, save_model) -> None:
    name = save_model("net")
    for version in ("1", "2"):
        run = options(tmp_path, [name], data_options={"version": version, "scenes": "2"})
        assert run_bench(run, None) == 0
    fingerprints = [row["fingerprint"] for row in stored(tmp_path / "results")]
    assert sorted(fingerprints) == ["toy-1", "toy-1", "toy-2", "toy-2"]


def test_the_same_tensors_with_another_configuration_are_computed_anew(tmp_path: Path, save_model) -> None:
    run = options(tmp_path, [save_model("net", offset=0.02)], data_options={"scenes": "1"})
    path = tmp_path / "net" / "config.json"
    original = json.loads(path.read_text())
    changes = (
        {},
        {"input": {**original["input"], "normalise": "minmax-image"}},
        {"arguments": {"hunger_gib": 0}},
    )
    for change in changes:
        path.write_text(json.dumps({**original, **change}))
        assert run_bench(run, None) == 0
    rows = stored(tmp_path / "results")
    assert len({row["weights_sha256"] for row in rows}) == 1
    assert len({row["model_sha256"] for row in rows}) == len(rows) == 3
    assert len(list((tmp_path / "results").rglob("*.jsonl"))) == 3
    path.write_text(json.dumps({**original, "licence": "another"}))  # decides no output
    assert run_bench(run, None) == 0
    assert len(stored(tmp_path / "results")) == 3


def test_random_weights_have_no_identity() -> None:
    assert hsrzoo.load("bench-net", weights=None, device="cpu").identity is None


def test_a_failing_scene_keeps_the_others_and_exits_with_1(tmp_path: Path, save_model, capsys) -> None:
    name = save_model("net")
    assert run_bench(options(tmp_path, [name], data_options={"broken": "scene-1"}), None) == 1
    captured = capsys.readouterr()
    assert "scene-1 is truncated" in captured.err
    assert "Traceback" not in captured.err
    assert [r["scene"] for r in stored(tmp_path / "results")] == [f"scene-{i}" for i in (0, 2, 3, 4)]
    # mended: only the missing scene is computed
    assert run_bench(options(tmp_path, [name]), None) == 0
    assert "1 rows computed" in capsys.readouterr().err
    assert len(stored(tmp_path / "results")) == 5


def test_a_failing_model_does_not_stop_the_others(tmp_path: Path, save_model, monkeypatch, capsys) -> None:
    good, bad = save_model("good"), save_model("bad", offset=0.1)
    original = scores.predict

    def predict(model: Any, *rest: Any) -> Any:
        if model.name == bad:
            raise RuntimeError("not enough memory")
        return original(model, *rest)

    monkeypatch.setattr(scores, "predict", predict)
    assert run_bench(options(tmp_path, [bad, good]), None) == 1
    assert "not enough memory" in capsys.readouterr().err
    assert {row["model"] for row in stored(tmp_path / "results")} == {good}


def test_sigkill_in_the_middle_then_repeat_equals_an_uninterrupted_run(
    tmp_path: Path, save_model, toy_env: dict[str, str], forks: Forks
) -> None:
    name = save_model("net", offset=0.02)
    arguments = ["--model", name, "--dataset", "toy", "--bench", "accuracy", "--metrics", "rmse,psnr"]
    stuck = [*arguments, "--data-option", "stuck=scene-3", "--store", str(tmp_path / "killed")]
    files, log = (tmp_path / "killed").rglob, tmp_path / "log"
    with forks.running("hsrzoo", "bench", *stuck, cwd=tmp_path, env=toy_env, log=log) as process:
        wait_until(lambda: sum(path.read_bytes().count(b"\n") for path in files("*.jsonl")) >= 2, process)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert 2 <= len(stored(tmp_path / "killed")) < 5
    assert run_bench(options(tmp_path, [name], store=tmp_path / "killed"), None) == 0
    assert run_bench(options(tmp_path, [name], store=tmp_path / "whole"), None) == 0
    assert stored(tmp_path / "killed") == stored(tmp_path / "whole")


def test_store_is_checked_before_anything_is_computed(tmp_path: Path, save_model, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(scores, "run", lambda *_: pytest.fail("it computed"))
    with pytest.raises(StoreError):
        run_bench(options(tmp_path, [save_model("net")], store=tmp_path / "file"), None)


def test_brightness_runs_with_and_without_adaptation_where_a_model_can(tmp_path: Path, save_model) -> None:
    models = [save_model("can"), save_model("cannot", arch="solo-other")]
    run = options(tmp_path, models, benches=("brightness",), data_options={"scenes": "1"})
    assert run_bench(run, None) == 0
    rows = stored(tmp_path / "results")
    conditions = {(row["perturbation"], row["severity"]) for row in rows}
    assert {("gamma", "paper-plus10"), ("gamma", "paper-minus10"), ("gamma", "e=1.1")} <= conditions
    assert {perturbation for perturbation, _ in conditions} == {"gamma", "gain", "gain-both"}
    for model, ttas in zip(models, ({False, True}, {False}), strict=True):
        assert {row["tta"] for row in rows if row["model"] == model} == ttas
    bright = next(row for row in rows if row["severity"] == "paper-plus10")
    assert bright["info"]["mean_change"] > 0


def test_tta_without_a_model_that_can_is_refused(tmp_path: Path, save_model) -> None:
    with pytest.raises(InputError, match="test-time"):
        run_bench(options(tmp_path, [save_model("net", arch="solo-other")], tta=True), None)


def test_other_bands_need_resampling_and_score_the_covered_ones(tmp_path: Path, save_model, capsys) -> None:
    narrow = BandSet.regular(475, 700, 75)  # the toy's bands without the first: 400 is out of reach
    name = save_model("narrow", bands=narrow)
    with pytest.raises(BandsError, match="--resample"):
        run_bench(options(tmp_path, [name]), None)
    assert run_bench(options(tmp_path, [name], resample=True), None) == 0
    rows = stored(tmp_path / "results")
    assert {row["scored_bands"] for row in rows} == {4}
    assert "scored on the 4 of the data's 5 bands" in " ".join(capsys.readouterr().err.split())
    assert rows[0]["protocol"]["resampled_from"]["centres_nm"] == list(narrow.centres_nm)
    truth = np.arange(5 * 12, dtype=np.float32).reshape(5, 3, 4)
    from hsrzoo_benchmark.protocol import Protocol

    protocol = Protocol("p", bands=BandSet.regular(400, 700, 75), resampled_from=narrow)
    kept, pred, bands = scores.align(truth, truth[1:] + 1, protocol)
    assert bands.centres_nm == narrow.centres_nm
    np.testing.assert_array_equal(kept, truth[1:])
    np.testing.assert_allclose(pred, truth[1:] + 1, rtol=1e-6)


def test_seeds_are_averaged_before_scenes_are_counted(tmp_path: Path, save_model, capsys) -> None:
    run = options(tmp_path, [save_model("net")], benches=("mixed-patch",), seeds=(0, 1), as_json=True)
    assert run_bench(run, None) == 0
    figures = json.loads(capsys.readouterr().out)
    rmse = [f for f in figures if f["metric"] == "rmse" and f["condition"] == "mixed-patch 8"]
    assert [(f["scenes"], f["seeds"]) for f in rmse] == [(5, 2)]
    assert {row["seed"] for row in stored(tmp_path / "results")} == {0, 1}


def test_figures_have_intervals_ranks_and_the_domain(tmp_path: Path, save_model, capsys) -> None:
    models = [save_model("worse", offset=0.2), save_model("better", trained_on="elsewhere")]
    assert run_bench(options(tmp_path, models, as_json=True), None) == 0
    figures = {(f["model"], f["metric"]): f for f in json.loads(capsys.readouterr().out)}
    values = [row["metrics"]["rmse"] for row in stored(tmp_path / "results") if row["model"] == models[1]]
    best = figures[models[1], "rmse"]
    assert best["mean"] == pytest.approx(np.mean(values), rel=1e-12)
    assert best["low"] < best["mean"] < best["high"]
    assert (best["rank"], best["scenes"], best["trained_on"]) == (1, 5, "elsewhere")
    assert (figures[models[0], "rmse"]["rank"], figures[models[0], "rmse"]["wins"]) == (2, 0)
    assert run_bench(options(tmp_path, models), None) == 0
    table = capsys.readouterr().out
    assert "out of domain: trained on elsewhere" in table
    assert "#1" in table and "n = 5" in table


def test_a_failed_scene_of_one_model_leaves_all_means_over_the_same_scenes(
    tmp_path: Path, save_model, monkeypatch, capsys
) -> None:
    good, bad = save_model("good", offset=0.02), save_model("bad", offset=0.1)
    original, failing = scores.predict, [bad]

    def predict(model: Any, *rest: Any) -> Any:
        if model.name in failing:
            failing.remove(model.name)  # its first scene only
            raise RuntimeError("once")
        return original(model, *rest)

    monkeypatch.setattr(scores, "predict", predict)
    assert run_bench(options(tmp_path, [good, bad], as_json=True), None) == 1
    figures = {(f["model"], f["metric"]): f for f in json.loads(capsys.readouterr().out)}
    rows = [row for row in stored(tmp_path / "results") if row["model"] == good]
    assert len(rows) == 5
    values = [row["metrics"]["rmse"] for row in rows if row["scene"] != "scene-0"]
    assert figures[good, "rmse"]["mean"] == pytest.approx(np.mean(values), rel=1e-12)
    assert [figures[m, "rmse"]["scenes"] for m in (good, bad)] == [4, 4]
    assert [figures[m, "rmse"]["rank"] for m in (good, bad)] == [1, 2]


def test_no_common_scene_keeps_each_model_s_own_mean_without_ranks() -> None:
    def entry(model: str, scene: str, value: float) -> Entry:
        row = {**site_rows.scored(model, [value])[0], "scene": scene}
        row["protocol"] |= {"metrics": [["rmse", "1", ""]]}
        return Entry(tuple(typed([row])))

    group = Group((entry("a", "one", 0.25), entry("b", "two", 0.5)))
    found = figures([group])
    assert [(f["mean"], f["scenes"], f["rank"], f["wins"]) for f in found] == [
        (0.25, 1, None, None),
        (0.5, 1, None, None),
    ]


def test_codebooks_from_elsewhere_are_told_and_are_no_other_domain(
    tmp_path: Path, save_model, capsys
) -> None:
    training = {"split": "valid", "scenes": ["scene-0"]}
    mixed = save_model("mixed", codebook={"sources": ["toy", "farms"]}, training=training)
    # the same scene under another way of splitting the set
    other = save_model("other", training={"split": "train", "scenes": ["scene-0"]})
    # and as data beside those of another set
    beside = save_model("beside", training={"extra": [{"dataset": "toy", "scenes": ["scene-0"]}]})
    assert run_bench(options(tmp_path, [mixed, other, beside], data_options={"scenes": "2"}), None) == 0
    table = capsys.readouterr().out
    assert "codebooks also from farms" in table and "out of domain" not in table
    assert table.count("scored on its own training scenes") == 3
    found = {
        (row["model"], row["scene"]): (row["trained_on"], row["also_trained_on"], row["seen_in_training"])
        for row in stored(tmp_path / "results")
    }
    assert found == {
        (mixed, "scene-0"): ("toy", ["farms"], True),
        (mixed, "scene-1"): ("toy", ["farms"], False),
        (other, "scene-0"): ("toy", [], True),
        (other, "scene-1"): ("toy", [], False),
        (beside, "scene-0"): ("toy", [], True),
        (beside, "scene-1"): ("toy", [], False),
    }


def test_few_scenes_have_neither_interval_nor_rank(tmp_path: Path, save_model, capsys) -> None:
    run = options(tmp_path, [save_model("net")], limit=1, as_csv=True)
    assert run_bench(run, None) == 0
    row = next(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert (row["scenes"], row["low"], row["rank"], row["interval"]) == ("1", "", "", "")
    assert run_bench(options(tmp_path, list(run.models), limit=1), None) == 0
    printed = capsys.readouterr()
    assert printed.out.count("too few scenes") == 1  # once for a model, not once for each metric
    assert "#rank" not in printed.err and "Fewer than 4 scenes: no interval and no rank." in printed.err


def test_compare_tells_the_better_model_and_by_how_much(tmp_path: Path, save_model, capsys) -> None:
    a, b = save_model("a"), save_model("b", offset=0.2)
    assert run_compare(options(tmp_path, [a, b])) == 0
    table = capsys.readouterr().out
    assert "5 of 5 (48 to 100 %)" in table and "A is better" in table
    assert max(len(line.rstrip()) for line in table.splitlines()[2:]) <= 125
    assert run_compare(options(tmp_path, [b, a], as_json=True)) == 0
    rows = {row["metric"]: row for row in json.loads(capsys.readouterr().out)}
    by_scene = {
        model: np.array([r["metrics"]["rmse"] for r in stored(tmp_path / "results") if r["model"] == model])
        for model in (a, b)
    }
    assert rows["rmse"]["difference"] == pytest.approx(np.mean(by_scene[b] - by_scene[a]), rel=1e-9)
    assert rows["rmse"]["wins"] == 0
    assert rows["rmse"]["low"] > 0 > rows["psnr"]["high"]
    assert rows["rmse"]["verdict"] == rows["psnr"]["verdict"] == f"{a} is better"


def test_compare_of_equal_models_and_of_few_scenes_gives_no_verdict(
    tmp_path: Path, save_model, capsys
) -> None:
    a, b = save_model("a"), save_model("b", arch="solo-other")
    assert run_compare(options(tmp_path, [a, b], as_json=True)) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["verdict"] for row in rows} == {"no significant difference"}
    assert run_compare(options(tmp_path, [a, b], limit=3, as_json=True)) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["verdict"] for row in rows} == {"none: n = 3, 4 scenes needed"}


def test_help_loads_neither_torch_nor_numpy(run_hsrzoo) -> None:
    done = run_hsrzoo("bench", "--help")
    assert done.returncode == 0 and "--resample" in done.stdout
    code = (
        "import sys, hsrzoo_benchmark.command as c; "
        "c.bench.main(['--help'], standalone_mode=False); "
        "print([m for m in ('torch', 'numpy', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_bad_options_are_one_paragraph_with_exit_code_2(run_hsrzoo, toy_env, tmp_path: Path) -> None:
    done = run_hsrzoo("bench", "--model", "x", "--dataset", "toi", env=toy_env)
    assert done.returncode == 2
    assert "toy" in done.stderr and "Traceback" not in done.stderr and done.stdout == ""


def test_brightness_rows_tell_the_exponent_and_the_measured_change(
    tmp_path: Path, save_model, capsys
) -> None:
    run = options(tmp_path, [save_model("net", arch="solo-other")], benches=("brightness",))
    assert run_bench(run, None) == 0
    table = capsys.readouterr().out
    assert "gamma paper-plus10 (0.9091)" in table and "gamma paper-minus10 (1.111)" in table
    changes = [
        row["info"]["mean_change"]
        for row in stored(tmp_path / "results")
        if row["severity"] == "paper-plus10"
    ]
    assert f"RGB mean {100 * np.mean(changes):+.1f} %" in table


def test_arad_runs_under_both_protocols_with_the_paper_s_figure_beside(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    from hsrzoo.bands import VISIBLE_31
    from hsrzoo.models.weights import save_folder
    from hsrzoo.registry import MODELS
    from hsrzoo.spec import build_module

    # just larger than the border of 128 pixels that the challenge's protocol leaves out
    cubes = make_arad_tree(tmp_path, train=1, valid=1, height=260, width=264)
    spec = MODELS.get("mst-plus-plus")
    small = {"stages": 1}
    module = build_module(spec, VISIBLE_31, small)
    save_folder(tmp_path / "mst", module, spec, VISIBLE_31, arguments=small, training={"dataset": "arad"})
    name = f"local-dir:{tmp_path / 'mst'}"
    predicted, predict = [], scores.predict
    monkeypatch.setattr(scores, "predict", lambda *a: predicted.append(a[1].name) or predict(*a))
    assert run_bench(options(tmp_path, [name], dataset="arad"), None) == 0
    assert predicted == ["ARAD_1K_0901"]  # once for both protocols
    shown = capsys.readouterr()
    full, ntire = (row["metrics"]["rmse"] for row in stored_by_protocol(tmp_path / "results"))
    from hsrzoo.datasets import open_dataset

    scene = open_dataset("arad", tmp_path).load("valid", "ARAD_1K_0901")
    gap = (hsrzoo.load(name, device="cpu").predict(scene.rgb) - cubes["ARAD_1K_0901"]).astype(np.float64)
    assert full == pytest.approx(np.sqrt(np.mean(gap**2)), rel=1e-4)
    assert ntire == pytest.approx(np.sqrt(np.mean(gap[:, 128:-128, 128:-128] ** 2)), rel=1e-4)
    assert "reported by the paper" in shown.out and "34.32" in shown.out
    assert "clean-room" in shown.err


def stored_by_protocol(store: Path) -> list[dict[str, Any]]:
    return sorted(stored(store), key=lambda row: row["protocol_name"])
