"""The part of an error that no network can avoid where the image's brightness changes and the truth stays.

A network cannot know that an image was made darker. One that is right about everything else returns the
truth at the brightness that it saw: each spectrum times the ratio of the pixel's mean of R, G and B after
and before. Its RMSE is a floor for all networks, but for those that expect a certain brightness and happen
to be right.
"""

from __future__ import annotations

import numpy as np

from hsrzoo.datasets.base import Scene
from hsrzoo_benchmark.protocol import Protocol, crop_border

CHANGED = ("gamma", "gain")
"""Perturbations that change the brightness of the image alone."""
COLUMN = "rmse_rescaled_truth"
"""What rows of these have besides the metrics."""
LABEL = "truth rescaled to the brightness seen"
"""What tables call the floor."""


def floor(clean: Scene, scene: Scene, truth: np.ndarray, protocol: Protocol) -> dict[str, float]:
    """:data:`COLUMN` of a perturbed ``scene``: the RMSE of its ``truth`` (C, H, W), on the pixels that
    ``protocol`` scores, at the brightness of the image. Values without data are left out."""
    before, after = (
        crop_border(image.astype(np.float64), protocol.crop).mean(axis=0)
        for image in (clean.rgb, scene.rgb)
    )
    ratio = np.divide(after, before, out=np.ones_like(before), where=before > 0)
    return {COLUMN: float(np.sqrt(np.nanmean((truth.astype(np.float64) * (ratio - 1)) ** 2)))}
