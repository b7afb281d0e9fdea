"""The scale of errors and the map of unfamiliar pixels as outputs of a graph beside the cube."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from hsrzoo.errors import InputError
from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo.uncertainty.conformal import LEVELS
from hsrzoo.uncertainty.intervals import Intervals


class WithIntervals(nn.Module):
    """A network with the steps around it, and its calibration."""

    def __init__(self, whole: nn.Module, intervals: Intervals) -> None:
        super().__init__()
        self.whole = whole
        self.second = None if intervals.second is None else copy.deepcopy(intervals.second).cpu()
        self.intervals = intervals

    def forward(self, rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(1, 3, H, W) in [0, 1] -> cube and scale (1, C, H, W), map (1, H, W)."""
        cube = self.whole(rgb)
        return cube, self.intervals.scale(rgb, cube), self.intervals.unfamiliar_at(rgb)


def facts_of_intervals(model: Reconstructor) -> dict[str, Any]:
    """What turns the scale into half-widths, for the metadata: a factor for every band, by levels.

    Raises:
        WeightsError: The model is not calibrated.
        InputError: Not for the way in which it runs.
    """
    found = model.require_intervals(LEVELS[0])
    factors = {}
    for level in LEVELS:
        try:
            factors[f"{level:g}"] = found.factors(level).tolist()
        except InputError:  # too few scenes
            continue
    return {"factors": factors, "dataset": found.about["dataset"], "scenes": found.scenes}


__all__ = ["WithIntervals", "facts_of_intervals"]
