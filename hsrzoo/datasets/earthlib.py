"""Spectra measured one by one, as mosaics: the library inside the package earthlib, 400-2450 nm at 10 nm.

Its 7,261 reflectance spectra (version 1.1, MIT) are 5,261 measured ones, four fifths of them soils and the
rest mostly roofs, roads and paints, and 2,000 of green canopies, simulated by PROSAIL. It leaves out two
stretches of water vapour; 180 bands remain. Soils of one site follow each other and resemble each other, so
``valid`` measures how well unseen spectra of known places are reconstructed, not those of new places.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.camera import DEFAULT_CAMERA, Camera
from hsrzoo.datasets.base import Scene
from hsrzoo.datasets.common import BAND_CHOICES, IndexedDataset, package_folder
from hsrzoo.datasets.mosaics import DESCRIPTION, EVERY, mosaic, mosaics_of
from hsrzoo.errors import FormatError, require_known
from hsrzoo.io.common import format_errors
from hsrzoo.io.values import bands_from
from hsrzoo.spec import DatasetSpec

SPECTRA = ("measured", "all")
_SPLITS = ("train", "valid")
_FILES = ("spectra.sli", "spectra.sli.hdr", "spectra.csv")


class Earthlib(IndexedDataset):
    """Mosaics of one split's spectra in an order drawn once, each at least once: the last mosaic is filled
    up with the first of them again. Every 10th spectrum of the library is in ``valid``."""

    name = "earthlib"
    measured: BandSet
    contents = True

    def __init__(
        self, root: Path, bands: str = "visible", spectra: str = "measured", response: str = DEFAULT_CAMERA
    ) -> None:
        """``root``: not used, for the spectra come with a package; ``bands``: ``visible`` (400-700 nm, of
        which the library has all 31) or ``all`` 180; ``spectra``: ``measured``, or ``all`` with the
        simulated; ``response``: the camera that renders RGB."""
        require_known("choice of bands of earthlib", bands, BAND_CHOICES)
        require_known("choice of spectra of earthlib", spectra, SPECTRA)
        self.camera = Camera.named(response)
        self.folder = package_folder(SPEC, "earthlib", "data", _FILES, "--no-deps 'earthlib>=1.1,<1.2'")
        self._with_simulated = spectra == "all"
        library, self.measured = self.library()
        self._counts = {split: len(spectra) for split, spectra in library.items()}
        self.index = {
            split: [f"{split}-{number:02d}" for number in range(mosaics_of(count))]
            for split, count in self._counts.items()
        }
        self.bands = VISIBLE_31 if bands == "visible" else self.measured
        self.info = {"bands": bands, "spectra": spectra, **self.camera.record(), "mosaic": DESCRIPTION}

    def read(self, split: str, scene: str) -> Scene:
        """Reflectance times brightness, (31 or 180, 64, 64); RGB rendered from all bands, in 8 bits."""
        cube = mosaic(self.library()[0][split], self.index[split].index(scene), _SPLITS.index(split))
        return self.rendered(scene, cube)

    def files(self) -> list[Path]:
        """The package's files."""
        return [self.folder / name for name in _FILES]

    def notes(self) -> list[str]:
        """How many spectra there are."""
        counts = ", ".join(f"{split} {count}" for split, count in self._counts.items())
        return [
            f"spectra: {counts}; those that repeat another or are 0 in all visible bands left out",
            *super().notes(),
        ]

    def library(self) -> tuple[dict[str, np.ndarray], BandSet]:
        """Split -> the spectra (N, C) chosen, and the bands. A spectrum's split depends on its place in the
        whole library, so the simulated ones move none of the others."""
        spectra, bands = _read(self.folder / _FILES[0])
        table = self.folder / _FILES[2]
        with table.open(newline="", encoding="utf-8", errors="replace") as stream:
            origins = [row.get("LEVEL_4") for row in csv.DictReader(stream)]
        visible = bands.resample_matrix(VISIBLE_31)[0].any(axis=0)
        parts: dict[str, list[np.ndarray]] = {split: [] for split in _SPLITS}
        seen: set[bytes] = set()
        for place, (spectrum, origin) in enumerate(zip(spectra, origins, strict=False)):
            wanted = self._with_simulated or origin == "measured"
            if wanted and spectrum[visible].any() and spectrum.tobytes() not in seen:
                seen.add(spectrum.tobytes())
                parts["train" if place % EVERY else "valid"].append(spectrum)
        if len(origins) != len(spectra) or not all(parts.values()):
            raise FormatError(
                f"{table} does not match its spectra",
                expected=f"a row for each of {len(spectra)}, most with LEVEL_4 measured",
                got=f"{len(origins)} rows, {origins.count('measured')} of them measured",
                fix="Install earthlib 1.1 again",
            )
        return {split: np.stack(part) for split, part in parts.items()}, bands


def _read(file: Path) -> tuple[np.ndarray, BandSet]:
    """Spectra (N, C) float32 and their bands, of an ENVI spectral library."""
    from spectral.io import envi

    with format_errors(file, "an ENVI spectral library"):
        library = envi.open(f"{file}.hdr", str(file))
        spectra, centres = np.asarray(library.spectra, np.float32), library.bands.centers
    bands = bands_from(centres, None, spectra.shape[1])
    if bands is None or not bands.resample_matrix(VISIBLE_31)[1].all():
        raise FormatError(
            f"{file} is not the library of earthlib", expected=f"bands that cover {VISIBLE_31}", got=bands
        )
    return spectra, bands


SPEC = DatasetSpec(
    name="earthlib",
    open=Earthlib,
    title="earthlib, reflectance spectra of soils, plants and buildings as mosaics, 400-2450 nm",
    where="They come with the package earthlib 1.1 (MIT), which need not be run.",
    layout="earthlib/data/ with spectra.sli, spectra.sli.hdr and spectra.csv inside the package earthlib",
)
