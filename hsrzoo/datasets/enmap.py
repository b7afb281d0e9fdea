"""EnMAP: tiles of the German imaging spectrometer's L2A product, 224 bands between 418 and 2446 nm.

The values are surface reflectance x 10000. Its two spectrometers overlap between 902 and 993 nm, so the
centres are not sorted. Fuchs and Demir, "HySpecNet-11k", IGARSS 2023, drop 22 bands of water vapour.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.camera import DEFAULT_CAMERA, Camera
from hsrzoo.datasets.base import Dataset, Scene, VerifyReport
from hsrzoo.datasets.common import (
    fingerprint_of,
    require_disjoint,
    require_listed,
    require_scene,
    require_split,
    survey,
)
from hsrzoo.datasets.wavelengths import FILE_NAME, read_wavelengths
from hsrzoo.errors import BandsError, DatasetError, DatasetMissingError, FormatError, unknown_name
from hsrzoo.io import tiff
from hsrzoo.spec import DatasetSpec

CHOICES = ("202", "all", "visible")
"""``202``: without the bands of water vapour; ``all``: as stored; ``visible``: 400-700 nm at 10 nm as far
as the instrument covers them."""
WATER = (*range(126, 141), *range(160, 167))
"""Places of the bands 127-141 and 161-167 (1-based), which HySpecNet-11k drops."""
SCALE, NO_DATA = 1e-4, -32768
"""Of L2A tiles that do not say it themselves."""
SCALING = "reflectance, clipped to [0, 1]"
_FOLDERS = ("enmap_potsdam", "enmap")
_SPLITS = ("train", "valid", "test")
_SUFFIX = "-SPECTRAL_IMAGE"
_POTSDAM = re.compile(r"enmap_potsdam_tile_(\d+)_(\d+)")
_BANDS_FILE = Path(__file__).parent.parent / "data" / "enmap-bands.csv"
_LAYOUT = 1


@cache
def native_bands() -> BandSet:
    """The 224 bands with their widths, as one scene of 2022 states them."""
    centres, widths = np.loadtxt(_BANDS_FILE, delimiter=",", skiprows=2).T
    return BandSet.of(centres.tolist(), widths.tolist())


def choose(stored: BandSet, choice: str) -> BandSet:
    """The bands that ``choice``, one of :data:`CHOICES`, takes of files with the bands ``stored``."""
    if choice == "visible":
        _, covered = stored.resample_matrix(VISIBLE_31)
        if not covered.any():
            raise BandsError("These files hold no visible band", expected=VISIBLE_31, got=stored)
        return VISIBLE_31.select(np.flatnonzero(covered).tolist())
    return stored.select(_kept(len(stored), choice))


def take(cube: np.ndarray, stored: BandSet, choice: str) -> np.ndarray:
    """The chosen bands of a cube (C, H, W) of reflectance, clipped to [0, 1]: contiguous float32.

    NaN, where there is no data, stays."""
    if choice == "visible":
        cube, _ = stored.resample(np.clip(cube, 0, 1), choose(stored, choice))
        return cube
    return np.clip(cube[_kept(len(stored), choice)], 0, 1, dtype=np.float32)


def _kept(count: int, choice: str) -> list[int]:
    if choice not in CHOICES:
        raise unknown_name("choice of EnMAP bands", choice, CHOICES)
    if choice == "all" or count == 202:  # without water vapour already
        return list(range(count))
    if count != 224:
        raise BandsError(
            "Which bands are those of water vapour is known of whole EnMAP tiles only",
            expected="224 bands",
            got=f"{count} bands",
            fix="Take them as they are with --data-option bands=all",
        )
    return [band for band in range(count) if band not in WATER]


class Enmap(Dataset):
    """GeoTIFF tiles in one folder or below it; files ``*-SPECTRAL_IMAGE.TIF`` alone where there are any."""

    name = "enmap"
    rgb_bits = 8

    def __init__(
        self, folder: Path, *, bands: str = "202", response: str = DEFAULT_CAMERA, wavelengths: str = ""
    ) -> None:
        """``bands``: one of :data:`CHOICES`; ``response``: the camera that renders RGB from them;
        ``wavelengths``: a CSV file, or ``nominal``, for tiles that do not tell theirs."""
        if bands not in CHOICES:
            raise unknown_name("choice of bands of enmap", bands, CHOICES)
        self.folder, self.choice = folder, bands
        self.camera = Camera.named(response)
        self._files = _find_tiles(folder)
        self._stored = self._wavelengths(wavelengths)
        self.bands = choose(self._stored, bands)
        self.info = {"response": response, "bands": bands, "scaling": SCALING}
        self._names = self._find_splits()
        require_disjoint(self.name, self._names)

    def splits(self) -> tuple[str, ...]:
        """Those that lists in ``splits/`` name; train and test for the Potsdam tiles; else test."""
        return tuple(self._names)

    def scenes(self, split: str) -> list[str]:
        """File names without suffix, sorted."""
        require_split(self.name, split, self.splits())
        return self._names[split]

    def load(self, split: str, scene: str) -> Scene:
        """Reflectance of the chosen bands (C, H, W), NaN where there is no data; RGB in 8 bits."""
        require_scene(self.name, scene, self.scenes(split))
        file = self._files[scene]
        stored, told = tiff.read(file, scale=SCALE, no_data=NO_DATA)
        if stored.shape[2] != len(self._stored):
            raise BandsError(
                f"{file} does not have the bands of its set",
                expected=self._stored,
                got=f"{stored.shape[2]} bands",
            )
        if told is not None:
            self._stored.require_same(
                told, "this set", str(file), fix="Keep tiles of other bands in a folder of their own"
            )
        _require_reflectance(stored, file)
        cube = take(stored.transpose(2, 0, 1), self._stored, self.choice)
        return Scene(scene, self.camera.render(cube, self.bands, bits=self.rgb_bits), cube)

    def fingerprint(self) -> str:
        """Names and sizes of the tiles, their splits, bands and response; where bands are resampled, those
        that they come from, which the tiles themselves need not tell."""
        files = [self._files[name] for names in self._names.values() for name in names]
        options = {**self.info, "splits": self._names, "centres_nm": self.bands.centres_nm}
        if self.choice == "visible":
            options["stored"] = self._stored.to_json()
        return fingerprint_of(self.folder, files, layout=_LAYOUT, options=options)

    def verify(self) -> VerifyReport:
        """Read everything; tiles in no split are noted."""
        notes = [
            f"RGB rendered by {self.camera.name}, linear, 8 bits",
            f"cube: {SCALING}, bands: {self.choice}",
        ]
        unused = len(self._files) - len({name for names in self._names.values() for name in names})
        if unused:
            notes.append(f"{unused} tiles are in no split")
        return survey(self, notes=notes)

    def _wavelengths(self, declared: str) -> BandSet:
        """As declared, or by ``wavelengths.csv``, or as the first tile tells."""
        if declared == "nominal":
            return native_bands()
        beside = self.folder / FILE_NAME
        if declared or beside.is_file():
            return read_wavelengths(self.folder / Path(declared).expanduser() if declared else beside)
        first = self._files[min(self._files)]
        told = tiff.read_bands(first)
        if told is None:
            raise BandsError(
                f"The wavelengths of {first} are not known",
                expected="wavelengths in its GDAL metadata, in nanometres or micrometres",
                fix=f"Write them into {beside} (columns wavelength_nm, fwhm_nm), or take the usual ones of "
                "EnMAP's 224 bands with --data-option wavelengths=nominal",
            )
        return told

    def _find_splits(self) -> dict[str, list[str]]:
        lists = {split: self.folder / "splits" / f"{split}.csv" for split in _SPLITS}
        lists = {split: file for split, file in lists.items() if file.is_file()}
        if lists:
            return {split: self._listed(file) for split, file in lists.items()}
        places = {name: _POTSDAM.fullmatch(name) for name in self._files}
        if not all(places.values()):
            return {"test": sorted(self._files)}
        # The four tiles of x 96-159, y 0-63 touch none of the others.
        test = sorted(name for name, place in places.items() if place and int(place[2]) < 64)
        return {"train": sorted(self._files.keys() - set(test)), "test": test}

    def _listed(self, file: Path) -> list[str]:
        names = sorted({stem_of(entry, (_SUFFIX,)) for entry in read_list(file)})
        absent = [name for name in names if name not in self._files]
        require_listed(self.name, file, absent, len(names), "Copy the tiles, or shorten the list")
        return names


def read_list(file: Path) -> list[str]:
    """All cells of a CSV file without a header that are not empty; DatasetError if it is no text."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            return [cell.strip() for row in csv.reader(stream) for cell in row if cell.strip()]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{file} is not a list of scenes", got=str(error)) from None


def stem_of(entry: str, endings: Sequence[str]) -> str:
    """A path of any system without folders, suffix (.tif, .tiff, .npy) and one of the ``endings``."""
    name = PurePosixPath(entry.replace("\\", "/")).name
    name = re.sub(r"\.(tiff?|npy)$", "", name, flags=re.IGNORECASE)
    ending = next((ending for ending in endings if name.endswith(ending)), "")
    return name.removesuffix(ending)


def _require_reflectance(values: np.ndarray, file: Path) -> None:
    """Raise FormatError where almost nothing, or most of it, is above what surfaces reflect."""
    known = int(np.count_nonzero(np.isfinite(values)))
    lit, bright = (int(np.count_nonzero(values > limit)) for limit in (2 * SCALE, 2))
    if known and (not lit or bright > known / 2):
        raise FormatError(
            f"{file} does not hold reflectance",
            expected="values x 10000, or any with GDAL's SCALE (and OFFSET) that gives values in [0, 1]",
            got=f"values from {np.nanmin(values):g} to {np.nanmax(values):g} after scaling",
            fix="Write the right SCALE into the file: gdal_edit.py -scale 0.0001 FILE",
        )


def _find_tiles(folder: Path) -> dict[str, Path]:
    """Name -> file."""
    files = [f for f in folder.rglob("*") if f.suffix.lower() in (".tif", ".tiff")]
    files = sorted(f for f in files if not f.name.startswith("."))
    found: dict[str, Path] = {}
    for file in [f for f in files if f.stem.endswith(_SUFFIX)] or files:
        name = stem_of(file.name, (_SUFFIX,))
        if name in found:
            raise DatasetError(
                f"Two tiles in {folder} share a name", expected="one each", got=f"{found[name]}, {file}"
            )
        found[name] = file
    if not found:
        raise DatasetMissingError(
            f"The data set enmap is not here: {SPEC.title}",
            expected=f"GeoTIFF tiles of 224 bands in {folder}",
            got="none" if folder.is_dir() else f"no folder {folder}",
            fix=f"{SPEC.where} Put them there, or name another folder with --data-option path=FOLDER",
        )
    return found


def open_enmap(
    root: Path,
    path: str | Path | None = None,
    bands: str = "202",
    response: str = DEFAULT_CAMERA,
    wavelengths: str = "",
) -> Enmap:
    """Open tiles; ``path``: their folder, absolute or below the data root (``enmap_potsdam`` or ``enmap``
    if not given); the other options are those of :class:`Enmap`."""
    if path is None:
        path = next((name for name in _FOLDERS if (root / name).is_dir()), _FOLDERS[-1])
    return Enmap(root / Path(path).expanduser(), bands=bands, response=response, wavelengths=wavelengths)


SPEC = DatasetSpec(
    name="enmap",
    open=open_enmap,
    title="EnMAP L2A tiles, 418-2446 nm in 224 bands, surface reflectance",
    where="EnMAP's portal gives L2A products after registration: https://www.enmap.org/data_access/. The "
    "tiles of Potsdam come with the test data of the EnMAP-Box (repository under GPL-3, terms of the data "
    "not stated).",
    layout="enmap/NAME.tif with 224 bands (reflectance x 10000, or any with SCALE), in folders or not; "
    "wavelengths in GDAL's metadata or enmap/wavelengths.csv; splits, if any, in enmap/splits/train.csv, "
    "valid.csv and test.csv with a name a line",
)
