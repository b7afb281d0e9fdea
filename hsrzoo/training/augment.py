"""Physical augmentation: the cube is changed, then rendered again by the data set's own camera.

Rendering is linear, so scaled, relit and mixed cubes are cubes of possible scenes; and as RGB is
rendered from them as the data set renders its own, clipping and rounding included, image and cube stay
consistent. The truth is the changed cube: the radiance that the camera sees. It is not
clipped where RGB is.

- ``mixture``: this crop and one of another scene (another crop, where there is one scene), w and 1 - w,
  w uniform in [0, 1]. Left out where no value would have data in both.
- ``mixed-patch``: the crop cut into squares, shuffled, as the perturbation of that name does it.
- ``relight``: each spectrum times that of a light: by turns daylight and a black body, 1 / temperature
  uniform. The lights are scaled so that grey stays as bright as it was, on average of R, G and B.
- ``exposure``: the cube times k, log-uniform.
- ``camera``: another sample of the same camera: each channel's response shifted in wavelength and scaled.
  Cameras of other kinds are left alone: they are what networks are tested with (perturbation ``camera``).
- ``noise``: photons and read-out as in the perturbation ``noise``, before the image is rounded.

They act in this order. Values without data stay NaN, and RGB is 0 where :meth:`Camera.render` makes it so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hsrzoo.bands import BandSet
from hsrzoo.camera import Camera
from hsrzoo.datasets.base import Dataset
from hsrzoo.errors import TrainingError
from hsrzoo.perturb.mixed_patch import shuffle

ORDER = ("mixture", "mixed-patch", "relight", "exposure", "camera", "noise")
"""First the scene, then its light, then the camera."""
UNRENDERED = ("mixed-patch",)
"""Those that only move pixels, and so apply to photographs too."""
EXPOSURE = (0.5, 2.0)
"""One stop either way: what automatic exposure gets wrong, and little enough for 8 bits to hold."""
PATCHES = (8, 16, 32)
"""Sides of the squares in pixels, at most half the crop's."""
SHIFT_NM = 5.0
"""Largest shift of a channel's response: half a step of the 10 nm grid on which responses are read."""
GAIN = 1.05
"""Largest factor of a channel after the shift: a white balance that is a 14th of a stop off."""
FULL_WELL, READ_NOISE = (400.0, 10000.0), (3.0, 8.0)
"""Electrons, both log-uniform: from a small pixel at its base sensitivity to 25 times that."""
_ONE_STEP = 1 / 255
_DAYLIGHT_TABLE = Path(__file__).parent.parent / "data" / "cie-daylight.csv"
_C2_NM_K = 1.438776877e7
"""Second radiation constant h c / k in nm K (CODATA 2018, exact to the digits given)."""
DAYLIGHT_K = (4000.0, 25000.0)
"""Correlated colour temperatures, in kelvin, for which CIE 15 defines daylight."""
BLACKBODY_K = (2500.0, 10000.0)
"""From a dim tungsten lamp to beyond the sun's surface; in kelvin."""


@dataclass(frozen=True, eq=False)
class CameraSample(Camera):
    """A camera with a gain for each channel, (3,) float64, behind its response."""

    gains: np.ndarray

    def matrix(self, bands: BandSet) -> np.ndarray:
        """As :meth:`Camera.matrix`; a spectrum of ones gives the gains."""
        return super().matrix(bands) * self.gains[:, None]


class Augmenter:
    """The physical augmentations that a recipe names, for pairs of one data set."""

    def __init__(self, names: Iterable[str], share: float, dataset: Dataset, normalise: str) -> None:
        """``names``: some of :data:`ORDER`; ``share``: of the crops that are changed; ``normalise``: how
        the network's RGB is normalised. TrainingError where images cannot be rendered truly."""
        self.names = [name for name in ORDER if name in set(names)]
        self.share, self.bands, self.bits = share, dataset.bands, dataset.rgb_bits
        self._centres = np.asarray(self.bands.centres_nm)
        self.rendered = [name for name in self.names if name not in UNRENDERED]
        if not self.rendered:
            return
        camera: Camera | None = getattr(dataset, "camera", None)
        if camera is None:
            raise self._refusal(
                f"The RGB of {dataset.name} is not rendered from its cubes",
                "Render RGB by a camera where the data set can (--data-option response=nikon-d5100)",
            )
        if normalise != "none":
            raise self._refusal(
                f"RGB normalised by {normalise} has the extremes of its scene, which a changed crop lacks",
                "Train with --set normalise=none",
            )
        self._camera = camera
        self._white = camera.matrix(self.bands).mean(axis=0)

    def require_rendered(self, scene: str, rgb: Tensor, cube: Tensor) -> None:
        """TrainingError unless ``rgb`` (3, H, W) is what the camera renders from ``cube`` (C, H, W), to one
        step of 8 bits: an augmented image would differ from the set's own by more than what was done."""
        if not self.rendered:
            return
        error = float((self._render(cube, self._camera) - rgb).abs().max())
        if error > _ONE_STEP * 1.001:  # float32 does not hold one step exactly
            raise self._refusal(
                f"The RGB of {scene} is not what its camera renders from its cube: they differ by up to "
                f"{error * 255:.1f} steps of 8 bits, 1 at most",
                "Take the bands that RGB was rendered from",
            )

    def require_room(self, height: int, width: int) -> None:
        """TrainingError if crops are too small to be cut into patches."""
        if "mixed-patch" in self.names and min(height, width) < 2 * PATCHES[0]:
            raise TrainingError(
                "The crops are too small for the augmentation mixed-patch",
                expected=f"{2 * PATCHES[0]} pixels or more",
                got=f"{height} x {width}",
                fix="Raise --patch, or leave mixed-patch out",
            )

    def __call__(
        self, rgb: Tensor, cube: Tensor, other: Callable[[], Tensor], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """A crop (3, h, w) and (C, h, w), changed or, in ``1 - share`` of the cases, as it was.

        ``other`` draws the cube of a crop of another scene, of the same size.
        """
        if uniform(generator) >= self.share:
            return rgb, cube
        draws = torch.rand(len(self.names), generator=generator)
        chosen = {name for name, d in zip(self.names, draws, strict=True) if d < 0.5 or d == draws.min()}
        if "mixture" in chosen:
            cube = mixture(cube, other(), uniform(generator))
        if "mixed-patch" in chosen:
            rgb, cube = mixed_patch(rgb, cube, generator)
        if "relight" in chosen:
            cube = cube * torch.from_numpy(self.light(generator).astype(np.float32))[:, None, None]
        if "exposure" in chosen:
            cube = cube * log_uniform(generator, *EXPOSURE)
        if chosen <= set(UNRENDERED):
            return rgb, cube
        camera = self.sample(generator) if "camera" in chosen else self._camera
        if "noise" not in chosen:
            return self._render(cube, camera), cube
        full_well, read_noise = log_uniform(generator, *FULL_WELL), log_uniform(generator, *READ_NOISE)
        random = numpy_generator(generator)
        noisy = self._render(cube, camera, full_well=full_well, read_noise=read_noise, generator=random)
        return noisy, cube

    def light(self, generator: torch.Generator) -> np.ndarray:
        """A light (C,) float64; the camera's R, G and B of a white surface under it have the mean 1."""
        return random_light(self._centres, self._white, generator)

    def sample(self, generator: torch.Generator) -> Camera:
        """The set's camera with every channel shifted by up to SHIFT_NM and scaled by up to GAIN."""
        x, table = self._camera.table
        shifts = [uniform(generator, -SHIFT_NM, SHIFT_NM) for _ in range(3)]
        gains = [log_uniform(generator, 1 / GAIN, GAIN) for _ in range(3)]
        moved = [np.interp(x, x + s, table[:, i], left=0, right=0) for i, s in enumerate(shifts)]
        return CameraSample(f"{self._camera.name}, varied", x, np.stack(moved, axis=1), np.array(gains))

    def _render(self, cube: Tensor, camera: Camera, **noise: Any) -> Tensor:
        return torch.from_numpy(camera.render(cube.numpy(), self.bands, bits=self.bits, **noise))

    def _refusal(self, summary: str, fix: str) -> TrainingError:
        allowed = ", ".join(("flip", "rotate", *UNRENDERED))
        return TrainingError(
            summary,
            expected=f"images that can be rendered again; otherwise only {allowed} are possible",
            got=f"augment={','.join(self.rendered)}",
            fix=f"{fix}, or leave them out",
        )


def random_light(centres_nm: np.ndarray, white: np.ndarray, generator: torch.Generator) -> np.ndarray:
    """Daylight or a black body of a random temperature, by turns, at the wavelengths (C,).

    ``white``: (C,), the mean of the rows of a camera's matrix: the mean of R, G and B of a white surface
    under the light, (C,) float64, is 1.
    """
    outdoors = uniform(generator) < 0.5 and daylight_covers(centres_nm)
    kind, (low, high) = (daylight, DAYLIGHT_K) if outdoors else (blackbody, BLACKBODY_K)
    power = kind(centres_nm, 1 / uniform(generator, 1 / high, 1 / low))
    return power / (white @ power)


def mixture(cube: Tensor, other: Tensor, weight: float) -> Tensor:
    """``weight`` of ``cube`` and the rest of ``other``; ``cube`` itself where no value has data in both."""
    mixed = torch.lerp(other, cube, weight)
    return mixed if mixed.isfinite().any() else cube


def mixed_patch(rgb: Tensor, cube: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Squares of a side drawn from :data:`PATCHES` in another order, the same in both."""
    sides = [side for side in PATCHES if 2 * side <= min(rgb.shape[1:])]
    side = sides[int(torch.randint(len(sides), (), generator=generator))]
    moved_rgb, moved_cube, _ = shuffle(rgb.numpy(), cube.numpy(), side, numpy_generator(generator))
    return torch.from_numpy(moved_rgb), torch.from_numpy(moved_cube)


def uniform(generator: torch.Generator, low: float = 0.0, high: float = 1.0) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def log_uniform(generator: torch.Generator, low: float, high: float) -> float:
    return math.exp(uniform(generator, math.log(low), math.log(high)))


def numpy_generator(generator: torch.Generator) -> np.random.Generator:
    """A NumPy generator that is seeded from ``generator``."""
    return np.random.default_rng(int(torch.randint(1 << 62, (), generator=generator)))


def blackbody(centres_nm: np.ndarray, kelvin: float) -> np.ndarray:
    """Relative spectral radiance (N,) float64 by Planck's law at wavelengths (N,) in nm; largest 1."""
    power = centres_nm**-5.0 / np.expm1(_C2_NM_K / (centres_nm * kelvin))
    return power / power.max()


def daylight(centres_nm: np.ndarray, kelvin: float) -> np.ndarray:
    """Relative power (N,) float64 of CIE daylight at wavelengths (N,) in nm; 100 at 560 nm.

    The mean of measured daylight and its two main components (Judd, MacAdam and Wyszecki, JOSA 54(8),
    1964), mixed by the correlated colour temperature within :data:`DAYLIGHT_K`: CIE 15:2004, 3.1. The
    table, 300-830 nm, is read by linear interpolation.
    """
    t = 1e3 / kelvin
    if kelvin <= 7000:
        x = 0.244063 + 0.09911 * t + 2.9678 * t**2 - 4.6070 * t**3
    else:
        x = 0.237040 + 0.24748 * t + 1.9018 * t**2 - 2.0064 * t**3
    y = -3.000 * x**2 + 2.870 * x - 0.275
    scale = 0.0241 + 0.2562 * x - 0.7341 * y
    first = (-1.3515 - 1.7703 * x + 5.9114 * y) / scale
    second = (0.0300 - 31.4424 * x + 30.0717 * y) / scale
    wavelengths, *components = _daylight_components()
    s0, s1, s2 = (np.interp(centres_nm, wavelengths, component) for component in components)
    return s0 + first * s1 + second * s2


def daylight_covers(centres_nm: np.ndarray) -> bool:
    """True if the table of daylight holds all these wavelengths."""
    wavelengths = _daylight_components()[0]
    return bool(centres_nm.min() >= wavelengths[0] and centres_nm.max() <= wavelengths[-1])


@cache
def _daylight_components() -> np.ndarray:
    """(4, N) float64: wavelengths in nm, the mean and two components."""
    table = np.loadtxt(_DAYLIGHT_TABLE, delimiter=",", skiprows=2).T
    table.setflags(write=False)  # shared by all callers
    return table
