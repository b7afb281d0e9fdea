"""Errors of the values themselves: MRAE, RMSE, PSNR.

Metric functions take float64 contiguous, finite (C, H, W) arrays, prepared by
:func:`hsrzoo.metrics.compute`. They need numpy and scipy alone; a test holds them to torchmetrics.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hsrzoo.spec import MetricContext, MetricSpec


class MetricInvariantError(RuntimeError):
    """Figures that contradict each other: a fault of this library, not the user's."""


def mrae(truth: np.ndarray, pred: np.ndarray, context: MetricContext) -> dict[str, float]:
    """Mean relative absolute error.

    With ``context.mrae_epsilon`` = 0, values of the truth that are 0 (or below) have no relative
    error: they are left out of the mean and counted in ``mrae_zero``. With an epsilon above 0 the
    denominator is max(y, epsilon) and nothing is left out. NaN if nothing is left.
    """
    error = np.abs(truth - pred)
    if context.mrae_epsilon > 0:
        return {"mrae": float(np.mean(error / np.maximum(truth, context.mrae_epsilon))), "mrae_zero": 0}
    positive = truth > 0
    count = int(np.count_nonzero(positive))
    relative = np.divide(error, truth, out=np.zeros_like(error), where=positive)
    mean = float(relative.sum() / count) if count else float("nan")
    return {"mrae": mean, "mrae_zero": truth.size - count}


def rmse(truth: np.ndarray, pred: np.ndarray, context: MetricContext) -> dict[str, float]:
    """Root of the mean square error over all bands and pixels of the scene, nothing clamped."""
    return {"rmse": _rmse(truth, pred)}


def psnr(truth: np.ndarray, pred: np.ndarray, context: MetricContext) -> dict[str, float]:
    """Peak signal-to-noise ratio in dB, both cubes clamped to [0, peak]; infinite without error.

    ``rmse_clamped`` is the RMSE of the clamped cubes, from which the figure can be checked again.
    """
    clamped = _rmse(np.clip(truth, 0, context.peak), np.clip(pred, 0, context.peak))
    value = 20 * math.log10(context.peak / clamped) if clamped > 0 else math.inf
    return {"psnr": value, "rmse_clamped": clamped}


def band_errors(truth: np.ndarray, pred: np.ndarray) -> dict[str, np.ndarray]:
    """RMSE and bias, the mean of prediction less truth, of each band: float64 (C,) each."""
    error = (pred - truth).reshape(len(truth), -1)
    return {"rmse": np.sqrt(np.mean(np.square(error), axis=1)), "bias": error.mean(axis=1)}


def check_psnr_invariant(psnrs: Sequence[float], clamped_rmses: Sequence[float], peak: float = 1.0) -> None:
    """Raise :class:`MetricInvariantError` unless PSNR and RMSE of the scenes fit together.

    Per scene PSNR = 20 log10(peak / RMSE of the clamped cubes), and the mean PSNR is at least
    20 log10(peak / mean RMSE), since -log is convex. Scenes where either is NaN are passed over.
    """
    values, roots = np.asarray(psnrs, dtype=np.float64), np.asarray(clamped_rmses, dtype=np.float64)
    if values.shape != roots.shape:
        raise MetricInvariantError(f"{values.shape} PSNR values for {roots.shape} RMSE values")
    known = ~(np.isnan(values) | np.isnan(roots))
    values, roots = values[known], roots[known]
    if not values.size:
        return
    with np.errstate(divide="ignore"):
        expected = 20 * np.log10(peak / roots)
        floor = 20 * np.log10(peak / roots.mean())
    wrong = np.flatnonzero(~np.isclose(values, expected, rtol=1e-9, atol=1e-9))
    if wrong.size:
        i = wrong[0]
        raise MetricInvariantError(
            f"PSNR {values[i]!r} dB does not belong to the RMSE {roots[i]!r}: it gives {expected[i]!r} dB"
        )
    # Without any error both are infinite, which the check per scene has covered.
    if np.isfinite(floor) and values.mean() < floor - 1e-9 * max(1.0, abs(floor)):
        raise MetricInvariantError(
            f"mean PSNR {values.mean()!r} dB lies below {floor!r} dB, the PSNR of the mean RMSE"
        )


def _rmse(truth: np.ndarray, pred: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(truth - pred))))


MRAE = MetricSpec(
    name="mrae",
    compute=mrae,
    version="1",
    signature="mean(|y - p| / max(y, eps)) over bands and pixels; eps = 0: y = 0 left out and counted",
    better="lower",
    columns=("mrae", "mrae_zero"),
)
RMSE = MetricSpec(
    name="rmse",
    compute=rmse,
    version="1",
    signature="sqrt(mean((y - p)^2)) over bands and pixels, not clamped",
    better="lower",
    columns=("rmse",),
)
PSNR = MetricSpec(
    name="psnr",
    compute=psnr,
    version="1",
    signature="20 log10(peak / RMSE) in dB, y and p clamped to [0, peak], peak 1 (torchmetrics)",
    better="higher",
    columns=("psnr", "rmse_clamped"),
)
