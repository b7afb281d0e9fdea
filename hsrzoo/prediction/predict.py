"""One image file becomes one cube file: bounded in memory, with progress, resumable."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.errors import ExistsError, InputError
from hsrzoo.io import require_writable, stream
from hsrzoo.io.metadata import metadata_of
from hsrzoo.io.model_input import photo_for
from hsrzoo.io.open_stream import check_out, require_apart, require_folder
from hsrzoo.io.photo import Photo, low_values
from hsrzoo.io.raster import Raster, open_raster
from hsrzoo.io.stream import CubeShape
from hsrzoo.models.onnx_runtime import OnnxModel
from hsrzoo.models.reconstruction import METAMER
from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo.models.tensors import digest_of
from hsrzoo.models.tiling.seams import Seams, measure
from hsrzoo.models.tiling.windows import PaddedImage
from hsrzoo.prediction.caveats import low_interval, mapped_interval, other_encoding, training_data
from hsrzoo.prediction.exported import run_exported, write_whole
from hsrzoo.prediction.files import ends_beside, outputs
from hsrzoo.prediction.intervals import (
    calibration_of,
    require_level,
    unlike_share,
    write_intervals,
    write_metamers,
    write_strips,
)
from hsrzoo.prediction.outside import Outside
from hsrzoo.prediction.pictures import require_replaceable
from hsrzoo.prediction.quicklook import quicklook_of, rendering, save_quicklook
from hsrzoo.prediction.reflectance import area_spectrum
from hsrzoo.prediction.run import PredictOptions, Progress, Run, Say, Step, Target
from hsrzoo.uncertainty import UNLIKE
from hsrzoo.utils.locks import hold

_LARGE = 5e8
"""Bytes of a cube above which its size is said before it is made."""


@dataclass(frozen=True)
class PredictReport:
    """Result of :func:`predict_file`."""

    out: Path
    size: tuple[int, int]
    """H, W."""
    bands: int
    passes: int
    """Over the image, including those of the runs that it resumed."""
    tiles: int
    tile: tuple[int, int]
    """Rows and columns of a tile."""
    halo: int
    bytes: int
    """Size of the stored cube."""
    seconds: float
    """Of this run only."""
    resumed: bool
    difference: Seams | None
    """Of approximate tiles from exact ones, on a sample; None if tiles are exact."""
    camera: str | None = None
    """Maker and model of the image's camera from its EXIF."""
    picture: Path | None = None
    """The quick look, if requested."""
    outside: Outside | None = None
    """Values below 0 and above 1, the white; None for a resumed run."""
    unlike: float | None = None
    """Share of the pixels that are unlike the training data; None for models that are not calibrated."""
    half_widths: Path | None = None
    """The file of half-widths of intervals, if requested."""
    unfamiliar: Path | None = None
    """The map of unfamiliar pixels that comes with it."""
    ends: tuple[Path, ...] = ()
    """The files of the range of metamers, if requested."""
    impossible: float | None = None
    """Share of the pixels whose colour no possible spectrum has, with that range."""


def predict_file(
    image: str | Path,
    model: Reconstructor | OnnxModel,
    out: str | Path,
    options: PredictOptions | None = None,
    progress: Progress | None = None,
    say: Say | None = None,
) -> PredictReport:
    """Reconstruct the cube of ``image`` and write it to ``out``.

    The suffix of ``out`` decides the format. .hdr (ENVI; also .img), .tif and .zarr are written tile by
    tile to ``NAME.part``: the same call resumes an interrupted run, and the result has the same bytes as
    that of an uninterrupted run. Other formats, and the cubes of exported files (``onnx:FILE``), are made
    in memory.

    Args:
        image: a photograph or a raster with three bands.
        model: a loaded network, or an exported file, which runs the image whole.
        out: the cube file.
        options: how the image is read and the cube is written.
        progress: called after every tile.
        say: called with messages for the user, first how the image's values are interpreted
            (:mod:`hsrzoo.io.photo`).

    Returns:
        What was done.

    Raises:
        InputError, FormatError, BandsError: the image, the output format or the bands are not usable, or
            the cube is there without intervals, made by another model, and is not to be overwritten.
        StoreError: the disk is full (the message names the partial file, which is kept), or a partial
            file belongs to another run.
        LockedError: another process is writing this cube, and ``options`` say to overwrite it; else that
            process is waited for.
        ExistsError: the cube is there, and ``options`` say not to overwrite it.
    """
    out, options, say = Path(out), options or PredictOptions(), say or (lambda _: None)
    out = out.with_suffix(".hdr") if out.suffix.lower() == ".img" else out
    check_out(out) if _is_streamed(out) else _check_in_memory(out, options)
    with hold(out, None if options.overwrite else say):  # the cube that was waited for is not made again
        if not options.overwrite and all(path.exists() for path in outputs(out, options.interval)):
            raise ExistsError(f"{out} exists", fix="Give --overwrite to replace it")
        if not options.overwrite and out.exists():
            _require_own(out, model)
        return _predict(Path(image), model, out, options, progress or (lambda _: None), say)


def _predict(
    image: Path, model: Reconstructor | OnnxModel, out: Path, options: PredictOptions, progress: Progress,
    say: Say,
) -> PredictReport:  # fmt: skip
    begun = time.monotonic()
    if options.interval is not None:
        require_level(model, options.interval, options.tta)
    raster = open_raster(image)
    _require_apart(out, (image, *raster.files), options)
    photo = photo_for(
        model.config, raster, image, options.encoding, options.value_range, options.bit_depth,
        options.camera, options.white,
    )  # fmt: skip
    for note in (photo.note, *raster.notes, *_doubts(raster, image, photo, model, options)):
        say(note)
    kept = None if options.bands is None else model.bands.nearest(options.bands)
    bands = model.bands if kept is None else model.bands.select(kept)
    target = Target(out, kept, bands, _about(model, photo, options), _divisor(model, photo, options, kept))
    size = _size_note(CubeShape(*photo.pixels.shape, bands, options.dtype).bytes, out, options)
    if size is not None:
        say(size)
    padded = PaddedImage(photo.pixels, model.spec.input, photo.value_range)
    if isinstance(model, OnnxModel):
        report = _exported(photo, model, target, options)
    else:
        run = Run(padded, model, target, options, progress, say)
        identity = _identity(raster, model, target, options) if _is_streamed(out) else None
        with _warnings_to(say):
            report = _tiled(run, identity)
    report = _with_intervals(report, padded, model, target, options)
    picture = None
    if options.quicklook:
        picture = save_quicklook(out)
        if not rendering(bands).as_seen:
            say(f"Quick look: {rendering(bands).how}")
    return replace(report, seconds=time.monotonic() - begun, camera=photo.camera, picture=picture)


def _with_intervals(
    report: PredictReport, image: PaddedImage, model: Reconstructor | OnnxModel, target: Target,
    options: PredictOptions,
) -> PredictReport:  # fmt: skip
    """The report with the share of pixels unlike the training data, where the model is calibrated, and the
    file of intervals, if requested."""
    intervals = calibration_of(model)
    if options.interval == METAMER and isinstance(model, Reconstructor):
        impossible = write_metamers(
            target.out, image, model.metamers, target.kept, options.dtype, target.about
        )
        report = replace(report, ends=tuple(ends_beside(target.out)), impossible=impossible)
    if intervals is None:
        return report
    if options.interval is None or options.interval == METAMER:
        return replace(report, unlike=unlike_share(image, intervals))
    written = write_intervals(
        target.out, image, intervals, options.interval, target.kept, options.dtype, target.about
    )
    return replace(
        report, unlike=written.unlike, half_widths=written.half_widths, unfamiliar=written.unfamiliar
    )


def _size_note(size: int, out: Path, options: PredictOptions) -> str | None:
    """A sentence about the size of the cube's file in bytes, where it is large."""
    if size <= _LARGE:
        return None
    packed = " before compression" if out.suffix.lower() == ".zarr" else ""
    smaller = _is_streamed(out) and options.dtype == "float32"
    halved = "; --dtype uint16 halves it and limits values to [0, 1]" if smaller else ""
    return f"The cube will have {size / 1e9:.1f} GB{packed}{halved}"


def _is_streamed(out: Path) -> bool:
    """Whether the format of ``out`` is written tile by tile."""
    return out.suffix.lower() in stream.SUFFIXES


def _doubts(
    raster: Raster, image: Path, photo: Photo, model: Reconstructor | OnnxModel, options: PredictOptions
) -> list[str]:
    """What suggests that the values mean something else than was assumed."""
    found = []
    if options.value_range is None and options.bit_depth is None:
        low = low_values(raster, image)
        if low is not None:
            found.append(f"Input: {low[1]}; if it holds {low[0]} bits, give --bit-depth {low[0]}")
    notes = [other_encoding(model, photo)]
    if (level := options.interval) is not None:
        notes = [mapped_interval(photo, level), low_interval(model.weights_sha256, level), *notes]
    return found + [note for note in notes if note is not None]


@contextmanager
def _warnings_to(say: Say) -> Iterator[None]:
    """Pass warnings of the network to ``say``, for every image: Python would show them once, or not at all
    on a worker."""
    with warnings.catch_warnings(record=True) as found:
        yield
    for text in dict.fromkeys(str(warning.message) for warning in found):
        say(text)


def _tiled(run: Run, identity: dict[str, Any] | None) -> PredictReport:
    """Run the network on the image, in tiles if needed. ``identity``: of a streamed output."""
    grid, work, resumed = run.to_memory() if identity is None else run.to_stream(identity)
    difference = None
    if run.model.execution.approximate and not grid.whole:
        difference = measure(run.model, run.image, grid, work.seen)
    out, size = run.target.out, run.image.size
    return PredictReport(
        out, size, len(run.cube.bands), work.passes, len(grid.tiles), grid.step, grid.halo,
        run.cube.bytes, 0.0, resumed, difference, outside=None if resumed else run.outside,
    )  # fmt: skip


def _exported(photo: Photo, model: OnnxModel, target: Target, options: PredictOptions) -> PredictReport:
    """Run an exported file on the whole image in memory."""
    found = run_exported(photo, model, target, options)
    outside = Outside()
    outside.count(found.cube)
    form = CubeShape(*photo.pixels.shape, target.bands, options.dtype)
    out, about, shape = target.out, dict(target.about), photo.pixels.shape
    write_whole(out, found.cube, form, about)
    report = PredictReport(
        out, shape, len(target.bands), 1, 1, shape, 0, form.bytes, 0.0, False, None, outside=outside
    )
    if found.percentile is None:
        return report
    report = replace(report, unlike=float((found.percentile > UNLIKE).mean()))
    if found.half is None or options.interval is None or options.interval == METAMER:
        return report
    strip = (slice(0, form.height), found.half, found.percentile)
    written = write_strips(out, form, options.interval, about, [strip])
    return replace(report, half_widths=written.half_widths, unfamiliar=written.unfamiliar)


def _check_in_memory(out: Path, options: PredictOptions) -> None:
    require_writable(out)
    require_folder(out)
    if options.dtype != "float32":
        raise InputError(
            f"{out.suffix} files hold float32", expected="float32", got=options.dtype,
            fix=f"For uint16 write {', '.join(stream.SUFFIXES)}",
        )  # fmt: skip


def _require_apart(out: Path, sources: tuple[Path, ...], options: PredictOptions) -> None:
    """InputError if the cube or its intervals would overwrite its source, or its picture any image."""
    for file in outputs(out, options.interval):
        require_apart(file, sources)
    if options.quicklook:
        require_replaceable(quicklook_of(out), sources)


def _require_own(out: Path, model: Reconstructor | OnnxModel) -> None:
    """InputError if a cube whose intervals are still missing was made by another model."""
    facts = metadata_of(out).facts
    if (facts.get("model"), facts.get("weights_sha256")) != (model.name, model.weights_sha256 or "random"):
        raise InputError(
            f"{out} exists and is not a cube of these weights", expected=model.name,
            got=facts.get("model", "an unknown model"),
            fix="Give --overwrite to replace it, or write to another folder",
        )  # fmt: skip


def _about(model: Reconstructor | OnnxModel, photo: Photo, options: PredictOptions) -> dict[str, str]:
    """The metadata of a cube's file, besides its bands."""
    about = {"model": model.name, "weights_sha256": model.weights_sha256 or "random"}
    about |= {"training_data": training_data(model.config), **photo.about}
    if options.reflectance and photo.area is not None:
        about["cube_values"] = f"reflectance relative to the {photo.area.name}"
    return {**about, "test_time_adaptation": "yes"} if options.tta else about


def _divisor(
    model: Reconstructor | OnnxModel, photo: Photo, options: PredictOptions, kept: Sequence[int] | None
) -> np.ndarray | None:
    """The spectrum of the white area in the kept bands, if the cube is to be relative to it."""
    if not options.reflectance:
        return None
    if options.white is None or options.tta:
        got = (
            "no white area" if options.white is None else "test-time adaptation, which changes the network"
        )
        raise InputError("A cube is divided by the spectrum of its white area", got=got)
    spectrum = area_spectrum(model, photo, options.white)
    return spectrum if kept is None else spectrum[list(kept)]


def _identity(
    raster: Raster, model: Reconstructor, target: Target, options: PredictOptions
) -> dict[str, Any]:
    """All that determines the bytes of the cube file, and the requested tiles."""
    # Tiles chosen by a limit of the memory are saved with the partial file; the interpretation of the
    # image's values is part of the metadata.
    without_effect = {
        "save_seconds", "share", "quicklook", "encoding", "camera", "overwrite", "white", "reflectance",
        "interval",
    }  # fmt: skip
    decisive = {key: value for key, value in asdict(options).items() if key not in without_effect}
    if options.bit_depth is None:  # as in partial files of versions without it
        del decisive["bit_depth"]
    execution = {key: value for key, value in asdict(model.execution).items() if key != "max_memory"}
    weights = model.identity or f"random {digest_of(model.module)}"
    about = {name: text for name, text in target.about.items() if name != "training_data"}  # of the weights
    return {
        "model": {"name": model.name, "identity": weights, "bands": model.bands.to_json()},
        "image": {**raster.identity(), **about},
        "options": {**decisive, **execution, "device": model.device.type},
    }


__all__ = ["PredictOptions", "PredictReport", "Progress", "Say", "Step", "predict_file"]
