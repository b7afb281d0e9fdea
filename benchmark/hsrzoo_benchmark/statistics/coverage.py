"""How often the intervals of tables cover what they estimate, by simulation.

``python -m hsrzoo_benchmark.statistics.coverage`` prints the table of docs/protocols.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import exp

import numpy as np

from hsrzoo_benchmark.statistics.intervals import Interval, limits, share_interval

SIZES = (4, 6, 10, 20)
"""Numbers of scenes."""
TRIALS = 20_000
SEED = 0
_HARD = 0.5
"""Sigma of the lognormal factor that both models of a pair share: how hard a scene is."""
_SKILL = 0.3
"""Share of the scenes on which the first model of a pair is better."""
Sampler = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def _lognormal(sigma: float) -> Sampler:
    """Lognormal values less their expectation, so that the mean to cover is 0."""
    return lambda generator, shape: generator.lognormal(0, sigma, shape) - exp(sigma**2 / 2)


DISTRIBUTIONS: Mapping[str, Sampler] = {
    "normal": lambda generator, shape: generator.normal(0, 1, shape),
    "lognormal, sigma 0.5": _lognormal(0.5),
    "lognormal, sigma 1": _lognormal(1.0),
}
"""Name -> values with expectation 0."""


@dataclass(frozen=True)
class Coverage:
    """Percent of the trials in which each interval covered."""

    distribution: str
    scenes: int
    mean: float
    difference: float
    """Of two models' figures, scene by scene."""
    wins: float


def simulate(
    distributions: Iterable[str] = tuple(DISTRIBUTIONS), sizes: Iterable[int] = SIZES, trials: int = TRIALS
) -> list[Coverage]:
    """Coverage of the 95 % intervals for each of ``distributions`` and ``sizes``, from a fixed seed."""
    sizes = tuple(sizes)
    return [_simulate(name, n, trials) for name in distributions for n in sizes]


def _simulate(name: str, scenes: int, trials: int) -> Coverage:
    generator = np.random.default_rng(SEED)
    draw, shape = DISTRIBUTIONS[name], (trials, scenes)
    # Two models that are equally good: on hard scenes both err more, and each by its own chance.
    hard = generator.lognormal(0, _HARD, shape)
    pair = hard * (1 + 0.1 * draw(generator, shape)) - hard * (1 + 0.1 * draw(generator, shape))
    won = generator.binomial(scenes, _SKILL, trials)
    shares = [share_interval(count, scenes) or Interval(0, 1) for count in range(scenes + 1)]
    holding = np.array([share.holds(_SKILL) for share in shares])
    return Coverage(
        name, scenes, _covered(draw(generator, shape)), _covered(pair), 100 * float(holding[won].mean())
    )


def _covered(values: np.ndarray) -> float:
    """Percent of the rows of ``values`` (trials, scenes) whose interval holds 0."""
    low, high = limits(values)
    return 100 * float(np.mean((low <= 0) & (high >= 0)))


def main() -> None:
    """Print the coverage of all intervals."""
    import click

    from hsrzoo.utils.markdown import markdown_table

    rows = [
        [one.distribution, str(one.scenes), f"{one.mean:.1f}", f"{one.difference:.1f}", f"{one.wins:.1f}"]
        for one in simulate()
    ]
    click.echo(markdown_table(["values", "scenes", "mean", "difference", "wins"], rows))


if __name__ == "__main__":
    main()
