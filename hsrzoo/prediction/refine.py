"""Refinement of a cube by a few measured spectra of its scene.

Three numbers do not tell which pigment a pixel shows; spectra measured at a few points do. The correction
is linear in the pixel's colour and a constant, y' = y + W (r, g, b, 1), fitted by ridge regression to what
was measured less what the cube has there. The strength of the ridge is that with the least leave-one-out
error, no correction included.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.errors import InputError
from hsrzoo.io import require_writable, save_cube
from hsrzoo.io.metadata import metadata_of
from hsrzoo.io.open_stream import open_stream, require_apart, require_folder
from hsrzoo.io.stream import SUFFIXES, CubeShape
from hsrzoo.prediction.points import read_measured
from hsrzoo.prediction.quicklook import rendering
from hsrzoo.prediction.rows import open_rows
from hsrzoo.utils.locks import hold

_ROWS = 64
"""Rows that are corrected at once."""
LEAST_POINTS = 3
"""Measured spectra that a refinement needs."""
_STRENGTHS = (*np.logspace(-1.5, 1.5, 7), np.inf)
"""Candidates; infinite: no correction. What a network misses has a standard deviation of about 0.03 and
weights are of the order of 0.1, so that a ridge of 0.03^2 / 0.1^2 = 0.09 is expected; a few points alone
would often choose a much smaller one. On the folds of CAVE's training scenes (pixel-mlp, 3 to 50 points) a
grid that begins at 0.03 is as good as any that begins between 0.0001 and 0.3, or better."""


@dataclass(frozen=True, eq=False)
class Refinement:
    """A fitted correction; call it with spectra to correct them."""

    bands: BandSet
    weights: np.ndarray
    """(4, C) float64, of red, green, blue and 1."""
    points: int
    before: float
    """RMSE of the cube at the measured points."""
    left_out: float
    """RMSE there after correction, every point corrected by a fit to the others."""

    def __call__(self, cube: np.ndarray) -> np.ndarray:
        """Corrected spectra, float32, of the spectra (..., C)."""
        return (cube + _inputs(cube, self.bands) @ self.weights).astype(np.float32)


def fit_refinement(cube: np.ndarray, measured: np.ndarray, bands: BandSet) -> Refinement:
    """Fit the correction of a cube to measured spectra.

    Args:
        cube: (N, C), spectra of the cube at the measured points.
        measured: (N, C), in the units of the cube.
        bands: The C bands.

    Returns:
        The correction.

    Raises:
        InputError: Other shapes, fewer than :data:`LEAST_POINTS` points, or values that are not finite.
    """
    cube, measured = np.asarray(cube, np.float64), np.asarray(measured, np.float64)
    if cube.shape != measured.shape or cube.ndim != 2 or cube.shape[1] != len(bands):
        raise InputError(
            "Measured spectra do not fit the cube",
            expected=f"(N, {len(bands)}) of both",
            got=f"{measured.shape} measured, {cube.shape} of the cube",
        )
    if len(cube) < LEAST_POINTS:
        raise InputError(
            "There are too few measured spectra", expected=f"at least {LEAST_POINTS}", got=len(cube)
        )
    if not (np.isfinite(cube).all() and np.isfinite(measured).all()):
        problem = "Spectra at the measured points hold NaN or infinite values"
        raise InputError(problem, fix="Leave these points out")
    inputs, missing = _inputs(cube, bands), measured - cube
    fits = [_fit(inputs, missing, strength) for strength in _STRENGTHS]
    weights, left_out = min(fits, key=lambda fit: fit[1])
    return Refinement(bands, weights, len(cube), float(np.sqrt(np.mean(missing**2))), left_out)


def _inputs(cube: np.ndarray, bands: BandSet) -> np.ndarray:
    """(..., 4): the colour of each spectrum, as the quick look shows it, and 1."""
    colours = cube @ rendering(bands).matrix.T.astype(np.float64)
    return np.concatenate([colours, np.ones((*colours.shape[:-1], 1))], axis=-1)


def _fit(inputs: np.ndarray, missing: np.ndarray, strength: float) -> tuple[np.ndarray, float]:
    """Weights (4, C) of the ridge regression and its leave-one-out RMSE, in closed form."""
    if np.isinf(strength):
        return np.zeros((inputs.shape[1], missing.shape[1])), float(np.sqrt(np.mean(missing**2)))
    moment = inputs.T @ inputs
    solver = np.linalg.solve(moment + strength * np.eye(len(moment)), inputs.T)  # (4, N)
    weights = solver @ missing
    leverage = np.einsum("ni,in->n", inputs, solver)
    errors = (missing - inputs @ weights) / (1 - leverage)[:, None]
    return weights, float(np.sqrt(np.mean(errors**2)))


def refine_file(cube: Path, measured: Path, out: Path) -> Refinement:
    """Write the refined cube of a file.

    Args:
        cube: A cube file that states its bands.
        measured: Measured spectra of the same scene, see :func:`hsrzoo.prediction.points.read_measured`.
        out: The cube file to write; .hdr, .tif and .zarr strip by strip.

    Returns:
        The correction.

    Raises:
        InputError, BandsError, FormatError: A file is not usable, or there are too few points.
        LockedError: Another process is writing ``out``.
    """
    require_writable(out)
    require_folder(out)
    require_apart(out, (cube, cube.with_suffix(".img"), measured))
    rows = open_rows(cube)
    points = read_measured(measured, rows)
    refinement = fit_refinement(points.cube, points.spectra, rows.bands)
    height, width = rows.shape
    strips = ((top, rows.read(top, min(_ROWS, height - top))) for top in range(0, height, _ROWS))
    about = dict(metadata_of(cube).facts)
    about |= {"refined_with": f"{refinement.points} spectra of {measured.name}", "refined_from": cube.name}
    with hold(out):
        if out.suffix.lower() not in SUFFIXES:
            whole = np.concatenate([refinement(strip) for _, strip in strips])
            save_cube(out, whole, rows.bands, metadata=about)
            return refinement
        form = CubeShape(height, width, rows.bands)
        with open_stream(out, form, step=(_ROWS, width), metadata=about) as file:
            file.create()
            for top, strip in strips:
                file.write(top, 0, refinement(strip))
            file.finish()
    return refinement


__all__ = ["LEAST_POINTS", "Refinement", "fit_refinement", "refine_file"]
