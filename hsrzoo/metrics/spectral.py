"""Errors of the spectra's shape: the spectral angle."""

from __future__ import annotations

import numpy as np

from hsrzoo.spec import MetricContext, MetricSpec


def sam(truth: np.ndarray, pred: np.ndarray, context: MetricContext) -> dict[str, float]:
    """Mean spectral angle in degrees over the pixels where the true spectrum is not all zero.

    A prediction that is all zero there has an angle of 90 degrees: it says nothing about the spectrum, and
    left out it would make a network better that returns zeros where it fails. Pixels whose truth is zero
    have no angle and are counted in ``sam_zero``. NaN if no pixel is left, and for cubes of one band, which
    have no spectrum.
    """
    y, p = truth.reshape(len(truth), -1), pred.reshape(len(pred), -1)
    norm_y, norm_p = np.sqrt(_dot(y, y)), np.sqrt(_dot(p, p))
    known, empty = norm_y > 0, norm_p == 0
    zero = int(known.size - np.count_nonzero(known))
    if len(truth) < 2 or zero == known.size:
        return {"sam": float("nan"), "sam_zero": zero}
    both = known & ~empty
    # A cosine of 0 where the prediction is all zero: 90 degrees.
    cosine = np.divide(_dot(y, p), norm_y * norm_p, out=np.zeros_like(norm_y), where=both)
    angles = np.arccos(np.clip(cosine[known], -1, 1))
    return {"sam": float(np.degrees(angles).mean()), "sam_zero": zero}


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Scalar products of the columns, (C, N) each -> (N,)."""
    return np.einsum("cn,cn->n", a, b)


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
