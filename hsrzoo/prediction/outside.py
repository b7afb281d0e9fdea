"""Values below 0 and above the white, which are not plausible for a reflectance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass
class Outside:
    """Values of a cube below 0 and above 1, the white, counted part by part."""

    values: int = 0
    below: int = 0
    above: int = 0

    def count(self, part: Any) -> None:
        """Count those of a part of the cube, an array or a tensor."""
        self.values += math.prod(part.shape)
        for band in part:  # in turn: torch would sum with 8 bytes for every value of the cube
            self.below += _count(band < 0)
            self.above += _count(band > 1)

    @property
    def share(self) -> float:
        """Of all values."""
        return (self.below + self.above) / max(self.values, 1)

    @property
    def shares(self) -> str:
        """Both in per cent, for the user."""
        shares = (100 * count / max(self.values, 1) for count in (self.below, self.above))
        return "{:.2g} % below 0, {:.2g} % above the white".format(*shares)

    def __str__(self) -> str:
        return f"values: {self.shares}"


def _count(mask: Any) -> int:
    """Of an array or a tensor; no import of torch for arrays."""
    return int(
        np.count_nonzero(mask) if isinstance(mask, np.ndarray | np.generic) else mask.count_nonzero()
    )


__all__ = ["Outside"]
