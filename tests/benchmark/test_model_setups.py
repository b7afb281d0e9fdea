"""Which models a run has, what they are called, and what their rows say about how they were run."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import hsrzoo
from hsrzoo.errors import InputError
from hsrzoo.spec import Execution
from hsrzoo_benchmark.plan import models as setups
from hsrzoo_benchmark.plan.models import ModelSetup, RunModes, execution, load_models, remark
from hsrzoo_benchmark.session import Options, run_bench

USUAL = {"runtime": "torch", "precision": "fp32", "compile": False, "tile": None}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ""),
        ({"precision": "bf16"}, " [bf16]"),
        ({"compile": True, "tile": 512}, " [compiled, tile 512]"),
        ({"runtime": "onnx", "precision": "fp16"}, " [onnx, fp16]"),
    ],
)
def test_what_tables_add_to_a_name(changes: dict[str, Any], expected: str) -> None:
    assert remark({**USUAL, **changes}) == expected


def test_every_model_in_every_precision_and_runtime() -> None:
    ways = RunModes(("torch", "onnx"), ("fp32", "fp16"), compile=True, tile=64)
    assert ways.of("net.cave") == [
        ModelSetup("net.cave", compile=True, tile=64),
        ModelSetup("net.cave", runtime="onnx"),
        ModelSetup("net.cave", precision="fp16", compile=True, tile=64),
        ModelSetup("net.cave", runtime="onnx", precision="fp16"),
    ]
    # a file is what it is, and rows do not name this machine's folders
    assert ways.of("onnx:/some/where/net.onnx") == [
        ModelSetup("onnx:/some/where/net.onnx", runtime="onnx", title="onnx:net.onnx")
    ]


@pytest.mark.parametrize(
    "ways",
    [
        RunModes(runtimes=("torch", "onnx"), precisions=("fp32", "bf16")),
        RunModes(runtimes=("onnx",), compile=True),
        RunModes(runtimes=("onnx",), tile=64),
    ],
)
def test_what_no_runtime_offers_is_refused(ways: RunModes) -> None:
    with pytest.raises(InputError):
        load_models(["never-loaded"], ways, "cpu", None)


def test_a_setup_is_loaded_as_it_says_also_from_json(save_model) -> None:
    name = save_model("net")
    setup = ModelSetup(**json.loads(json.dumps(asdict(ModelSetup(name, precision="bf16", tile=64)))))
    model = setup.load("cpu")
    assert model.execution == Execution(precision="bf16", tile=64)
    assert model.name == f"{name} [bf16, tile 64]"
    assert execution(model) == {**USUAL, "precision": "bf16", "tile": 64}


def test_a_title_is_what_a_model_is_called_in_every_way_of_running(save_model) -> None:
    name = save_model("a=b")
    found = load_models([f"table-4.k-64={name}"], RunModes(precisions=("fp32", "bf16")), "cpu", None)
    assert [model.name for model in found.models] == ["table-4.k-64", "table-4.k-64 [bf16]"]
    # what a worker gets is loaded under the same name
    sent = ModelSetup(**json.loads(json.dumps(asdict(list(found.setups.values())[1]))))
    assert sent.load("cpu").name == "table-4.k-64 [bf16]"
    (untitled,) = load_models([name], RunModes(), "cpu", None).models
    assert untitled.name == name and untitled.identity == found.models[0].identity


def test_a_titled_model_is_exported_and_files_are_titled(save_model, monkeypatch) -> None:
    ways = RunModes(("torch", "onnx"))
    assert [e.to_export for e in ways.of("x=net.cave")] == [False, True]
    (file,) = ways.of("x=onnx:/some/where/net.onnx")
    assert (file.to_export, file.title) == (False, "x [onnx]")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("No Title=local-dir:x", "no titled model"),
        ("title=", "no titled model"),
        ("mst-plus-plus.cave=local-dir:x", "is a model of this zoo"),
        ("bench-net=local-dir:x", "is a model of this zoo"),
        ("title=bench-*", "One title stands for one model"),
    ],
)
def test_titles_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_models([text], RunModes(), "cpu", None)


def test_a_title_does_not_pass_one_architecture_off_as_another(save_model) -> None:
    name = save_model("net")
    assert (
        load_models([f"bench-net.seed-1={name}"], RunModes(), "cpu", None).models[0].name
        == "bench-net.seed-1"
    )
    with pytest.raises(InputError, match=r"another architecture.*weights of mst-plus-plus.*bench-net"):
        load_models([f"mst-plus-plus.seed-1={name}"], RunModes(), "cpu", None)


def test_rows_and_their_folder_carry_the_title(tmp_path: Path, save_model, capsys) -> None:
    options = Options(
        models=(f"table-5.plain={save_model('net')}",), dataset="toy", benches=("accuracy",),
        metrics=("rmse",), data_options={"scenes": "1"}, data_root=tmp_path, store=tmp_path / "results",
        device="cpu", as_json=True,
    )  # fmt: skip
    assert set(figures_of(options, capsys)) == {"table-5.plain"}
    (path,) = (tmp_path / "results").rglob("*.jsonl")
    row = json.loads(path.read_text())
    assert row["model"] == "table-5.plain" and row["architecture"] == "bench-net"
    assert path.parent.name == f"table-5.plain@{row['model_sha256'][:12]}"


def test_one_model_by_two_names_is_taken_once(save_model, monkeypatch) -> None:
    name, load = save_model("net"), hsrzoo.load
    monkeypatch.setattr(hsrzoo, "load", lambda _, **how: load(name, **how))
    found = load_models(["net.a", "net.b"], RunModes(), "cpu", None)
    assert [e.name for e in found.setups.values()] == ["net.a"] and [m.name for m in found.models] == [name]


class File:
    """A loaded ONNX file, as far as the benchmark sees it."""

    execution = Execution()

    def __init__(self, name: str, precision: str = "fp16") -> None:
        self.name, self.precision, self.identity = name, precision, f"sha of {name}"


def test_an_exported_model_goes_by_its_source_s_name(save_model, monkeypatch, tmp_path: Path) -> None:
    name, load, asked = save_model("net"), hsrzoo.load, []

    def cached_export(model: Any, folder: Path, precision: str) -> Path:
        asked.append((model.name, folder, precision))
        return folder / "file.onnx"

    monkeypatch.setitem(
        __import__("sys").modules, "hsrzoo.export", SimpleNamespace(cached_export=cached_export)
    )
    monkeypatch.setattr(
        hsrzoo, "load", lambda n, **how: File(n) if n.startswith("onnx:") else load(n, **how)
    )
    found = load_models([name], RunModes(("onnx",), ("fp16",)), "cpu", tmp_path)
    (model,) = found.models
    assert asked == [(name, tmp_path, "fp16")]
    assert list(found.setups.values()) == [
        ModelSetup(f"onnx:{tmp_path}/file.onnx", "onnx", "fp16", title=f"{name} [onnx, fp16]")
    ]
    assert model.name == f"{name} [onnx, fp16]"
    assert execution(model) == {**USUAL, "runtime": "onnx", "precision": "fp16"}


def test_two_files_of_one_name_are_told_apart_or_refused(monkeypatch) -> None:
    monkeypatch.setattr(hsrzoo, "load", lambda name, **_: File(name))
    with pytest.raises(InputError, match="one name"):
        load_models(["onnx:/a/net.onnx", "onnx:/b/net.onnx"], RunModes(), "cpu", None)
    assert len(load_models(["onnx:/a/net.onnx"] * 2, RunModes(), "cpu", None).models) == 1


def test_scores_in_two_precisions_stand_side_by_side(tmp_path: Path, save_model, capsys) -> None:
    name = save_model("net")
    options = Options(
        models=(name,), dataset="toy", benches=("accuracy",), metrics=("rmse",), data_options={},
        data_root=tmp_path, store=tmp_path / "results", device="cpu", as_json=True,
        ways=RunModes(precisions=("fp32", "bf16")),
    )  # fmt: skip
    assert run_bench(options, None) == 0
    found = {f["model"]: f for f in json.loads(capsys.readouterr().out) if f["metric"] == "rmse"}
    assert set(found) == {name, f"{name} [bf16]"}
    fp32, bf16 = found[name], found[f"{name} [bf16]"]
    assert fp32["hash"] == bf16["hash"] and fp32["model_sha256"] != bf16["model_sha256"]
    assert 0 < abs(fp32["mean"] - bf16["mean"]) < 0.01
    rows = [
        json.loads(line)
        for path in (tmp_path / "results").rglob("*.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert {row["model"]: row["execution"] for row in rows} == {
        name: USUAL,
        f"{name} [bf16]": {**USUAL, "precision": "bf16"},
    }
    dtypes = {row["model"]: row["provenance"]["dtype"] for row in rows}
    assert dtypes == {name: "float32", f"{name} [bf16]": "bfloat16"}
    assert setups.DTYPES["fp16"] == "float16"


def test_an_exported_model_scores_as_its_source_does(tmp_path: Path, save_model, capsys) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="the extra onnx is not installed")
    name = save_model("net")
    options = Options(
        models=(name,), dataset="toy", benches=("accuracy",), metrics=("rmse",),
        data_options={"scenes": "2"}, data_root=tmp_path, store=tmp_path / "results", device="cpu",
        as_json=True, ways=RunModes(runtimes=("torch", "onnx")),
    )  # fmt: skip
    first = figures_of(options, capsys)
    assert first[f"{name} [onnx]"] == pytest.approx(first[name], abs=1e-6)
    files = {path: path.read_bytes() for path in (tmp_path / "results").rglob("*.*")}
    assert {path.suffix for path in files} == {".jsonl"}  # the exported file is gone
    assert figures_of(options, capsys) == first  # and, made again, is the same: nothing is computed anew
    assert {path: path.read_bytes() for path in (tmp_path / "results").rglob("*.*")} == files


def figures_of(options: Options, capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    assert run_bench(options, None) == 0
    return {f["model"]: f["mean"] for f in json.loads(capsys.readouterr().out) if f["metric"] == "rmse"}
