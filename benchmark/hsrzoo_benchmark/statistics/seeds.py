"""Statistics of trainings that were repeated: seeds are nested in scenes.

A seed is a training, not a scene: three of them say how much luck there was, and make no further scenes.
So each scene's values are averaged over seeds first; intervals are over scenes, as everywhere
(:mod:`hsrzoo_benchmark.statistics.intervals`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hsrzoo_benchmark.statistics import intervals
from hsrzoo_benchmark.statistics.intervals import Better, Difference, Interval

Runs = Sequence[Mapping[str, float]]
"""For each seed scene -> value of one metric."""

_NOTHING = Difference(float("nan"), None, 0, 0, tied=False)
"""Of runs that share no scene."""


@dataclass(frozen=True)
class Summary:
    """A group of runs that differ in their seed."""

    mean: float
    interval: Interval | None
    """95 % over scenes, None under 4 of them."""
    scenes: int
    per_seed: tuple[float, ...]
    """Each run's mean over scenes."""


@dataclass(frozen=True)
class SeededDifference(Difference):
    """``a - b`` over scenes, with what each seed of both has by itself."""

    a_per_seed: tuple[float, ...]
    b_per_seed: tuple[float, ...]


def common_scenes(*groups: Runs) -> list[str]:
    """Scenes that every run of every group has, by name."""
    found = [set(run) for runs in groups for run in runs]
    return sorted(set.intersection(*found)) if found else []


def averaged(runs: Runs, scenes: Sequence[str]) -> np.ndarray:
    """(n,) float64: for each of ``scenes`` the mean over seeds."""
    return _matrix(runs, scenes).mean(axis=0)


def summarise(runs: Runs) -> Summary:
    """Mean, interval and per-seed means over the scenes that all ``runs`` have. ``runs`` is not empty."""
    scenes = common_scenes(runs)
    matrix = _matrix(runs, scenes)
    mean = matrix.mean(axis=0)
    return Summary(_mean(mean), intervals.mean_interval(mean), len(scenes), _each(matrix))


def paired(a: Runs, b: Runs, better: Better) -> SeededDifference:
    """``a - b`` on the scenes that all runs of both have; the numbers of seeds may differ."""
    scenes = common_scenes(a, b)
    gap = combination([(1, a), (-1, b)], better)
    a_per_seed, b_per_seed = (_each(_matrix(runs, scenes)) for runs in (a, b))
    return SeededDifference(**vars(gap), a_per_seed=a_per_seed, b_per_seed=b_per_seed)


def combination(terms: Sequence[tuple[float, Runs]], better: Better = "lower") -> Difference:
    """The sum of ``factor * values`` of several groups, scene by scene; wins: scenes where it is below 0,
    above 0 where higher is ``better``.

    With (1, a), (-1.05, b) it is below 0 where ``a`` is less than 5 % above ``b``; a loss of one
    network against half of another's is (1, a disturbed), (-1, a), (-0.5, b disturbed), (0.5, b).
    """
    scenes = common_scenes(*(runs for _, runs in terms))
    if not scenes:
        return _NOTHING
    return intervals.combination([factor * averaged(runs, scenes) for factor, runs in terms], better)


def _matrix(runs: Runs, scenes: Sequence[str]) -> np.ndarray:
    """Seeds down, scenes across, float64."""
    return np.array([[run[scene] for scene in scenes] for run in runs], dtype=np.float64)


def _each(matrix: np.ndarray) -> tuple[float, ...]:
    return tuple(_mean(row) for row in matrix)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
