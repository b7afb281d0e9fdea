"""A perturbation in one file: a lens that darkens towards the corners.

hsrzoo --plugin examples/perturbation_one_file.py bench --model poly --dataset indian-pines --bench vignette
"""

import numpy as np

from hsrzoo.spec import PerturbationSpec


def vignette(
    rgb: np.ndarray, cube: np.ndarray, corner: float, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """RGB (3, H, W) in [0, 1] times 1 in the centre, falling with the square of the radius to ``corner``
    in the corners; the cube (C, H, W) is unchanged. hsrzoo clips and rounds to 8 bits afterwards.
    ``generator`` is seeded by seed, scene and severity; this perturbation does not use it."""
    height, width = rgb.shape[1:]
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None, :]
    factor = 1 - (1 - corner) * (y**2 + x**2) / 2
    return rgb * factor, cube, {"mean_factor": float(factor.mean())}


SPEC = PerturbationSpec(
    name="vignette",
    apply=vignette,
    severities={"weak": 0.8, "strong": 0.5},  # row name -> what apply gets
    default=("weak", "strong"),
    summary="RGB darker towards the corners, cube unchanged",
)
