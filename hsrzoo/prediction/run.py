"""One prediction tile by tile, into a stream or into memory; resumed where it was interrupted."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from hsrzoo.bands import BandSet
from hsrzoo.errors import HsrzooError, StoreError
from hsrzoo.io import save_cube
from hsrzoo.io.open_stream import open_stream
from hsrzoo.io.photo import Encoding
from hsrzoo.io.stream import CubeShape, CubeStream, part_of, state_of
from hsrzoo.models.reconstruction import Level
from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo.models.tiling.choice import SHARE, available_memory, cut_for, plan
from hsrzoo.models.tiling.grid import Grid
from hsrzoo.models.tiling.kept import tiles_kept
from hsrzoo.models.tiling.passes import Sink, Work, into_memory
from hsrzoo.models.tiling.saved import Saved
from hsrzoo.models.tiling.windows import PaddedImage
from hsrzoo.prediction.outside import Outside


@dataclass(frozen=True)
class PredictOptions:
    """How an image is read and its cube is written. How the network runs (tiles, memory, precision) is the
    :class:`hsrzoo.spec.Execution` of the model."""

    dtype: Literal["float32", "uint16"] = "float32"
    """``uint16``: round(65535 x), x clipped to [0, 1]; the file stores the factor."""
    value_range: tuple[float, float] | None = None
    """Range of the image's values, if its dtype does not define it."""
    tta: bool = False
    """Adapt the network to the image first; needs the image in one tile."""
    encoding: Encoding = "auto"
    """Encoding of the image's values; see :func:`hsrzoo.io.model_input.photo_for`."""
    bands: tuple[float, ...] | None = None
    """Wavelengths in nm of the bands to keep, in this order; see :meth:`hsrzoo.bands.BandSet.nearest`."""
    quicklook: bool = False
    """Also write a picture, ``NAME.png``."""
    overwrite: bool = True
    """Whether to replace a cube that is there."""
    share: float = SHARE
    """Share of the free memory to use at most, if the model sets no limit; of all processes together."""
    save_seconds: float = 10.0
    """Seconds between two saved states: what an interruption costs at most."""
    bit_depth: int | None = None
    """Bits of the image's values, if they are fewer than its dtype has; see
    :func:`hsrzoo.io.photo.to_linear`."""
    camera: str | None = None
    """What linear values are the RGB of: a name of ``hsrzoo cameras``, the file of a response, or that of a
    calibration."""
    white: tuple[float, ...] | None = None
    """A white or grey area to be made neutral; see :func:`hsrzoo.io.model_input.photo_for`."""
    reflectance: bool = False
    """Divide the cube by the spectrum of the area ``white``."""
    interval: Level | None = None
    """Probability of the prediction intervals whose half-widths are written too; or "metamer": the ends of
    what the colours alone allow are written."""


@dataclass(frozen=True)
class Step:
    """Progress of a prediction: ``done`` of ``total`` tiles of pass ``current`` of ``passes`` (estimated on
    a small image)."""

    current: int
    passes: int
    done: int
    total: int

    @property
    def tiles(self) -> int:
        """Tiles done in all passes."""
        return (self.current - 1) * self.total + self.done


Progress = Callable[[Step], None]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Target:
    """The file of a cube, the bands of the model that it keeps, and its metadata."""

    out: Path
    kept: Sequence[int] | None
    """Indices; None: all."""
    bands: BandSet
    """Of the cube."""
    about: Mapping[str, str]
    divisor: np.ndarray | None = None
    """(C,) of the kept bands: what the cube is divided by."""


@dataclass(frozen=True, eq=False)
class Run:
    """One prediction."""

    image: PaddedImage
    model: Reconstructor
    target: Target
    options: PredictOptions
    progress: Progress
    say: Say
    outside: Outside = field(default_factory=Outside)

    @cached_property
    def cube(self) -> CubeShape:
        """What is written."""
        return CubeShape(*self.image.size, self.target.bands, self.options.dtype)

    def _open(self, step: tuple[int, int]) -> CubeStream:
        return open_stream(self.target.out, self.cube, step=step, metadata=dict(self.target.about))

    def to_stream(self, identity: dict[str, Any]) -> tuple[Grid, Work, bool]:
        """Write tile by tile, resuming an interrupted run of the same identity."""
        part = part_of(self.target.out)
        saved = self._saved(part, identity)
        grid = self.grid() if saved is None else cut_for(self.model, self.image.size, saved.tile)
        if self.options.tta:
            self.model.check_grid(grid, tta=True)
        with self._open(grid.step) as file:
            if saved is not None and file.nearly_finished():
                work = replace(saved.work, passes=saved.work.passes + 1, finished=True)
            else:
                saved = saved if saved is not None and file.reopen() else None
                work = self._fill(file, grid, identity, saved)
            file.finish()
            file.state.unlink(missing_ok=True)
        return grid, work, saved is not None

    def _saved(self, part: Path, identity: dict[str, Any]) -> Saved | None:
        """The state of an interrupted run; StoreError if its identity differs."""
        if not (part.exists() or self._open(self.image.size).nearly_finished()):
            return None
        saved = Saved.read(state_of(part), self.model.device)
        if saved is not None:
            saved.require_same(identity, part)
        return saved

    def _fill(self, file: CubeStream, grid: Grid, identity: dict[str, Any], saved: Saved | None) -> Work:
        """Write all remaining tiles. If the first one fails, the partial file is removed."""
        if saved is None:
            file.state.unlink(missing_ok=True)
            self._warn_of_room(file)
            file.create()
            work = Work()
        else:
            work = saved.work
            self.say(f"Resuming {file.part}: pass {work.passes + 1}, {work.done} of its tiles are done")
        keep = _Keeper(file, identity, grid.tile, self.options.save_seconds)
        try:
            return self.run(grid, self.only_kept(partial(_write, file)), work, keep)
        except HsrzooError as error:
            if saved is None and not file.written and not isinstance(error, StoreError):
                file.discard()
            raise

    def to_memory(self) -> tuple[Grid, Work, bool]:
        """Make the cube in memory and write it at once, for formats that cannot be written in parts."""
        cube, keep = into_memory(self.image.size, len(self.cube.bands))
        grid = self.grid(kept=cube.nbytes)
        work = self.run(grid, self.only_kept(keep), Work(), lambda _: None, result=cube.nbytes)
        save_cube(self.target.out, cube.numpy(), self.cube.bands, metadata=dict(self.target.about))
        return grid, work, False

    def only_kept(self, sink: Sink) -> Sink:
        """``sink`` restricted to the kept bands, which are divided and counted."""
        kept = None if self.target.kept is None else list(self.target.kept)

        def counted(top: int, left: int, part: Tensor) -> None:
            part = part if kept is None else part[kept]
            if self.target.divisor is not None:
                part = (
                    part
                    / torch.as_tensor(self.target.divisor, dtype=part.dtype, device=part.device)[
                        :, None, None
                    ]
                )
            self.outside.count(part)
            sink(top, left, part)

        return counted

    @cached_property
    def limit(self) -> float:
        """Bytes: the share of the free memory."""
        return self.options.share * available_memory(self.model.device)

    def grid(self, kept: int = 0) -> Grid:
        """The requested tiles, or those that fit into the share of the free memory."""
        model, how = self.model, self.model.execution
        tileable = how.approximate or model.halo is not None
        limit = self.limit if tileable else None
        grid = plan(model, self.image.size, kept=kept, limit=limit)
        if not grid.whole and how.tile is None:
            self.say(
                f"It runs in {len(grid.tiles)} tiles of {grid.step[0]} x {grid.step[1]} pixels, halo "
                f"{grid.halo}, to stay below {(how.max_memory or limit or 0) / 2**30:.3g} GiB"
            )
        return grid

    def run(
        self, grid: Grid, sink: Sink, work: Work, keep: Callable[[Work], None], result: int = 0
    ) -> Work:
        """All remaining passes; ``keep`` is called after every tile. ``result``: bytes of the cube
        that stay in memory."""
        model, passes = self.model, self.model.passes(grid)
        self.progress(Step(work.passes + 1, passes, work.done, len(grid.tiles)))
        features = tiles_kept(model, grid, result=result, limit=self.limit, folder=self.target.out.parent)
        if features.in_scratch:
            size = f"{max(features.scratch_bytes / 1e9, 0.1):.1f} GB"
            self.say(
                f"Features are kept in a scratch file of about {size} in {features.folder} until the end"
            )
        for now in model.tiles(self.image, grid, sink, work, tta=self.options.tta, kept=features):
            work = now
            keep(work)
            current = work.passes + (not work.finished)
            self.progress(Step(current, max(passes, current), work.done, len(grid.tiles)))
        return work

    def _warn_of_room(self, file: CubeStream) -> None:
        free = shutil.disk_usage(file.part.parent).free
        if free < self.cube.bytes and self.target.out.suffix.lower() == ".zarr":
            size = f"{self.cube.bytes / 1e9:.2f} GB before compression"
            self.say(f"The cube has {size}; {free / 1e9:.2f} GB are free on the disk")


class _Keeper:
    """Saves the state of the run, every ``seconds`` and at the end of every pass."""

    def __init__(
        self, target: CubeStream, identity: dict[str, Any], tile: int | None, seconds: float
    ) -> None:
        self.target, self.identity, self.tile, self.seconds = target, identity, tile, seconds
        self.last = time.monotonic()

    def __call__(self, work: Work) -> None:
        now = time.monotonic()
        if work.finished or (now - self.last < self.seconds and work.done):
            return
        # the cube before the state that refers to it
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
    """Write the cube of a tile (C, h, w) in blocks of rows, to convert little at a time."""
    for y in range(0, part.shape[1], target.rows):
        block = part[:, y : y + target.rows].permute(1, 2, 0).float().contiguous()
        target.write(top + y, left, block.cpu().numpy())
