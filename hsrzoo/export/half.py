"""A graph in fp16: its weights, and features that have a height and a width; all the rest in fp32.

onnxruntime's own converter passes values between two nodes that are kept in fp32 through fp16, which rounds
the distances that must stay exact; here only the named nodes are converted.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from hsrzoo.export.graph import facts_of, sign
from hsrzoo.export.roles import deciding_nodes, statistic_nodes

_HALVED = {
    "Add", "AveragePool", "Concat", "Conv", "ConvTranspose", "Div", "Gelu", "Gemm", "Identity",
    "LayerNormalization", "LeakyRelu", "MatMul", "MaxPool", "Mul", "Neg", "PRelu", "Relu", "Reshape",
    "Sigmoid", "Slice", "Softmax", "Split", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze",
}  # fmt: skip
"""Operators that take and give halves alike. Left out: powers, logarithms and roots, which enlarge
rounding near zero, and resizing, whose scales are fp32 by definition."""


def to_fp16(proto: ModelProto) -> ModelProto:
    """The fp32 graph ``proto`` with fp16 inside; its input and output stay fp32.

    Statistics (sums over the pixels, in which a half would overflow beyond 65,504) and what decides
    (distances to codes) stay fp32, with everything between them.
    """
    half = copy.deepcopy(proto)
    full = {*deciding_nodes(proto), *statistic_nodes(proto)}
    halved = [n.name for n in proto.graph.node if n.op_type in _HALVED and n.name not in full]
    _Conversion(half).run(set(halved))
    sign(half, {**facts_of(proto), "precision": "fp16"})
    return half


@dataclass
class _Conversion:
    """Rewrites the nodes of ``proto`` one by one; each value is cast at most once in each direction."""

    proto: ModelProto
    halves: set[str] = field(default_factory=set)
    """Names of the values that are fp16 now."""
    nodes: list[NodeProto] = field(default_factory=list)
    converted: set[str] = field(default_factory=set)

    def run(self, halved: set[str]) -> None:
        graph = self.proto.graph
        values = [*graph.input, *graph.output, *graph.value_info]
        self.floats = {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT}
        self.weights = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT}
        for node in list(graph.node):
            to_half = node.name in halved
            for i, name in enumerate(node.input):
                node.input[i] = self._as_half(name) if to_half else self._as_float(name)
            self.nodes.append(node)
            if to_half:
                self._give_halves(node)
        self._finish(values)

    def _as_half(self, name: str) -> str:
        """The name of ``name`` in fp16, if it is a float at all."""
        if name in self.halves or name not in self.floats | self.weights.keys():
            return name
        return self._convert_once(name, f"{name}_half", TensorProto.FLOAT16)

    def _as_float(self, name: str) -> str:
        return self._convert_once(name, f"{name}_float", TensorProto.FLOAT) if name in self.halves else name

    def _convert_once(self, name: str, made: str, kind: int) -> str:
        if made not in self.converted:
            self.converted.add(made)
            if name in self.weights:
                self.proto.graph.initializer.append(_rounded(self.weights[name], made))
            else:
                self._cast(name, made, kind)
        return made

    def _cast(self, source: str, target: str, kind: int) -> None:
        self.nodes.append(helper.make_node("Cast", [source], [target], f"cast_{target}", to=kind))

    def _give_halves(self, node: NodeProto) -> None:
        """What a halved node gives is a half; the graph's output goes through a cast under its own name."""
        outputs = {port.name for port in self.proto.graph.output}
        for i, name in enumerate(node.output):
            if name in outputs:
                node.output[i] = f"{name}_as_half"
                self._cast(node.output[i], name, TensorProto.FLOAT)
            elif name:
                self.halves.add(name)

    def _finish(self, values: list) -> None:
        """Put the nodes in place, correct the types, drop weights that are fp16 now and no longer used."""
        graph = self.proto.graph
        del graph.node[:]
        graph.node.extend(self.nodes)
        for value in values:
            if value.name in self.halves:
                value.type.tensor_type.elem_type = TensorProto.FLOAT16
        used = {name for node in graph.node for name in node.input}
        kept = [tensor for tensor in graph.initializer if tensor.name in used]
        del graph.initializer[:]
        graph.initializer.extend(kept)


def _rounded(weight: TensorProto, name: str) -> TensorProto:
    largest = float(np.finfo(np.float16).max)
    values = numpy_helper.to_array(weight).clip(-largest, largest)
    return numpy_helper.from_array(values.astype(np.float16), name)
