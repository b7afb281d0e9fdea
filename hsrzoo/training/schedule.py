"""Learning rates as pure functions of the step, so that a resumed run needs no state."""

from __future__ import annotations

import math

from hsrzoo.errors import TrainingError
from hsrzoo.spec import Recipe

START_DIVISOR = 25.0
"""The cycle starts at ``peak / 25`` ..."""
END_DIVISOR = 25.0 * 1e4
"""... and ends at ``peak / 250000``: the usual constants of one-cycle training (Smith 2017)."""


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Learning rate of step ``step`` (0 is the first) of ``steps`` by the recipe's schedule."""
    if recipe.schedule == "one-cycle":
        return one_cycle(step, steps, recipe.lr, recipe.warmup)
    if recipe.schedule == "cosine":
        return _cosine(recipe.lr, recipe.final_lr, min(step / max(steps - 1, 1), 1.0))
    if recipe.schedule == "constant":
        return recipe.lr
    raise TrainingError(
        "The recipe's schedule is unknown",
        expected='"one-cycle", "cosine" or "constant"',
        got=repr(recipe.schedule),
    )


def one_cycle(step: int, steps: int, peak: float, warmup: float) -> float:
    """Learning rate of step ``step`` (0 is the first) of ``steps``; cosine up, cosine down.

    ``warmup`` is the share of the steps before the peak. The values are those of
    ``torch.optim.lr_scheduler.OneCycleLR`` with cosine annealing.
    """
    top = warmup * steps - 1
    if step <= top:
        share = step / top if top > 0 else 1.0
        return _cosine(peak / START_DIVISOR, peak, share)
    start = max(top, -1.0)
    share = (step - start) / max(steps - 1 - start, 1e-12)
    return _cosine(peak, peak / END_DIVISOR, min(share, 1.0))


def _cosine(start: float, end: float, share: float) -> float:
    """From ``start`` (share 0) to ``end`` (share 1) along half a cosine."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
