"""Spectra measured one by one, as mosaics: the library inside the package earthlib, 400-2450 nm at 10 nm.

Its 7,261 reflectance spectra (version 1.1, MIT) are 5,261 measured ones, four fifths of them soils and the
rest mostly roofs, roads and paints, and 2,000 of green canopies, simulated by PROSAIL. It leaves out two
stretches of water vapour; 180 bands remain. Soils of one site follow each other and resemble each other, so
``valid`` tells how well unseen spectra of known places are met, not those of new ones.
"""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import numpy as np

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.camera import DEFAULT_CAMERA, Camera
from hsrzoo.datasets.base import Dataset, Scene, VerifyReport
from hsrzoo.datasets.common import fingerprint_of, require_scene, require_split, survey
from hsrzoo.errors import DatasetMissingError, FormatError, unknown_name
from hsrzoo.io.common import bands_from, damaged
from hsrzoo.spec import DatasetSpec

SIDE, BLOCK = 64, 4
"""Pixels of a mosaic's side, and of a block's, which holds one spectrum."""
BRIGHTNESS = (0.3, 1.0)
"""Every block's spectrum is multiplied by a number drawn evenly from this range."""
BANDS, SPECTRA = ("visible", "all"), ("measured", "all")
_SEED, _EVERY = 0, 10
_PER_SCENE = (SIDE // BLOCK) ** 2
_SPLITS = ("train", "valid")
_FILES = ("spectra.sli", "spectra.sli.hdr", "spectra.csv")
_LAYOUT = 1


class Earthlib(Dataset):
    """Mosaics of one split's spectra in an order drawn once, each at least once: the last mosaic is filled
    up with the first of them again. Every 10th spectrum of the library is in ``valid``."""

    name = "earthlib"
    rgb_bits = 8

    def __init__(
        self, bands: str = "visible", spectra: str = "measured", response: str = DEFAULT_CAMERA
    ) -> None:
        """``bands``: ``visible`` (400-700 nm, of which the library has all 31) or ``all`` 180; ``spectra``:
        ``measured``, or ``all`` with the simulated; ``response``: the camera that renders RGB."""
        if bands not in BANDS:
            raise unknown_name("choice of bands of earthlib", bands, BANDS)
        if spectra not in SPECTRA:
            raise unknown_name("choice of spectra of earthlib", spectra, SPECTRA)
        self.camera = Camera.named(response)
        self.folder = _find_folder()
        self._with_simulated = spectra == "all"
        library, self.measured = self._library()
        self._counts = {split: len(spectra) for split, spectra in library.items()}
        self.bands = VISIBLE_31 if bands == "visible" else self.measured
        mosaic = f"{SIDE} x {SIDE} pixels, blocks of {BLOCK}, brightness {BRIGHTNESS}, seed {_SEED}"
        self.info = {"bands": bands, "spectra": spectra, "response": response, "mosaic": mosaic}

    def splits(self) -> tuple[str, ...]:
        """``("train", "valid")``."""
        return _SPLITS

    def scenes(self, split: str) -> list[str]:
        """``train-00`` and so on."""
        require_split(self.name, split, _SPLITS)
        return [f"{split}-{number:02d}" for number in range(-(-self._counts[split] // _PER_SCENE))]

    def load(self, split: str, scene: str) -> Scene:
        """Reflectance times brightness, (31 or 180, 64, 64); RGB rendered from all bands, in 8 bits."""
        names = self.scenes(split)
        require_scene(self.name, scene, names)
        spectra = self._library()[0][split]
        generator = np.random.default_rng((_SEED, _SPLITS.index(split)))
        order = np.resize(generator.permutation(len(spectra)), (len(names), _PER_SCENE))
        brightness = generator.uniform(*BRIGHTNESS, order.shape)
        number = names.index(scene)
        blocks = spectra[order[number]] * brightness[number, :, None]
        grid = blocks.T.reshape(-1, SIDE // BLOCK, SIDE // BLOCK)
        cube = grid.repeat(BLOCK, axis=1).repeat(BLOCK, axis=2).astype(np.float32)
        rgb = self.camera.render(cube, self.measured, bits=self.rgb_bits)
        if self.bands is VISIBLE_31:
            cube, _ = self.measured.resample(cube, VISIBLE_31)
        return Scene(scene, rgb, cube)

    def fingerprint(self) -> str:
        """Names and contents of the package's files, and the options."""
        files = [self.folder / name for name in _FILES]
        return fingerprint_of(self.folder, files, layout=_LAYOUT, options=self.info, contents=True)

    def verify(self) -> VerifyReport:
        """Read everything; says how many spectra there are."""
        counts = ", ".join(f"{split} {count}" for split, count in self._counts.items())
        notes = [
            f"spectra: {counts}; those that repeat another or are 0 in all visible bands left out",
            f"RGB rendered by {self.camera.name} from {self.measured}, linear, 8 bits",
        ]
        return survey(self, notes=notes)

    def _library(self) -> tuple[dict[str, np.ndarray], BandSet]:
        """Split -> the spectra (N, C) chosen, and the bands. A spectrum's split goes by its place in the
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
                parts["train" if place % _EVERY else "valid"].append(spectrum)
        if len(origins) != len(spectra) or not all(parts.values()):
            raise FormatError(
                f"{table} does not fit the spectra beside it",
                expected=f"a row for each of {len(spectra)}, most with LEVEL_4 measured",
                got=f"{len(origins)} rows, {origins.count('measured')} of them measured",
                fix="Install earthlib 1.1 again",
            )
        return {split: np.stack(part) for split, part in parts.items()}, bands


def _read(file: Path) -> tuple[np.ndarray, BandSet]:
    """Spectra (N, C) float32 and their bands, of an ENVI spectral library."""
    from spectral.io import envi

    try:
        library = envi.open(f"{file}.hdr", str(file))
        spectra, centres = np.asarray(library.spectra, np.float32), library.bands.centers
    except Exception as error:  # SPy raises bare Exception and its own SpyException
        raise damaged(file, "an ENVI spectral library", error) from error
    bands = bands_from(centres, None, spectra.shape[1])
    if bands is None or not bands.resample_matrix(VISIBLE_31)[1].all():
        raise FormatError(
            f"{file} is not the library of earthlib", expected=f"bands that cover {VISIBLE_31}", got=bands
        )
    return spectra, bands


def _find_folder() -> Path:
    """The data inside the installed package earthlib, found without importing it."""
    found = importlib.util.find_spec("earthlib")
    folder = Path(found.origin).parent / "data" if found and found.origin else None
    absent = _FILES if folder is None else [name for name in _FILES if not (folder / name).is_file()]
    if folder is None or absent:
        raise DatasetMissingError(
            f"The data set earthlib is not here: {SPEC.title}",
            expected=SPEC.layout,
            got="no package earthlib" if folder is None else f"no {', '.join(absent)} in {folder}",
            fix=f"{SPEC.where} pip install --no-deps 'earthlib>=1.1,<1.2'",
        )
    return folder


def open_earthlib(
    root: Path, bands: str = "visible", spectra: str = "measured", response: str = DEFAULT_CAMERA
) -> Earthlib:
    """Open the mosaics; the spectra come with a package, so the data root plays no part."""
    return Earthlib(bands, spectra, response)


SPEC = DatasetSpec(
    name="earthlib",
    open=open_earthlib,
    title="earthlib, reflectance spectra of soils, plants and buildings as mosaics, 400-2450 nm",
    where="They come with the package earthlib 1.1 (MIT), which need not be run.",
    layout="earthlib/data/ with spectra.sli, spectra.sli.hdr and spectra.csv inside the package earthlib",
)
