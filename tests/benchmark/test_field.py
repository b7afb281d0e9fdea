"""Runs over patterns, networks without weights, models of other bands, and the smoke test."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.datasets import open_dataset
from hsrzoo.errors import BandsError, PluginError, UnknownNameError, WeightsError
from hsrzoo.registry import DATASETS, MODELS
from hsrzoo.spec import ModelSpec
from hsrzoo_benchmark.command import bench
from hsrzoo_benchmark.plan.models import ModelSetup, RunModes, expand, load_models, untrained
from hsrzoo_benchmark.plan.options import Options
from hsrzoo_benchmark.run import smoke
from hsrzoo_benchmark.session import run_bench, run_compare
from hsrzoo_benchmark.speed import cell, timing
from hsrzoo_benchmark.speed.timing import SpeedOptions

TIMING = SpeedOptions(sizes=((8, 8),), speed_seconds=0.01)
CELL = {"status": "ok", "peak_mib": 2.0, "loaded_mib": 1.0, "macs": 1}


def options(tmp_path: Path, models: list[str], **changes: Any) -> Options:
    defaults: dict[str, Any] = {
        "dataset": "toy", "benches": ("accuracy",), "metrics": ("rmse",), "data_options": {"scenes": "2"},
        "store": tmp_path / "results", "data_root": tmp_path, "device": "cpu",
    }  # fmt: skip
    return Options(models=tuple(models), **{**defaults, **changes})


def rows(store: Path) -> list[dict[str, Any]]:
    lines = [line for path in sorted(store.rglob("*.jsonl")) for line in path.read_text().splitlines()]
    return [json.loads(line) for line in lines]


@pytest.fixture
def no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells take no process."""
    monkeypatch.setattr(timing, "in_child", lambda *_: CELL)


@pytest.fixture
def broken_net(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a model whose network cannot be built."""

    def build(bands: BandSet) -> None:
        raise RuntimeError("no such layer")

    spec = ModelSpec("solo-broken", build, summary="breaks", source="tests")
    monkeypatch.setitem(MODELS._values, spec.name, spec)
    monkeypatch.setitem(MODELS._origins, spec.name, "this test")
    return spec.name


def test_patterns_stand_for_architectures_and_with_a_dot_for_weights() -> None:
    assert expand(["mcga-s2", "mcga-s[12]", "local-dir:/a*b"]) == {
        "mcga-s2": False,
        "mcga-s1": True,
        "local-dir:/a*b": False,
    }
    assert expand(["linear.*"]) == dict.fromkeys(
        ("linear.cave", "linear.general", "linear.indian-pines"), True
    )


def test_a_pattern_that_matches_nothing_names_near_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"'mgca-\*'.*Nearest: mcga-s"):
        expand(["mgca-*"])


def test_random_weights_are_the_same_everywhere_and_have_an_identity() -> None:
    bands = BandSet.regular(400, 700, 75)
    setup = ModelSetup("bench-net", random_bands=bands.to_json())
    first = setup.load("cpu")
    torch.rand(3)
    again = ModelSetup(**json.loads(json.dumps(asdict(setup)))).load("cpu")
    other = ModelSetup("bench-net", random_bands=VISIBLE_31.to_json()).load("cpu")
    assert first.name == "bench-net [untrained]" and untrained(first) and first.bands.same_as(bands)
    assert torch.equal(first.module.conv.weight, again.module.conv.weight)
    assert first.identity == again.identity and first.identity not in (None, other.identity)


def test_the_measuring_process_makes_the_same_random_weights() -> None:
    setup = ModelSetup("bench-net", random_bands=VISIBLE_31.to_json())
    request = {
        "setup": asdict(setup), "sha256": setup.load("cpu").identity, "size": [16, 24],
        "device": "cpu", "threads": 1, "memory_limit_gib": None,
    }  # fmt: skip
    assert cell.measure(request)["macs"] == 3 * 31 * 16 * 24


def test_a_network_without_weights_is_timed_and_has_no_scores(
    tmp_path: Path, save_model, no_children, capsys
) -> None:
    trained = save_model("net")
    assert run_bench(options(tmp_path, [trained, "bench-net"], as_json=True), TIMING) == 0
    shown = capsys.readouterr()
    found = {(r["model"], r["bench"]): r["untrained"] for r in rows(tmp_path / "results")}
    name = "bench-net [untrained]"
    assert found == {(trained, "accuracy"): False, (trained, "speed"): False, (name, "speed"): True}
    figures = {(f["model"], f["bench"]): f["untrained"] for f in json.loads(shown.out)}
    assert figures == found
    err = " ".join(shown.err.split())
    assert "2 models: 1 scored on 2 scenes of toy; all timed at 8 x 8 in turn" in err
    assert f"Left out: {name}: no accuracy. There are no trained weights for bench-net." in err
    assert "toy_plugin.py train bench-net --dataset toy" in err
    assert run_bench(options(tmp_path, [trained, "bench-net"]), TIMING) == 0
    again = capsys.readouterr()
    assert name in again.out and "0 rows computed" in again.err and "[untrained]: seeded" in again.err


def test_networks_without_weights_are_left_out_in_one_line(tmp_path: Path, save_model, capsys) -> None:
    assert run_bench(options(tmp_path, [save_model("net"), "bench-net", "solo-*"]), None) == 0
    err = " ".join(capsys.readouterr().err.split())
    assert err.count("Left out") == 1
    assert "Left out: bench-net, solo-other: no accuracy. There are no trained weights for NAME." in err
    assert "toy_plugin.py train NAME --dataset toy" in err


def test_a_floor_without_weights_is_to_be_fitted(tmp_path: Path, no_children, capsys, monkeypatch) -> None:
    spec = ModelSpec("toy-floor", MODELS.get("bench-net").build, "s", "t", fit=lambda *_: None)
    monkeypatch.setitem(MODELS._values, spec.name, spec)
    assert run_bench(options(tmp_path, [spec.name]), TIMING) == 0
    assert "hsrzoo fit toy-floor --dataset toy" in capsys.readouterr().err


def test_nothing_to_score_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no trained weights for bench-net"):
        run_bench(options(tmp_path, ["bench-net"]), None)
    with pytest.raises(WeightsError, match="no trained weights for bench-net"):
        run_compare(options(tmp_path, ["bench-net", "solo-other"]))


def test_a_model_of_other_bands_is_left_out_and_the_others_are_scored(
    tmp_path: Path, save_model, capsys
) -> None:
    narrow = save_model("narrow", bands=BandSet.regular(475, 700, 75))
    good = save_model("good")
    assert run_bench(options(tmp_path, [narrow, good]), None) == 0
    assert {row["model"] for row in rows(tmp_path / "results")} == {good}
    err = " ".join(capsys.readouterr().err.split())
    assert f"Left out: {narrow}: no accuracy." in err and "--resample" in err
    with pytest.raises(BandsError, match="--resample"):
        run_compare(options(tmp_path, [narrow, good]))


def test_a_broken_model_fails_alone_where_a_pattern_names_it(
    tmp_path: Path, broken_net: str, no_children, capsys
) -> None:
    run = options(tmp_path, ["solo-*"], dataset=None, benches=())
    assert run_bench(run, TIMING) == 1
    assert "Failed: solo-broken: loading. The model solo-broken cannot be built." in capsys.readouterr().err
    assert [row["model"] for row in rows(tmp_path / "results")] == ["solo-other [untrained]"]
    with pytest.raises(RuntimeError, match="no such layer"):  # asked for by its name
        load_models([broken_net], RunModes(), "cpu", None)
    with pytest.raises(PluginError, match="no such layer"):  # nothing else matches
        load_models(["*-broken"], RunModes(), "cpu", None)


def test_the_smoke_test_counts_rows_marks_them_and_keeps_none(tmp_path: Path, no_children, capsys) -> None:
    run = options(tmp_path, ["bench-net", "solo-other"], benches=("accuracy", "mixed-patch"),
                  random_weights=True)  # fmt: skip
    assert run_bench(run, TIMING) == 0
    shown = capsys.readouterr()
    lines = [line.split() for line in shown.out.splitlines() if "[untrained]" in line]
    assert lines == [
        [name, "[untrained]", "1", "of", "1", "3", "of", "3", "ok"] for name in ("bench-net", "solo-other")
    ]
    assert "none kept" in shown.err and not (tmp_path / "results").exists()
    as_json = options(tmp_path, ["bench-net"], random_weights=True, as_json=True)
    assert run_bench(as_json, TIMING) == 0
    counts = json.loads(capsys.readouterr().out)
    assert counts == [{"model": "bench-net [untrained]", "accuracy": "1 of 1", "speed": "ok"}]  # no scores
    assert not (tmp_path / "results").exists()


def test_the_smoke_test_ignores_trained_weights(tmp_path: Path, capsys) -> None:
    run = options(tmp_path, ["linear"], dataset="indian-pines", data_options={}, random_weights=True)
    assert run_bench(run, None) == 0
    assert "linear [untrained]" in capsys.readouterr().out


def test_the_smoke_test_fails_with_one_network(tmp_path: Path, broken_net: str, capsys) -> None:
    run = options(tmp_path, ["solo-*"], random_weights=True)
    assert run_bench(run, None) == 1
    shown = capsys.readouterr()
    assert "solo-other [untrained]   1 of 1" in shown.out and "no such layer" in shown.err


def test_the_crop_is_the_centre_of_the_first_scene_that_is_large_enough(tmp_path: Path) -> None:
    toy = open_dataset("toy", tmp_path)
    source = smoke.open_crop(toy, DATASETS.get("toy"), ["valid", "train"])
    whole = toy.load("valid", "scene-0")
    scene = source.dataset.load(source.split, *source.scenes)
    assert (source.split, scene.name) == ("valid", "centre of scene-0")
    np.testing.assert_array_equal(scene.rgb, whole.rgb[:, 3:67, 1:65])
    np.testing.assert_array_equal(scene.cube, whole.cube[:, 3:67, 1:65])
    farms = open_dataset("indian-pines")  # strips of 24 columns, but for the training scene
    found = smoke.open_crop(farms, DATASETS.get("indian-pines"), ["test", *farms.splits()])
    assert found.split == "train" and found.dataset.load("train", *found.scenes).cube.shape == (31, 64, 64)
    small = smoke.open_crop(farms, DATASETS.get("indian-pines"), ["test"])
    assert small.dataset.load("test", *small.scenes).cube.shape == (31, 64, 24)


def test_a_cell_may_take_what_the_machine_has_free(monkeypatch) -> None:
    monkeypatch.setattr("hsrzoo.models.tiling.choice.available_memory", lambda device: 3 * 2**30)
    gib = cell.free_gib(torch.device("cpu"))
    if Path("/proc/self/status").exists():
        assert gib is not None and 3 < gib < 1024  # and what it holds already
    else:
        assert gib is None
    assert cell.free_gib(torch.device("cuda:0")) is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--random-weights"], "needs --dataset"),
        (["--random-weights", "--dataset", "indian-pines", "--model", "linear.cave"], "without .TAG"),
        (["--random-weights", "--dataset", "toy", "--workers", "2"], "leave out --workers"),
    ],
)
def test_what_does_not_go_with_the_smoke_test_is_refused(arguments: list[str], said: str) -> None:
    from click.testing import CliRunner

    result = CliRunner().invoke(bench, ["--model", "bench-net", "--bench", "speed", *arguments])
    assert result.exit_code == 2 and said in result.output
