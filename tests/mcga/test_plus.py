"""mcga-plus: the mean of mcga-s2 and pixel-mlp."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import hsrzoo
from hsrzoo.contract.checks import CHECKS, Subject
from hsrzoo.errors import InputError
from hsrzoo.models.ensemble.members import load_members, make
from hsrzoo.registry import MODELS

SUBJECT = Subject(MODELS.get("mcga-plus"))


@pytest.mark.parametrize("check", ["spec", "sizes", "batch", "save-and-load"])
def test_the_contract(check):
    assert CHECKS[check](SUBJECT)


def test_the_bundled_generalist_is_the_mean_of_its_members():
    rgb = np.random.default_rng(0).random((3, 37, 50), dtype=np.float32)
    names = ("mcga-plus.general", "mcga-s2.general", "pixel-mlp.cave", "pixel-mlp.general")
    plus, *members = (hsrzoo.load(name, device="cpu") for name in names)
    mean = np.average([member.predict(rgb) for member in members], axis=0, weights=[0.5, 0.25, 0.25])
    assert np.allclose(plus.predict(rgb), mean, atol=1e-6)
    assert plus.halo == members[0].halo and plus.spec.input == members[0].spec.input
    assert set(plus.config["training"]["scenes"]) == set(members[0].config["training"]["scenes"])


def test_half_of_the_bundled_cave_weights_is_pixel_mlp():
    plus, pixel = (
        hsrzoo.load(name, device="cpu").module.state_dict() for name in ("mcga-plus", "pixel-mlp")
    )
    assert (plus["shares"] == 0.5).all()
    for name, value in pixel.items():
        assert torch.equal(plus[f"members.1.{name}"], value.half().float())  # as they are stored


def test_an_architecture_may_come_twice():
    models = load_members(["mcga-s2.cave", "pixel-mlp.cave", "pixel-mlp.cave"])
    made = make(models, shares=[0.5, 0.25, 0.25], spec=SUBJECT.spec)
    assert len(made.arguments["members"]) == 3
    with pytest.raises(InputError, match="mcga-s2 and pixel-mlp, each once or more"):
        make(models[1:], spec=SUBJECT.spec)
