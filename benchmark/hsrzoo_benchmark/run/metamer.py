"""The metamer benchmark: how much of a model's accuracy is memory of what spectrum goes with a colour?

The camera's matrix M (3, C) splits every spectrum into the part that RGB determines and the part that the
camera does not see, N y with N = 1 - M^+ M. Metamers keep the first and replace the second. As the picture
stays what it was, but for one step of 8 bits, so does a model's prediction p, and no model that sees
RGB alone could do otherwise. So the same prediction is scored against both truths:

- ``rmse_clean``: RMSE against the scene's own cube (``rmse`` is against the metamers).
- ``unseen_clean``: the explained share of the unseen part, 1 - |N(y - p)|^2 / |N(y - m)|^2, summed over
  pixels; m is the mean spectrum of the scene. 1: all of it is right; 0: as good as knowing m; below 0:
  worse than that.
- ``unseen``: the same share against the metamers and their mean spectrum.
- ``colour_memory``: max(unseen_clean, 0) - max(unseen, 0), what the model explained and now does not.

None of ``unseen_clean`` was measured by the camera: it is what the model learned to expect of a colour,
in its place. A model that expects nothing has no colour memory, one that expects much has more to lose.
What is left in ``unseen`` is no skill: metamers keep some likeness to the spectra that they replace
(bright ones stay bright), the more the weaker they are. Where a model's bands were resampled, M is that
of the scored bands.
"""

from __future__ import annotations

import numpy as np

from hsrzoo.datasets.base import data_masks

NAME = "metamer"
"""Of the perturbation and of the benchmark."""
HALF_WAY, STRONGEST = f"{NAME} 0.5", f"{NAME} 1"
COLUMNS = ("rmse_clean", "unseen_clean", "unseen", "colour_memory")
"""What rows of this perturbation have besides the metrics."""


def memory(clean: np.ndarray, truth: np.ndarray, pred: np.ndarray, matrix: np.ndarray) -> dict[str, float]:
    """:data:`COLUMNS` of one prediction against the scene's own cube and its metamers, all (C, H, W).

    ``matrix``: the camera's (3, C). Bands and pixels that lack data are left out; NaN where the unseen
    part of a truth is the same everywhere, or ``pred`` is not finite.
    """
    bands, valid = data_masks(clean)
    y, changed, p = (cube[bands][:, valid].astype(np.float64) for cube in (clean, truth, pred))
    matrix = matrix[:, bands]
    unseen = np.eye(len(y)) - np.linalg.pinv(matrix) @ matrix
    before, after = (_explained(unseen, spectra, p) for spectra in (y, changed))
    values = (np.sqrt(np.mean((y - p) ** 2)), before, after, np.maximum(before, 0) - np.maximum(after, 0))
    return {column: float(value) for column, value in zip(COLUMNS, values, strict=True)}


def _explained(part: np.ndarray, truth: np.ndarray, pred: np.ndarray) -> float:
    """The share of the variance of ``part`` (C, C) @ ``truth`` (C, N) that ``pred`` explains."""
    total = np.sum((part @ (truth - truth.mean(axis=1, keepdims=True))) ** 2)
    lost = np.sum((part @ (truth - pred)) ** 2)
    return float(1 - lost / total) if total > 0 else float("nan")
