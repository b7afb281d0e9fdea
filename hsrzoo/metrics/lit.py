"""SAM and MRAE on lit pixels: in dark ones noise and rounding decide both."""

from __future__ import annotations

import numpy as np

from hsrzoo.metrics.errors import mrae
from hsrzoo.metrics.spectral import sam
from hsrzoo.spec import MetricContext, MetricSpec

LIT = 0.05
"""A pixel is lit if the mean of its true spectrum is above this share of the peak."""
_WHERE = f"lit pixels: mean of the true spectrum > {LIT:g} peak"


def sam_lit(truth: np.ndarray, pred: np.ndarray, context: MetricContext) -> dict[str, float]:
    """SAM over lit pixels, whose number is ``sam-lit_pixels``; NaN if there is none."""
    lit = _lit(truth, context)
    value = sam(truth[:, lit], pred[:, lit], context)["sam"] if lit.any() else float("nan")
    return {"sam-lit": value, "sam-lit_pixels": int(np.count_nonzero(lit))}


def mrae_lit(truth: np.ndarray, pred: np.ndarray, context: MetricContext) -> dict[str, float]:
    """MRAE over lit pixels, whose number is ``mrae-lit_pixels``; NaN if there is none.

    ``mrae-lit_zero`` counts values that are left out, as ``mrae_zero`` does.
    """
    lit = _lit(truth, context)
    found = {"mrae": float("nan"), "mrae_zero": 0}
    if lit.any():
        found = mrae(truth[:, lit], pred[:, lit], context)
    return {
        "mrae-lit": found["mrae"],
        "mrae-lit_zero": found["mrae_zero"],
        "mrae-lit_pixels": int(np.count_nonzero(lit)),
    }


def _lit(truth: np.ndarray, context: MetricContext) -> np.ndarray:
    """Bool of the shape of one band."""
    return truth.mean(axis=0) > LIT * context.peak


SAM_LIT = MetricSpec(
    name="sam-lit",
    compute=sam_lit,
    version="1",
    signature=f"SAM version 2; {_WHERE}",
    better="lower",
    columns=("sam-lit", "sam-lit_pixels"),
)
MRAE_LIT = MetricSpec(
    name="mrae-lit",
    compute=mrae_lit,
    version="1",
    signature=f"MRAE version 1; {_WHERE}",
    better="lower",
    columns=("mrae-lit", "mrae-lit_zero", "mrae-lit_pixels"),
)
