"""One prediction tile by tile, into a file that grows or into memory; taken up where it was stopped."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from hsrzoo.bands import BandSet
from hsrzoo.errors import HsrzooError, StoreError
from hsrzoo.io import save_cube
from hsrzoo.io.open_stream import open_stream
from hsrzoo.io.stream import CubeShape, CubeStream, part_of, state_of
from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo.models.tiling import Grid, PaddedImage, Work, available_memory, into_memory, plan
from hsrzoo.models.tiling.choice import cut_for
from hsrzoo.models.tiling.passes import Sink
from hsrzoo.models.tiling.saved import Saved
from hsrzoo.prediction.values import PredictOptions, Progress, Say, Step


@dataclass(frozen=True)
class Target:
    """Where a cube goes, which bands of the model's it keeps, and what its file says besides."""

    out: Path
    kept: Sequence[int] | None
    """Indices; None: all of them."""
    bands: BandSet
    """Of the cube."""
    about: Mapping[str, str]


class Run:
    """What the steps of one prediction share."""

    def __init__(
        self, image: PaddedImage, model: Reconstructor, target: Target, options: PredictOptions,
        progress: Progress, say: Say,
    ) -> None:  # fmt: skip
        self.image, self.model, self.options = image, model, options
        self.out, self.kept, self.about = target.out, target.kept, dict(target.about)
        self.progress, self.say = progress, say
        self.cube = CubeShape(*image.size, target.bands, options.dtype)

    def to_stream(self, identity: dict[str, Any]) -> tuple[Grid, Work, bool]:
        """Write tile by tile, from where an interrupted run of the same identity stopped."""
        part = part_of(self.out)
        saved = self._saved(part, identity)
        grid = self.grid() if saved is None else cut_for(self.model, self.image.size, saved.tile)
        if self.options.tta:
            self.model.check_grid(grid, tta=True)
        with open_stream(self.out, self.cube, step=grid.step, metadata=self.about) as target:
            if saved is not None and target.nearly_finished():
                work = replace(saved.work, passes=saved.work.passes + 1, finished=True)
            else:
                saved = saved if saved is not None and target.reopen() else None
                work = self._fill(target, grid, identity, saved)
            target.finish()
            target.state.unlink(missing_ok=True)
        return grid, work, saved is not None

    def _saved(self, part: Path, identity: dict[str, Any]) -> Saved | None:
        """What an interrupted run has noted; StoreError where it was another one."""
        started = open_stream(self.out, self.cube, step=self.image.size, metadata=self.about)
        if not (part.exists() or started.nearly_finished()):
            return None
        saved = Saved.read(state_of(part), self.model.device)
        if saved is not None:
            saved.require_same(identity, part)
        return saved

    def _fill(self, target: CubeStream, grid: Grid, identity: dict[str, Any], saved: Saved | None) -> Work:
        """Write all tiles that are left. What cannot be made at all leaves no partial file behind."""
        if saved is None:
            target.state.unlink(missing_ok=True)
            self._warn_of_room(target)
            target.create()
            work = Work()
        else:
            work = saved.work
            self.say(
                f"Going on with {target.part}: pass {work.passes + 1}, {work.done} of its tiles are done"
            )
        keep = _Keeper(target, identity, grid.tile, self.options.save_seconds)
        try:
            return self.run(grid, self.only_kept(partial(_write, target)), work, keep)
        except HsrzooError as error:
            if saved is None and not target.written and not isinstance(error, StoreError):
                target.discard()
            raise

    def to_memory(self) -> tuple[Grid, Work, bool]:
        """Make the cube in memory and write it whole, for formats that cannot be written in parts."""
        cube, keep = into_memory(self.image.size, len(self.cube.bands))
        grid = self.grid(kept=cube.nbytes)
        work = self.run(grid, self.only_kept(keep), Work(), lambda _: None)
        save_cube(self.out, cube.numpy(), self.cube.bands, metadata=self.about)
        return grid, work, False

    def only_kept(self, sink: Sink) -> Sink:
        """``sink``, which gets the bands that are kept."""
        if self.kept is None:
            return sink
        kept = list(self.kept)
        return lambda top, left, part: sink(top, left, part[kept])

    def grid(self, kept: int = 0) -> Grid:
        """The tiles that were asked for, or that fit into half of the memory that is free."""
        model, how = self.model, self.model.execution
        tileable = how.approximate or model.halo is not None
        limit = self.options.share * available_memory(model.device) if tileable else None
        grid = plan(model, self.image.size, kept=kept, limit=limit)
        if not grid.whole and how.tile is None:
            self.say(
                f"The image runs in {len(grid.tiles)} tiles of {grid.step[0]} x {grid.step[1]} pixels and "
                f"{grid.halo} around them, to stay below {(how.max_memory or limit or 0) / 2**30:.3g} GiB"
            )
        return grid

    def run(self, grid: Grid, sink: Sink, work: Work, keep: Callable[[Work], None]) -> Work:
        """All passes that are left; ``keep`` hears of every tile."""
        model, passes = self.model, self.model.passes(grid)
        self.progress(Step(work.passes + 1, passes, work.done, len(grid.tiles)))
        for now in model.tiles(self.image, grid, sink, work, tta=self.options.tta):
            work = now
            keep(work)
            current = work.passes + (not work.finished)
            self.progress(Step(current, max(passes, current), work.done, len(grid.tiles)))
        return work

    def _warn_of_room(self, target: CubeStream) -> None:
        free = shutil.disk_usage(target.part.parent).free
        if free < self.cube.bytes and self.out.suffix.lower() == ".zarr":
            self.say(
                f"The cube has {self.cube.bytes / 1e9:.2f} GB before compression, and the disk "
                f"{free / 1e9:.2f} GB"
            )


class _Keeper:
    """Notes how far the run has come, now and then and at the end of every pass."""

    def __init__(
        self, target: CubeStream, identity: dict[str, Any], tile: int | None, seconds: float
    ) -> None:
        self.target, self.identity, self.tile, self.seconds = target, identity, tile, seconds
        self.last = time.monotonic()

    def __call__(self, work: Work) -> None:
        now = time.monotonic()
        if work.finished or (now - self.last < self.seconds and work.done):
            return
        # first the cube, then what says that it is there
        if work.done and work.shares is None:
            self.target.sync()
        try:
            Saved(self.identity, self.tile, work).write(self.target.state)
        except StoreError as error:
            if not isinstance(error.__cause__, OSError):
                raise
            with self.target.convert_errors():
                raise error.__cause__ from None
        self.last = time.monotonic()


def _write(target: CubeStream, top: int, left: int, part: Tensor) -> None:
    """A tile's cube (C, h, w) in blocks of rows, so that little is converted at a time."""
    for y in range(0, part.shape[1], target.rows):
        block = part[:, y : y + target.rows].permute(1, 2, 0).float().contiguous()
        target.write(top + y, left, block.cpu().numpy())
