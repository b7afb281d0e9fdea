"""The roles of the nodes of a graph: which decide, which are statistics, which write the cube.

Found by where results go and what size they have, not by name, so that any network's code search is
found, however it is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_INDICES = {
    "ArgMin", "ArgMax", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal", "Not", "And", "Or",
    "IsNaN", "IsInf", "NonZero", "Shape", "Size",
}  # fmt: skip
"""Operators whose results are always indices, truth values or sizes."""
_AS_IT_IS = {"Add", "Reshape", "Transpose", "Slice", "Identity", "Squeeze", "Unsqueeze"}
"""Operators that hand a part of the cube on, or add up parts of it."""


def deciding_nodes(proto: ModelProto) -> list[str]:
    """Names of the nodes whose results reach the output only through indices and truth values.

    A distance that ends in a comparison is worth nothing rounded: another code would be the nearest.
    """
    consumers = _consumers(proto)
    outputs = {port.name for port in proto.graph.output}
    counted: set[str] = set()  # nodes whose numbers reach the output
    for node in reversed(proto.graph.node):  # in topological order, as ONNX demands
        users = [(user, name) for name in node.output for user in consumers.get(name, ())]
        if outputs.intersection(node.output) or any(_passes_on(*pair, counted) for pair in users):
            counted.add(node.name)
    return [node.name for node in proto.graph.node if node.name not in counted]


def _passes_on(user: NodeProto, name: str, counted: set[str]) -> bool:
    """Whether the numbers in ``name`` go on through ``user`` towards the output."""
    if user.op_type in _INDICES or user.name not in counted:
        return False
    places = [i for i, given in enumerate(user.input) if given == name]
    # the first input of Where is a condition, the second of a gather or scatter an index
    if user.op_type == "Where":
        return any(place > 0 for place in places)
    if user.op_type.startswith(("Gather", "Scatter")):
        return any(place != 1 for place in places)
    return True


def statistic_nodes(proto: ModelProto) -> list[str]:
    """Names of the nodes all of whose results have a fixed size: no height or width is left in them."""
    values = proto.graph.value_info
    fixed = {v.name for v in values if not any(d.dim_param for d in v.type.tensor_type.shape.dim)}
    return [node.name for node in proto.graph.node if fixed.issuperset(filter(None, node.output))]


def output_nodes(proto: ModelProto) -> list[str]:
    """Names of the nodes whose results are the cube, or are added up to it."""
    waiting = [port.name for port in proto.graph.output]
    makers = {name: node for node in proto.graph.node for name in node.output}
    found: dict[str, None] = {}
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node.name not in found:
            found[node.name] = None
            if node.op_type in _AS_IT_IS:
                waiting += node.input if node.op_type == "Add" else node.input[:1]
    return list(found)


def _consumers(proto: ModelProto) -> dict[str, list[NodeProto]]:
    found: dict[str, list[NodeProto]] = {}
    for node in proto.graph.node:
        for name in node.input:
            found.setdefault(name, []).append(node)
    return found
