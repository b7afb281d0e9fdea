"""Statistics over scenes: paired bootstrap, intervals, rank groups.

Scenes are what is resampled; seeds are nested in scenes and averaged before. All functions take
float64 arrays with one column a scene.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

RESAMPLES = 10_000
SEED = 0
LEVEL = 95.0
MIN_SCENES = 4
"""Below this number of scenes there is no interval and no rank."""

Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Interval:
    """A percentile interval."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """True if ``value`` lies inside, ends included."""
        return self.low <= value <= self.high


def bounds(interval: Interval | None) -> tuple[float | None, float | None]:
    """Both ends; None where there is no interval."""
    return (interval.low, interval.high) if interval else (None, None)


@dataclass(frozen=True)
class Difference:
    """``a - b`` over the scenes both have: mean, interval (None under 4 scenes), wins of ``a``."""

    mean: float
    interval: Interval | None
    wins: int
    """Scenes on which ``a`` is strictly better."""
    scenes: int

    @property
    def significant(self) -> bool:
        """True if the interval exists and leaves 0 out."""
        return self.interval is not None and not self.interval.holds(0.0)


@lru_cache(maxsize=16)
def resample_weights(scenes: int) -> np.ndarray:
    """Weights (RESAMPLES, scenes) float64: row r gives the r-th bootstrap mean as ``w[r] @ values``.

    One matrix per number of scenes, from a fixed seed: all models are resampled alike (paired).
    """
    draws = np.random.default_rng(SEED).integers(0, scenes, (RESAMPLES, scenes))
    rows = np.arange(RESAMPLES)[:, None] * scenes
    counts = np.bincount((rows + draws).ravel(), minlength=RESAMPLES * scenes)
    return counts.reshape(RESAMPLES, scenes) / scenes


def mean_interval(values: np.ndarray) -> Interval | None:
    """95 % bootstrap interval of the mean of ``values`` (n,); None under 4 scenes or with NaN."""
    if len(values) < MIN_SCENES or not np.all(np.isfinite(values)):
        return None
    means = resample_weights(len(values)) @ values
    low, high = np.percentile(means, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return Interval(float(low), float(high))


def difference(a: np.ndarray, b: np.ndarray, better: Better) -> Difference:
    """Paired difference ``a - b`` of two models on the same scenes (n,)."""
    gap = a - b
    wins = int(np.sum(gap < 0 if better == "lower" else gap > 0))
    return Difference(float(np.mean(gap)), mean_interval(gap), wins, len(gap))


def ranks(values: np.ndarray, better: Better) -> list[int | None]:
    """Rank of each model from ``values`` (models, scenes); None where there is none.

    Models are taken from the best mean on; the first one leads a group, and every model whose
    difference to its leader has an interval that holds 0 shares its rank. The first that does not
    leads the next group, whose rank counts the models before it. NaN has no rank.
    """
    if values.shape[1] < MIN_SCENES:
        return [None] * len(values)
    means = values.mean(axis=1)
    found: list[int | None] = [None] * len(values)
    order = np.argsort(means if better == "lower" else -means, kind="stable")
    placed, leader, rank = 0, None, 0
    for model in order:
        if not np.isfinite(means[model]):
            continue
        if leader is None or difference(values[model], values[leader], better).significant:
            leader, rank = model, placed + 1
        found[model] = rank
        placed += 1
    return found
