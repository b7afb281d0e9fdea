"""Each check of the contract catches the model that breaks it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from hsrzoo.contract import checks
from hsrzoo.contract.checks import CHECKS, ContractError, Subject, run_all
from hsrzoo.export import ExportError
from hsrzoo.spec import ModelSpec, RgbInput


class Good(nn.Module):
    """One pointwise layer; the broken models below differ from it in one thing."""

    def __init__(self, bands):
        super().__init__()
        self.layer = nn.Conv2d(3, len(bands), 1)

    def forward(self, rgb):
        return self.layer(rgb)


class TransposedImage(Good):
    def forward(self, rgb):
        return self.layer(rgb).transpose(2, 3)


class HalfPrecision(Good):
    def forward(self, rgb):
        return self.layer(rgb).half()


class DividesByBrightness(Good):
    def forward(self, rgb):
        return self.layer(rgb / rgb.sum(1, keepdim=True))


class Only31(Good):
    def __init__(self, bands):
        super().__init__(range(31))


class NeedsEvenSize(Good):
    def forward(self, rgb):
        b, c, h, w = rgb.shape
        return self.layer(rgb.view(b, c, h // 2, 2, w // 2, 2).reshape(b, c, h, w))


class MixesTheBatch(Good):
    def forward(self, rgb):
        return self.layer(rgb - rgb.mean(0, keepdim=True))


class DropsAlways(Good):
    def forward(self, rgb):
        return nn.functional.dropout(self.layer(rgb), training=True)


class CountsItsCalls(Good):
    def __init__(self, bands):
        super().__init__(bands)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, rgb):
        self.calls += 1
        return self.layer(rgb)


class CountsInAnAttribute(Good):
    def __init__(self, bands):
        super().__init__(bands)
        self.calls = 0

    def forward(self, rgb):
        self.calls += 1
        return self.layer(rgb)


class KeepsWhatItSaw(Good):
    def __init__(self, bands):
        super().__init__(bands)
        self.layer.seen = []

    def forward(self, rgb):
        self.layer.seen.append(rgb.mean())
        return self.layer(rgb)


class AveragesOverCalls(Good):
    mean = torch.zeros(())

    def forward(self, rgb):
        self.mean = 0.9 * self.mean + 0.1 * rgb.mean()
        return self.layer(rgb) - self.mean


class ActsOnTheLastSize(Good):
    last: dict[str, int] = {}  # noqa: RUF012  # of the class: no attribute of the network changes

    def forward(self, rgb):
        changed = self.last.get("size", rgb.shape[2]) != rgb.shape[2]
        self.last["size"] = rgb.shape[2]
        return self.layer(rgb) + (0.5 if changed else 0.0)


class RemembersSizes(Good):
    """Keeps something for each size, which depends on nothing else."""

    def __init__(self, bands):
        super().__init__(bands)
        self.ramps = {}

    def forward(self, rgb):
        width = rgb.shape[3]
        if width not in self.ramps:
            self.ramps[width] = torch.linspace(0, 1, width)
        return self.layer(rgb) + self.ramps[width]


class Explodes(Good):
    def forward(self, rgb):
        return self.layer(rgb) * 1e9


class LooksAtTheNumbers(Good):
    def forward(self, rgb):
        return self.layer(rgb) if rgb.mean() > 0.5 else -self.layer(rgb)


class WritesOnItsInput(Good):
    def forward(self, rgb):
        cube = self.layer(rgb)
        rgb.zero_()
        return cube


class HidesARandomNumber(Good):
    def __init__(self, bands):
        super().__init__(bands)
        self.secret = float(torch.randint(1 << 30, ()))  # another one in every network that is built

    def forward(self, rgb):
        return self.layer(rgb) + self.secret


class DeadLayer(Good):
    def __init__(self, bands):
        super().__init__(bands)
        self.unused = nn.Linear(2, 2)


class ReturnsAPair(Good):
    def forward(self, rgb):
        return self.layer(rgb), rgb


BROKEN = [
    ("shape", TransposedImage, "wrong shape"),
    ("dtype", HalfPrecision, "wrong dtype"),
    ("shape", ReturnsAPair, "Got tuple"),
    ("range", DividesByBrightness, "black image is not finite"),
    ("bands", Only31, "wrong depth"),
    ("sizes", NeedsEvenSize, "7 x 13 pixels fails"),
    ("batch", MixesTheBatch, "couples_batch"),
    ("determinism", DropsAlways, "Two passes"),
    ("determinism", CountsItsCalls, "changes the weights.*Got calls"),
    ("determinism", CountsInAnAttribute, "keeps state between calls.*Got calls"),
    ("determinism", KeepsWhatItSaw, r"keeps state between calls.*Got layer\.seen"),
    ("determinism", AveragesOverCalls, "keeps state between calls.*Got mean"),
    ("determinism", ActsOnTheLastSize, "depends on the images before it"),
    ("range", Explodes, "black image is out of range. Expected values up to 1000"),
    ("determinism", WritesOnItsInput, "changes its input"),
    ("save-and-load", HidesARandomNumber, "another cube"),
    ("gradient", DeadLayer, "No gradient reaches unused.weight"),
]


def spec(build, **changes) -> ModelSpec:
    return ModelSpec(
        **{"name": "toy", "build": build, "summary": "a toy", "source": "this test", **changes}
    )


def test_good_model_passes_every_check():
    results = list(run_all(spec(Good)))
    assert [r.check for r in results] == list(CHECKS)
    assert all(r.passed for r in results), [r.text for r in results if not r.passed]


@pytest.mark.parametrize(("check", "build", "said"), BROKEN)
def test_broken_model_fails_the_check_that_is_about_it(check, build, said):
    with pytest.raises(ContractError, match=said):
        CHECKS[check](Subject(spec(build)))


def test_what_is_kept_for_a_size_is_no_state():
    assert "nothing is changed or kept" in CHECKS["determinism"](Subject(spec(RemembersSizes)))


def test_network_that_decides_by_its_numbers_cannot_be_exported():
    with pytest.raises(ExportError, match="must not decide by its numbers"):
        CHECKS["export"](Subject(spec(LooksAtTheNumbers)))


def test_export_that_gives_another_cube_is_caught(monkeypatch):
    other = Good(range(31))
    monkeypatch.setattr("hsrzoo.export.graph.trace", lambda model: SimpleNamespace(module=lambda: other))
    with pytest.raises(ContractError, match=r"torch\.export program gives another cube"):
        CHECKS["export"](Subject(spec(Good)))
    exported = SimpleNamespace(predict=lambda rgb: other(torch.as_tensor(rgb)[None])[0].detach().numpy())
    monkeypatch.setattr("hsrzoo.export.export_onnx", lambda model, path: (exported, None))
    monkeypatch.setattr(checks, "ONNX", ())
    with pytest.raises(ContractError, match="ONNX file gives another cube"):
        CHECKS["onnx"](Subject(spec(Good)))


def test_without_the_extra_the_onnx_check_says_that_it_is_skipped(monkeypatch):
    monkeypatch.setattr(checks, "ONNX", ("onnx", "no_such_package"))
    assert CHECKS["onnx"](Subject(spec(Good))) == (
        "skipped: no_such_package not installed (pip install 'hsrzoo[onnx]')"
    )


def test_declared_needs_are_met():
    assert "7 x 13" in CHECKS["sizes"](Subject(spec(NeedsEvenSize, input=RgbInput(multiple=2, min_size=2))))
    assert "one by one" in CHECKS["batch"](Subject(spec(MixesTheBatch, couples_batch=True)))


def test_empty_summary_fails_the_spec():
    with pytest.raises(ContractError, match="summary is empty"):
        CHECKS["spec"](Subject(spec(Good, summary=" ")))


def test_model_that_cannot_be_built_fails_once():
    def explode(bands):
        raise RuntimeError("no such layer")

    (result,) = run_all(spec(explode))
    assert (result.check, result.passed, result.text) == ("spec", False, "RuntimeError: no such layer")


def test_fit_that_learns_nothing_is_caught():
    class Zero(nn.Module):
        def __init__(self, bands):
            super().__init__()
            self.register_buffer("matrix", torch.zeros(len(bands), 3, 1, 1))

        def forward(self, rgb):
            return nn.functional.conv2d(rgb, self.matrix)

    idle = spec(Zero, fit=lambda module, dataset, split: None)
    with pytest.raises(ContractError, match="learned nothing"):
        CHECKS["fit"](Subject(idle))


def test_adaptation_that_keeps_its_changes_is_caught():
    def adapt(module, rgb):
        module.layer.bias.data += 1
        return module(rgb)

    with pytest.raises(ContractError, match=r"Adaptation changes.*layer\.bias"):
        CHECKS["adaptation"](Subject(spec(Good, adapt=adapt)))


def test_checks_leave_the_random_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    list(run_all(spec(Good)))
    assert torch.equal(torch.rand(3), expected)
