"""What every data set offers: named scenes, each an RGB image and a cube on the same pixels."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.errors import DatasetError, HsrzooError

HIGHEST, LOWEST, MANY = 2.0, -1.0, 0.01
"""Values are not scaled to [0, 1] if more than this share of them is above 2 or below -1. Reflectance may
exceed 1 at specular points and, after atmospheric correction, fall slightly below 0."""
NO_DATA, NO_DATA_SCALED = -2.0, -0.5
"""A measured value below -2 stands for no data, such as -9999; so does one below -0.5 that more than
:data:`MANY` values share, or all bands of a pixel, such as -9999 / 10000."""


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


def require_scaled(
    values: np.ndarray,
    what: str,
    *,
    peak: float = 1.0,
    truth: bool = True,
    error: type[HsrzooError] = DatasetError,
    fix: str = "Divide the values by their full scale",
) -> None:
    """Refuse values that are not scaled to [0, ``peak``], such as digital numbers from 0 to 4095.

    This is the one rule on the range of values, for all data sets and metrics. In units of ``peak``: at
    most 1 % of the values above 2 or below -1, and in what was measured none below -2, and no single value
    below -0.5 that more than 1 % of them share, or all bands of a pixel.

    Args:
        values: Any shape, (C, H, W) if it has three axes. NaN (no data) and infinite values do not count.
        what: Names the values in the message.
        peak: The upper end of their range.
        truth: Whether the values were measured; those of a prediction may be wrong by any amount.
        error: What is raised.
        fix: What to do about values that are too high.

    Raises:
        HsrzooError: ``error``, for values outside of the range.
    """
    if values.min(initial=0) >= NO_DATA_SCALED * peak and values.max(initial=0) <= HIGHEST * peak:
        return  # not where any value is NaN
    known = values[np.isfinite(values)]
    least, expected = known.min(initial=0), f"reflectance or radiance in [0, {peak:g}]"

    def many(where: np.ndarray) -> bool:
        return int(np.count_nonzero(where)) > MANY * known.size

    if many(known > HIGHEST * peak):
        got = f"values up to {known.max():g}"
        raise error(f"{what} is not scaled to [0, {peak:g}]", expected=expected, got=got, fix=fix)
    shared = least < NO_DATA_SCALED * peak and (many(known == least) or _in_all_bands(values, least))
    if many(known < LOWEST * peak) or (truth and (least < NO_DATA * peak or shared)):
        raise error(
            f"{what} holds values far below 0",
            expected=f"{expected}, NaN where there is no data",
            got=f"values down to {least:g}",
            fix="If they stand for no data, name the stored number, e.g. --data-option nodata=-9999, or "
            "make them NaN",
        )


def _in_all_bands(values: np.ndarray, number: float) -> bool:
    """Whether a pixel of ``values`` (C, H, W) has this number in every band with data."""
    if values.ndim != 3 or len(values) == 1:
        return False
    found = values == number
    return bool((found.any(axis=0) & (found | np.isnan(values)).all(axis=0)).any())


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
    files: dict[str, str] = field(default_factory=dict)
    """File -> sha256 of its bytes; empty for a set that does not name its files."""

    @property
    def checksum(self) -> str | None:
        """A digest of the bytes of all files, whatever folders they lie in: equal for two people with the
        same files. None where :attr:`files` is empty. 16 hex digits."""
        own = sorted((PurePosixPath(path).name, sha256) for path, sha256 in self.files.items())
        return hashlib.sha256(json.dumps(own).encode()).hexdigest()[:16] if own else None


class Dataset(ABC):
    """An opened data set. Scenes are read when asked for; nothing is cached here."""

    name: str
    bands: BandSet
    rgb_bits: int | None = 8
    """Perturbed images are rounded to this many bits again; None where RGB is not quantised."""
    info: dict[str, Any]
    """What else determines the values (rendering response, scaling); part of every protocol hash."""
    encoding: str | None = None
    """How the values of its photographs are read: ``linear`` as stored, ``srgb`` decoded; None where RGB is
    rendered, which is linear."""

    def record(self) -> dict[str, Any]:
        """:attr:`info` and :attr:`encoding`, for the config of weights."""
        return dict(self.info) if self.encoding is None else {**self.info, "encoding": self.encoding}

    scaled: bool = True
    """Whether values lie in [0, 1] but for a few. False for scenes of another exposure, made of others."""

    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, e.g. ``("train", "valid")``."""

    @abstractmethod
    def scenes(self, split: str) -> list[str]:
        """Scene names of a split, sorted; unknown splits raise UnknownNameError."""

    @abstractmethod
    def load(self, split: str, scene: str) -> Scene:
        """Read one scene; a truncated or inconsistent file raises FormatError naming it.

        Whatever a subclass returns, :func:`require_scaled` checks cube and image.
        """

    def __init_subclass__(cls, **settings: Any) -> None:
        """Every data set, of a plugin too, refuses scenes that are not scaled, whoever loads them."""
        super().__init_subclass__(**settings)
        if "load" in vars(cls):
            setattr(cls, "load", _scaled(vars(cls)["load"]))  # noqa: B010  # mypy: no assignment to methods

    @abstractmethod
    def fingerprint(self) -> str:
        """Short hex digest that changes when the files do (names, sizes, layout version; contents
        where files may be rewritten with the same size)."""

    @abstractmethod
    def verify(self) -> VerifyReport:
        """Read everything and report counts, shapes, wavelengths, ranges and problems."""


def _scaled(load: Callable[[Any, str, str], Scene]) -> Callable[[Any, str, str], Scene]:
    """``load``, a method of a data set, with a check of the scene's values."""

    @wraps(load)
    def checked(self: Any, split: str, scene: str) -> Scene:
        found = load(self, split, scene)
        if self.scaled:
            require_scaled(found.cube, f"The cube of {scene} in {self.name}/{split}")
            require_scaled(found.rgb, f"The image of {scene} in {self.name}/{split}")
        return found

    return checked
