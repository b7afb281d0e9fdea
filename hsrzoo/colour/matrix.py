"""From linear sRGB, or another camera's RGB, to the RGB of a camera: a matrix fitted over natural spectra.

A photograph from a phone is linear sRGB once it is decoded; networks expect the RGB of the camera that
rendered their training pairs. Both are linear in the spectrum, L = A y and C = B y, so the best linear map
from L to C over spectra with the second moment S is B S A^T (A S A^T)^-1. Here white is kept exactly: a
spectrum of ones is (1, 1, 1) in both.
"""

from __future__ import annotations

import numpy as np

from hsrzoo.camera import Camera
from hsrzoo.colour.spectra import bundled_spectra
from hsrzoo.colour.srgb import srgb_matrix


def camera_from_srgb(camera: Camera) -> np.ndarray:
    """The matrix M of C = M L, from linear sRGB L to the RGB C of ``camera``.

    L is as :func:`hsrzoo.colour.srgb.srgb_matrix` renders a reflectance under D65, C as
    :meth:`hsrzoo.camera.Camera.render` does. M minimises the mean square of C - M L over the spectra of the
    bundled training scenes, with M (1, 1, 1) = (1, 1, 1).

    Returns:
        (3, 3) float64, every row with the sum 1.
    """
    seen = srgb_matrix(bundled_spectra().bands)
    assert seen is not None  # these bands cover the visible range
    return _fit(camera, seen)


def camera_from_camera(camera: Camera, other: Camera) -> np.ndarray:
    """The matrix from the RGB of ``other`` to that of ``camera``, fitted as :func:`camera_from_srgb`.

    Returns:
        (3, 3) float64, every row with the sum 1.
    """
    return _fit(camera, other.matrix(bundled_spectra().bands))


def _fit(camera: Camera, seen: np.ndarray) -> np.ndarray:
    """From what ``seen`` (3, C) renders of the bundled spectra to the RGB of ``camera``."""
    spectra = bundled_spectra()
    moment = spectra.second_moment
    return fit_matrix(seen @ moment @ seen.T, camera.matrix(spectra.bands) @ moment @ seen.T)


def map_colours(rgb: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Linear RGB (..., 3) mapped by ``matrix``.

    One of shape (3, 3) is linear. One of shape (3, 6) is a root-polynomial of degree 2 (Finlayson,
    Mackiewicz and Hurlbert, "Color correction using root-polynomial regression", 2015): the other columns
    are for sqrt(RG), sqrt(GB) and sqrt(BR), which scale with the exposure as R, G and B do.
    """
    return (rgb if matrix.shape[1] == 3 else _with_roots(rgb)) @ matrix.T


def fit_map(rgb: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """The least squares map from ``rgb`` (N, 3) to ``expected`` (N, 3), as :func:`map_colours` takes it.

    Of a linear map and a root-polynomial, the one with the smaller error of leave-one-out.

    Returns:
        (3, 3) or (3, 6) float64.
    """
    maps, errors = [], []
    for terms in (rgb, _with_roots(rgb)):
        maps.append(np.linalg.lstsq(terms, expected, rcond=None)[0].T)
        leverage = np.einsum("nk,kn->n", terms, np.linalg.pinv(terms))
        left_out = (terms @ maps[-1].T - expected) / (1 - leverage).clip(1e-9)[:, None]
        errors.append(np.square(left_out).sum())
    return maps[int(np.argmin(errors))]


def _with_roots(rgb: np.ndarray) -> np.ndarray:
    """(..., 3) -> (..., 6)."""
    return np.concatenate([rgb, np.sqrt((rgb * np.roll(rgb, -1, axis=-1)).clip(0))], axis=-1)


def fit_matrix(moment: np.ndarray, cross: np.ndarray) -> np.ndarray:
    """The matrix M with the least mean square of C - M L and M 1 = 1.

    Args:
        moment: Mean of L L^T, (3, 3).
        cross: Mean of C L^T, (3, 3).
    """
    ones = np.ones(3)
    free = np.linalg.solve(moment, cross.T).T
    towards = np.linalg.solve(moment, ones)  # what moves M's rows to the sum 1 at the least cost
    return free + np.outer(1 - free @ ones, towards) / (ones @ towards)
