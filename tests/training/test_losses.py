"""Losses against float64 numpy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hsrzoo.errors import TrainingError
from hsrzoo.spec import Recipe
from hsrzoo.training.losses import loss_function, over_data

PRED, TRUTH = np.random.default_rng(0).random((2, 2, 3, 4, 5))
TRUTH[0, 0] = 0.0  # true black: the floor decides


def _oracle(name: str, weight: float) -> float:
    difference = PRED - TRUTH
    charbonnier = np.mean(np.sqrt(difference**2 + 1e-6))
    relative = np.mean(np.abs(difference) / np.maximum(TRUTH, 1 / 255))
    return {
        "charbonnier": charbonnier,
        "charbonnier+relative": charbonnier + weight * relative,
        "mrae": relative,
        "l1": np.mean(np.abs(difference)),
    }[name]


@pytest.mark.parametrize("name", ["charbonnier", "charbonnier+relative", "mrae", "l1"])
def test_loss_equals_numpy(name: str) -> None:
    recipe = replace(Recipe(), loss=name, relative_weight=0.3)
    ours = loss_function(recipe)(torch.from_numpy(PRED), torch.from_numpy(TRUTH))
    assert float(ours) == pytest.approx(_oracle(name, 0.3), rel=1e-12)


def test_own_is_no_loss_between_cubes() -> None:
    with pytest.raises(TrainingError, match="training_loss"):
        loss_function(replace(Recipe(), loss="own"))


@pytest.mark.parametrize("name", ["charbonnier", "charbonnier+relative", "mrae", "l1"])
def test_values_without_data_have_no_part_in_a_loss_and_no_gradient(name: str) -> None:
    loss = loss_function(replace(Recipe(), loss=name, relative_weight=0.3))
    pred, truth = torch.from_numpy(PRED).requires_grad_(), torch.from_numpy(TRUTH).clone()
    truth[0, 1, 2, 3] = truth[1, 2] = torch.nan
    known = ~truth.isnan()
    value = loss(pred, truth)
    assert float(value.detach()) == pytest.approx(
        float(loss(pred.detach()[known], truth[known])), rel=1e-12
    )
    value.backward()
    assert not pred.grad[~known].any() and (pred.grad[known] != 0).all()


def test_a_batch_without_gaps_is_not_copied() -> None:
    seen = []
    loss = over_data(lambda pred, truth: seen.append((pred, truth)))
    pair = torch.ones(1, 2, 3, 3), torch.zeros(1, 2, 3, 3)
    loss(*pair)
    assert seen[0][0] is pair[0] and seen[0][1] is pair[1]
