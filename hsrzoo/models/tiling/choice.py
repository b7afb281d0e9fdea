"""Which tiles an image is cut into: by a side that was asked for, or by the memory that is available."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import replace
from numbers import Real
from typing import Protocol, get_args

import torch
from torch import nn

from hsrzoo.errors import InputError
from hsrzoo.models.complexity import KeptUse, MemoryUse
from hsrzoo.models.rgb import padded_side
from hsrzoo.models.tiling.grid import Grid, cut
from hsrzoo.spec import Execution, ModelSpec, Precision, RgbInput

SAFETY = 2.0
"""What a network really takes on tiles, as a multiple of the bytes of its tensors: the allocator's waste,
and what libraries need within an operator. Measured on the zoo's networks: up to 1.7 in large tiles."""
SPARE = 256 << 20
"""Further bytes: rows being read, converted and written, and libraries' buffers of fixed size (a
convolution's buffer took up to 250 MiB)."""
WHOLE_OVERHEAD, WHOLE_SPARE = 1.05, 24 << 20
"""The same of an image that runs in one piece: nothing that was freed lies between its tensors. So the plan
is within 25 % of what was measured, from 1 to 24 megapixels."""
WHOLE_MARGIN = 1.25
"""By how much a limit that was asked for must be above that plan."""
APPROXIMATE_HALO = 32
"""Of approximate tiles of a network that declares none."""
SHARE = 0.5
"""Share of the free memory that is used at most where no limit is given."""
LARGEST_TILE = 1024
"""Largest side of a tile that is chosen by memory, even where memory allows more: larger ones were slower.
Their tensors are so large that the allocator asks the system for new pages each time, and every first
access to a page is a fault."""
SMALL = 512 * 512
"""Images up to this many pixels run whole unless tiles are asked for: no need to measure anything."""


class Tileable(Protocol):
    """What the choice of tiles must know of a model, such as a Reconstructor."""

    name: str
    module: nn.Module
    spec: ModelSpec
    execution: Execution
    device: torch.device

    @property
    def halo(self) -> int | None:
        """Pixels around a pixel of the cube that it depends on; None: unknown."""

    @property
    def memory_use(self) -> MemoryUse:
        """Of the network."""

    @property
    def statistics(self) -> int:
        """How many of the whole image the network asks for."""

    @property
    def kept_use(self) -> KeptUse:
        """Of a tile between passes."""


def plan(model: Tileable, size: tuple[int, int], *, kept: int = 0, limit: float | None = None) -> Grid:
    """The cut of an image of ``size`` (H, W), as ``model.execution`` asks.

    ``kept``: bytes of the result that stay in memory, a part of ``max_memory``. ``limit``: bytes to
    stay below where the execution names neither tile nor memory; None: the image is one tile then.
    Raises InputError where no tile fits, or the network cannot be run in tiles.
    """
    how, need = model.execution, model.spec.input
    padded = padded_side(size[0], need)[0], padded_side(size[1], need)[0]
    tile, budget = how.tile, how.max_memory
    if tile is None and budget is None and size[0] * size[1] > SMALL:
        budget = limit
    if tile is not None and tile >= max(padded):
        tile = None
    margin = 1.0 if how.max_memory is None else WHOLE_MARGIN
    if budget is not None and margin * whole_bytes(model, padded) > budget - kept:
        largest = _largest_tile(model, padded, budget - kept, budget)
        tile = min(LARGEST_TILE if tile is None else tile, largest)
    return cut_for(model, size, tile)


def cut_for(model: Tileable, size: tuple[int, int], tile: int | None) -> Grid:
    """The cut of an image of ``size`` (H, W) into tiles of a given side; None: one tile."""
    need = model.spec.input
    padded = padded_side(size[0], need)[0], padded_side(size[1], need)[0]
    if tile is None:
        return cut(size, padded, need, tile)
    # a network that looks at every n-th pixel only wants its tiles to begin on that grid
    step = math.lcm(need.multiple, getattr(model.module, "tile_step", 1))
    return cut(size, padded, replace(need, multiple=step), max(tile, step), halo_of(model, tile))


def halo_of(model: Tileable, tile: int) -> int:
    """Pixels around each tile of this side that the network sees as well."""
    declared = model.halo
    if model.execution.approximate:
        return min(APPROXIMATE_HALO if declared is None else declared, APPROXIMATE_HALO, tile // 2)
    if declared is None:
        raise InputError(
            f"{model.name} cannot be run in exact tiles",
            expected="a network that declares `halo`, the pixels that an output pixel depends on in each "
            "direction",
            fix="Declare `halo` in the network, run the image whole, or take approximate tiles "
            "(--approximate-tiles)",
        )
    return declared


def check_execution(execution: Execution, need: RgbInput, name: str) -> None:
    """InputError for a precision, a tile or a memory limit that no image could be run with."""
    precision, tile, memory = execution.precision, execution.tile, execution.max_memory
    if precision not in get_args(Precision):
        expected = ", ".join(get_args(Precision))
        raise InputError("There is no such precision", expected=expected, got=repr(precision))
    least = need.padded(1)
    if tile is not None and (isinstance(tile, bool) or not isinstance(tile, int) or tile < least):
        raise InputError(
            f"The tile is too small for {name}",
            expected=f"an int of at least {least} pixels (its multiple is {need.multiple})",
            got=repr(tile),
        )
    if memory is not None and not (isinstance(memory, Real) and 0 < memory < float("inf")):
        raise InputError("The memory limit must be a number of bytes above 0", got=repr(memory))


def available_memory(device: torch.device) -> int:
    """Bytes that this process could take now on ``device``, within its control group if it has one."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    free = int(psutil.virtual_memory().available)
    try:
        with open("/sys/fs/cgroup/memory.max") as limit, open("/sys/fs/cgroup/memory.current") as used:
            free = min(free, max(0, int(limit.read()) - int(used.read())))
    except (OSError, ValueError):  # no such group, or "max": no limit
        pass
    return free


def whole_bytes(model: Tileable, size: tuple[int, int]) -> int:
    """Bytes that an image of (h, w) pixels takes in one piece."""
    use = model.memory_use
    each = 3 * 4 * 2 + use.buffers_per_pixel  # the image, converted and normalised
    return int(WHOLE_OVERHEAD * use.bytes(*size) + each * size[0] * size[1]) + WHOLE_SPARE


def needed_bytes(model: Tileable, window: tuple[int, int]) -> int:
    """Bytes that a tile, a window of (h, w) pixels, takes, by :data:`SAFETY` more than its tensors hold."""
    image = 3 * 4 * 2 * window[0] * window[1]
    return int(SAFETY * model.memory_use.bytes(*window)) + image + SPARE


def _fits(model: Tileable, side: int, padded: tuple[int, int], budget: float) -> bool:
    """Whether a square window of an image of ``padded`` H, W fits into ``budget`` bytes."""
    return needed_bytes(model, (min(side, padded[0]), min(side, padded[1]))) <= budget


def _largest_tile(model: Tileable, padded: tuple[int, int], budget: float, asked: float) -> int:
    """The largest tile side, a multiple of the network's, whose window fits into ``budget`` bytes."""
    need = model.spec.input
    multiple, least = need.multiple, need.padded(1)

    def window(units: int) -> int:
        halo = -(-halo_of(model, units * multiple) // multiple) * multiple
        return max(units * multiple + 2 * halo, least)

    low, high = least // multiple, -(-max(padded) // multiple)
    if not _fits(model, window(low), padded, budget):
        smallest = needed_bytes(model, (window(low),) * 2) + asked - budget
        raise InputError(
            f"{model.name} does not fit into the memory that is allowed",
            expected=f"at least {_mib(smallest)} for its smallest tile ({least} pixels and "
            f"{halo_of(model, least)} around it)",
            got=_mib(asked),
            fix="Allow more memory; a cube that is written to a file (hsrzoo predict) need not fit",
        )
    larger = range(low + 1, high + 1)
    fitting = bisect_left(larger, True, key=lambda n: not _fits(model, window(n), padded, budget))
    return (low + fitting) * multiple


def _mib(count: float) -> str:
    return f"{count / 2**20:,.0f} MiB"
