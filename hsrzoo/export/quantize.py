"""A graph in static int8, calibrated on scenes of a data set; distances to codes stay in fp32."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from hsrzoo.errors import InputError
from hsrzoo.export.graph import facts_of, quiet, sign
from hsrzoo.export.roles import deciding_nodes, output_nodes
from hsrzoo.models.onnx_file import INPUT, missing_onnx

if TYPE_CHECKING:
    from onnx import ModelProto

    from hsrzoo.datasets.base import Dataset

_QUANTIZED = ("Conv", "MatMul", "Gemm")
CROP = 128
"""Side in pixels of the crops that ranges are measured on."""
CROPS_PER_SCENE = 4


def to_int8(proto: ModelProto, crops: Sequence[np.ndarray], record: dict[str, Any]) -> ModelProto:
    """``proto`` with convolutions and products in int8 (QDQ form): weights per channel, inputs in uint8.

    ``crops``: (3, H, W) float32 in [0, 1] that the ranges are measured on; ``record`` says which, for
    the file's metadata. In fp32 remain: distances, products of two features (attention), and the last
    layer, whose 256 levels would be the cube's.
    """
    import onnx

    try:
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    except ImportError as error:
        raise missing_onnx(error) from None
    feeds = iter([{INPUT: crop[None]} for crop in crops])
    with tempfile.TemporaryDirectory() as folder, quiet():
        source, target = Path(folder, "fp32.onnx"), Path(folder, "int8.onnx")
        onnx.save(proto, source)
        quantize_static(
            source,
            target,
            SimpleNamespace(get_next=partial(next, feeds, None)),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_QUANTIZED),
            nodes_to_exclude=nodes_in_fp32(proto),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        quantized = onnx.load(target)
    sign(quantized, {**facts_of(proto), "precision": "int8", "calibration": record})
    return quantized


def nodes_in_fp32(proto: ModelProto) -> list[str]:
    """Names of the nodes that stay in fp32: they decide, write the cube, or multiply two features."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    products = [node for node in proto.graph.node if node.op_type in ("MatMul", "Gemm")]
    bare = [node.name for node in products if not weights.issuperset(node.input[1:2])]
    return [*deciding_nodes(proto), *output_nodes(proto), *bare]


def calibration_crops(
    dataset: Dataset, split: str, scenes: int, multiple: int
) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Crops of ``scenes`` scenes of a split, (3, H, W) each, and the record of what they are.

    Scenes are spread evenly over the split's list; places are drawn with seed 0. Raises InputError where
    the data set has not that many, or too small ones.
    """
    names = dataset.scenes(split)
    if not 1 <= scenes <= len(names):
        problem = f"{dataset.name} cannot give that many scenes to calibrate on"
        raise InputError(problem, expected=f"1 to {len(names)}", got=scenes)
    chosen = [names[round(i)] for i in np.linspace(0, len(names) - 1, scenes)]
    random = np.random.default_rng(0)
    crops = []
    for name in chosen:
        rgb = dataset.load(split, name).rgb
        height, width = (min(CROP, n) // multiple * multiple for n in rgb.shape[1:])
        if not height or not width:
            problem = f"{name} is too small to calibrate on"
            raise InputError(problem, expected=f"{multiple} pixels", got=rgb.shape)
        for _ in range(CROPS_PER_SCENE):
            top, left = random.integers((rgb.shape[1] - height + 1, rgb.shape[2] - width + 1))
            crops.append(np.ascontiguousarray(rgb[:, top : top + height, left : left + width]))
    record = {"dataset": dataset.name, "split": split, "scenes": chosen, "crops": len(crops), "side": CROP}
    return crops, record
