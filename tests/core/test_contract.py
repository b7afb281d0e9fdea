"""Each check of the contract catches the model that breaks it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hsrzoo.contract import CHECKS, ContractError, Subject, run_all
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
    ("shape", HalfPrecision, "wrong dtype"),
    ("shape", ReturnsAPair, "Got tuple"),
    ("finite", DividesByBrightness, "black image is not finite"),
    ("bands", Only31, "wrong depth"),
    ("sizes", NeedsEvenSize, "7 x 13 pixels fails"),
    ("batch", MixesTheBatch, "couples_batch"),
    ("determinism", DropsAlways, "Two passes"),
    ("determinism", CountsItsCalls, "changes the weights.*Got calls"),
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
