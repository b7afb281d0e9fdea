"""Losses between a predicted and a true cube, both (B, C, H, W) float32; each returns a scalar.

All are means over values, so those without data (NaN in the truth) are left out of both cubes before.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hsrzoo.errors import TrainingError
from hsrzoo.spec import Recipe

RELATIVE_FLOOR = 1 / 255
"""Smallest denominator of relative errors: one grey level, so that true black stays finite."""
CHARBONNIER_EPSILON = 1e-6

Loss = Callable[[Tensor, Tensor], Tensor]


def charbonnier(pred: Tensor, truth: Tensor) -> Tensor:
    """mean sqrt((x - y)^2 + 1e-6): |x - y| rounded off at the bottom."""
    return torch.sqrt((pred - truth).square() + CHARBONNIER_EPSILON).mean()


def relative(pred: Tensor, truth: Tensor) -> Tensor:
    """mean |x - y| / max(y, 1/255): MRAE with a floor."""
    return ((pred - truth).abs() / truth.clamp(min=RELATIVE_FLOOR)).mean()


def l1(pred: Tensor, truth: Tensor) -> Tensor:
    """mean |x - y|."""
    return (pred - truth).abs().mean()


def over_data(loss: Loss) -> Loss:
    """``loss`` over the values that ``truth`` has: the others, NaN there, have no part in it and no
    gradient. A batch without gaps goes to ``loss`` as it is.

    In a group of processes each takes the mean over the values of its own share.
    """

    def compute(pred: Tensor, truth: Tensor) -> Tensor:
        known = ~truth.isnan()
        return loss(pred, truth) if known.all() else loss(pred[known], truth[known])

    return compute


def loss_function(recipe: Recipe) -> Loss:
    """The loss that ``recipe.loss`` names, over the values with data; ``own`` has none here and raises
    TrainingError."""
    return over_data(_plain_loss(recipe))


def _plain_loss(recipe: Recipe) -> Loss:
    if recipe.loss == "charbonnier":
        return charbonnier
    if recipe.loss == "charbonnier+relative":
        weight = recipe.relative_weight
        return lambda pred, truth: charbonnier(pred, truth) + weight * relative(pred, truth)
    if recipe.loss == "mrae":
        return relative
    if recipe.loss == "l1":
        return l1
    raise TrainingError(
        f"The loss {recipe.loss!r} is not one between two cubes",
        expected="charbonnier, charbonnier+relative, mrae or l1",
        fix="Only a network with a method training_loss(rgb, cube) can train with loss=own",
    )
