"""The intervals of a cube that was written: a file of half-widths and a map of unfamiliar pixels; or two
files of what the colours alone allow.

All are made from the image and the cube's file, strip by strip: they depend on a pixel and its spectrum
alone, so that it makes no difference in which tiles the network ran.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hsrzoo.errors import HsrzooError, InputError
from hsrzoo.io import save_cube, stream
from hsrzoo.io.common import output_file
from hsrzoo.io.open_stream import open_stream
from hsrzoo.io.stream import CubeShape
from hsrzoo.layers.whole_image import Region
from hsrzoo.models.onnx_runtime import OnnxModel
from hsrzoo.models.reconstruction import METAMER, Level
from hsrzoo.prediction.files import ends_beside, half_widths_of, unfamiliar_of
from hsrzoo.prediction.rows import open_rows
from hsrzoo.uncertainty.apply import ends_of, intervals_at
from hsrzoo.uncertainty.conformal import percent
from hsrzoo.uncertainty.intervals import UNLIKE, Intervals
from hsrzoo.uncertainty.metamer_cache import metamers_of
from hsrzoo.uncertainty.metamers import MetamerTable

if TYPE_CHECKING:
    from torch import Tensor

    from hsrzoo.models.reconstructor import Reconstructor
    from hsrzoo.models.tiling.windows import PaddedImage

_AT_ONCE = 1 << 18
"""Pixels of a strip."""
Strip = tuple[slice, np.ndarray, np.ndarray]
"""Rows, their half-widths (h, W, C) and percentiles (h, W)."""


@dataclass(frozen=True)
class Written:
    """What was found, and the files."""

    unlike: float
    """Share of the pixels that are unlike the training data."""
    half_widths: Path | None = None
    unfamiliar: Path | None = None


def require_level(
    model: Reconstructor | OnnxModel, level: Level, tta: bool = False,
    advance: Callable[[int, int], object] | None = None,
) -> None:  # fmt: skip
    """Have all that intervals of a level need, or raise an error: before any image is read.

    ``advance(done, total)`` is called while the linear programmes of metamers are solved.
    """
    if level != METAMER or isinstance(model, OnnxModel):
        model.require_intervals(level, tta)
    elif "metamers" not in vars(model):
        model.metamers = metamers_of(model.loaded, advance)


def calibration_of(model: Reconstructor | OnnxModel) -> Intervals | None:
    """The calibration of a model, where it has one that can be read."""
    try:
        return getattr(model, "intervals", None)
    except HsrzooError:
        return None


def unlike_share(image: PaddedImage, intervals: Intervals) -> float:
    """Share of the pixels of an image that are unlike the training data."""
    height, width = image.size
    maps = (_map(intervals, _window(image, part)) for part in _strips(height, width))
    found = sum(int((percentile > UNLIKE).sum()) for percentile in maps)
    return found / (height * width)


def write_intervals(
    cube: Path,
    image: PaddedImage,
    intervals: Intervals,
    level: float,
    kept: Sequence[int] | None,
    dtype: Literal["float32", "uint16"],
    about: Mapping[str, Any],
) -> Written:
    """Write the half-widths of the intervals around a ``cube`` file, and the map.

    Args:
        cube: Made of ``image``.
        image: As the network saw it.
        intervals: The calibration.
        level: Probability of the intervals.
        kept: Bands of the model that the cube has; None: all.
        dtype: Of the file of half-widths, as of cubes.
        about: Metadata of the cube.

    Returns:
        The files; the map is of uint16, 65535 times the percentile.

    Raises:
        InputError, StoreError: As for cubes.
    """
    rows, chosen = open_rows(cube), intervals if kept is None else intervals.select(kept)
    height, width = image.size

    def strips() -> Iterator[Strip]:
        for part in _strips(height, width):
            window = _window(image, part)
            spectra = rows.read(part.start, part.stop - part.start)
            yield part, *intervals_at(chosen, window, spectra, level)

    if rows.shape != image.size or len(rows.bands) != len(chosen.bands):
        raise InputError(
            f"{cube} is not the cube of this image",
            expected=f"{height} x {width} pixels, {len(chosen.bands)} bands",
            got=f"{rows.shape[0]} x {rows.shape[1]}, {len(rows.bands)}",
        )
    return write_strips(cube, CubeShape(height, width, chosen.bands, dtype), level, about, strips())


def write_strips(
    cube: Path, form: CubeShape, level: float, about: Mapping[str, Any], strips: Iterable[Strip]
) -> Written:
    """Write half-widths and map from their ``strips``, as :func:`write_intervals`. ``form``: of the file of
    half-widths."""
    out, unfamiliar = half_widths_of(cube, level), unfamiliar_of(cube)
    metadata = {**about, "cube_values": f"half the width of intervals of {percent(level)}"}
    unlike = 0
    with _sink(out, form, metadata) as write, _tiff(unfamiliar, (form.height, form.width)) as levels:
        for part, half, percentile in strips:
            write(part.start, half)
            unlike += int((percentile > UNLIKE).sum())
            levels[part] = np.rint(65535 * percentile)
    return Written(unlike / (form.height * form.width), out, unfamiliar)


def write_metamers(
    cube: Path,
    image: PaddedImage,
    metamers: MetamerTable,
    kept: Sequence[int] | None,
    dtype: Literal["float32", "uint16"],
    about: Mapping[str, Any],
) -> float:
    """Write what the colours of ``image`` allow beside a ``cube`` file (:func:`ends_beside`).

    Args are those of :func:`write_intervals`.

    Returns:
        Share of the pixels whose colour no possible spectrum has.

    Raises:
        InputError, StoreError: As for cubes.
    """
    chosen = metamers if kept is None else metamers.select(list(kept))
    height, width = image.size
    form = CubeShape(height, width, chosen.bands, dtype)
    impossible = 0
    with ExitStack() as files:
        ends = zip(("lower", "upper"), ends_beside(cube), strict=True)
        sinks = [
            files.enter_context(
                _sink(out, form, {**about, "cube_values": f"{end} end of the range of metamers"})
            )
            for end, out in ends
        ]
        for part in _strips(height, width):
            window = _window(image, part)
            for write, values in zip(sinks, ends_of(chosen, window), strict=True):
                write(part.start, values)
            impossible += int(metamers.impossible_at(window[0].movedim(0, -1)).sum())
    return impossible / (height * width)


def _window(image: PaddedImage, part: slice) -> Tensor:
    """The pixels (1, 3, h, W) of a strip."""
    return image.window(Region(part.start, 0, part.stop - part.start, image.size[1]))


def _map(intervals: Intervals, window: Tensor) -> np.ndarray:
    """The percentiles (h, W) of a strip's pixels."""
    return intervals.unfamiliar_at(window)[0].numpy()


def _strips(height: int, width: int) -> Iterator[slice]:
    step = max(1, _AT_ONCE // width)
    return (slice(top, min(top + step, height)) for top in range(0, height, step))


@contextmanager
def _sink(out: Path, form: CubeShape, metadata: dict[str, Any]) -> Iterator[Any]:
    """A function ``write(top, block)`` that fills a cube file strip by strip, or in memory."""
    if out.suffix.lower() in stream.SUFFIXES:
        with open_stream(out, form, step=(stream.CubeStream.rows, form.width), metadata=metadata) as file:
            file.create()
            yield lambda top, block: _in_rows(file, top, block)
            file.finish()
        return
    cube = np.empty((form.height, form.width, len(form.bands)), np.float32)

    def keep(top: int, block: np.ndarray) -> None:
        cube[top : top + len(block)] = block

    yield keep
    save_cube(out, cube, form.bands, metadata=metadata)


def _in_rows(file: stream.CubeStream, top: int, block: np.ndarray) -> None:
    for row in range(0, len(block), file.rows):
        file.write(top + row, 0, block[row : row + file.rows])


@contextmanager
def _tiff(out: Path, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """The map on the disk, a TIFF of uint16, to be filled."""
    import tifffile  # slow to import

    from hsrzoo.io.tiff import map_tags

    what = f"percentile of the distance from the colours of training; above {UNLIKE} unlike them"
    with output_file(out) as temporary:
        pixels = tifffile.memmap(
            temporary, shape=size, dtype=np.uint16, photometric="minisblack", extratags=map_tags(what)
        )
        yield pixels
        pixels.flush()
        del pixels


__all__ = [
    "Written",
    "calibration_of",
    "require_level",
    "unlike_share",
    "write_intervals",
    "write_metamers",
    "write_strips",
]
