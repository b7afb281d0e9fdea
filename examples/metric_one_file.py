"""A metric in one file: spectral information divergence (Chang, IEEE Trans. Inf. Theory 2000).

hsrzoo --plugin examples/metric_one_file.py bench --model poly --dataset indian-pines --metrics rmse,sid
"""

import numpy as np

from hsrzoo.spec import MetricContext, MetricSpec


def sid(truth: np.ndarray, pred: np.ndarray, context: MetricContext) -> dict[str, float]:
    """Symmetric relative entropy of spectra scaled to sum 1, mean over the pixels.

    Both cubes are float64 (C, H, W), or (C, N, 1) if no-data pixels were removed. Spectra are raised to
    at least 1e-6 first, because a network may predict negative values.
    """
    p, q = (np.maximum(cube, 1e-6) for cube in (truth, pred))
    p, q = p / p.sum(axis=0), q / q.sum(axis=0)
    return {"sid": float(np.mean(np.sum((p - q) * np.log(p / q), axis=0)))}


SPEC = MetricSpec(
    name="sid",
    compute=sid,
    version="1",  # raise it whenever the number could change: rows of other versions are not mixed
    signature="mean over pixels of sum((p - q) log(p / q)), spectra floored at 1e-6, scaled to sum 1",
    better="lower",
    columns=("sid",),
)
