"""Recipes from the command line: FIELD=VALUE overrides and the checks that every run passes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

from hsrzoo.errors import TrainingError, require_known
from hsrzoo.spec import Augmentation, ModelSpec, Recipe

_POSITIVE = ("steps", "batch", "patch", "lr", "valid_every", "checkpoint_every")
_COUNTS = ("holdout", "fold", "seed")
_WEIGHTS = ("weight_decay", "relative_weight", "sam_weight", "clip", "final_lr")


def override(recipe: Recipe, texts: Mapping[str, str]) -> Recipe:
    """The recipe with fields replaced by what a user typed, e.g. ``{"lr": "1e-3"}``; checked."""
    hints = get_type_hints(Recipe)
    values = {}
    for name, text in texts.items():
        require_known("recipe field", name, hints)
        values[name] = _parse(name, text, hints[name])
    changed = dataclasses.replace(recipe, **values)
    check(changed)
    return changed


def recipes_of(spec: ModelSpec) -> dict[str, Recipe]:
    """The recipes of a model by their names: ``common``, ``few-pairs`` and its own ones."""
    return {"common": spec.recipe, "few-pairs": few_pairs(spec.recipe), **spec.recipes}


def few_pairs(recipe: Recipe) -> Recipe:
    """``recipe`` for going on from trained weights with a few pairs: few steps at a tenth of the learning
    rate, which first rises, and an average over the last of them. Checkpoints are as close as a run of so
    few steps needs."""
    return dataclasses.replace(
        recipe, steps=300, lr=recipe.lr / 10, schedule="one-cycle", warmup=0.1, ema=0.98, ema_warmup=True,
        valid_every=50, checkpoint_every=50,
    )  # fmt: skip


def check(recipe: Recipe) -> None:
    """Raise TrainingError for a recipe with impossible values."""
    for names, holds, words in (
        (_POSITIVE, lambda v: 0 < v < math.inf, "finite, above 0"),
        ((*_COUNTS, *_WEIGHTS), lambda v: 0 <= v < math.inf, "finite, 0 or more"),
        (("warmup", "augment_share"), lambda v: 0 <= v <= 1, "between 0 and 1"),
        (("ema",), lambda v: 0 <= v < 1, "between 0 and 1, 1 excluded"),
        (("betas",), lambda v: all(0 <= b < 1 for b in v), "between 0 and 1, 1 excluded"),
    ):
        for name in names:
            if not holds(getattr(recipe, name)):
                raise _impossible(name, words, getattr(recipe, name))
    known = get_args(Augmentation)
    unknown = [name for name in recipe.augment if name not in known]
    if unknown:
        raise _impossible("augment", ", ".join(known), ", ".join(unknown))
    if recipe.fold and not recipe.holdout:
        fix = "Set the number of held-out scenes with --holdout"
        raise _impossible("fold", "0 where no scenes are held out", recipe.fold, fix)
    if recipe.loss == "own" and recipe.sam_weight > 0:
        expected = "0 with loss=own, which the network defines alone"
        raise _impossible("sam_weight", expected, recipe.sam_weight)


def _impossible(name: str, expected: str, got: object, fix: str | None = None) -> TrainingError:
    return TrainingError(f"The recipe's {name} is impossible", expected=expected, got=got, fix=fix)


def split_holdout(names: Sequence[str], recipe: Recipe, where: str) -> tuple[list[str], list[str]]:
    """``names`` in two: the scenes to train on and those that ``recipe`` keeps out, both in order.

    ``where`` names the split. TrainingError when nothing would be left to train on, or a fold is not full.
    """
    stop = len(names) - recipe.fold * recipe.holdout
    first = stop - recipe.holdout
    if recipe.holdout >= len(names) or first < 0:
        raise TrainingError(
            f"{recipe.holdout} scenes cannot be held out as fold {recipe.fold}",
            expected=f"{(recipe.fold + 1) * recipe.holdout} or more scenes in {where}, and one to train on",
            got=len(names),
            fix="Lower --holdout or the fold",
        )
    return [*names[:first], *names[stop:]], list(names[first:stop])


def _parse(name: str, text: str, hint: Any) -> Any:
    if get_origin(hint) is Literal:
        if text not in get_args(hint):
            raise _bad(name, text, " or ".join(get_args(hint)))
        return text
    if get_origin(hint) is tuple:
        inner = get_args(hint)
        parts = [part for part in text.split(",") if part]
        if Ellipsis not in inner and len(parts) != len(inner):
            raise _bad(name, text, f"{len(inner)} values with commas between")
        return tuple(_parse(name, part, inner[0]) for part in parts)
    if hint is bool:
        if text not in ("true", "false"):
            raise _bad(name, text, "true or false")
        return text == "true"
    try:
        return hint(text)
    except ValueError:
        raise _bad(name, text, "a whole number" if hint is int else "a number") from None


def _bad(name: str, text: str, expected: str) -> TrainingError:
    return TrainingError(f"The value of {name} does not fit", expected=expected, got=repr(text))
