"""Crops with other materials: the shapes and the shading of a scene, the spectra of measured reflectances.

A crop is divided into segments of similar colour. Each segment gets the mixture of two reflectances, each
from a library that is drawn first, so that a large library does not outweigh the others. Half of the crops
are lit by daylight or a black body of a random temperature, the others evenly. RGB is rendered again by the
camera. Every pixel keeps the mean of its R, G and B (before rounding), except where a channel would then
exceed 1: there it is as bright as it can be.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.camera import Camera
from hsrzoo.errors import TrainingError
from hsrzoo.training.augment import numpy_generator, random_light, uniform

SEGMENTS = (2, 8)
"""Least and largest number of colours that a crop is divided by."""
LIT = 0.5
"""Share of the crops under a random light."""
DARKEST = 0.01
"""Reflectances with a lower mean of R, G and B are not used: their shape is noise."""
_BLACK = 0.03
"""Added to the sum of R, G and B: the chromaticity of dark pixels is noise."""


class Repainter:
    """Repaints crops whose RGB a camera rendered from their cubes."""

    def __init__(
        self, libraries: Sequence[np.ndarray], camera: Camera, bands: BandSet, bits: int | None
    ) -> None:
        """``libraries``: reflectances in [0, 1], each (N, 31) at 400-700 nm; ``camera``, ``bands`` and
        ``bits``: how RGB is rendered from cubes. TrainingError where 400-700 nm do not cover the bands."""
        matrix, covered = VISIBLE_31.resample_matrix(bands)
        if not covered.all():
            raise TrainingError(
                "Scenes of these bands cannot be repainted",
                expected=f"bands within {VISIBLE_31}",
                got=bands,
            )
        self._camera, self._bands, self._bits = camera, bands, bits
        self._matrix = camera.matrix(bands)
        self._white = self._matrix.mean(axis=0)
        on_bands = [library @ matrix.T for library in libraries]
        usable = [spectra[spectra @ self._white >= DARKEST] for spectra in on_bands]
        self._libraries = [spectra for spectra in usable if len(spectra)]
        if not self._libraries:
            raise TrainingError(
                "There is nothing to repaint with",
                expected=f"a reflectance whose mean of R, G and B is {DARKEST:g} or more",
            )

    def __call__(self, rgb: Tensor, cube: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A crop, (3, h, w) and (C, h, w) float32, repainted; values without data stay NaN."""
        lit = uniform(generator) < LIT
        light = random_light(np.asarray(self._bands.centres_nm), self._white, generator) if lit else 1.0
        random = numpy_generator(generator)
        labels = segments(rgb.numpy(), random)
        paints = self._mixtures(labels.max() + 1, random) * light
        paints /= (paints @ self._white)[:, None]
        # A pixel that lacks a band that counts has no brightness: black, as it is in the image.
        old = np.nan_to_num(cube.numpy()) if torch.isnan(cube).any() else cube.numpy()
        brightness = np.tensordot(self._white.astype(np.float32), old, 1).clip(min=0)
        brightest = 1 / (paints @ self._matrix.T).max(axis=1)
        factor = np.minimum(brightness, brightest.astype(np.float32)[labels])
        painted = paints.astype(np.float32).T[:, labels] * factor
        painted[np.isnan(cube.numpy())] = np.nan
        image = self._camera.render(painted, self._bands, bits=self._bits)
        return torch.from_numpy(image), torch.from_numpy(painted)

    def _mixtures(self, count: int, random: np.random.Generator) -> np.ndarray:
        """(count, C) float64: a and 1 - a of two reflectances, a uniform."""
        libraries = random.integers(len(self._libraries), size=2 * count)
        chosen = [self._libraries[which] for which in libraries]
        drawn = np.stack([spectra[random.integers(len(spectra))] for spectra in chosen])
        share = random.random((count, 1))
        return share * drawn[:count] + (1 - share) * drawn[count:]


def segments(rgb: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The segment (h, w), numbered from 0, of every pixel of ``rgb`` (3, h, w): that of the nearest in
    chromaticity among a few random pixels, of which bright ones are more likely."""
    count = int(random.integers(SEGMENTS[0], SEGMENTS[1] + 1))
    pixels = rgb.reshape(3, -1)
    total = pixels.sum(axis=0, dtype=np.float64) + _BLACK
    chromaticity = pixels[:2] / total
    centres = chromaticity[:, random.choice(len(total), size=count, p=total / total.sum())]
    # |x - c|^2 without |x|^2, which is the same for all centres
    distance = np.square(centres).sum(axis=0)[:, None] - 2 * centres.T @ chromaticity
    return distance.argmin(axis=0).reshape(rgb.shape[1:])
