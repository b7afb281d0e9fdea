"""Losses between a predicted and a true cube, both (B, C, H, W) float32; each returns a scalar.

All are means over values, so those without data (NaN in the truth) are left out of both cubes before.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from hsrzoo.errors import TrainingError
from hsrzoo.spec import Recipe

RELATIVE_FLOOR = 1 / 255
"""Smallest denominator of relative errors: one grey level, so that true black stays finite."""
CHARBONNIER_EPSILON = 1e-6
ANGLE_EPSILON = 1e-12
"""Rounds the angle off at zero, where its slope jumps: an angle of 0 comes out as 1e-6 rad."""

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


def spectral_angle(pred: Tensor, truth: Tensor) -> Tensor:
    """Mean angle in radians between the spectra (dim 1), over pixels whose true norm is above 0.

    By W. Kahan's 2 atan2(|u - v|, |u + v|) of unit vectors u and v, which unlike the arc cosine is exact
    for small angles and has a bounded slope there. Predictions of a norm below 1/255 are not scaled up to
    1, so that the slope of a black pixel stays finite. Values without data (NaN in ``truth``) count as 0
    in both spectra.
    """
    known = ~truth.isnan()
    pred, truth = torch.where(known, pred, 0), torch.where(known, truth, 0)
    norms = truth.norm(dim=1, keepdim=True)
    u = functional.normalize(pred, dim=1, eps=RELATIVE_FLOOR)
    v = truth / torch.where(norms > 0, norms, 1)
    apart = torch.sqrt((u - v).square().sum(dim=1) + ANGLE_EPSILON)
    along = torch.sqrt((u + v).square().sum(dim=1) + ANGLE_EPSILON)
    some = norms.squeeze(1) > 0
    return torch.where(some, 2 * torch.atan2(apart, along), 0).sum() / some.sum().clamp(min=1)


def ignore_missing(loss: Loss) -> Loss:
    """``loss`` over the values that ``truth`` has: the others, NaN there, have no part in it and no
    gradient. ``loss`` is a mean of all values, in whatever order.
    """

    def compute(pred: Tensor, truth: Tensor) -> Tensor:
        if not pred.is_contiguous() and pred.is_contiguous(memory_format=torch.channels_last):
            # In the order of memory, and so is the gradient: arithmetic on two layouts is slow.
            pred, truth = pred.permute(0, 2, 3, 1), truth.permute(0, 2, 3, 1).contiguous()
        known = ~truth.isnan()
        return loss(pred, truth) if known.all() else loss(pred[known], truth[known])

    return compute


def loss_function(recipe: Recipe) -> Loss:
    """The loss that ``recipe.loss`` names, over the values with data, and ``sam_weight`` times the spectral
    angle; ``own`` has none here and raises TrainingError."""
    loss, weight = ignore_missing(_plain_loss(recipe)), recipe.sam_weight
    if weight == 0:
        return loss
    return lambda pred, truth: loss(pred, truth) + weight * spectral_angle(pred, truth)


def _plain_loss(recipe: Recipe) -> Loss:
    plain: dict[str, Loss] = {"charbonnier": charbonnier, "mrae": relative, "l1": l1}
    if recipe.loss in plain:
        return plain[recipe.loss]
    if recipe.loss == "charbonnier+relative":
        weight = recipe.relative_weight
        return lambda pred, truth: charbonnier(pred, truth) + weight * relative(pred, truth)
    raise TrainingError(
        f"The loss {recipe.loss!r} is not one between two cubes",
        expected="charbonnier, charbonnier+relative, mrae or l1",
        fix="Only a network with a method training_loss(rgb, cube) can train with loss=own",
    )
