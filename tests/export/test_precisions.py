"""fp16 and int8: what decides stays exact, and the files stay close to the network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, parser

from hsrzoo.datasets.synthetic import Synthetic
from hsrzoo.errors import InputError
from hsrzoo.export import Calibration, check, export_onnx, graph
from hsrzoo.export.half import to_fp16
from hsrzoo.export.quantize import calibration_crops, nodes_in_fp32
from hsrzoo.export.roles import deciding_nodes, output_nodes, statistic_nodes
from hsrzoo.models.reconstructor import Reconstructor

SEARCH = """
<ir_version: 10, opset_import: ["" : 20]>
agraph (float[1, 3, h, w] rgb) => (float[1, 3, h, w] cube)
<float[1, 3, 1, 1] codes_a = {1.0, 1.0, 1.0}, float[1, 3, 1, 1] codes_b = {1.0003, 1.0003, 1.0003},
 int64[1] axes = {1}, float two = {2.0}, float[2] values = {10.0, 20.0}>
{
    [minus_a] a = Sub(rgb, codes_a)
    [minus_b] b = Sub(rgb, codes_b)
    [square_a] aa = Mul(a, a)
    [square_b] bb = Mul(b, b)
    [sum_a] da = ReduceSum<keepdims = 1>(aa, axes)
    [sum_b] db = ReduceSum<keepdims = 1>(bb, axes)
    [both] d = Concat<axis = 1>(da, db)
    [choose] index = ArgMin<axis = 1, keepdims = 1>(d)
    [look_up] code = Gather<axis = 0>(values, index)
    [mean] z = ReduceMean<keepdims = 1>(rgb)
    [scale] doubled = Mul(rgb, two)
    [move] moved = Add(doubled, z)
    [finish] cube = Add(moved, code)
}
"""
DECIDING = ["minus_a", "minus_b", "square_a", "square_b", "sum_a", "sum_b", "both", "choose"]


@pytest.fixture
def search() -> onnx.ModelProto:
    proto = parser.parse_model(SEARCH)
    proto = onnx.shape_inference.infer_shapes(proto)
    graph.sign(proto, {"library_version": "0", "precision": "fp32"})
    return proto


def run(proto: onnx.ModelProto, rgb: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"rgb": rgb[None]})[0][0]


def test_nodes_are_told_apart_by_where_their_results_go(search: onnx.ModelProto) -> None:
    assert deciding_nodes(search) == DECIDING
    assert statistic_nodes(search) == ["mean"]
    assert set(output_nodes(search)) == {"finish", "move", "look_up", "scale", "mean"}


def test_fp16_leaves_distances_exact_and_rounds_the_rest(search: onnx.ModelProto) -> None:
    rgb = np.full((3, 4, 6), 1.0003, np.float32)  # in fp16 both codes are 1
    converted = to_fp16(search)
    exact, half = run(search, rgb), run(converted, rgb)
    assert exact[0, 0, 0] == pytest.approx(20 + 3 * 1.0003, abs=1e-5)
    assert half == pytest.approx(exact, abs=0.01) and half.dtype == np.float32
    rounded = [t.name for t in converted.graph.initializer if t.data_type == TensorProto.FLOAT16]
    assert rounded == ["two_half"]


@pytest.mark.usefixtures("traced_once")
def test_a_deciding_node_of_an_fp16_file_never_sees_a_half(toy: Reconstructor, tmp_path: Path) -> None:
    made, _ = export_onnx(toy, tmp_path / "m.onnx", precision="fp16")
    proto = onnx.load(tmp_path / "m.onnx")
    halves = {t.name for t in proto.graph.initializer if t.data_type == TensorProto.FLOAT16}
    halves |= {
        v.name for v in proto.graph.value_info if v.type.tensor_type.elem_type == TensorProto.FLOAT16
    }
    decide = deciding_nodes(proto)
    kept = [node for node in proto.graph.node if node.name in decide and node.op_type != "Cast"]
    assert len(halves) > 8 and len(kept) >= 4
    assert not [node.name for node in kept if halves & {*node.input, *node.output}]
    assert made.precision == "fp16"
    check.require_equal(check.compare(toy, made), "fp16")


@pytest.mark.usefixtures("traced_once")
def test_int8_is_calibrated_on_scenes_and_stays_close(toy: Reconstructor, tmp_path: Path) -> None:
    made, crops = export_onnx(
        toy, tmp_path / "m.onnx", precision="int8", calibration=Calibration(Synthetic(toy.bands), scenes=2)
    )
    assert crops is not None and {crop.shape for crop in crops} == {(3, 32, 32)}
    assert made.metadata["calibration"]["scenes"] == Synthetic(toy.bands).scenes("train")
    check.require_equal(check.compare(toy, made, crops), "int8")
    proto = onnx.load(tmp_path / "m.onnx")
    weights = [t.name for t in proto.graph.initializer if t.data_type == TensorProto.INT8]
    assert len(weights) == 4  # two layers with a scale's zero point each; the last one stays


def test_int8_leaves_alone_what_decides_writes_or_has_no_weight(search: onnx.ModelProto) -> None:
    assert set(nodes_in_fp32(search)) == {*DECIDING, "finish", "move", "look_up", "scale", "mean"}


def test_int8_asks_for_scenes(toy: Reconstructor, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--calibrate"):
        export_onnx(toy, tmp_path / "m.onnx", precision="int8")
    with pytest.raises(InputError, match="fp32, fp16, int8"):
        export_onnx(toy, tmp_path / "m.onnx", precision="fp8")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("count", [0, 3])
def test_scenes_that_are_not_there_are_told(toy: Reconstructor, count: int) -> None:
    with pytest.raises(InputError, match=r"Expected 1 to 2"):
        calibration_crops(Synthetic(toy.bands), "train", count, 2)


def test_scenes_too_small_for_the_network_are_told(toy: Reconstructor) -> None:
    with pytest.raises(InputError, match="too small to calibrate"):
        calibration_crops(Synthetic(toy.bands), "train", 1, 64)
