"""Metrics of one scene: a cube against the true one, in float64.

A metric is a :class:`~hsrzoo.spec.MetricSpec` under the entry-point group ``hsrzoo.metrics``;
:func:`compute` prepares the arrays once and runs any number of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hsrzoo.errors import BandsError, InputError, PluginError
from hsrzoo.metrics.errors import MetricInvariantError, check_psnr_invariant
from hsrzoo.registries import METRICS
from hsrzoo.spec import MetricContext, MetricSpec, resolve

if TYPE_CHECKING:
    from torch import Tensor

STANDARD = ("mrae", "rmse", "psnr", "sam", "ssim", "ergas", "de2000")
"""Our own metrics in table order."""


def compute(
    names: Sequence[str],
    truth: np.ndarray | Tensor,
    pred: np.ndarray | Tensor,
    context: MetricContext,
) -> dict[str, float]:
    """All columns of the metrics ``names`` for one scene, in that order, then ``nan_pixels``.

    ``truth`` and ``pred``: (C, H, W), numpy or torch, any number type and memory layout; both are
    copied to contiguous float64 first. ``nan_pixels`` counts the pixels at which a band of ``pred``
    is NaN or infinite. If there is one, every other column is NaN: no metric may clamp or leave out
    what the network failed at. Values of ``truth`` that are not finite raise InputError.
    """
    specs = [METRICS.get(name) for name in names]
    y, p = _contiguous(truth), _contiguous(pred)
    _check(y, p, context)
    nan_pixels = int(np.count_nonzero(~np.isfinite(p).all(axis=0)))
    row: dict[str, float] = {}
    for spec in specs:
        if nan_pixels:
            row.update(dict.fromkeys(spec.columns, float("nan")))
        else:
            row.update(_columns(spec, y, p, context))
    return {**row, "nan_pixels": nan_pixels}


def _columns(
    spec: MetricSpec, truth: np.ndarray, pred: np.ndarray, context: MetricContext
) -> dict[str, float]:
    """Run one metric; a plugin that returns other columns than it declared is an error."""
    values = resolve(spec.compute)(truth, pred, context)
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
        raise BandsError(
            "The cubes do not have the bands they are said to have",
            expected=f"{len(context.bands)} channels ({context.bands})",
            got=f"{truth.shape[0]} channels",
        )
    bad = np.count_nonzero(~np.isfinite(truth))
    if bad:
        raise InputError(
            "The true cube has values that are not finite",
            expected="finite values only",
            got=f"{bad} NaN or infinite values",
            fix="Mask or crop the scene before it is scored",
        )


__all__ = ["STANDARD", "MetricInvariantError", "check_psnr_invariant", "compute"]
