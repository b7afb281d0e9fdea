"""Measured reflectances of single materials, from four libraries, as mosaics: 400-700 nm at 10 nm.

- ``charts``: patches of three colour charts, which come with hsrzoo, and of an artists' paint chart where
  its file is there (MIT);
- ``rawtoaces``: 190 materials of rawtoaces-data (Apache-2.0);
- ``ecostress``: 2,041 minerals, soils, plants and roofs, and mixtures of them, as isofit-data has them from
  the ECOSTRESS library (Apache-2.0);
- ``earthlib``: the measured spectra of :mod:`.earthlib` (MIT), where that package is installed.

Values below 0 or above 1 are faults of measurement and count as no data; a spectrum that lacks a value in
the visible cannot be rendered and is left out, and so is one that repeats another of its library.
"""

from __future__ import annotations

import csv
import importlib.util
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.camera import DEFAULT_CAMERA, Camera
from hsrzoo.colour.chart import CHARTS, chart
from hsrzoo.datasets.base import Scene
from hsrzoo.datasets.common import IndexedDataset, fingerprint_of, missing
from hsrzoo.datasets.earthlib import Earthlib
from hsrzoo.datasets.layout import child
from hsrzoo.datasets.mosaics import DESCRIPTION, EVERY, mosaic, mosaics_of
from hsrzoo.errors import FormatError, require_known
from hsrzoo.io import load_cube
from hsrzoo.io.common import format_errors
from hsrzoo.spec import DatasetSpec

AVAILABLE = "available"
_SPLITS = ("train", "valid")
_PAINTS_NM = np.arange(380, 731, 10)
"""Wavelengths of the rows of the paint chart's file."""


@dataclass(frozen=True)
class Library:
    """Where the spectra of one library come from and how they are read."""

    licence: str
    files: tuple[str, ...]
    """Below ``spectra`` in the data root."""
    read: Callable[[Path], tuple[np.ndarray, BandSet]]
    """Path of the first file -> (N, C) reflectance and the C bands."""
    required: bool = True
    """Whether there is nothing without the files."""


def _ecostress(file: Path) -> tuple[np.ndarray, BandSet]:
    array, bands = load_cube(file)
    if bands is None:
        raise FormatError(f"{file} has no wavelengths", expected="an ENVI header with wavelength")
    return array.reshape(-1, len(bands)), bands


def _rawtoaces(file: Path) -> tuple[np.ndarray, BandSet]:
    with format_errors(file, "a table of rawtoaces-data"):
        table = json.loads(file.read_text(encoding="utf-8"))["spectral_data"]["data"]["main"]
        centres = [float(nm) for nm in table]
        return np.array(list(table.values()), dtype=np.float64).T, BandSet.of(centres)


def _charts(paints: Path) -> tuple[np.ndarray, BandSet]:
    spectra = [chart(name).reflectance for name in CHARTS]
    if paints.is_file():
        with format_errors(paints, "a table of reflectances"), paints.open(newline="") as stream:
            table = np.array(list(csv.reader(stream)), dtype=np.float64)
            spectra.append(BandSet.of(_PAINTS_NM.tolist()).resample(table, VISIBLE_31)[0].T)
    return np.concatenate(spectra), VISIBLE_31


LIBRARIES: Mapping[str, Library] = {
    "charts": Library("MIT", ("charts/data/APT_reflectance.csv",), _charts, required=False),
    "rawtoaces": Library(
        "Apache-2.0", ("rawtoaces-data/data/training/training_spectral.json",), _rawtoaces
    ),
    "ecostress": Library(
        "Apache-2.0",
        tuple(f"isofit-data/reflectance/ecostress_library_with_mixtures{end}" for end in (".hdr", "")),
        _ecostress,
    ),
}
"""Those read from files; ``earthlib`` comes with its package."""
NAMES = (*LIBRARIES, "earthlib")


class Reflectances(IndexedDataset):
    """Mosaics of each library's spectra, as in :mod:`.earthlib`; every 10th spectrum is in ``valid``."""

    name = "reflectances"
    bands = VISIBLE_31

    def __init__(self, root: Path, sources: str = AVAILABLE, response: str = DEFAULT_CAMERA) -> None:
        """``sources``: names of :data:`NAMES` with + between, or ``available``: those that are there;
        ``response``: the camera that renders RGB."""
        self.folder = child(root, "spectra")
        self.camera = Camera.named(response)
        chosen = sources.split("+")
        if sources == AVAILABLE:
            chosen = [name for name in NAMES if not self._absent(name)]
        for name in chosen:
            require_known("library of reflectances", name, NAMES)
            if name in LIBRARIES and (absent := self._absent(name)):
                raise missing(SPEC, self.folder, f"no {', '.join(absent)} in {self.folder}")
        self._chosen = sorted(set(chosen))
        self._earthlib = Earthlib(root) if "earthlib" in chosen else None
        self._parts = {name: self._read(name) for name in self._chosen}
        self.index = {
            split: [
                f"{name}-{split}-{number:02d}"
                for name in self._chosen
                for number in range(mosaics_of(len(self._parts[name][split])))
            ]
            for split in _SPLITS
        }
        self.info = {
            "sources": {
                name: {"spectra": sum(map(len, self._parts[name].values())), "licence": _licence(name)}
                for name in self._chosen
            },
            **self.camera.record(),
            "mosaic": DESCRIPTION,
        }

    def read(self, split: str, scene: str) -> Scene:
        """Reflectance times brightness, (31, 64, 64); RGB rendered from it, in 8 bits."""
        name, _, number = scene.rsplit("-", 2)
        stream = 2 * NAMES.index(name) + _SPLITS.index(split)
        return self.rendered(scene, mosaic(self._parts[name][split], int(number), stream))

    def spectra(self, split: str = "train") -> dict[str, np.ndarray]:
        """The reflectances of each chosen library, (N, 31) float64 in [0, 1]."""
        return {name: self._parts[name][split] for name in self._chosen}

    def files(self) -> list[Path]:
        """The files in the data root."""
        wanted = [file for name in self._chosen if name in LIBRARIES for file in LIBRARIES[name].files]
        return [self.folder / file for file in wanted if (self.folder / file).is_file()]

    def fingerprint(self) -> str:
        """Of the files' contents, and of the package's."""
        options = {**self.info, "earthlib": self._earthlib and self._earthlib.fingerprint()}
        return fingerprint_of(self.folder, self.files(), layout=self.layout, options=options, contents=True)

    def notes(self) -> list[str]:
        """How many spectra of which terms there are."""
        each = [
            f"{name} {about['spectra']} ({about['licence']})"
            for name, about in self.info["sources"].items()
        ]
        left_out = "those with values outside [0, 1] in the visible, or that repeat another, left out"
        return [f"spectra: {', '.join(each)}; {left_out}", *super().notes()]

    def _absent(self, name: str) -> list[str]:
        """What a library lacks."""
        if name == "earthlib":
            return [] if importlib.util.find_spec("earthlib") else ["package earthlib"]
        library = LIBRARIES[name]
        return [f for f in library.files if library.required and not (self.folder / f).is_file()]

    def _read(self, name: str) -> dict[str, np.ndarray]:
        """Split -> spectra (N, 31) float64 of a library."""
        if self._earthlib is not None and name == "earthlib":
            parts, bands = self._earthlib.library()
            return {split: _usable(part, bands)[1] for split, part in parts.items()}
        library = LIBRARIES[name]
        places, spectra = _usable(*library.read(self.folder / library.files[0]))
        kept = places % EVERY == 0
        return {"train": spectra[~kept], "valid": spectra[kept]}


def _usable(spectra: np.ndarray, bands: BandSet) -> tuple[np.ndarray, np.ndarray]:
    """Places (N,) and visible values (N, 31) float64 of the spectra (M, C) that have all of them."""
    with np.errstate(invalid="ignore"):
        known = np.where((spectra >= 0) & (spectra <= 1), spectra, np.nan)
    visible = bands.resample(known.T, VISIBLE_31)[0].T.astype(np.float64)
    complete = np.flatnonzero(np.isfinite(visible).all(axis=1) & visible.any(axis=1))
    _, first = np.unique(visible[complete], axis=0, return_index=True)
    places = complete[np.sort(first)]
    return places, visible[places]


def _licence(name: str) -> str:
    return LIBRARIES[name].licence if name in LIBRARIES else "MIT"


SPEC = DatasetSpec(
    name="reflectances",
    open=Reflectances,
    title="Measured reflectances of charts, minerals, soils, plants and roofs as mosaics, 400-700 nm",
    where="Three charts come with hsrzoo. The others: https://github.com/isofit/isofit-data and "
    "https://github.com/AcademySoftwareFoundation/rawtoaces-data (both Apache-2.0), and the package "
    "earthlib 1.1 (MIT).",
    layout="spectra/ with " + ", ".join(file for library in LIBRARIES.values() for file in library.files),
)
