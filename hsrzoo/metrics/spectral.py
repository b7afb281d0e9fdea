"""Errors of the spectra's shape: the spectral angle."""

from __future__ import annotations

import math

import numpy as np

from hsrzoo.spec import MetricContext, MetricSpec


def sam(truth: np.ndarray, pred: np.ndarray, context: MetricContext) -> dict[str, float]:
    """Mean spectral angle in degrees over the pixels where neither spectrum is all zero.

    The other pixels have no angle and are counted in ``sam_zero``. NaN if no pixel is left, and for
    cubes of one band, which have no spectrum.
    """
    import torch
    from torchmetrics.functional.image import spectral_angle_mapper

    y, p = truth.reshape(len(truth), -1), pred.reshape(len(pred), -1)
    keep = y.any(axis=0) & p.any(axis=0)
    zero = int(keep.size - np.count_nonzero(keep))
    if len(truth) < 2 or zero == keep.size:
        return {"sam": float("nan"), "sam_zero": zero}
    if zero:
        y, p = y[:, keep], p[:, keep]
    radians = spectral_angle_mapper(
        torch.from_numpy(p)[None, :, :, None], torch.from_numpy(y)[None, :, :, None]
    )
    return {"sam": math.degrees(float(radians)), "sam_zero": zero}


SAM = MetricSpec(
    name="sam",
    compute=sam,
    version="1",
    signature="mean angle in degrees, pixels where either norm is 0 left out and counted (torchmetrics)",
    better="lower",
    columns=("sam", "sam_zero"),
)
