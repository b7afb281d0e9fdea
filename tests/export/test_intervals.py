"""Prediction intervals of exported files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tifffile
import torch

from hsrzoo.colour.chromaticity import ChromaticityTable
from hsrzoo.errors import FormatError, HsrzooError, InputError
from hsrzoo.export import ExportError, check, export_onnx, graph
from hsrzoo.io import load_cube
from hsrzoo.models.onnx_runtime import OnnxModel
from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo.prediction.predict import PredictOptions, predict_file
from hsrzoo.registry import MODELS
from hsrzoo.spec import build_module
from hsrzoo.uncertainty.intervals import Intervals

from .conftest import BANDS, reconstructor

SCENES = 9  # 90 %, not 95 %


@pytest.fixture(scope="module")
def model() -> Reconstructor:
    """A regression with a made-up calibration."""
    made = reconstructor(replace(MODELS.get("linear"), variants={}), {})
    rng = np.random.default_rng(0)
    table = ChromaticityTable.build([(rng.random((500, 3)), rng.random((500, len(BANDS))))])
    scores = torch.from_numpy(rng.uniform(1, 3, (4, SCENES, len(BANDS))).astype(np.float32))
    unfamiliar = torch.from_numpy(np.linspace(0, 1, len(table.share), dtype=np.float32))
    second = build_module(made.spec, BANDS, {})
    about = {"dataset": "made-up"}
    made.intervals = Intervals(
        table.spread, (1.0, 0.5, 0.1, 0.01), scores, unfamiliar, second, BANDS, about
    )
    return made


@pytest.fixture(scope="module")
def file(model: Reconstructor, tmp_path_factory: pytest.TempPathFactory) -> OnnxModel:
    """Of the last opset that can be asked for."""
    path = tmp_path_factory.mktemp("intervals") / "linear.onnx"
    return export_onnx(model, path, opset=graph.OPSETS[1], intervals=True)[0]


def test_intervals_of_a_file_are_those_of_its_network(model: Reconstructor, file: OnnxModel) -> None:
    check.require_equal(check.compare(model, file), "fp32")
    assert file.opset == onnx.load(file.path).opset_import[0].version == 23
    rgb = np.random.default_rng(1).random((7, 9, 3), dtype=np.float32)
    for level in (0.5, 0.9):
        expected, found = model(rgb, interval=level), file(rgb, interval=level)
        assert found.level == level
        for name in ("cube", "lower", "upper", "unfamiliar"):
            assert np.allclose(getattr(found, name), getattr(expected, name), atol=1e-5), name
    assert file(rgb).lower is None
    assert file.facts()["intervals"] == "50 %, 80 %, 90 %"


def test_a_check_tells_another_scale(model: Reconstructor, file: OnnxModel) -> None:
    wider = replace(model.intervals, weights=(1.1, 0.5, 0.1, 0.01))
    other = reconstructor(model.spec, {})
    other.intervals = wider
    with pytest.raises(ExportError, match=r"\(scale\)"):
        check.require_equal(check.compare(other, file, [check.example(8, 8)]), "fp32")


@pytest.mark.parametrize(
    ("level", "message"),
    [
        (0.95, r"0\.5 \(50 %\), 0\.8 \(80 %\), 0\.9 \(90 %\)\. Got 0\.95"),
        ([0.9], "not calibrated"),
        (True, "not calibrated"),
        ("metamer", "no range of metamers"),
    ],
)
def test_levels_that_a_file_does_not_have_are_refused(file: OnnxModel, level: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        file(np.zeros((2, 2, 3), np.uint8), interval=level)


def test_files_without_intervals_say_how_they_get_them(
    toy: Reconstructor, toy_file: Path, tmp_path: Path
) -> None:
    rgb = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(InputError, match="hsrzoo export toy --intervals"):
        OnnxModel(toy_file, device="cpu")(rgb, interval=0.9)
    with pytest.raises(HsrzooError, match="not calibrated"):
        export_onnx(toy, tmp_path / "toy.onnx", intervals=True)
    with pytest.raises(InputError, match="calibrated for fp32, not for fp16"):
        export_onnx(toy, tmp_path / "toy.onnx", precision="fp16", intervals=True)


def test_factors_that_do_not_fit_the_bands_are_refused(file: OnnxModel, tmp_path: Path) -> None:
    proto = onnx.load(file.path)
    facts = graph.facts_of(proto)
    graph.sign(proto, {**facts, "intervals": {**facts["intervals"], "factors": {"0.9": [1.0]}}})
    (tmp_path / "bad.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(FormatError, match="do not fit its bands"):
        OnnxModel(tmp_path / "bad.onnx", device="cpu")


def test_predict_writes_the_intervals_of_a_file(
    model: Reconstructor, file: OnnxModel, tmp_path: Path
) -> None:
    np.save(tmp_path / "image.npy", np.random.default_rng(0).random((6, 7, 3), dtype=np.float32))
    found = []
    for name, one in (("torch", model), ("onnx", file)):
        out = tmp_path / f"{name}.npz"
        options = PredictOptions(interval=0.9, bands=(700.0, 475.0))
        report = predict_file(tmp_path / "image.npy", one, out, options)
        half, bands = load_cube(tmp_path / f"{name}.interval90.npz")
        found.append((half, tifffile.imread(tmp_path / f"{name}.unfamiliar.tif"), report.unlike))
        assert bands is not None
        assert bands.centres_nm == (700, 475)
    assert np.allclose(found[0][0], found[1][0], atol=1e-5)
    assert np.array_equal(found[0][1], found[1][1])
    assert found[0][2] == found[1][2]
    report = predict_file(tmp_path / "image.npy", file, tmp_path / "plain.npz")
    assert report.unlike == found[0][2]
    assert report.half_widths is None
