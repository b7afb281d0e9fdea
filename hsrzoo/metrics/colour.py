"""Perceived colour difference: CIEDE2000 of both cubes rendered under D65."""

from __future__ import annotations

import numpy as np

from hsrzoo.colour.difference import ciede2000, xyz_to_lab
from hsrzoo.colour.srgb import xyz_matrix
from hsrzoo.spec import MetricContext, MetricSpec


def de2000(truth: np.ndarray, pred: np.ndarray, context: MetricContext) -> dict[str, float]:
    """Mean and 95th percentile over pixels of CIEDE2000 under D65, CIE 1931 2 degree observer.

    Both cubes are clamped to [0, peak]; ``peak`` in all bands is the white. NaN where the bands
    see less than 95 % of a white's X, Y or Z between 400 and 700 nm, or leave gaps above 20 nm.
    """
    weights = xyz_matrix(context.bands)
    if weights is None:
        return {"de2000": float("nan"), "de2000_p95": float("nan")}
    lab_truth, lab_pred = (
        xyz_to_lab(weights @ np.clip(cube.reshape(len(cube), -1) / context.peak, 0, 1), weights.sum(axis=1))
        for cube in (truth, pred)
    )
    difference = ciede2000(lab_truth, lab_pred)
    return {"de2000": float(difference.mean()), "de2000_p95": float(np.percentile(difference, 95))}


DE2000 = MetricSpec(
    name="de2000",
    compute=de2000,
    version="1",
    signature="CIEDE2000, D65, CIE 1931 2 degree, 400-700 nm, clamped to [0, peak]; mean, 95th percentile",
    better="lower",
    columns=("de2000", "de2000_p95"),
)
