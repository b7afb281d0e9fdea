"""``hsrzoo export``: files, checks and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from hsrzoo.cli.errors import run
from hsrzoo.cli.main import cli
from hsrzoo.errors import FormatError
from hsrzoo.export import check
from hsrzoo.export.program import MULTIPLES, Program, save_program
from hsrzoo.models.onnx_runtime import OnnxModel
from hsrzoo.models.reconstructor import Reconstructor

NAME = "linear.indian-pines"


def hsrzoo(*arguments: str) -> int:
    return run(lambda: cli.main(list(arguments), standalone_mode=False), debug=lambda: False)


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_network_is_exported_checked_and_benchmarked(capsys: pytest.CaptureFixture[str]) -> None:
    assert hsrzoo("export", NAME, "--score", "indian-pines", "--json") == 0
    found = capsys.readouterr()
    report = json.loads(found.out)
    assert report["file"] == f"{NAME}.onnx" and report["opset"] == 20
    assert report["bytes"] == Path(report["file"]).stat().st_size
    assert len(report["differences"]) == 5 and max(d["largest"] for d in report["differences"]) < 1e-5
    assert abs(report["scores"]["rows"][2]["rmse"]) < 1e-6
    assert f"{NAME}.onnx: {NAME}, ONNX opset 20, fp32" in found.err

    assert hsrzoo("show", f"onnx:{NAME}.onnx") == 0
    told = capsys.readouterr().out
    assert "opset            20" in told and f"made from        {NAME}" in told

    bench = ("bench", "--bench", "accuracy", "--dataset", "indian-pines", "--metrics", "rmse", "--json")
    assert hsrzoo(*bench, "--model", NAME, "--model", f"onnx:{NAME}.onnx") == 0
    rows = json.loads(capsys.readouterr().out)
    scores = {row["model"]: row["mean"] for row in rows if row["metric"] == "rmse"}
    assert scores[NAME] == pytest.approx(scores[f"onnx:{NAME}.onnx"], abs=1e-6)


def test_a_torch_export_program_is_checked_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert hsrzoo("export", NAME, "--format", "torch-export") == 0
    assert f"{NAME}.pt2" in capsys.readouterr().err
    program = torch.export.load(f"{NAME}.pt2")
    assert program.module()(torch.rand(1, 3, 7, 9)).shape[-2:] == (7, 9)


def test_a_program_gives_the_cube_from_its_least_size_on(toy: Reconstructor, in_a_folder: Path) -> None:
    made = save_program(toy, in_a_folder / "toy.pt2")
    found = check.compare(toy, made, check.examples(toy.spec.input, MULTIPLES)[:3])
    assert found[0].height == 4 and max(d.largest for d in found) < 1e-5
    (in_a_folder / "cut.pt2").write_bytes((in_a_folder / "toy.pt2").read_bytes()[:900])
    with pytest.raises(FormatError, match=r"not a torch\.export program"):
        Program(in_a_folder / "cut.pt2", toy)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--opset", "12"), "Expected 18 to 23. Got 12"),
        (("--precision", "int8"), "go together"),
        (("--calibrate", "cave"), "go together"),
        (("--format", "torch-export", "--opset", "20"), "belong to --format onnx"),
        (("--format", "torch-export", "-o", "a.onnx"), "does not fit --out a.onnx: name it *.pt2"),
        (("-o", "a"), "does not fit --out a: name it *.onnx"),
        (("-o", "/dev/null/m.onnx"), "cannot be written"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_wrong_options_leave_with_two_and_no_file(
    capsys: pytest.CaptureFixture[str], in_a_folder: Path, arguments: tuple[str, ...], words: str
) -> None:
    assert hsrzoo("export", NAME, *arguments) == 2
    assert words in capsys.readouterr().err
    assert not list(in_a_folder.iterdir())


def test_a_difference_above_the_tolerance_leaves_with_one_and_no_file_of_that_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, in_a_folder: Path
) -> None:
    monkeypatch.setitem(check.TOLERANCE, "fp16", 1e-9)
    assert hsrzoo("export", NAME, "--precision", "fp16", "--json") == 1
    told = capsys.readouterr()
    assert "gives other cubes than the network" in told.err
    assert f"kept as {NAME}.fp16.failed.onnx" in " ".join(told.err.split())
    assert json.loads(told.out)["file"] == f"{NAME}.fp16.failed.onnx"
    assert [p.name for p in in_a_folder.iterdir()] == [f"{NAME}.fp16.failed.onnx"]
    assert OnnxModel(f"{NAME}.fp16.failed.onnx").precision == "fp16"
