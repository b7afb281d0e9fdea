"""Disturbances of one scene, seeded by what they disturb and never by order.

A perturbation is a :class:`~hsrzoo.spec.PerturbationSpec` under the entry-point group
``hsrzoo.perturbations``; :func:`perturb` applies one of them.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from hsrzoo.camera import quantise
from hsrzoo.datasets.base import Scene, any_data, pixels_with_data
from hsrzoo.errors import InputError, require_known
from hsrzoo.registry import PERTURBATIONS
from hsrzoo.spec import PerturbationContext, resolve

Perturbed = tuple[np.ndarray, np.ndarray, dict[str, Any]]
"""RGB (3, H, W), cube (C, H, W), and measured facts for the row."""


class DoesNotApplyError(InputError):
    """A perturbation that would leave this scene as it is: a row of it would claim what is not so."""


def perturb(
    name: str,
    severity: str,
    scene: Scene,
    seed: int,
    rgb_bits: int | None,
    context: PerturbationContext | None = None,
) -> tuple[Scene, dict[str, Any]]:
    """Apply a perturbation to a scene.

    RGB is perturbed in [0, 1], then clipped to [0, 1] and rounded; only then may a model normalise it.
    The cube is the scene's own unless the perturbation changes it. Pixels without data in any band that are
    black stay black: neither noise nor what JPEG spreads over a block gives them a colour. A perturbation
    that changes the cube handles its own.

    Args:
        name: A registered perturbation.
        severity: One of its severities.
        scene: The clean scene.
        seed: Of the random numbers, with the scene's name, ``name`` and ``severity``.
        rgb_bits: Bits that RGB is rounded to; None: not rounded.
        context: How RGB was rendered from the cube; None if it is a photograph.

    Returns:
        The perturbed scene, and measured facts: the perturbation's own; ``rendered_by``, the camera that
        rendered RGB, whose values are linear then (None: a photograph); ``mean_change``, the relative
        change of RGB's mean over pixels with data.

    Raises:
        UnknownNameError: There is no such perturbation or severity.
        InputError: The scene is not an image and a cube of one size.
        DoesNotApplyError: The perturbation cannot change this scene, or needs a camera.
    """
    spec = PERTURBATIONS.get(name)
    require_known(f"severity of {spec.name}", severity, spec.severities)
    _check(scene)
    if spec.needs_camera and context is None:
        raise DoesNotApplyError(
            f"{name} needs an RGB image that a known camera rendered from the cube",
            got="a photograph, or an image of a camera that is not built in",
            fix="Use a data set that renders its RGB, as folder does with --data-option response=NAME",
        )
    generator = generator_for(seed, scene.name, name, "" if spec.one_draw else severity)
    known = (context,) if spec.needs_camera else ()
    strength = spec.severities[severity]
    rgb, cube, info = resolve(spec.apply)(scene.rgb, scene.cube, strength, generator, *known)
    rgb = np.ascontiguousarray(quantise(rgb.astype(np.float64), rgb_bits), dtype=np.float32)
    if spec.touches_cube:
        cube = np.ascontiguousarray(cube, dtype=np.float32)
    else:
        cube = scene.cube
        rgb[:, ~any_data(cube) & ~scene.rgb.any(axis=0)] = 0
    before, after = _mean(scene.rgb, scene.cube), _mean(rgb, cube)
    change = after / before - 1 if before else 0.0
    camera = context.response if context else None
    return Scene(scene.name, rgb, cube), {**info, "rendered_by": camera, "mean_change": change}


def generator_for(seed: int, scene: str, perturbation: str, severity: str) -> np.random.Generator:
    """The generator of one (seed, scene, perturbation, severity): never depends on order."""
    key = "\x1f".join([str(seed), scene, perturbation, severity]).encode()
    return np.random.default_rng(int.from_bytes(hashlib.sha256(key).digest()[:16], "big"))


def _mean(rgb: np.ndarray, cube: np.ndarray) -> float:
    return float(pixels_with_data(rgb, cube).mean(dtype=np.float64))


def _check(scene: Scene) -> None:
    rgb, cube = scene.rgb.shape, scene.cube.shape
    if len(rgb) != 3 or rgb[0] != 3 or len(cube) != 3 or rgb[1:] != cube[1:] or not scene.rgb.size:
        raise InputError(
            f"The scene {scene.name!r} is not a pair of an image and a cube",
            expected="rgb (3, H, W) and cube (C, H, W) on the same pixels",
            got=f"rgb {rgb}, cube {cube}",
        )


__all__ = ["DoesNotApplyError", "Perturbed", "perturb"]
