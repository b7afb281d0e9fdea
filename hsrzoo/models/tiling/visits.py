"""A network on one tile: its share of a statistic of the whole image, or its cube.

A run that is kept waits inside the network, with the features that are needed later, and goes on from
there when the statistic is known. Any other run is left, and the next one begins with the RGB again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from threading import get_ident

import torch
from greenlet import getcurrent, greenlet
from torch import Tensor

from hsrzoo.errors import PluginError
from hsrzoo.layers.whole_image import JOIN, StatisticReached, TileCall, Totals, tile_call
from hsrzoo.models.tiling.grid import Tile
from hsrzoo.models.tiling.kept import KeptTiles
from hsrzoo.models.tiling.scratch import Scratch, ScratchFull

Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Shares:
    """What the tiles of a pass have contributed to a statistic: float64 (whole numbers: int64) on the
    CPU, the dtypes in which the network wants the totals, and how they are joined."""

    parts: Totals
    dtypes: tuple[torch.dtype, ...]
    reduce: tuple[str, ...]

    @classmethod
    def of(cls, parts: Totals, reduce: tuple[str, ...]) -> Shares:
        """The shares of one tile; totals of half-precision floats are wanted in float32."""
        half = (torch.float16, torch.bfloat16)
        wide = tuple(_wide(part.detach().cpu()) for part in parts)
        return cls(wide, tuple(torch.float32 if p.dtype in half else p.dtype for p in parts), reduce)

    def join(self, other: Shares) -> Shares:
        """With another tile's; PluginError where they are not the same statistic."""
        mine, others = self._signature(), other._signature()
        if mine != others:
            raise PluginError(
                "Tiles of one image ask for different statistics", expected=f"{mine} in all", got=others
            )
        parts = zip(self.reduce, self.parts, other.parts, strict=True)
        return replace(self, parts=tuple(JOIN[how](a, b) for how, a, b in parts))

    def totals(self, device: torch.device) -> Totals:
        """What the network gets."""
        return tuple(p.to(dtype).to(device) for p, dtype in zip(self.parts, self.dtypes, strict=True))

    def _signature(self) -> list[tuple[str, list[int], str]]:
        each = zip(self.reduce, self.parts, self.dtypes, strict=True)
        return [(how, list(part.shape), str(dtype).removeprefix("torch.")) for how, part, dtype in each]


def visit(network: Network, window: Tensor, tile: Tile, known: tuple[Totals, ...]) -> Tensor | Shares:
    """The network on one tile: its share of the first statistic that is not known, or its cube."""
    call = _call_of(tile, known)
    try:
        with tile_call(call):
            cube = network(window)
    except StatisticReached as reached:
        return Shares.of(reached.parts, reached.reduce)
    _require_all_asked(call, known)
    return cube


class KeptRun:
    """A run of the network on one tile that waits at every statistic until it is known."""

    def __init__(
        self,
        network: Network,
        window: Tensor,
        tile: Tile,
        known: tuple[Totals, ...],
        scratch: Scratch | None = None,
    ) -> None:
        self.scratch = scratch
        self._call = _call_of(tile, known)
        self._call.ask = self._wait
        if scratch is not None:
            self._call.empty = scratch.empty
            window = scratch.empty(tuple(window.shape), window.dtype).copy_(window)
        self._device = window.device.type
        # A coroutine with a stack of its own, so that a network need not be written as one. Not a thread:
        # OpenMP would start as many more for each.
        self._run = greenlet(partial(network, window))
        self._run.gr_context = copy_context()  # of numpy.errstate and the like; else an empty one
        self._thread = get_ident()

    @property
    def here(self) -> bool:
        """Whether this is the run's thread: in another one it can neither go on nor be left."""
        return self._thread == get_ident()

    def go_on(self, known: tuple[Totals, ...]) -> Tensor | Shares:
        """The same as :func:`visit`, from where the run is. Raises ScratchFull."""
        totals = known[-1:] if self._run else ()  # true while it waits
        self._run.parent = getcurrent()
        with tile_call(self._call), self._modes():
            found: Tensor | Shares = self._run.switch(*totals)
        if self.scratch is not None:
            self.scratch.let_go()
        if not isinstance(found, Shares):
            _require_all_asked(self._call, known)
        return found

    def drop(self) -> None:
        """Leave the network, whose features are freed."""
        self._run.parent = getcurrent()
        with tile_call(self._call), self._modes():
            self._run.throw()

    def _wait(self, parts: Totals, reduce: tuple[str, ...]) -> Totals:
        with self._modes():
            totals: Totals = self._run.parent.switch(Shares.of(parts, reduce))
        return totals

    @contextmanager
    def _modes(self) -> Iterator[None]:
        """Gradients, inference mode, autocast and the default dtype are after the block as before: both
        sides of a switch set them for the whole thread."""
        grad, dtype_of_new = torch.is_grad_enabled(), torch.get_default_dtype()
        casts = [
            (device, torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))
            for device in {"cpu", self._device}
        ]
        try:
            with torch.inference_mode(torch.is_inference_mode_enabled()):
                torch.set_grad_enabled(grad)  # which entering it has changed
                yield
        finally:
            torch.set_grad_enabled(grad)
            torch.set_default_dtype(dtype_of_new)
            for device, enabled, dtype in casts:
                torch.set_autocast_enabled(device, enabled)
                torch.set_autocast_dtype(device, dtype)


class Visits:
    """Runs of the network on the tiles of an image, pass after pass; all are left with the block."""

    def __init__(self, network: Network, window_of: Callable[[Tile], Tensor], kept: KeptTiles) -> None:
        self._network, self._window_of, self._kept = network, window_of, kept
        self._scratch = None if kept.folder is None else Scratch(kept.folder)
        self._waiting: dict[Tile, KeptRun] = {}

    def __enter__(self) -> Visits:
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as stack:  # even where a network fails when it is left
            if self._scratch is not None:
                stack.callback(self._scratch.close)
            stack.callback(self._waiting.clear)
            for run in self._waiting.values():
                if run.here:
                    stack.callback(run.drop)

    def __call__(self, tile: Tile, known: tuple[Totals, ...]) -> Tensor | Shares:
        """See :func:`visit`."""
        try:
            run = self._waiting.pop(tile, None) or self._new_run(tile, known)
            if run is not None and run.here:
                found = run.go_on(known)
                if isinstance(found, Shares):
                    self._waiting[tile] = run
                return found
        except ScratchFull:
            self._kept = replace(self._kept, in_scratch=0)
        return visit(self._network, self._window_of(tile), tile, known)

    def _new_run(self, tile: Tile, known: tuple[Totals, ...]) -> KeptRun | None:
        in_memory = sum(run.scratch is None for run in self._waiting.values())
        if in_memory < self._kept.in_memory:
            scratch = None
        elif len(self._waiting) - in_memory < self._kept.in_scratch:
            scratch = self._scratch
        else:
            return None
        return KeptRun(self._network, self._window_of(tile), tile, known, scratch)


def uneven(this: str, others: str) -> PluginError:
    """For a tile that asks for ``this`` where those before asked for ``others``."""
    return PluginError(
        "The network asks for other statistics in one tile than in its neighbours",
        expected=f"{others}, as in the tiles before",
        got=this,
        fix="Let it ask for the same whole_image statistics in the same order for all pixels",
    )


def _call_of(tile: Tile, known: tuple[Totals, ...]) -> TileCall:
    window = tile.window
    return TileCall((window.height, window.width), tile.own_in_window, known, (window.top, window.left))


def _require_all_asked(call: TileCall, known: tuple[Totals, ...]) -> None:
    if call.asked != len(known):
        raise uneven(f"{call.asked} statistics", f"{len(known)}")


def _wide(x: Tensor) -> Tensor:
    return x.double() if x.is_floating_point() else x.long()
