"""Pairs whose cube is turned against its image, such as square arrays that one program writes by rows and
the next reads by columns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from hsrzoo.datasets.base import Scene, any_data

_TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "flipped upside down": lambda a: a[::-1],
    "flipped left to right": lambda a: a[:, ::-1],
    "turned by 180 degrees": lambda a: a[::-1, ::-1],
    "transposed": lambda a: a.T,
    "turned by 90 degrees": lambda a: np.rot90(a),
    "turned by 270 degrees": lambda a: np.rot90(a, 3),
    "transposed along the other diagonal": lambda a: a[::-1, ::-1].T,
}
_LEAST, _MARGIN = 0.5, 0.25
"""What the correlation after a turn must reach, and by how much it must exceed that without."""


@dataclass
class Turned:
    """Scenes whose image resembles their cube more after a turn, counted over a set."""

    found: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Turn -> the scenes, each with its correlations."""
    scenes: int = 0

    def add(self, scene: Scene) -> None:
        """Compare the mean over channels with the mean over bands."""
        self.scenes += 1
        known = any_data(scene.cube)
        if not known.any():
            return
        grey = scene.rgb.mean(axis=0)
        counts = np.maximum(np.count_nonzero(~np.isnan(scene.cube), axis=0), 1)
        mean = np.nansum(scene.cube, axis=0) / counts
        mean[~known] = np.nan
        own = _correlation(grey, mean)
        turned = {name: turn(mean) for name, turn in _TURNS.items()}
        fits = {name: _correlation(grey, t) for name, t in turned.items() if t.shape == grey.shape}
        best = max(fits, key=lambda name: fits[name])
        if fits[best] > max(_LEAST, own + _MARGIN):
            self.found[best].append(f"{scene.name} ({fits[best]:.2f} for {own:.2f})")

    def notes(self) -> list[str]:
        """A sentence for each turn that occurred."""
        return [
            f"{len(scenes)} of {self.scenes} scenes: the cube resembles its image more when it is {turn}, "
            f"by the correlation of brightness: {', '.join(scenes[:3])}{', ...' if scenes[3:] else ''}. "
            + ("Try --data-option axes=whc" if turn == "transposed" else "Check how the files were made")
            for turn, scenes in self.found.items()
        ]


def _correlation(one: np.ndarray, two: np.ndarray) -> float:
    """Pearson's, where both are known; 0 where one of them is constant."""
    known = np.isfinite(one) & np.isfinite(two)
    one, two = one[known].astype(np.float64), two[known].astype(np.float64)
    if len(one) < 2 or not (one.std() and two.std()):
        return 0.0
    return float(np.corrcoef(one, two)[0, 1])
