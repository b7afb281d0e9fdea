"""Disturbances of one scene, seeded by what they disturb and never by order.

A perturbation is a :class:`~hsrzoo.spec.PerturbationSpec` under the entry-point group
``hsrzoo.perturbations``; :func:`perturb` applies one of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hsrzoo.datasets.base import Scene
from hsrzoo.errors import InputError, unknown_name
from hsrzoo.registries import PERTURBATIONS
from hsrzoo.spec import PerturbationSpec, resolve, seeded


class DoesNotApplyError(InputError):
    """A perturbation that would leave this scene as it is: a row of it would claim what is not so."""


def perturb(
    name: str, severity: str, scene: Scene, seed: int, rgb_bits: int | None
) -> tuple[Scene, dict[str, Any]]:
    """The disturbed scene and what was measured on it.

    RGB is disturbed as it is declared, in [0, 1], then clipped to [0, 1] and rounded to
    ``rgb_bits`` bits (None: not rounded); only after that may a model normalise it. The cube is the
    scene's own unless the perturbation touches it. ``info`` holds the perturbation's own facts
    and ``mean_change``: the relative change of RGB's mean, measured on the result.

    Unknown perturbations and severities raise UnknownNameError with the nearest names; a scene too
    small for the perturbation raises DoesNotApplyError.
    """
    spec = PERTURBATIONS.get(name)
    parameter = _severity(spec, severity)
    _check(scene)
    generator = seeded(seed, scene.name, name, severity)
    rgb, cube, info = resolve(spec.apply)(scene.rgb, scene.cube, parameter, generator)
    rgb = _quantise(rgb, rgb_bits)
    before, after = (float(image.mean(dtype=np.float64)) for image in (scene.rgb, rgb))
    change = after / before - 1 if before else 0.0
    cube = np.ascontiguousarray(cube, dtype=np.float32) if spec.touches_cube else scene.cube
    return Scene(scene.name, rgb, cube), {**info, "mean_change": change}


def _severity(spec: PerturbationSpec, severity: str) -> Any:
    if severity not in spec.severities:
        raise unknown_name(f"severity of {spec.name}", severity, spec.severities)
    return spec.severities[severity]


def _check(scene: Scene) -> None:
    rgb, cube = scene.rgb.shape, scene.cube.shape
    if len(rgb) != 3 or rgb[0] != 3 or len(cube) != 3 or rgb[1:] != cube[1:] or not scene.rgb.size:
        raise InputError(
            f"The scene {scene.name!r} is not a pair of an image and a cube",
            expected="rgb (3, H, W) and cube (C, H, W) on the same pixels",
            got=f"rgb {rgb}, cube {cube}",
        )


def _quantise(rgb: np.ndarray, bits: int | None) -> np.ndarray:
    """Clip to [0, 1] and round to ``bits`` bits: float32, contiguous."""
    rgb = np.clip(rgb.astype(np.float64), 0, 1)
    if bits is not None:
        levels = 2**bits - 1
        rgb = np.rint(rgb * levels) / levels
    return np.ascontiguousarray(rgb, dtype=np.float32)


__all__ = ["DoesNotApplyError", "perturb"]
