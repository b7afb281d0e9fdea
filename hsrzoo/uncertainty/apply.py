"""Whether a model as it was loaded has intervals, and their cubes for an image in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hsrzoo.datasets.common import FOLDS
from hsrzoo.errors import InputError, WeightsError
from hsrzoo.io.raster import ArrayPixels
from hsrzoo.layers.whole_image import Region
from hsrzoo.models.locate import bundled_files, dataset_arguments
from hsrzoo.models.reconstruction import METAMER, Reconstruction
from hsrzoo.models.rgb import Array, check_rgb
from hsrzoo.models.steps.base import LoadedModel
from hsrzoo.models.tiling.windows import PaddedImage
from hsrzoo.registry import MODELS
from hsrzoo.spec import ModelSpec, RgbInput
from hsrzoo.uncertainty.conformal import smallest_count
from hsrzoo.uncertainty.file import read_intervals
from hsrzoo.uncertainty.intervals import AT_ONCE, Intervals, bounds
from hsrzoo.uncertainty.metamers import MetamerTable
from hsrzoo.utils.files import UNCERTAINTY

STRIPS_CONVERTED = 8
"""Strips of a numpy image that are converted at once."""


def intervals_of(model: LoadedModel, folder: Path | None, weights_sha256: str | None) -> Intervals:
    """The calibration beside the weights of a model.

    Raises:
        WeightsError: There is none, it is damaged, or it is that of other weights.
        InputError: It is that of another variant.
    """
    if folder is None or not (folder / UNCERTAINTY).is_file():
        why = "random weights" if weights_sha256 is None else f"no {UNCERTAINTY} beside its weights"
        fix = "Load trained weights" if weights_sha256 is None else _remedy(model, folder)
        raise WeightsError(f"The intervals of {model.name} are not calibrated", got=why, fix=fix)
    path = folder / UNCERTAINTY
    found = read_intervals(path)
    if found.about["weights_sha256"] != weights_sha256:
        raise WeightsError(
            f"The calibration in {path} is that of other weights",
            expected=f"weights with the sha256 {found.about['weights_sha256']}",
            got=weights_sha256,
            fix="Calibrate these weights: hsrzoo calibrate intervals",
        )
    if found.about["arguments"] != dict(model.config["arguments"]):
        raise _otherwise(model, "this variant of its weights")
    found.bands.require_same(model.bands, str(path), model.name)
    require_same_camera(model.name, model.config, found.about["response"])
    return found


def _remedy(model: LoadedModel, folder: Path | None) -> str:
    """What a user can do for intervals: calibrate by cross-validation, with weights of the folds where
    `hsrzoo train` may put them, or where there are too few training scenes on a split, or load others."""
    training = model.config.get("training") or {}
    data = dataset_arguments(training.get("dataset") or "NAME", training.get("dataset_info"))
    program, scenes = MODELS.program(model.spec.name), training.get("scenes")
    command = f"{program} calibrate intervals {quote(model.name)} {data}"
    to = ""
    if folder is not None and model.name != f"local-dir:{folder}":  # else it is where it belongs
        to = f" -o {quote(str(folder / UNCERTAINTY))}"
    if not scenes or len(scenes) >= FOLDS:
        refitted = is_refitted(model.spec, model.config)
        folds = "" if refitted else f" --fold-models 'runs/{model.spec.name}.fold-{{fold}}/weights'"
        return f"Make it: {command}{folds}{to}"
    others = ", ".join(bundled_files(UNCERTAINTY, model.spec.name))
    return (
        f"Cross-validation needs {FOLDS} training scenes, and these weights have {len(scenes)}. Calibrate "
        f"them on a split that they have not seen, of {smallest_count(0.9)} scenes or more for 90 %: "
        f"{command} --split SPLIT{to}" + (f"; or load weights with intervals: {others}" if others else "")
    )


def is_refitted(spec: ModelSpec, config: Mapping[str, Any]) -> bool:
    """Whether fitting an architecture to the data set of a config.json makes such weights: those of other
    pools, of fine-tuning and of a mean are others."""
    training = config.get("training") or {}
    return spec.fit is not None and not any(training.get(key) for key in ("extra", "init", "members"))


def require_same_camera(name: str, config: Mapping[str, Any], response: str | None) -> None:
    """InputError where images of a calibration, rendered for ``response``, are of another camera than the
    training pairs of the model ``name`` with this config.json. Unknown cameras are not compared."""
    trained = ((config.get("training") or {}).get("dataset_info") or {}).get("response")
    if None not in (trained, response) and trained != response:
        raise InputError(
            f"Intervals of {name} are calibrated on images of the camera of its training pairs",
            expected=trained,
            got=response,
            fix="Open the data set with that camera",
        )


def require_as_calibrated(model: LoadedModel, *, tta: bool) -> None:
    """InputError where a model runs in another way than the one that its intervals were calibrated for."""
    consistency = model.execution.consistency
    ways = {
        "test-time adaptation": tta,
        f"camera consistency for {consistency}": consistency not in (None, model.own_consistency),
        "tiles with statistics of their own": model.execution.approximate,
    }
    for way, used in ways.items():
        if used:
            raise _otherwise(model, way)


def _otherwise(model: LoadedModel, way: str) -> InputError:
    return InputError(
        f"The intervals of {model.name} do not hold for {way}",
        expected="the model as it was calibrated",
        fix="Leave it out, or predict without intervals",
    )


def add_intervals(
    found: Reconstruction,
    rgb: Array,
    value_range: tuple[float, float] | None,
    intervals: Intervals,
    level: float,
) -> Reconstruction:
    """A reconstruction of ``rgb`` with the ends of its intervals and the map of unfamiliar pixels."""
    if isinstance(found.cube, Tensor):
        image, cube = check_rgb(rgb, value_range).to(found.cube.device), found.cube
        half, unfamiliar = intervals.at(image, cube, level)
        lower, upper = bounds(cube, half)
        unfamiliar = unfamiliar.clone()  # a tensor of inference mode could not be changed
        return replace(found, level=level, lower=lower, upper=upper, unfamiliar=unfamiliar)
    cube = torch.from_numpy(found.cube)
    lower, upper = torch.empty_like(cube), torch.empty_like(cube)
    unfamiliar = torch.empty(cube.shape[:2])
    for part, window in _strips(np.asarray(rgb), value_range):
        half, unfamiliar[part] = intervals.at(window, cube[part].permute(2, 0, 1)[None], level)
        bounds(cube[part], half[0].permute(1, 2, 0), out=(lower[part], upper[part]))
    return replace(
        found, level=level, lower=lower.numpy(), upper=upper.numpy(), unfamiliar=unfamiliar.numpy()
    )


def add_metamers(
    found: Reconstruction, rgb: Array, value_range: tuple[float, float] | None, metamers: MetamerTable
) -> Reconstruction:
    """A reconstruction of ``rgb`` with the range of the spectra that its colours can have."""
    if isinstance(found.cube, Tensor):
        pixels = check_rgb(rgb, value_range).to(found.cube.device).movedim(1, -1)
        ends = [end.movedim(-1, 1) for end in metamers.at(pixels)]
        return replace(found, level=METAMER, lower=ends[0], upper=ends[1])
    lower, upper = np.empty_like(found.cube), np.empty_like(found.cube)
    for part, window in _strips(np.asarray(rgb), value_range):
        lower[part], upper[part] = ends_of(metamers, window)
    return replace(found, level=METAMER, lower=lower, upper=upper)


def ends_of(metamers: MetamerTable, rgb: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends (h, w, C) for pixels (1, 3, h, w)."""
    lower, upper = metamers.at(rgb[0].movedim(0, -1))
    return lower.numpy(), upper.numpy()


def _strips(rgb: np.ndarray, value_range: tuple[float, float] | None) -> Iterator[tuple[slice, Tensor]]:
    """Rows of a numpy image (H, W, 3), and their pixels (1, 3, h, W) in [0, 1]."""
    height, width, _ = rgb.shape
    pixels = PaddedImage(ArrayPixels(rgb), RgbInput(), value_range)
    rows = max(1, AT_ONCE // width)
    step = rows * STRIPS_CONVERTED
    for start in range(0, height, step):
        window = pixels.window(Region(start, 0, min(step, height - start), width))
        for top in range(0, window.shape[2], rows):
            part = window[:, :, top : top + rows]
            yield slice(start + top, start + top + part.shape[2]), part


def intervals_at(
    intervals: Intervals, rgb: Tensor, cube: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Half the width (h, w, C) of intervals around a part (h, w, C) of a cube, made of ``rgb``
    (1, 3, h, w), and how unfamiliar its pixels (h, w) are."""
    spectra = torch.from_numpy(np.ascontiguousarray(cube, np.float32)).permute(2, 0, 1)[None]
    half, unfamiliar = intervals.at(rgb, spectra, level)
    return half[0].permute(1, 2, 0).numpy(), unfamiliar[0].numpy()


__all__ = ["add_intervals", "add_metamers", "ends_of", "intervals_at", "intervals_of", "is_refitted",
           "require_as_calibrated"]  # fmt: skip
