"""Statistics over scenes: intervals, paired differences, ties, rank groups.

Scenes are the sample; seeds are nested in scenes and averaged before. All functions take float64 arrays
with one column a scene.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

LEVEL = 0.95
METHOD = "95 % t interval"
"""Name of the interval in tables and figures. :mod:`hsrzoo_benchmark.statistics.coverage` simulates how
often it covers: the percentile bootstrap does so in 80 % of samples of 4 scenes."""
MIN_SCENES = 4
"""Below this number of scenes there is no interval, no rank and no claim."""
TOO_FEW = "too few scenes"
"""What tables print in place of a rank below :data:`MIN_SCENES`."""
TOLERANCE = 1e-4
"""Relative difference up to which two figures are tied. float32 on other machines or with other threads
moves a figure by up to 1e-5; four digits, as tables show them, cannot tell less than 1e-4."""

Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Interval:
    """A 95 % interval."""

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
    """Scenes on which ``a`` is better by more than the tolerance."""
    scenes: int
    tied: bool
    """Whether the means are equal within the tolerance."""

    @property
    def significant(self) -> bool:
        """True if the means are not tied and the interval exists and leaves 0 out."""
        return self.interval is not None and not self.tied and not self.interval.holds(0.0)

    @property
    def wins_interval(self) -> Interval | None:
        """Interval of the share of scenes that ``a`` wins; None under 4 scenes."""
        return share_interval(self.wins, self.scenes)


def tied(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Bool, elementwise: whether ``a`` and ``b`` differ by :data:`TOLERANCE` of the larger one or less."""
    return np.abs(a - b) <= TOLERANCE * np.maximum(np.abs(a), np.abs(b))


@lru_cache(maxsize=64)
def _t_quantile(scenes: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(scenes - 1, (1 + LEVEL) / 2))


def limits(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of Student's t interval of the mean over the last axis of ``values`` (..., n), n > 1."""
    scenes = values.shape[-1]
    half = _t_quantile(scenes) * values.std(axis=-1, ddof=1) / np.sqrt(scenes)
    mean = values.mean(axis=-1)
    return mean - half, mean + half


def mean_interval(values: np.ndarray) -> Interval | None:
    """95 % interval of the mean of ``values`` (n,); None under 4 scenes or with NaN or infinities."""
    return mean_intervals(values[None])[0]


def mean_intervals(values: np.ndarray) -> list[Interval | None]:
    """:func:`mean_interval` of every row of ``values`` (m, n)."""
    if values.shape[1] < MIN_SCENES:
        return [None] * len(values)
    with np.errstate(invalid="ignore"):  # of rows that have no interval
        low, high = limits(values)
    ends = zip(low.tolist(), high.tolist(), np.isfinite(values).all(axis=1), strict=True)
    return [Interval(low, high) if known else None for low, high, known in ends]


@lru_cache(maxsize=256)
def share_interval(count: int, scenes: int) -> Interval | None:
    """95 % interval of a share (Clopper and Pearson 1934): ``count`` of ``scenes``; None under 4 scenes."""
    from scipy.special import betaincinv

    if scenes < MIN_SCENES:
        return None
    tail = (1 - LEVEL) / 2
    low = betaincinv(count, scenes - count + 1, tail) if count else 0.0
    high = betaincinv(count + 1, scenes - count, 1 - tail) if count < scenes else 1.0
    return Interval(float(low), float(high))


def difference(a: np.ndarray, b: np.ndarray, better: Better) -> Difference:
    """Paired difference ``a - b`` of two models on the same scenes (n,)."""
    return combination([a, -b], better)


def combination(terms: Sequence[np.ndarray], better: Better) -> Difference:
    """The sum of ``terms`` (n,), scene by scene; wins: scenes where it is below 0, above 0 where higher is
    ``better``. What is within the tolerance of the largest term counts as 0."""
    return _combinations([term[None] for term in terms], better)[0]


def _combinations(terms: Sequence[np.ndarray], better: Better) -> list[Difference]:
    """:func:`combination` of every row of ``terms``, (m, n) each or (1, n) for all."""
    parts = np.stack(np.broadcast_arrays(*terms))
    with np.errstate(invalid="ignore"):  # the difference of two infinite figures is NaN
        total, means = parts.sum(axis=0), parts.mean(axis=2)
        level = np.abs(means.sum(axis=0)) <= TOLERANCE * np.abs(means).max(axis=0)
        mean = total.mean(axis=1)
    clear = np.abs(total) > TOLERANCE * np.abs(parts).max(axis=0)
    wins = np.sum(clear & (total < 0 if better == "lower" else total > 0), axis=1)
    found = (mean.tolist(), mean_intervals(total), wins.tolist(), level.tolist())
    scenes = total.shape[1]
    return [Difference(*one[:3], scenes, one[3]) for one in zip(*found, strict=True)]


def wins(values: np.ndarray, better: Better) -> list[int | None]:
    """For each model of ``values`` (models, scenes) on how many scenes it beats the one with the best mean.

    None for that one and for models that are tied with it on every scene, for all under 4 scenes, and where
    a value is not finite.
    """
    if values.shape[1] < MIN_SCENES or not np.all(np.isfinite(values)):
        return [None] * len(values)
    means = values.mean(axis=1)
    best = values[np.argmin(means) if better == "lower" else np.argmax(means)]
    gaps = _combinations([values, -best[None]], better)
    return [None if tied(row, best).all() else gap.wins for row, gap in zip(values, gaps, strict=True)]


def ranks(values: np.ndarray, better: Better) -> list[int | None]:
    """Rank of each model from ``values`` (models, scenes); None where there is none.

    The model with the best mean leads the first group; every model whose difference to it is not
    significant shares its rank, even if a worse model lies between. Of the others the best one leads the
    next group, whose rank counts the models before it. Models with tied means are never parted. NaN has no
    rank, and there are none under 4 scenes.
    """
    found: list[int | None] = [None] * len(values)
    if values.shape[1] < MIN_SCENES:
        return found
    waiting, placed = _tied_models(values.mean(axis=1), better), 0
    while waiting:
        others = [model for models in waiting for model in models]
        gaps = _combinations([values[others], -values[others[:1]]], better)
        worse = {model: gap.significant for model, gap in zip(others, gaps, strict=True)}
        level = [i == 0 or not all(map(worse.get, models)) for i, models in enumerate(waiting)]
        group = [model for models, own in zip(waiting, level, strict=True) if own for model in models]
        for model in group:
            found[model] = placed + 1
        placed += len(group)
        waiting = [models for models, own in zip(waiting, level, strict=True) if not own]
    return found


def _tied_models(means: np.ndarray, better: Better) -> list[list[int]]:
    """Models with finite means, the best first; those whose means are tied with their neighbours' are
    together."""
    order = np.argsort(means if better == "lower" else -means, kind="stable")
    found: list[list[int]] = []
    for model in order[np.isfinite(means[order])].tolist():
        if found and tied(means[model], means[found[-1][-1]]):
            found[-1].append(model)
        else:
            found.append([model])
    return found
