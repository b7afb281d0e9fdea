"""One image file becomes one cube file: bounded in memory, visible while it runs, resumable."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from hsrzoo.errors import HsrzooError, InputError, StoreError
from hsrzoo.io import require_writable, save_cube, stream
from hsrzoo.io.raster import Raster, open_raster
from hsrzoo.io.stream import (
    CubeShape,
    CubeStream,
    check_out,
    open_stream,
    part_of,
    require_apart,
    require_folder,
    state_of,
)
from hsrzoo.onnx_runtime import OnnxModel
from hsrzoo.reconstructor import Reconstructor
from hsrzoo.tiling import Grid, PaddedImage, Work, available_memory, declared_halo, into_memory, plan
from hsrzoo.tiling.approximate import Difference, measure
from hsrzoo.tiling.choice import cut_for
from hsrzoo.tiling.passes import Sink
from hsrzoo.tiling.saved import Saved

SHARE = 0.5
"""Of the memory that is free, what a prediction takes at most when nothing else is said."""


@dataclass(frozen=True)
class PredictOptions:
    """How a cube is written. How the network runs (tiles, memory, precision) is the model's own
    :class:`hsrzoo.spec.Execution`."""

    dtype: Literal["float32", "uint16"] = "float32"
    """``uint16``: round(65535 x), x cut to [0, 1]; the factor stands in the file."""
    value_range: tuple[float, float] | None = None
    """What the image's values lie between, where its dtype does not say."""
    tta: bool = False
    """Adapt the network to the image first; needs the image in one tile."""
    share: float = SHARE
    """Of the memory that is free, what the prediction takes at most where its model names no limit;
    processes that run side by side have less each."""
    save_seconds: float = 10.0
    """Between two notes of how far the run has come: what an interruption costs at most."""


@dataclass(frozen=True)
class PredictReport:
    """What :func:`predict_file` did."""

    out: Path
    size: tuple[int, int]
    """H, W."""
    bands: int
    passes: int
    """Over the image, of this run and those that it went on from."""
    tiles: int
    tile: tuple[int, int]
    """Rows and columns of a tile."""
    halo: int
    bytes: int
    """Of the cube as it is stored."""
    seconds: float
    """Of this run alone."""
    resumed: bool
    difference: Difference | None
    """Of approximate tiles from whole-image statistics, on a sample; None where tiles are exact."""


@dataclass(frozen=True)
class Step:
    """Where a prediction stands: ``done`` of ``total`` tiles of pass ``current`` of ``passes`` (as far
    as a small image tells)."""

    current: int
    passes: int
    done: int
    total: int


Progress = Callable[[Step], None]
Say = Callable[[str], None]


def predict_file(
    image: str | Path,
    model: Reconstructor | OnnxModel,
    out: str | Path,
    options: PredictOptions | None = None,
    progress: Progress | None = None,
    say: Say | None = None,
) -> PredictReport:
    """Reconstruct the cube of ``image`` and write it to ``out``; the suffix decides the format.

    .hdr (ENVI), .tif and .zarr are written tile by tile to ``NAME.part``: the same call takes an
    interrupted run up where it stopped and makes the same bytes as one that was not (.img names an ENVI
    cube, too). Other cube formats are made in memory, and so is what an exported file (``onnx:FILE``)
    makes: it runs the image whole. ``progress`` is called after every tile, ``say`` with what a person
    should know. Raises InputError, FormatError, StoreError (no room: the partial file stays, named).
    """
    begun = time.monotonic()
    out, options, say = Path(out), options or PredictOptions(), say or (lambda _: None)
    out = out.with_suffix(".hdr") if out.suffix.lower() == ".img" else out
    streamed = out.suffix.lower() in stream.SUFFIXES
    check_out(out) if streamed else _check_in_memory(out, options)
    raster = open_raster(image)
    require_apart(out, (Path(image), *raster.files))
    for note in raster.notes:
        say(note)
    if isinstance(model, OnnxModel):
        return _exported(raster, model, out, options, begun)
    padded = PaddedImage(raster.pixels, model.spec.input, options.value_range or raster.value_range)
    job = _Job(padded, model, out, options, progress or (lambda _: None), say)
    if streamed:
        grid, work, resumed = job.to_stream(_identity(raster, model, options))
    else:
        grid, work, resumed = job.to_memory()
    difference = None
    if model.execution.approximate and not grid.whole:
        difference = measure(model, padded, grid, work.extremes)
    return PredictReport(
        out, raster.shape, len(model.bands), work.passes, len(grid.tiles), grid.step, grid.halo,
        job.cube.bytes, time.monotonic() - begun, resumed, difference,
    )  # fmt: skip


class _Job:
    """What the steps of one prediction share."""

    def __init__(
        self, image: PaddedImage, model: Reconstructor, out: Path, options: PredictOptions,
        progress: Progress, say: Say,
    ) -> None:  # fmt: skip
        self.image, self.model, self.out, self.options = image, model, out, options
        self.progress, self.say = progress, say
        self.cube = CubeShape(*image.size, model.bands, options.dtype)
        self.about = {"model": model.name, "weights_sha256": model.weights_sha256 or "random"}

    def to_stream(self, identity: dict[str, Any]) -> tuple[Grid, Work, bool]:
        """Write tile by tile, from where an interrupted run of the same identity stopped."""
        part = part_of(self.out)
        saved = self._saved(part, identity)
        grid = self.grid() if saved is None else cut_for(self.model, self.image.size, saved.tile)
        if self.options.tta:
            self.model.require_adaptable(grid)
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
            return self.run(grid, partial(_write, target), work, keep)
        except HsrzooError as error:
            if saved is None and not target.written and not isinstance(error, StoreError):
                target.discard()
            raise

    def to_memory(self) -> tuple[Grid, Work, bool]:
        """Make the cube in memory and write it whole, for formats that cannot be written in parts."""
        cube, keep = into_memory(self.image.size, len(self.model.bands))
        grid = self.grid(kept=cube.nbytes)
        work = self.run(grid, keep, Work(), lambda _: None)
        save_cube(self.out, cube.numpy(), self.model.bands, metadata=self.about)
        return grid, work, False

    def grid(self, kept: int = 0) -> Grid:
        """The tiles that were asked for, or that fit into half of the memory that is free."""
        model, how = self.model, self.model.execution
        tileable = how.approximate or declared_halo(model.module) is not None
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
        model, how = self.model, self.model.execution
        passes = 1 if grid.whole or how.approximate else model.statistics + 1
        passes += model.spec.input.normalise == "minmax-image"
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
            with self.target.explained():
                raise error.__cause__ from None
        self.last = time.monotonic()


def _write(target: CubeStream, top: int, left: int, part: Tensor) -> None:
    """A tile's cube (C, h, w) in blocks of rows, so that little is converted at a time."""
    for y in range(0, part.shape[1], target.rows):
        block = part[:, y : y + target.rows].permute(1, 2, 0).float().contiguous()
        target.write(top + y, left, block.cpu().numpy())


def _check_in_memory(out: Path, options: PredictOptions) -> None:
    require_writable(out)
    require_folder(out)
    if options.dtype != "float32":
        raise InputError(
            f"{out.suffix} files hold float32", expected="float32", got=options.dtype,
            fix=f"For uint16 write {', '.join(stream.SUFFIXES)}",
        )  # fmt: skip


def _exported(
    raster: Raster, model: OnnxModel, out: Path, options: PredictOptions, begun: float
) -> PredictReport:
    """An exported file: the whole image in memory, in one call."""
    height, width = raster.shape
    rgb = raster.pixels.read(0, 0, height, width)
    try:
        made = model(rgb, options.value_range or raster.value_range, options.tta)
    except MemoryError as error:
        raise InputError(
            f"{model.name} runs an image whole, and this one does not fit into memory",
            got=f"{height} x {width} pixels",
            fix="Run the model that it was made from, which goes tile by tile",
        ) from error
    cube = CubeShape(height, width, model.bands, options.dtype)
    about = {"model": model.name, "weights_sha256": model.weights_sha256 or "random"}
    if out.suffix.lower() in stream.SUFFIXES:
        with open_stream(out, cube, step=raster.shape, metadata=about) as target:
            target.state.unlink(missing_ok=True)
            target.create()
            for top in range(0, height, target.rows):
                target.write(top, 0, made.cube[top : top + target.rows])
            target.finish()
    else:
        save_cube(out, made.cube, model.bands, metadata=about)
    seconds = time.monotonic() - begun
    return PredictReport(
        out, raster.shape, len(model.bands), 1, 1, raster.shape, 0, cube.bytes, seconds, False, None
    )


def _identity(raster: Raster, model: Reconstructor, options: PredictOptions) -> dict[str, Any]:
    """All that decides the bytes of the cube file, and the tiles asked for."""
    # Tiles that were chosen by the memory are kept with the partial file, and decide no byte.
    decides = {k: v for k, v in asdict(options).items() if k not in ("save_seconds", "share")}
    weights = model.identity or f"random {_digest(model)}"
    return {
        "model": {"name": model.name, "identity": weights, "bands": model.bands.to_json()},
        "image": raster.identity(),
        "options": {**decides, **asdict(model.execution), "device": model.device.type},
    }


def _digest(model: Reconstructor) -> str:
    """Hex sha256 of weights that come from no file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
