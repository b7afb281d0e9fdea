"""Networks as ONNX files: the same cubes as torch's, at any size, and files that say what they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import hsrzoo
from code_tapes import Prompter, Recorder, Tape, compare_tapes, search_by, whole_features
from hsrzoo.errors import InputError, PluginError
from hsrzoo.export import ExportError, cached_export, check, export_onnx, graph
from hsrzoo.export.pending import pending
from hsrzoo.models.onnx_runtime import OnnxModel
from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo_mcga.codebook.search import blocked

SIZES = ((48, 32), (39, 61), (8, 8))


def require_the_same_cubes(made: OnnxModel, model: Reconstructor) -> None:
    for size in SIZES:
        rgb = check.example(*size)
        assert np.abs(made.predict(rgb) - model.predict(rgb)).max() < 1e-5


def test_a_file_gives_the_same_cube_at_every_size(toy: Reconstructor, toy_file: Path) -> None:
    require_the_same_cubes(OnnxModel(toy_file), toy)


@pytest.mark.long
def test_a_file_of_mst_plus_plus_does_too(mst: Reconstructor, tmp_path: Path) -> None:
    require_the_same_cubes(export_onnx(mst, tmp_path / "m.onnx")[0], mst)


class Revealing(graph.Whole):
    """MCGA that also returns what every look-up was asked and what it answered."""

    def forward(self, rgb: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        asked: list[Tensor] = []
        answered: list[Tensor] = []
        search = blocked.search_traced

        def watched(features: Tensor, codes: Tensor) -> Tensor:
            asked.append(features)
            answered.append(search(features, codes))
            return answered[-1]

        blocked.search_traced = watched
        try:
            return self.module(rgb), *asked, *answered
        finally:
            blocked.search_traced = search


def test_mcga_looks_up_the_same_codes_but_for_ties_and_gives_the_same_cube(
    mcga: Reconstructor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph, "Whole", Revealing)
    session = onnxruntime.InferenceSession(graph.to_onnx(mcga).SerializeToString())
    for size in ((48, 32), (32, 72), (4, 4), (160, 128)):
        rgb = check.example(*size)
        cube, *rest = (torch.from_numpy(x) for x in session.run(None, {"rgb": rgb[None]}))
        tape = Tape(rest[: len(rest) // 2], rest[len(rest) // 2 :])
        recorder = Recorder(mcga.module, size)  # type: ignore[arg-type]
        with whole_features(), search_by(recorder):
            mcga.predict(rgb)
        tape.tables = recorder.tape.tables
        difference = compare_tapes(recorder.tape, tape)
        assert difference.looked_up == sum(len(i) for i in tape.indices)
        assert difference.beyond == 0 and difference.differ <= 0.01 * difference.looked_up

        with whole_features(), search_by(Prompter(mcga.module, size, tape)):  # type: ignore[arg-type]
            prescribed = mcga.predict(rgb)
        assert np.abs(prescribed - cube[0].numpy()).max() < 1e-4


def test_the_input_is_normalised_by_the_graph(toy: Reconstructor, toy_file: Path) -> None:
    made, rgb = OnnxModel(toy_file), check.example(20, 30)
    dark = (0.1 + 0.3 * rgb).astype(np.float32)  # minmax-image: the same image
    assert np.abs(made.predict(rgb) - made.predict(dark)).max() < 1e-4
    assert np.abs(made.predict(rgb) - toy.predict(rgb)).max() < 1e-5


def test_a_file_says_what_it_is(toy: Reconstructor, toy_file: Path) -> None:
    made = OnnxModel(toy_file)
    assert (made.bands, made.weights_sha256, made.opset) == (toy.bands, toy.weights_sha256, 20)
    assert made.config == toy.config and made.spec.input == replace(toy.spec.input, normalise="none")
    assert (made.metadata["name"], made.metadata["model_sha256"]) == (toy.name, toy.identity)
    assert made.metadata["input"]["normalise"].startswith("minmax-image")
    proto = onnx.load(toy_file)
    shapes = [
        [d.dim_param or d.dim_value for d in port.type.tensor_type.shape.dim]
        for port in (*proto.graph.input, *proto.graph.output)
    ]
    assert [shape[:2] for shape in shapes] == [[1, 3], [1, 5]]
    assert all(isinstance(d, str) for shape in shapes for d in shape[2:])


def test_pairs_of_slices_are_looked_for_at_slices_only() -> None:
    """Elsewhere each search walks over the whole graph, of which there is none here."""
    common = pytest.importorskip("onnxscript.rewriter.rules.common")
    ir = pytest.importorskip("onnx_ir")
    with graph.quick_rules():
        assert common.slice_split_rule.try_rewrite(None, None, ir.node("Add", [])) is None
        with pytest.raises(AttributeError):
            common.slice_split_rule.try_rewrite(None, None, ir.node("Slice", []))
    with pytest.raises(AttributeError):
        common.slice_split_rule.try_rewrite(None, None, ir.node("Add", []))


def test_a_file_tells_nothing_of_the_machine(toy_file: Path) -> None:
    assert str(Path(__file__).parent).encode() not in toy_file.read_bytes()


@pytest.mark.parametrize("opset", [-1, 17, 24, 99])
def test_an_unsupported_opset_is_told_with_the_range(
    toy: Reconstructor, tmp_path: Path, opset: int
) -> None:
    with pytest.raises(InputError, match=rf"Expected 18 to 23\. Got {opset}"):
        export_onnx(toy, tmp_path / "m.onnx", opset=opset)
    assert not list(tmp_path.iterdir())


def test_the_first_opset_gives_the_same_cube(toy: Reconstructor, tmp_path: Path) -> None:
    """The last one: test_intervals.py."""
    made, _ = export_onnx(toy, tmp_path / "m.onnx", opset=18)
    assert made.opset == 18 == onnx.load(tmp_path / "m.onnx").opset_import[0].version
    check.require_equal(check.compare(toy, made, [check.example(40, 24)]), "fp32")


class Undecided(nn.Module):
    """Its layers depend on the numbers in the image."""

    def forward(self, rgb: Tensor) -> Tensor:
        return rgb if rgb.mean() > 0.5 else -rgb


def test_a_network_that_cannot_be_traced_is_named(toy: Reconstructor, tmp_path: Path) -> None:
    model = Reconstructor(
        Undecided(), toy.spec, toy.bands, name="undecided", config=toy.config, device="cpu"
    )
    with pytest.raises(ExportError, match=r"undecided cannot be converted by torch\.export"):
        export_onnx(model, tmp_path / "m.onnx")


def test_a_missing_extra_is_named(
    toy: Reconstructor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(PluginError, match=r'pip install "hsrzoo\[onnx\]"'):
        export_onnx(toy, tmp_path / "m.onnx")


def test_a_file_is_made_once_and_is_the_same_twice(
    toy: Reconstructor, toy_file: Path, tmp_path: Path
) -> None:
    path = cached_export(toy, tmp_path / "files")
    assert path.name == f"toy@{toy.identity[:12]}.onnx"  # type: ignore[index]
    assert path.read_bytes() == toy_file.read_bytes()
    first = path.stat()
    assert cached_export(toy, tmp_path / "files") == path and path.stat().st_mtime_ns == first.st_mtime_ns
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.usefixtures("traced_once")
def test_a_damaged_file_is_made_again(toy: Reconstructor, tmp_path: Path) -> None:
    path = cached_export(toy, tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    assert cached_export(toy, tmp_path) == path and path.read_bytes() == whole


def renamed_toy(toy: Reconstructor) -> Reconstructor:
    """The same network under another identity."""
    return Reconstructor(
        toy.module,
        toy.spec,
        toy.bands,
        name="toy",
        config=toy.config,
        weights_sha256="1" * 64,
        device="cpu",
    )


@pytest.mark.usefixtures("traced_once")
def test_a_file_of_another_model_is_not_taken(toy: Reconstructor, tmp_path: Path) -> None:
    other = renamed_toy(toy)
    first, second = cached_export(toy, tmp_path), cached_export(other, tmp_path)
    assert first != second
    second.write_bytes(first.read_bytes())  # under the other's name
    cached_export(other, tmp_path)
    assert OnnxModel(second).metadata["model_sha256"] == other.identity


@pytest.mark.usefixtures("traced_once")
def test_a_file_that_fails_its_check_is_not_taken_by_the_next_run(
    toy: Reconstructor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as strict:
        strict.setitem(check.TOLERANCE, "fp32", -1.0)
        for _ in range(2):
            with pytest.raises(ExportError, match=r"kept as .*\.failed\.onnx") as caught:
                cached_export(toy, tmp_path)
            (kept,) = tmp_path.iterdir()
            assert kept.name.endswith(".failed.onnx") and str(kept) in str(caught.value)
    path = cached_export(toy, tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([path, kept])


@pytest.mark.usefixtures("traced_once")
def test_a_file_has_its_name_only_after_the_check(
    toy: Reconstructor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []

    def stopped(*_: object) -> None:
        seen.append([p.name for p in tmp_path.iterdir() if p.suffix != ".lock"])
        raise KeyboardInterrupt

    monkeypatch.setattr(check, "compare", stopped)
    with pytest.raises(KeyboardInterrupt):
        cached_export(toy, tmp_path)
    ((during,),) = seen  # what a process that is killed here leaves
    assert during.startswith(".toy@") and during.endswith(".unchecked.onnx")
    assert not list(tmp_path.iterdir())


def test_what_has_the_name_stays_until_the_new_file_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_text("old")
    with pytest.raises(ExportError, match="wrong"), pending(path) as file:
        file.write_text("new")
        raise ExportError("wrong")
    assert path.read_text() == "old" and (tmp_path / "m.failed.onnx").read_text() == "new"
    with pending(path) as file:
        file.write_text("right")
    assert path.read_text() == "right" and len(list(tmp_path.iterdir())) == 2
    with pytest.raises(InputError, match="is a folder"), pending(tmp_path):
        pass
    (tmp_path / ".m.unchecked.onnx").write_text("of a killed process")
    with pending(path) as file:
        file.write_text("again")
    assert path.read_text() == "again" and len(list(tmp_path.iterdir())) == 2


def test_random_weights_have_no_file() -> None:
    with pytest.raises(InputError, match="random weights"):
        cached_export(hsrzoo.load("linear", weights=None, device="cpu"), Path())


def test_another_networks_file_fails_the_check(toy: Reconstructor, toy_file: Path) -> None:
    module = type(toy.module)(len(toy.bands))
    other = Reconstructor(module, toy.spec, toy.bands, name="other", config=toy.config, device="cpu")
    with pytest.raises(ExportError, match="gives other cubes than the network"):
        check.require_equal(check.compare(other, OnnxModel(toy_file), [check.example(16, 16)]), "fp32")


def test_numbers_that_are_not_finite_fail_the_check() -> None:
    broken = check.Difference(4, 4, float("nan"), float("nan"), 0.0)
    with pytest.raises(ExportError, match="nan at 4 x 4"):
        check.require_equal([broken], "int8")


def test_an_fp32_file_may_not_change_a_score() -> None:
    check.require_same_score(0.03, 0.030009, "fp32")
    check.require_same_score(0.03, 0.04, "int8")
    with pytest.raises(ExportError, match=r"0\.030000 in torch, 0\.030020 exported"):
        check.require_same_score(0.03, 0.03002, "fp32")
