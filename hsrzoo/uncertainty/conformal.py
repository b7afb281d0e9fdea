"""Split conformal calibration by scene.

Pixels of one scene are alike, so that a scene, not a pixel, is an independent example. The score of a scene
at a level q is the q-quantile over its values of |error| / scale: intervals of so many scales cover the
share q of that scene. Of n scenes, the ceil((n + 1) q)-th smallest score bounds that of a new scene of the
same kind with probability q or more (Vovk, Gammerman and Shafer 2005; Lei et al. 2018). So the share of
covered values is q or more in a share q or more of new scenes, and its mean over scenes is higher.

Bands differ in how far errors are beyond the scale. The scale of each is multiplied by the geometric mean
over scenes of its own quantile before the values of all bands are ranked together. Thresholds of each band
by itself would be a fifth higher, since another scene is the worst of each band.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, isclose
from numbers import Real

import numpy as np

from hsrzoo.errors import InputError

LEVELS = (0.5, 0.8, 0.9, 0.95)
"""Probabilities for which scores are stored."""
_SMALL = 1e-9
"""Of a factor: a band that is always right has none, and does not count."""
_ROUNDING = 1e-9
"""(n + 1) q is a whole number for some n, which float64 may miss."""
_SAME = 1e-6
"""Relative difference of one level as float64 and as float32."""


def stored_level(level: object, known: Sequence[float] = LEVELS) -> float:
    """The one of the probabilities ``known`` that ``level`` is. InputError where it is none of them."""
    number = float(level) if isinstance(level, Real) and not isinstance(level, bool) else float("nan")
    found = [one for one in known if isclose(one, number, rel_tol=_SAME)]
    if not found:
        raise InputError(
            "Intervals of this level are not calibrated",
            expected="a probability: " + ", ".join(f"{one:g} ({percent(one)})" for one in known),
            got=repr(level),
        )
    return found[0]


def place(scenes: int, level: float) -> int:
    """Which of the sorted scores of so many scenes is the threshold, counted from 1; more than ``scenes``
    where they are too few."""
    return ceil((scenes + 1) * level - _ROUNDING)


def smallest_count(level: float) -> int:
    """The smallest number of scenes that supports a level: 9 for 0.9, 19 for 0.95."""
    return next(n for n in range(1, 10_000) if place(n, level) <= n)


def scene_score(ratio: np.ndarray, level: float) -> np.ndarray:
    """The q-quantile (C,) of |error| / scale (N, C) of pixels, column by column; NaN has no data."""
    quantile = np.nanquantile if np.isnan(ratio).any() else np.quantile  # several times faster
    return np.asarray(quantile(ratio, level, axis=0, method="higher"))


def joint_scores(ratios: Sequence[np.ndarray], of_bands: np.ndarray, level: float) -> np.ndarray:
    """The scores (n, C) of scenes: that of all values of a scene together, times the factor of each band.

    Args:
        ratios: |error| / scale (N, C) of the pixels of each scene.
        of_bands: (n, C), their :func:`scene_score`.
        level: The quantile.
    """
    factors = np.exp(np.log(np.maximum(of_bands, _SMALL)).mean(axis=0))
    counted = of_bands.max(axis=0) > _SMALL
    if not counted.any():
        return of_bands
    of_scenes = [scene_score((r[:, counted] / factors[counted]).reshape(-1, 1), level) for r in ratios]
    return np.stack(of_scenes) * factors


def thresholds(scores: np.ndarray, level: float) -> np.ndarray:
    """The threshold (C,) of each band from the scores (n, C) of n scenes.

    Raises:
        InputError: Too few scenes for the level.
    """
    count = len(scores)
    if place(count, level) > count:
        raise too_few(count, level)
    return np.sort(scores, axis=0)[place(count, level) - 1]


def too_few(count: int, level: float) -> InputError:
    """The error for a level that so many scenes do not support."""
    supported = [one for one in LEVELS if place(count, one) <= count]
    least = smallest_count(level)
    highest = f"The highest level of {count} is {percent(supported[-1])}" if supported else "Add scenes"
    return InputError(
        f"Too few scenes for intervals of {percent(level)}",
        expected=f"{least} or more for calibration",
        got=count,
        fix=highest,
    )


def percent(level: float) -> str:
    """A level for people: ``90 %``."""
    return f"{100 * level:g} %"


__all__ = ["LEVELS", "joint_scores", "percent", "place", "scene_score", "smallest_count",
           "stored_level", "thresholds", "too_few"]  # fmt: skip
