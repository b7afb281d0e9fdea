"""An exported file on one image, whole and in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hsrzoo.errors import InputError
from hsrzoo.io import save_cube, stream
from hsrzoo.io.open_stream import open_stream
from hsrzoo.io.photo import Photo
from hsrzoo.io.stream import CubeShape
from hsrzoo.models.onnx_runtime import OnnxModel, to_unit
from hsrzoo.prediction.run import PredictOptions, Target


@dataclass(frozen=True, eq=False)
class Exported:
    """What a file gives for an image."""

    cube: np.ndarray
    """(H, W, C) float32, of the kept bands."""
    half: np.ndarray | None = None
    """(H, W, C) float32: half-widths of intervals, where they are asked for."""
    percentile: np.ndarray | None = None
    """(H, W) float32 in [0, 1], of files with intervals: how unfamiliar pixels are."""


def run_exported(photo: Photo, model: OnnxModel, target: Target, options: PredictOptions) -> Exported:
    """Run an exported file. InputError where memory does not suffice."""
    height, width = photo.pixels.shape
    rgb = photo.pixels.read(0, 0, height, width)
    try:
        return _run(rgb, photo.value_range, model, target, options)
    except MemoryError as error:
        raise InputError(
            f"{model.name} runs images whole, and this one does not fit into memory",
            got=f"{height} x {width} pixels",
            fix="Run the model that it was exported from, which runs in tiles",
        ) from error


def _run(
    rgb: np.ndarray, value_range: tuple[float, float] | None, model: OnnxModel, target: Target,
    options: PredictOptions,
) -> Exported:  # fmt: skip
    kept = slice(None) if target.kept is None else list(target.kept)
    if not model.factors:
        cube = np.asarray(model(rgb, value_range, options.tta).cube)[..., kept]
        return Exported(cube if target.divisor is None else (cube / target.divisor).astype(np.float32))
    unit = to_unit(rgb, value_range).transpose(2, 0, 1)
    cube, scale, percentile = model.predict_with_scale(unit)
    half = None
    if options.interval is not None:
        factors = model.require_intervals(options.interval, options.tta)
        half = (scale * factors[:, None, None]).transpose(1, 2, 0)[..., kept]
    cube = cube.transpose(1, 2, 0)[..., kept]
    cube = cube if target.divisor is None else (cube / target.divisor).astype(np.float32)
    return Exported(cube, half, percentile)


def write_whole(out: Path, cube: np.ndarray, form: CubeShape, about: dict[str, str]) -> None:
    """Write a cube in one piece, in any format."""
    if out.suffix.lower() not in stream.SUFFIXES:
        save_cube(out, cube, form.bands, metadata=about)
        return
    with open_stream(out, form, step=(form.height, form.width), metadata=about) as file:
        file.state.unlink(missing_ok=True)
        file.write_whole(cube)


__all__ = ["Exported", "run_exported", "write_whole"]
