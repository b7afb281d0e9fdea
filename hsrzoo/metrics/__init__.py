"""Metrics of one scene: a cube against the true one, in float64.

A metric is a :class:`~hsrzoo.spec.MetricSpec` under the entry-point group ``hsrzoo.metrics``;
:func:`compute` prepares the arrays once and runs any number of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from hsrzoo.datasets.base import data_masks, require_scaled
from hsrzoo.errors import BandsError, InputError, PluginError
from hsrzoo.metrics.errors import MetricInvariantError, band_errors, check_psnr_invariant
from hsrzoo.registry import METRICS
from hsrzoo.spec import MetricContext, MetricSpec, resolve

if TYPE_CHECKING:
    from torch import Tensor

STANDARD = ("mrae", "rmse", "psnr", "sam", "ssim", "ergas", "de2000", "sam-lit", "mrae-lit")
"""Our own metrics in table order."""
NODATA = ("nodata_pixels", "nodata_bands")
"""Columns of scenes that lack data somewhere; a row without them is of a complete scene."""


def compute(
    names: Sequence[str],
    truth: np.ndarray | Tensor,
    pred: np.ndarray | Tensor,
    context: MetricContext,
    *,
    check_range: bool = True,
) -> dict[str, float]:
    """Compute all columns of some metrics for one scene.

    Args:
        names: Registered metrics, in the order of the result.
        truth: (C, H, W), numpy or torch, any number type and memory layout; it is copied to contiguous
            float64 first. NaN is a value without data: bands that have none are left out, then pixels that
            lack any other band.
        pred: As ``truth``; ignored where ``truth`` has no data.
        context: The bands, and parameters of metrics.
        check_range: Whether values far outside of [0, ``context.peak``] are an error
            (:func:`hsrzoo.datasets.base.require_scaled`). False is for cubes of a data set, which has
            checked them: what a network or a perturbation makes of them counts, whatever it is.

    Returns:
        Column -> value, then ``nan_pixels``: the number of pixels at which a band of ``pred`` is NaN or
        infinite. If it is above 0, every other column is NaN: no metric may clamp or leave out what the
        network failed at. Scenes that lack data also have ``nodata_bands`` and ``nodata_pixels``.

    Raises:
        InputError: The shapes differ, ``truth`` has infinite values, no pixel has data, or one of the cubes
            is not scaled to [0, ``context.peak``].
        BandsError: ``context`` has another number of bands.
    """
    return measure(names, truth, pred, context, check_range=check_range).columns


@dataclass(frozen=True)
class SceneScore:
    """What is measured of one scene."""

    columns: dict[str, float]
    """As :func:`compute` returns them."""
    per_band: dict[str, np.ndarray]
    """``rmse`` and ``bias`` (mean of prediction less truth), float64 (C,): NaN for bands without data, and
    for all where a pixel of the prediction is not finite."""


def measure(
    names: Sequence[str],
    truth: np.ndarray | Tensor,
    pred: np.ndarray | Tensor,
    context: MetricContext,
    *,
    check_range: bool = True,
) -> SceneScore:
    """As :func:`compute`, with the errors of each band."""
    specs = [METRICS.get(name) for name in names]
    y, p = _contiguous(truth), _contiguous(pred)
    _check(y, p, context)
    if check_range:
        _check_range(y, p, context.peak)
    scored, counts = _scored(y, p, context)
    nan_pixels = int(np.count_nonzero(~np.isfinite(scored.pred).all(axis=0)))
    row: dict[str, float] = {}
    for spec in specs:
        row |= dict.fromkeys(spec.columns, float("nan")) if nan_pixels else _columns(spec, scored)
    return SceneScore({**row, "nan_pixels": nan_pixels, **counts}, _per_band(scored, finite=not nan_pixels))


def _per_band(scored: _Scored, finite: bool) -> dict[str, np.ndarray]:
    found = {}
    for name, values in band_errors(scored.of_pixels.truth, scored.of_pixels.pred).items():
        found[name] = np.full(len(scored.bands), np.nan)
        if finite:
            found[name][scored.bands] = values
    return found


@dataclass(frozen=True)
class _Scored:
    """What is scored of a scene: float64 (C, H, W) on the bands of ``context``, 0 at the pixels that
    ``context.valid`` leaves out."""

    truth: np.ndarray
    pred: np.ndarray
    context: MetricContext
    bands: np.ndarray
    """(C,) bool of the scene's bands: those that have data."""

    @cached_property
    def of_pixels(self) -> _Scored:
        """The pixels with data alone, (C, N, 1)."""
        valid = self.context.valid
        if valid is None:
            return self
        truth, pred = (np.ascontiguousarray(cube[:, valid, None]) for cube in (self.truth, self.pred))
        return _Scored(truth, pred, replace(self.context, valid=None), self.bands)


def _scored(truth: np.ndarray, pred: np.ndarray, context: MetricContext) -> tuple[_Scored, dict[str, int]]:
    """Bands and pixels with data, and the counts of those without if there are any."""
    bands, valid = data_masks(truth)
    counts = (int(np.count_nonzero(~valid)), int(np.count_nonzero(~bands)))
    if not any(counts):
        return _Scored(truth, pred, context, bands), {}
    if not valid.any():
        raise InputError(
            "The scene has no pixel with data",
            expected="a pixel whose values in the bands with data are all known",
            got=f"NaN in every one of {valid.size} pixels",
            fix="Leave the scene out, or choose other bands",
        )
    if counts[1]:
        truth, pred = truth[bands], pred[bands]
        context = replace(context, bands=context.bands.select(np.flatnonzero(bands).tolist()))
    if counts[0]:
        truth[:, ~valid] = pred[:, ~valid] = 0
        context = replace(context, valid=valid)
    return _Scored(truth, pred, context, bands), dict(zip(NODATA, counts, strict=True))


def _columns(spec: MetricSpec, scored: _Scored) -> dict[str, float]:
    """Run one metric; a plugin that returns other columns than it declared is an error."""
    seen = scored if spec.spatial else scored.of_pixels
    values = resolve(spec.compute)(seen.truth, seen.pred, seen.context)
    if set(values) != set(spec.columns):
        raise PluginError(
            f"The metric {spec.name!r} does not return the columns it declares",
            expected=", ".join(spec.columns),
            got=", ".join(values) or "none",
        )
    return {column: values[column] for column in spec.columns}


def _contiguous(array: Any) -> np.ndarray:
    """A float64 C-contiguous copy of a numpy array or a torch tensor on any device."""
    if hasattr(array, "detach"):  # a tensor, recognised without importing torch
        array = array.detach().cpu().double().numpy()
    return np.array(array, dtype=np.float64, order="C", copy=True)


def _check(truth: np.ndarray, pred: np.ndarray, context: MetricContext) -> None:
    """Shapes, bands and the truth's values."""
    if truth.ndim != 3 or truth.size == 0 or truth.shape != pred.shape:
        raise InputError(
            "Metrics compare two cubes of one shape",
            expected="truth and prediction both (C, H, W), none of them 0",
            got=f"truth {truth.shape}, prediction {pred.shape}",
        )
    if len(context.bands) != truth.shape[0]:
        problem = "The cubes do not have the declared number of bands"
        expected = f"{len(context.bands)} channels ({context.bands})"
        raise BandsError(problem, expected=expected, got=f"{truth.shape[0]} channels")
    bad = np.count_nonzero(np.isinf(truth))
    if bad:
        raise InputError(
            "The true cube has infinite values",
            expected="finite values, or NaN where there is no data",
            got=f"{bad} infinite values",
            fix="Mask or crop the scene before it is scored",
        )


def _check_range(truth: np.ndarray, pred: np.ndarray, peak: float) -> None:
    """Metrics that clamp to [0, peak] are perfect where both cubes lie above it, whatever their error."""
    fix = "Divide both cubes by their full scale, or give it as MetricContext(peak=...)"
    for cube, what, measured in ((truth, "The true cube", True), (pred, "The predicted cube", False)):
        require_scaled(cube, what, peak=peak, truth=measured, error=InputError, fix=fix)


__all__ = [
    "NODATA",
    "STANDARD",
    "MetricInvariantError",
    "SceneScore",
    "check_psnr_invariant",
    "compute",
    "measure",
]
