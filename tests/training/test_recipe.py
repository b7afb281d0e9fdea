"""Recipes from text."""

from __future__ import annotations

import pytest

from hsrzoo.errors import TrainingError, UnknownNameError
from hsrzoo.spec import Recipe
from hsrzoo.training.recipe import override


def test_every_kind_of_field_is_parsed() -> None:
    texts = {"steps": "7", "lr": "1e-3", "betas": "0.8,0.95", "augment": "flip", "loss": "l1"}
    changed = override(Recipe(), texts)
    assert (changed.steps, changed.lr, changed.betas) == (7, 1e-3, (0.8, 0.95))
    assert (changed.augment, changed.loss) == (("flip",), "l1")
    assert override(Recipe(), {"augment": ""}).augment == ()
    assert [override(Recipe(), {"ema_warmup": t}).ema_warmup for t in ("true", "false")] == [True, False]


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("steps", "2.5"), ("steps", "0"), ("lr", "fast"), ("lr", "-1"), ("lr", "nan"), ("loss", "l2"),
        ("betas", "0.9"), ("betas", "0.9,1.0"), ("ema", "1"), ("warmup", "1.5"), ("holdout", "-1"),
        ("augment", "flip,blur"), ("augment_share", "1.1"), ("sam_weight", "-1"), ("ema_warmup", "1"),
    ],
)  # fmt: skip
def test_impossible_values_are_refused_by_name(field: str, text: str) -> None:
    with pytest.raises(TrainingError, match=field):
        override(Recipe(), {field: text})


def test_the_angle_has_no_part_in_a_loss_of_the_networks_own() -> None:
    with pytest.raises(TrainingError, match="sam_weight"):
        override(Recipe(), {"loss": "own", "sam_weight": "0.1"})


def test_an_unknown_field_offers_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="weight_decay"):
        override(Recipe(), {"weight_decey": "1"})
