"""Brightness: gamma curves and gains on RGB, with the truth left alone or scaled alike."""

from __future__ import annotations

import numpy as np

from hsrzoo.datasets.base import pixels_with_data
from hsrzoo.perturb import Perturbed
from hsrzoo.spec import PerturbationSpec


def gamma(rgb: np.ndarray, cube: np.ndarray, exponent: float, generator: np.random.Generator) -> Perturbed:
    """RGB ** exponent, the cube unchanged; exponents below 1 brighten."""
    bent = np.power(np.clip(rgb.astype(np.float64), 0, 1), exponent)
    return bent, cube, {"exponent": exponent}


def gain(rgb: np.ndarray, cube: np.ndarray, factor: float, generator: np.random.Generator) -> Perturbed:
    """RGB x factor, clipped to [0, 1], the cube unchanged; ``clipped``: share of values cut off, of
    pixels with data."""
    scaled = rgb.astype(np.float64) * factor
    info = {"factor": factor, "clipped": float(np.mean(pixels_with_data(scaled, cube) > 1))}
    return np.clip(scaled, 0, 1), cube, info


def gain_both(
    rgb: np.ndarray, cube: np.ndarray, factor: float, generator: np.random.Generator
) -> Perturbed:
    """:func:`gain` with the cube scaled alike.

    The cube is not clipped: more light is more light, only the camera saturates.
    """
    bright, _, info = gain(rgb, cube, factor, generator)
    return bright, (cube.astype(np.float64) * factor).astype(np.float32), info


# The paper's "gamma 1.1, +10 %" and "gamma 0.9, -10 %" hold for RGB ** (1 / gamma) only; as plain
# exponents they do the opposite. So its rows are RGB ** (1 / gamma), and the plain exponents have
# rows of their own.
GAMMA = PerturbationSpec(
    name="gamma",
    apply=gamma,
    severities={"paper-plus10": 1 / 1.1, "paper-minus10": 1 / 0.9, "e=0.9": 0.9, "e=1.1": 1.1},
    default=("paper-plus10", "paper-minus10"),
    summary="RGB ** e, cube unchanged; e below 1 brightens",
)
_FACTORS = {"0.5": 0.5, "0.9": 0.9, "1.1": 1.1, "2": 2.0}
GAIN = PerturbationSpec(
    name="gain",
    apply=gain,
    severities=_FACTORS,
    default=tuple(_FACTORS),
    summary="RGB x k, clipped, cube unchanged",
)
GAIN_BOTH = PerturbationSpec(
    name="gain-both",
    apply=gain_both,
    severities=_FACTORS,
    default=tuple(_FACTORS),
    summary="RGB x k, clipped, and the cube x k",
    touches_cube=True,
)
