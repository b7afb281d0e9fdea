"""Losses against float64 numpy."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from hsrzoo.errors import TrainingError
from hsrzoo.spec import Recipe
from hsrzoo.training.losses import ignore_missing, loss_function, spectral_angle

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
    loss = ignore_missing(lambda pred, truth: seen.append((pred, truth)))
    pair = torch.ones(1, 2, 3, 3), torch.zeros(1, 2, 3, 3)
    loss(*pair)
    assert seen[0][0] is pair[0] and seen[0][1] is pair[1]


@pytest.mark.parametrize("gap", [False, True])
def test_a_loss_gets_both_cubes_in_the_order_of_memory_of_the_prediction(gap: bool) -> None:
    seen = []

    def loss(pred: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        seen.extend([pred, truth])
        return (pred - truth).square().mean()

    truth, pred = torch.from_numpy(TRUTH).clone(), torch.from_numpy(PRED).requires_grad_()
    truth[0, 1, 2, 3] = torch.nan if gap else 1
    last = pred.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    values = [ignore_missing(loss)(x, truth) for x in (pred, last)]
    assert all(x.is_contiguous() for x in seen)
    gradients = [torch.autograd.grad(value, x)[0] for value, x in zip(values, (pred, last), strict=True)]
    assert torch.allclose(*values, rtol=1e-12, atol=0)
    assert torch.allclose(*gradients, rtol=1e-12, atol=0)


def _angle(pred: np.ndarray, truth: np.ndarray) -> float:
    """Mean angle of (B, C, H, W) by a loop in float64, over bands with data and spectra that have any."""
    angles = []
    for b, i, j in np.ndindex(truth.shape[0], *truth.shape[2:]):
        known = [c for c in range(truth.shape[1]) if not math.isnan(truth[b, c, i, j])]
        p, y = [pred[b, c, i, j] for c in known], [truth[b, c, i, j] for c in known]
        norm = math.hypot(*y)
        if norm > 0:
            cosine = sum(u * v for u, v in zip(p, y, strict=True)) / (math.hypot(*p) * norm)
            angles.append(math.acos(max(-1.0, min(1.0, cosine))))
    return sum(angles) / len(angles)


@pytest.mark.parametrize("name", ["charbonnier", "charbonnier+relative", "mrae", "l1"])
def test_the_spectral_angle_is_added_to_any_loss(name: str) -> None:
    truth = TRUTH.copy()
    truth[:, :, 1, 2] = 0.0  # no direction: left out
    truth[1, 1, 0, 0] = truth[1, :, 2, 2] = np.nan
    pair = torch.from_numpy(PRED), torch.from_numpy(truth)
    plain, both = (loss_function(Recipe(loss=name, sam_weight=w))(*pair) for w in (0.0, 0.3))
    assert float(both - plain) == pytest.approx(0.3 * _angle(PRED, truth), rel=1e-7)


def test_small_angles_are_exact_in_single_precision_where_the_arc_cosine_is_not() -> None:
    truth = torch.full((1, 31, 4, 4), 0.5)
    pred = truth.clone()
    pred[:, 0] += 1e-3
    expected = _angle(pred.double().numpy(), truth.double().numpy())
    assert float(spectral_angle(pred, truth)) == pytest.approx(expected, rel=1e-3)


def test_the_spectral_angle_has_a_finite_gradient_at_zero_angle_and_at_black() -> None:
    truth = torch.from_numpy(TRUTH[:1] + 0.1).float().repeat(3, 1, 1, 1)
    pred = truth.clone()
    pred[1] *= 2  # the same direction
    pred[2] = 0
    pred.requires_grad_()
    value = spectral_angle(pred, truth)
    value.backward()
    assert float(value.detach()) == pytest.approx(math.pi / 2 / 3, abs=1e-5)  # black counts as 90 degrees
    assert pred.grad.isfinite().all() and pred.grad.norm() < 255
    assert pred.grad[:2].abs().max() < 0.1 and pred.grad[2].abs().max() > 0


def test_the_spectral_angle_of_scenes_without_light_is_zero() -> None:
    pred = torch.ones(1, 3, 2, 2, requires_grad=True)
    value = spectral_angle(pred, torch.zeros(1, 3, 2, 2))
    value.backward()
    assert float(value.detach()) == 0 and not pred.grad.any()
