"""Refinement as a condition: the cube is corrected by measured spectra of a few pixels, the rest is scored.

The image stays as it is. Pixels are drawn uniformly by the seed of the row; their true spectra are what was
measured (see :mod:`hsrzoo.prediction.refine`).
"""

from __future__ import annotations

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.errors import InputError
from hsrzoo.perturb import Perturbed, generator_for
from hsrzoo.prediction.refine import fit_refinement
from hsrzoo.spec import PerturbationSpec
from hsrzoo_benchmark.protocol import Protocol

NAME = "refine"


def keep_input(rgb: np.ndarray, cube: np.ndarray, points: int, generator: np.random.Generator) -> Perturbed:
    """The scene as it is: the correction comes after the network."""
    return rgb, cube, {"points": points}


SPEC = PerturbationSpec(
    name=NAME,
    apply=keep_input,
    severities={str(n): n for n in (3, 10, 50, 200)},
    default=("10", "50"),
    summary="cube corrected by measured spectra of a few pixels, scored on the others",
)


def refine(
    scene: str, truth: np.ndarray, pred: np.ndarray, bands: BandSet, protocol: Protocol
) -> tuple[np.ndarray, np.ndarray]:
    """Truth and prediction (C, H, W) that are scored: ``pred`` corrected by as many true spectra as the
    protocol says, whose pixels are NaN in the truth. Raises InputError for scenes with too few pixels."""
    count, there = int(protocol.severity_value), np.isfinite(truth).all(axis=0).ravel()
    generator = generator_for(protocol.seed or 0, scene, NAME, str(protocol.severity))
    known = np.flatnonzero(there)
    if len(known) <= count:
        raise InputError("The scene has too few pixels", expected=f"more than {count}", got=len(known))
    points = generator.choice(known, count, replace=False)
    spectra, made = (cube.reshape(len(bands), -1).T for cube in (truth, pred))
    refinement = fit_refinement(made[points], spectra[points], bands)
    left = truth.reshape(len(bands), -1).copy()
    left[:, points] = np.nan
    return left.reshape(truth.shape), refinement(made).T.reshape(pred.shape)
