"""Metamers: the same picture, another truth.

A camera measures three numbers of a spectrum; what is orthogonal to its three responses, its null
space, it does not see. Here every spectrum y gets a component d of that space, M d = 0 for the camera's
(3, C) matrix M, so that it stays a possible reflectance and its colour stays what it was. A network can
only know that part of a spectrum from experience, and here experience misleads (after the critique of
Fu et al., "Limitations of Data-Driven Spectral Reconstruction: An Optics-Aware Analysis", 2024).

The construction, pixel by pixel:

1. w(wavelength), one for the whole scene: a smooth random function, a sum of Gaussian bumps.
2. d = v z with v = y (1 - y), where z is w without the part that the camera sees: the projection of w on
   the null space of M diag(v). So d modulates the spectrum, strongly where it may move either way and not
   where it is 0 or 1, and a dark band does not freeze the others. As w, v and the responses are smooth
   in wavelength, d is; it is as coherent over the image as the image is.
3. y + strength t d, with the largest t that keeps every band within [0, 1]: at strength 1 some band of
   every spectrum touches 0 or 1, at 0.5 the spectrum is half-way there.

What is free: the null space has C - 3 dimensions, and w draws one direction of it. The other free choices
are the weight v and the width of the bumps. No claim is made that such surfaces are common; they are
possible. Black (and white) has no metamers and stays.
"""

from __future__ import annotations

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.datasets.base import data_masks
from hsrzoo.perturb import DoesNotApplyError, Perturbed
from hsrzoo.spec import PerturbationContext, PerturbationSpec

_BUMP_NM = 30.0
"""Standard deviation and spacing of the bumps: features of the modulation are 70 nm wide or more, as
those of pigments are, yet narrow enough for the camera's null space to hold most of them."""
_LEAST = 1e-3
"""Share of the modulation that must be left in the null space; less is rounding, not room."""
_PIXELS = 1 << 16
"""Pixels worked on at once, which bounds the memory."""


def metamer(
    rgb: np.ndarray,
    cube: np.ndarray,
    strength: float,
    generator: np.random.Generator,
    context: PerturbationContext,
) -> Perturbed:
    """A metameric cube float32 (C, H, W) and the RGB that the camera renders from it.

    Values within [0, 1] stay there; values that leave it already, and NaN, stay as they are. ``info``:
    ``strength``; over pixels with data the mean spectral angle between both truths in degrees
    (``spectral_angle``) and their ``rmse``; ``rgb_steps``: the largest change of RGB in steps of 8 bits,
    at most 1, from rounding; ``no_room``: the share of those pixels that could not be changed.

    Raises DoesNotApplyError where RGB is not what the camera renders from the cube: its metamers would
    not give the same picture.
    """
    camera = context.camera
    clean = camera.render(cube, context.bands, bits=context.rgb_bits)
    if _steps(rgb, clean) > 1:
        problem = f"The RGB of this scene is not what {camera.name} renders from its cube"
        expected, got = "a difference of one step of 8 bits at most", f"{_steps(rgb, clean):.1f} steps"
        raise DoesNotApplyError(problem, expected=expected, got=got)
    matrix, curve = camera.matrix(context.bands), modulation(context.bands, generator)
    flat = cube.reshape(len(cube), -1)
    changed = np.empty_like(flat, dtype=np.float32)
    room = np.empty(flat.shape[1], dtype=bool)
    for start in range(0, flat.shape[1], _PIXELS):
        part = np.s_[start : start + _PIXELS]
        spectra = flat[:, part].astype(np.float64)
        component = largest_component(spectra, matrix, curve)
        room[part] = component.any(axis=0)
        moved = np.clip(spectra + strength * component, 0, 1)
        changed[:, part] = np.where(component == 0, spectra, moved)
    new = changed.reshape(cube.shape)
    image = camera.render(new, context.bands, bits=context.rgb_bits)
    bands, valid = data_masks(cube)
    before, after = cube[bands][:, valid], new[bands][:, valid]
    measured = {**_difference(before, after), "no_room": float(np.mean(~room[valid.ravel()]))}
    return image, new, {"strength": strength, **measured, "rgb_steps": _steps(image, rgb)}


def modulation(bands: BandSet, generator: np.random.Generator) -> np.ndarray:
    """(C,) float64: a smooth random function of wavelength, Gaussian bumps of standard normal height."""
    centres = np.asarray(bands.centres_nm)
    places = np.arange(centres.min(), centres.max() + _BUMP_NM, _BUMP_NM)
    bumps = np.exp(-0.5 * ((centres[:, None] - places) / _BUMP_NM) ** 2)
    # RandomState on the given bits: numpy froze its streams, those of Generator may change.
    return bumps @ np.random.RandomState(generator.bit_generator).normal(size=len(places))


def largest_component(spectra: np.ndarray, matrix: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """The null-space component (C, N) of ``curve`` (C,) in each of ``spectra`` (C, N), as large as [0, 1]
    permits: ``matrix`` (3, C) @ result = 0 and spectra + result within [0, 1]. All float64.

    0 in bands that lie outside (0, 1) or are NaN, and in all bands of spectra without room.
    """
    free = np.where((spectra > 0) & (spectra < 1), spectra * (1 - spectra), 0.0)
    wanted = free * curve[:, None]
    products = (matrix[:, None] * matrix[None]).reshape(9, -1)
    seen = (products @ free**2).T.reshape(-1, 3, 3)  # matrix diag(free)^2 matrix^T of each pixel
    colour = (matrix @ wanted).T[..., None]
    weights = np.linalg.pinv(seen, rcond=1e-12, hermitian=True) @ colour
    component = wanted - free**2 * (matrix.T @ weights[..., 0].T)
    enough = np.abs(component).max(axis=0) > _LEAST * np.abs(wanted).max(axis=0)
    component = np.where(enough, component, 0.0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        rooms = np.where(component > 0, (1 - spectra) / component, -spectra / component)
    factor = np.where(component == 0, np.inf, rooms).min(axis=0)
    return component * np.where(np.isfinite(factor), factor, 0.0)


def _steps(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference of two images in steps of 8 bits, to three digits: float32 is not exact to more
    than five, and what is one step apart must not come out above 1."""
    return round(float(np.abs(a.astype(np.float64) - b).max() * 255), 3)


def _difference(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """RMSE and mean angle in degrees between spectra (C, N), those of norm 0 left out of the angle."""
    y, p = before.astype(np.float64), after.astype(np.float64)
    norms = np.linalg.norm(y, axis=0) * np.linalg.norm(p, axis=0)
    some = norms > 0
    cosines = (y * p).sum(axis=0)[some] / norms[some]
    angles = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    return {
        "spectral_angle": float(angles.mean()) if angles.size else 0.0,
        "rmse": float(np.sqrt(np.mean((y - p) ** 2))) if y.size else 0.0,
    }


SPEC = PerturbationSpec(
    name="metamer",
    apply=metamer,
    severities={"0.5": 0.5, "1": 1.0},
    default=("0.5", "1"),
    summary="other spectra of the same colour: the picture stays, the truth changes",
    touches_cube=True,
    needs_camera=True,
    one_draw=True,
)
