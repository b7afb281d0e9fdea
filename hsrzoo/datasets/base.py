"""What every data set offers: named scenes, each an RGB image and a cube on the same pixels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hsrzoo.bands import BandSet


@dataclass(frozen=True)
class Scene:
    """One pair.

    ``rgb``: float32 (3, H, W) in [0, 1]; already rounded to 8 bits where the set's images are.
    ``cube``: float32 (C, H, W), reflectance or radiance scaled to [0, 1]. NaN is a value without data
    (no-data pixels, bands of water vapour); metrics and losses leave it out. ``rgb`` is 0 there.
    """

    name: str
    rgb: np.ndarray
    cube: np.ndarray


def data_masks(cube: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which bands (C,) of a cube (C, H, W) have data in some pixel, and which pixels (H, W) have it in all
    of those bands; both bool. NaN is a value without data."""
    missing = np.isnan(cube)
    bands = ~missing.all(axis=(1, 2))
    return bands, ~missing[bands].any(axis=0) if bands.any() else np.zeros(cube.shape[1:], bool)


def pixels_with_data(image: np.ndarray, cube: np.ndarray) -> np.ndarray:
    """The pixels (K, N) of ``image`` (K, H, W) that have data in some band of ``cube`` (C, H, W): what was
    measured on an image is a mean over them. ``image`` itself where all of them have, or none."""
    known = any_data(cube)
    return image if known.all() or not known.any() else image[:, known]


def any_data(cube: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels that have data in some band of a cube (C, H, W)."""
    return ~np.isnan(cube).all(axis=0)


@dataclass(frozen=True)
class VerifyReport:
    """What ``hsrzoo data verify`` prints. ``problems`` empty: the set is complete."""

    name: str
    scenes: dict[str, int]
    """Split -> number of scenes."""
    shapes: dict[str, int]
    """"C x H x W" -> how many scenes have it."""
    bands: BandSet
    cube_range: tuple[float, float]
    """Least and largest value of all scenes; (inf, -inf) if there is none."""
    rgb_range: tuple[float, float]
    fingerprint: str
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Dataset(ABC):
    """An opened data set. Scenes are read when asked for; nothing is cached here."""

    name: str
    bands: BandSet
    rgb_bits: int | None = 8
    """Perturbed images are rounded to this many bits again; None where RGB is not quantised."""
    info: dict[str, Any]
    """What else determines the values (rendering response, scaling); part of every protocol hash."""

    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, e.g. ``("train", "valid")``."""

    @abstractmethod
    def scenes(self, split: str) -> list[str]:
        """Scene names of a split, sorted; unknown splits raise UnknownNameError."""

    @abstractmethod
    def load(self, split: str, scene: str) -> Scene:
        """Read one scene; a truncated or inconsistent file raises FormatError naming it."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Short hex digest that changes when the files do (names, sizes, layout version; contents
        where files may be rewritten with the same size)."""

    @abstractmethod
    def verify(self) -> VerifyReport:
        """Read everything and report counts, shapes, wavelengths, ranges and problems."""
