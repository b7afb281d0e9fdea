"""A network as an ONNX graph: RGB (1, 3, H, W) float32 in [0, 1] to a cube (1, C, H, W) float32.

H and W are free multiples of the model's own. The steps around the network are part of the graph;
padding to the multiple and cropping are the runtime's (:mod:`hsrzoo.models.onnx_runtime`).
"""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from hsrzoo.errors import HsrzooError, InputError
from hsrzoo.export.intervals import WithIntervals, facts_of_intervals
from hsrzoo.extras import Segmentation
from hsrzoo.models.onnx_file import INPUT, INTERVAL_OUTPUTS, METADATA_KEY, OUTPUT, SCHEMA, missing_onnx
from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo.models.steps.base import Layers
from hsrzoo.spec import ModelSpec
from hsrzoo.utils.files import write_atomically

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

OPSETS = (18, 23)
"""First and last opset that can be asked for: below 18 torch's exporter has no operators of its own;
23 is the last that its releases know."""
DEFAULT_OPSET = 20
"""The first in which GELU is one operator."""
EXAMPLE = (8, 12)
"""Height and width of the traced image, in multiples of the model's."""

_LONGEST = 400
"""Characters of an exporter's error that are passed on: the rest is advice on exporters."""
_MOVES = ("Transpose", "Reshape", "Squeeze", "Unsqueeze")


class ExportError(HsrzooError):
    """A network that cannot be exported, or an exported file that gives other cubes than the network."""

    exit_code = 1


class Whole(nn.Module):
    """A network with the steps around it."""

    def __init__(self, module: nn.Module, steps: Sequence[Layers]) -> None:
        super().__init__()
        self.module, self.steps = module, nn.ModuleList(steps)

    def forward(self, rgb: Tensor) -> Tensor:
        """(1, 3, H, W) in [0, 1] -> (1, C, H, W)."""
        steps = [cast(Layers, step) for step in self.steps]
        images = [rgb]
        for step in steps:
            images.append(step.before(images[-1]))
        cube = self.module(images.pop()).float()
        for step, image in zip(reversed(steps), reversed(images), strict=True):
            cube = step.after(cube, image)
        return cube


def not_exported(spec: ModelSpec) -> str:
    """Extra inputs of the network that no graph can make; empty without any."""
    names = [name for name, extra in spec.extras.items() if isinstance(extra, Segmentation)]
    return f"{' and '.join(names)} of a segmentation" if names else ""


def trace(model: Reconstructor, intervals: bool = False) -> torch.export.ExportedProgram:
    """``torch.export`` of the network on the CPU, height and width free, with or without the outputs that
    intervals are made of. Raises ExportError."""
    left_out = [step.name for step in model.steps if not step.needs.exports]
    if left_out:
        raise ExportError(
            f"{model.name} cannot be exported with its {' and '.join(left_out)}",
            expected="steps that an exported graph can hold",
            fix="Load the model without it",
        )
    if segments := not_exported(model.spec):
        raise ExportError(
            f"{model.name} cannot be exported: it needs {segments}",
            expected="a network whose inputs a graph can make from RGB",
            fix="Run it by hsrzoo",
        )
    layers = [step.layers() for step in model.steps]
    whole: nn.Module = Whole(copy.deepcopy(model.module).cpu(), layers)
    if intervals:
        whole = WithIntervals(whole, model.intervals)
    whole.eval()
    need, multiple = model.spec.input, model.spec.input.multiple
    least = need.padded(1) // multiple
    height, width = (need.padded(n * multiple) for n in EXAMPLE)
    free: dict[int, Any] = {axis: torch.export.Dim(name, min=least) for axis, name in ((2, "h"), (3, "w"))}
    if multiple > 1:
        free = {axis: multiple * dim for axis, dim in free.items()}
    example = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    # torch cannot prove what holds for half of a free size: a network that takes halves has it checked late
    late = {"prefer_deferred_runtime_asserts_over_guards": True}
    options: dict[str, Any] = late if getattr(model.module, "halves_image", False) else {}
    with torch.no_grad(), _understandable(model.name, "torch.export"):
        return torch.export.export(whole, (example,), dynamic_shapes={"rgb": free}, strict=False, **options)


def check_opset(opset: int | None) -> int:
    """The opset asked for, :data:`DEFAULT_OPSET` by default; InputError outside :data:`OPSETS`.

    PluginError without the extra ``onnx``: nothing should be traced before that is known.
    """
    opset = DEFAULT_OPSET if opset is None else opset
    if not OPSETS[0] <= opset <= OPSETS[1]:
        raise InputError("Unsupported opset", expected=f"{OPSETS[0]} to {OPSETS[1]}", got=opset)
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise missing_onnx(error) from None
    return opset


def to_onnx(model: Reconstructor, opset: int | None = None, intervals: bool = False) -> ModelProto:
    """The network in fp32 as an ONNX model that carries :func:`metadata`. ``intervals``: it also gives the
    scale of errors and the map of unfamiliar pixels (:mod:`.intervals`).

    Raises InputError for an opset outside :data:`OPSETS`, ExportError where the network cannot be
    converted, PluginError without the extra ``onnx``.
    """
    opset = check_opset(opset)
    facts = metadata(model, opset, "fp32")
    if intervals:
        facts["intervals"] = facts_of_intervals(model)
    program = trace(model, intervals)
    with torch.no_grad(), _understandable(model.name, "torch.onnx.export"), quick_rules():
        converted = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=opset,
            input_names=[INPUT],
            output_names=[OUTPUT, *INTERVAL_OUTPUTS] if intervals else [OUTPUT],
            verbose=False,
        )
    proto = converted.model_proto  # type: ignore[union-attr]  # a program is returned, since dynamo=True
    reached = next(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx"))
    if reached != opset:
        raise ExportError(f"{model.name} cannot be exported", expected=f"opset {opset}", got=reached)
    strip(proto)
    fold_moved_weights(proto)
    sign(proto, facts)
    return proto


def metadata(model: Reconstructor, opset: int, precision: str) -> dict[str, Any]:
    """What the file says about itself: all that running and scoring it needs, and where it comes from."""
    from importlib.metadata import version

    wanted = model.spec.input
    return {
        "schema": SCHEMA,
        "name": model.name,
        "architecture": model.spec.name,
        "weights_sha256": model.weights_sha256,
        "model_sha256": model.identity,
        "bands": model.bands.to_json(),
        "input": {**wanted.to_json(), "normalise": f"{wanted.normalise} (in the graph)"},
        "opset": opset,
        "precision": precision,
        "library_version": version("hsrzoo"),
        "config": dict(model.config),
    }


def sign(proto: ModelProto, facts: Mapping[str, Any]) -> None:
    """Write ``facts`` into the model's metadata, replacing what was there."""
    del proto.metadata_props[:]
    proto.metadata_props.add(key=METADATA_KEY, value=json.dumps(facts, sort_keys=True))
    proto.producer_name, proto.producer_version = "hsrzoo", facts["library_version"]


def facts_of(proto: ModelProto) -> dict[str, Any]:
    """The metadata that :func:`sign` wrote."""
    return json.loads(next(p.value for p in proto.metadata_props if p.key == METADATA_KEY))


def strip(proto: ModelProto) -> None:
    """Remove the exporter's notes: they hold stack traces with the paths of this machine."""
    for graph in _graphs(proto.graph):
        values = [*graph.input, *graph.output, *graph.value_info, *graph.initializer]
        for part in (graph, *graph.node, *values):
            del part.metadata_props[:]
            part.doc_string = ""


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """The graph and those in it: the bodies of its loops."""
    yield graph
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        if attribute.HasField("g"):
            yield from _graphs(attribute.g)


def fold_moved_weights(proto: ModelProto) -> None:
    """Transpose and reshape weights here instead of at every run; quantizing needs them so, too."""
    from onnx import numpy_helper
    from onnx.reference import ReferenceEvaluator

    graph = proto.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    left = []
    for node in graph.node:
        if node.op_type in _MOVES and all(name in weights for name in node.input):
            given = {name: numpy_helper.to_array(weights[name]) for name in node.input}
            (moved,) = ReferenceEvaluator(node).run(None, given)
            weights[node.output[0]] = numpy_helper.from_array(np.ascontiguousarray(moved), node.output[0])
        else:
            left.append(node)
    del graph.node[:], graph.initializer[:]
    graph.node.extend(left)
    used = {name for part in _graphs(graph) for node in part.node for name in node.input}
    graph.initializer.extend(tensor for name, tensor in weights.items() if name in used)


def write(proto: ModelProto, path: Path) -> None:
    """Check the model and write it: whole or not at all. Raises ExportError, StoreError."""
    import onnx

    try:
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as error:
        raise ExportError("The exported graph is not valid ONNX", got=str(error)) from None
    write_atomically(path, proto.SerializeToString(deterministic=True))


@contextmanager
def _understandable(name: str, how: str) -> Iterator[None]:
    """The exporters' remarks are kept quiet; what they raise becomes an ExportError."""
    try:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # the exporters raise anything
        cause: BaseException = error
        while cause.__cause__ is not None:  # the first one says what, those around it what to report
            cause = cause.__cause__
        text = " ".join(f"{type(cause).__name__}: {cause}".split())[:_LONGEST]
        fix = "A network must not decide by its numbers or sizes which layers run"
        raise ExportError(f"{name} cannot be converted by {how}", got=text, fix=fix) from error


@contextmanager
def quick_rules() -> Iterator[None]:
    """In the block onnxscript looks for pairs of slices at slices only.

    Its rule for them compares every node with all others, whatever they are: minutes for a graph of some
    thousand nodes. Versions whose rule is elsewhere are left as they are.
    """
    try:
        from onnxscript.rewriter.rules.common import slice_split_rule as rule
    except ImportError:
        yield
        return
    search = rule.try_rewrite

    def at_slices(model: Any, graph: Any, node: Any, **options: Any) -> Any:
        return search(model, graph, node, **options) if node.op_type == "Slice" else None

    rule.try_rewrite = at_slices  # type: ignore[method-assign]
    try:
        yield
    finally:
        del rule.try_rewrite  # that of the class is seen again


@contextmanager
def quiet() -> Iterator[None]:
    """Only errors are logged in the block: exporters and quantizers advise what their examples do."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
