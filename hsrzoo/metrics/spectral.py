"""Errors of the spectra's shape: the spectral angle."""

from __future__ import annotations

import math

import numpy as np

from hsrzoo.spec import MetricContext, MetricSpec


def sam(truth: np.ndarray, pred: np.ndarray, context: MetricContext) -> dict[str, float]:
    """Mean spectral angle in degrees over the pixels where the true spectrum is not all zero.

    A prediction that is all zero there has an angle of 90 degrees: it says nothing about the spectrum, and
    left out it would make a network better that returns zeros where it fails. Pixels whose truth is zero
    have no angle and are counted in ``sam_zero``. NaN if no pixel is left, and for cubes of one band, which
    have no spectrum.
    """
    import torch
    from torchmetrics.functional.image import spectral_angle_mapper

    y, p = truth.reshape(len(truth), -1), pred.reshape(len(pred), -1)
    known, empty = _norm(y) > 0, _norm(p) == 0
    zero = int(known.size - np.count_nonzero(known))
    if len(truth) < 2 or zero == known.size:
        return {"sam": float("nan"), "sam_zero": zero}
    both = known & ~empty
    right = int(np.count_nonzero(known & empty))
    if zero or right:
        y, p = y[:, both], p[:, both]
    degrees = 0.0
    if both.any():
        degrees = math.degrees(
            float(
                spectral_angle_mapper(
                    torch.from_numpy(p)[None, :, :, None], torch.from_numpy(y)[None, :, :, None]
                )
            )
        )
    if right:
        count = int(np.count_nonzero(both))
        degrees = (degrees * count + 90.0 * right) / (count + right)
    return {"sam": degrees, "sam_zero": zero}


def _norm(spectra: np.ndarray) -> np.ndarray:
    """(N,) of (C, N), as the angle divides by it."""
    return np.sqrt(np.einsum("cn,cn->n", spectra, spectra))


SAM = MetricSpec(
    name="sam",
    compute=sam,
    version="2",
    signature="mean angle in degrees; prediction of norm 0: 90; truth of norm 0: left out and counted "
    "(torchmetrics)",
    better="lower",
    columns=("sam", "sam_zero"),
    same_since={"1": "sam_zero"},
)
