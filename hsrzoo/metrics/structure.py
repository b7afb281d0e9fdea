"""Image quality band by band: SSIM and ERGAS."""

from __future__ import annotations

import math

import numpy as np

from hsrzoo.metrics.errors import band_errors
from hsrzoo.spec import MetricContext, MetricSpec

_SIGMA = 1.5
_RADIUS = 5
_K1, _K2 = 0.01, 0.03


def ssim(truth: np.ndarray, pred: np.ndarray, context: MetricContext) -> dict[str, float]:
    """Structural similarity of each band (Wang et al. 2004), averaged over the bands.

    Both cubes are clamped to [0, peak]. The 11 x 11 window is a product of two Gaussians, so two passes of
    11 taps give the same as one of 121. NaN for images less than 6 pixels high or wide, whose borders
    cannot be mirrored.

    In a scene that lacks data only the pixels count whose whole window has data; NaN if there is none.
    """
    if min(truth.shape[1:]) <= _RADIUS:
        return {"ssim": float("nan")}
    whole = None if context.valid is None else _whole_windows(context.valid)
    if whole is not None and not whole.any():
        return {"ssim": float("nan")}
    bands = [_ssim_band(y, p, context.peak, whole) for y, p in zip(truth, pred, strict=True)]
    return {"ssim": float(np.mean(bands))}


def _whole_windows(valid: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels whose window of 11 x 11, mirrored at the borders, is valid throughout."""
    from scipy.ndimage import minimum_filter

    return minimum_filter(valid, size=2 * _RADIUS + 1, mode="mirror")


def _ssim_band(truth: np.ndarray, pred: np.ndarray, peak: float, where: np.ndarray | None) -> float:
    """Mean SSIM of one band, (H, W) each, over the pixels ``where`` (None: all), borders mirrored."""
    y, p = np.clip(truth, 0, peak), np.clip(pred, 0, peak)
    mean_y, mean_p = _blur(y), _blur(p)
    product, squares = mean_y * mean_p, mean_y**2 + mean_p**2
    covariance = _blur(y * p) - product
    variances = np.maximum(_blur(y * y + p * p) - squares, 0)
    c1, c2 = (_K1 * peak) ** 2, (_K2 * peak) ** 2
    similarity = (2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))
    return float((similarity if where is None else similarity[where]).mean())


def _blur(image: np.ndarray) -> np.ndarray:
    """Gaussian window 11 x 11, sigma 1.5, normalised, edges mirrored without repeating the border."""
    from scipy.ndimage import correlate1d

    offsets = np.arange(-_RADIUS, _RADIUS + 1)
    window = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    window /= window.sum()
    return correlate1d(correlate1d(image, window, axis=0, mode="mirror"), window, axis=1, mode="mirror")


def ergas(truth: np.ndarray, pred: np.ndarray, context: MetricContext) -> dict[str, float]:
    """Relative global error (Wald 2000) with ratio 1: 100 sqrt(mean over bands (RMSE / mean)^2).

    Bands whose true mean is 0 are left out and counted in ``ergas_zero``; NaN if none is left.
    """
    mean = truth.mean(axis=(1, 2))
    keep = mean != 0
    zero = int(keep.size - np.count_nonzero(keep))
    if zero == keep.size:
        return {"ergas": float("nan"), "ergas_zero": zero}
    ratio = band_errors(truth, pred)["rmse"][keep] / mean[keep]
    return {"ergas": 100 * math.sqrt(np.mean(np.square(ratio))), "ergas_zero": zero}


SSIM = MetricSpec(
    name="ssim",
    compute=ssim,
    version="1",
    signature="band mean; 11 x 11 Gaussian, sigma 1.5, k 0.01, 0.03, mirrored, clamped to [0, peak]",
    better="higher",
    columns=("ssim",),
    spatial=True,
)
ERGAS = MetricSpec(
    name="ergas",
    compute=ergas,
    version="1",
    signature="100 sqrt(mean((RMSE_b / mean_b)^2)), ratio 1, zero-mean bands only counted (torchmetrics)",
    better="lower",
    columns=("ergas", "ergas_zero"),
)
