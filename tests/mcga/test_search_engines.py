"""The choice of an engine, the custom op in compiled and exported graphs."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from hsrzoo.errors import InputError, PluginError, UnknownNameError
from hsrzoo_mcga.codebook import lookup, search
from hsrzoo_mcga.codebook.search import blocked, engines, op


@pytest.fixture
def no_faiss(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process in which faiss cannot be imported and nothing was said about it yet."""
    monkeypatch.setitem(sys.modules, "faiss", None)
    engines._can_import.cache_clear()
    engines._fall_back.cache_clear()
    yield
    engines._can_import.cache_clear()
    engines._fall_back.cache_clear()


def test_the_engine_follows_from_device_type_and_width() -> None:
    assert search.engine_for(torch.zeros(5, 16), torch.zeros(9, 16)) == "faiss"
    assert search.engine_for(torch.zeros(5, 64), torch.zeros(9, 64)) == "torch"
    assert search.engine_for(torch.zeros(5, 16).double(), torch.zeros(9, 16).double()) == "torch"
    assert search.engine_for(torch.zeros(5, 16, device="meta"), torch.zeros(9, 16)) == "torch"


def test_a_setting_forces_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    monkeypatch.setattr(blocked, "search", lambda x, c: used.append(len(x)) or torch.zeros(len(x)).long())
    features, codes = torch.zeros(5, 8), torch.zeros(9, 8)
    with search.search_engine("torch"):
        search.nearest_code(features, codes)
        with search.search_engine(None):
            search.nearest_code(features, codes)
    assert used == [5]
    monkeypatch.setenv("HSRZOO_SEARCH", "torch")
    search.nearest_code(features, codes)
    assert used == [5, 5]
    with search.search_engine("faiss"):  # the code's word counts more than the environment's
        search.nearest_code(features, codes)
    assert used == [5, 5]


def test_an_unknown_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownNameError, match="Nearest: faiss"), search.search_engine("fais"):
        pass
    monkeypatch.setenv("HSRZOO_SEARCH", "fais")
    with pytest.raises(UnknownNameError, match="search engine"):
        search.nearest_code(torch.zeros(5, 8), torch.zeros(9, 8))


@pytest.mark.usefixtures("no_faiss")
def test_without_faiss_torch_searches_and_nothing_is_said() -> None:
    features, codes = torch.randn(5, 8), torch.randn(9, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = search.nearest_code(features, codes)
    assert torch.equal(found, torch.cdist(features, codes).argmin(1))


def test_a_missing_triton_is_said_once() -> None:
    engines._fall_back.cache_clear()
    with pytest.warns(RuntimeWarning, match="triton cannot be imported") as told:
        assert [engines._fall_back("triton") for _ in range(2)] == ["torch", "torch"]
    assert len(told) == 1


@pytest.mark.usefixtures("no_faiss")
def test_a_forced_engine_that_is_not_installed() -> None:
    with (
        pytest.raises(PluginError, match=r'pip install "hsrzoo\[faiss\]"'),
        search.search_engine("faiss"),
    ):
        search.nearest_code(torch.zeros(5, 8), torch.zeros(9, 8))
    with pytest.raises(PluginError, match=r'pip install "hsrzoo\[faiss\]"'):
        search.check_engine("faiss", torch.zeros(5, 8))


def test_a_forced_engine_that_cannot_search_these_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(engines, "_can_import", lambda package: True)
    features = torch.zeros(5, 8)
    with search.search_engine("triton"), pytest.raises(InputError, match=r"float32 on cuda.*on cpu"):
        search.nearest_code(features, torch.zeros(9, 8))
    with search.search_engine("faiss"), pytest.raises(InputError, match=r"Got float64 on cpu"):
        search.nearest_code(features.double(), torch.zeros(9, 8))


@pytest.mark.parametrize(
    ("backend", "forced"),
    [pytest.param("eager", None, marks=pytest.mark.long), ("aot_eager", None), ("aot_eager", "torch")],
)
def test_compiled_whole_and_with_gradient(backend: str, forced: str | None) -> None:
    codes = torch.randn(70, 8)

    def look_up(x: Tensor) -> Tensor:
        return lookup.Codebook(codes).query(x * 2).straight_through()

    torch._dynamo.reset()
    compiled = torch.compile(look_up, fullgraph=True, backend=backend)
    with search.search_engine(forced):
        for size in (5, 7):  # the second recompiles with a symbolic size
            x = torch.randn(1, 8, size, 6, requires_grad=True)
            y = compiled(x)
            assert torch.equal(y, look_up(x))
            y.sum().backward()
            assert x.grad is not None and torch.equal(x.grad, torch.full_like(x, 2.0))


def test_the_op_is_sound() -> None:
    """Schema, fake implementation and autograd, by torch's own check."""
    x = torch.randn(5, 8)
    torch.library.opcheck(op.nearest_code_op, (x, torch.randn(9, 8)))
    torch.library.opcheck(op.nearest_code_op, (x[:0], torch.randn(9, 8)))


def test_importing_the_op_again_is_harmless() -> None:
    importlib.reload(op)
    x, codes = torch.randn(5, 8), torch.randn(9, 8)
    assert torch.equal(op.nearest_code_op(x, codes), search.nearest_code(x, codes))


class LookUp(nn.Module):
    codes: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("codes", torch.randn(300, 8))

    def forward(self, x: Tensor) -> Tensor:
        return search.nearest_code(x, self.codes)


@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_graph_has_any_number_of_rows_and_no_custom_op(strict: bool) -> None:
    module, x = LookUp().eval(), torch.randn(50, 8)
    rows = torch.export.Dim("rows", min=2)
    program = torch.export.export(module, (x,), dynamic_shapes=({0: rows},), strict=strict)
    assert not any("hsrzoo" in str(node.target) for node in program.graph.nodes)
    for m in (2, 333):
        x = torch.randn(m, 8)
        assert torch.equal(program.module()(x), module(x))


def test_a_traced_graph_has_any_number_of_rows() -> None:
    module = LookUp().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the sizes of the codes become constants, as they should
        traced = torch.jit.trace(module, torch.randn(50, 8))
    x = torch.randn(333, 8)
    assert torch.equal(traced(x), module(x))


def test_onnxruntime_gives_the_same_indices(tmp_path) -> None:
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    module, path = LookUp().eval(), tmp_path / "look_up.onnx"
    rows = torch.export.Dim("rows", min=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, (torch.randn(50, 8),), path, dynamo=True, dynamic_shapes=({0: rows},), verbose=False
        )
    session = onnxruntime.InferenceSession(path)
    x = torch.randn(333, 8)
    x[7, 0] = float("nan")
    x[9] = (module.codes[3] + module.codes[200]) / 2
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    assert torch.equal(torch.from_numpy(found), module(x))
