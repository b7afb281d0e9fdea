"""Which tiles keep their features between passes, and where: by the memory and the disk that are free."""

from __future__ import annotations

import shutil
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from hsrzoo.models.complexity import KeptUse
from hsrzoo.models.tiling.choice import SAFETY, SHARE, SMALL, Tileable, available_memory, needed_bytes
from hsrzoo.models.tiling.grid import Grid
from hsrzoo.utils.allocator import give_back_freed_memory

OVERHEAD = 1.1
"""What features in memory really take, as a multiple of their bytes; below a limit that was asked for
:data:`.choice.SAFETY` is counted with, as in small tiles freed memory lies between them."""
SCRATCH_OVERHEAD = 1.5
"""The same in a scratch file: places of one size are used again for maps of that size only."""
DISK_SHARE = 0.5
"""Share of the room on the disk that a scratch file takes at most."""


@dataclass(frozen=True)
class KeptTiles:
    """How many tiles keep their features between passes: the first ones in memory, the next ones in a
    scratch file in ``folder``. All others run from the RGB in every pass."""

    in_memory: int
    in_scratch: int = 0
    folder: Path | None = None
    scratch_bytes: float = 0.0
    """Estimated size of the file."""


def tiles_kept(
    model: Tileable, grid: Grid, *, result: int = 0, limit: float | None = None, folder: Path | None = None
) -> KeptTiles:
    """The tiles of ``grid`` that can keep their features, so that these, the tile that runs and ``result``
    bytes of the cube take no more memory than ``model.execution`` allows.

    ``limit``: bytes where it names none; None: a share of what is free. ``folder``: for a scratch file;
    None: there is none.
    """
    how, count = model.execution, len(grid.tiles)
    windows = [(tile.window.height, tile.window.width) for tile in grid.tiles]
    areas = [height * width for height, width in windows]
    budget = how.max_memory
    if budget is None and sum(areas) <= SMALL and not how.compile:
        return KeptTiles(count)
    if grid.whole or how.approximate or not model.statistics:
        return KeptTiles(0)
    if budget is None:
        budget = SHARE * available_memory(model.device) if limit is None else limit
    room = budget - result - max(needed_bytes(model, window) for window in windows)
    room /= OVERHEAD if how.max_memory is None else SAFETY
    if sum(model.memory_use.bytes(*window) for window in windows) + 3 * 4 * sum(areas) <= room:
        return KeptTiles(count)  # all that they ever have: nothing more is measured
    use = model.kept_use
    give_back_freed_memory()  # what the measurement took
    return share_out(areas, use, room, folder if model.device.type == "cpu" else None)


def share_out(areas: Sequence[int], use: KeptUse, room: float, folder: Path | None) -> KeptTiles:
    """As many windows of ``areas`` pixels as possible, as many of them as possible in ``room`` bytes of
    memory, the others in ``folder``."""
    each, rest = use.per_pixel, use.per_pixel - use.in_maps
    alone = _first(areas, each, room)
    if alone == len(areas) or folder is None:
        return KeptTiles(alone)
    # what of the others cannot lie in the file is in memory, too
    in_memory = _first(areas, each - rest, room - rest * sum(areas))
    others, on_disk = areas[in_memory:], SCRATCH_OVERHEAD * use.in_maps
    in_scratch = min(
        _first(others, rest, room - each * sum(areas[:in_memory])),
        _first(others, on_disk, DISK_SHARE * shutil.disk_usage(folder).free),
    )
    if in_memory + in_scratch <= alone:
        return KeptTiles(alone)
    return KeptTiles(in_memory, in_scratch, folder, on_disk * sum(others[:in_scratch]))


def _first(areas: Sequence[int], each: float, room: float) -> int:
    """How many of the first windows take no more than ``room`` bytes, ``each`` of a pixel."""
    return bisect_right(list(accumulate(each * area for area in areas)), room)
