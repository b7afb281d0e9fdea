"""Images larger than memory: cut into tiles, run in passes, exact where the network declares its reach."""

from hsrzoo.models.tiling.choice import available_memory, check_execution, plan
from hsrzoo.models.tiling.grid import Grid, Tile, cut
from hsrzoo.models.tiling.passes import Shares, Work, count_statistics, into_memory, run_tiles
from hsrzoo.models.tiling.windows import PaddedImage

__all__ = [
    "Grid",
    "PaddedImage",
    "Shares",
    "Tile",
    "Work",
    "available_memory",
    "check_execution",
    "count_statistics",
    "cut",
    "into_memory",
    "plan",
    "run_tiles",
]
