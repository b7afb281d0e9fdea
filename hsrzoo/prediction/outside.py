"""Values below 0 and above the white, which are not plausible for a reflectance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass
class Outside:
    """Values of a cube below 0 and above 1, the white, counted part by part."""

    values: int = 0
    below: int = 0
    above: int = 0

    def count(self, part: Any) -> None:
        """Count those of a part of the cube, an array or a tensor."""
        self.values += math.prod(part.shape)
        self.below += int((part < 0).sum())
        self.above += int((part > 1).sum())

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


__all__ = ["Outside"]
