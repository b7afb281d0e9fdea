"""EnMAP: tiles of the German imaging spectrometer's L2A product, 224 bands between 418 and 2446 nm.

The values are surface reflectance x 10000. Its two spectrometers overlap between 902 and 993 nm, so the
centres are not sorted. Fuchs and Demir, "HySpecNet-11k", IGARSS 2023, drop 22 bands of water vapour.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.camera import DEFAULT_CAMERA, Camera
from hsrzoo.datasets.base import HIGHEST, Scene
from hsrzoo.datasets.common import IndexedDataset, missing, nothing_in, require_stored_bands, unique_files
from hsrzoo.datasets.folder_files import parts_of
from hsrzoo.datasets.layout import child, name_in, unpacked
from hsrzoo.datasets.wavelengths import FILE_NAME, read_wavelengths
from hsrzoo.errors import BandsError, DatasetError, FormatError, require_known
from hsrzoo.io import tiff
from hsrzoo.io.values import Stated
from hsrzoo.spec import DatasetSpec
from hsrzoo.utils.tables import decode

CHOICES = ("202", "all", "visible")
"""``202``: without the bands of water vapour; ``all``: as stored; ``visible``: 400-700 nm at 10 nm as far
as the instrument covers them."""
WATER = (*range(126, 141), *range(160, 167))
"""Places of the bands 127-141 and 161-167 (1-based), which HySpecNet-11k drops."""
SCALE, NO_DATA = 1e-4, -32768
USUAL = Stated(no_data=(NO_DATA,), gain=np.array([SCALE], np.float32))
"""Of L2A tiles that do not state them."""
SCALING = "reflectance, clipped to [0, 1]"
_FOLDERS = ("enmap_potsdam", "enmap")
_SPLITS = ("train", "valid", "test")
_SUFFIX = "-SPECTRAL_IMAGE"
_POTSDAM = re.compile(r"enmap_potsdam_tile_(\d+)_(\d+)")
_BANDS_FILE = Path(__file__).parent.parent / "data" / "enmap-bands.csv"


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
    return stored.select(_select_bands(len(stored), choice))


def take(cube: np.ndarray, stored: BandSet, choice: str) -> np.ndarray:
    """The chosen bands of a cube (C, H, W) of reflectance, clipped to [0, 1]: contiguous float32.

    NaN, where there is no data, stays."""
    if choice == "visible":
        cube, _ = stored.resample(np.clip(cube, 0, 1), choose(stored, choice))
        return cube
    return np.clip(cube[_select_bands(len(stored), choice)], 0, 1, dtype=np.float32)


def _select_bands(count: int, choice: str) -> list[int]:
    if choice == "all" or count == 202:  # without water vapour already
        return list(range(count))
    if count != 224:
        raise BandsError(
            "The bands of water vapour are only known for whole EnMAP tiles",
            expected="224 bands",
            got=f"{count} bands",
            fix="Take them as they are with --data-option bands=all",
        )
    return [band for band in range(count) if band not in WATER]


class EnmapTiles(IndexedDataset):
    """Files of EnMAP's reflectance, of which some bands are taken; RGB is rendered from those."""

    camera: Camera

    def __init__(
        self, folder: Path, tiles: Mapping[str, Path], stored: BandSet, bands: str, response: str
    ) -> None:
        """``tiles``: name -> file below ``folder``, which hold the bands ``stored``; ``bands``: one of
        :data:`CHOICES`; ``response``: the camera that renders RGB from them."""
        require_known(f"choice of bands of {self.name}", bands, CHOICES)
        self.folder, self.tiles, self.stored, self.choice = folder, tiles, stored, bands
        self.camera = Camera.named(response)
        self.bands = choose(stored, bands)
        self.info = {**self.camera.record(), "bands": bands, "scaling": SCALING}

    def files(self) -> list[Path]:
        """The files of all scenes in splits."""
        return [
            part for names in self.index.values() for name in names for part in parts_of(self.tiles[name])
        ]

    def options(self) -> dict[str, Any]:
        """Splits, bands and response."""
        return {**self.info, "splits": self.index, "centres_nm": self.bands.centres_nm}

    def notes(self) -> list[str]:
        """How cubes and RGB are made."""
        return [*super().notes(), f"cube: {SCALING}, bands: {self.choice}"]


class Enmap(EnmapTiles):
    """GeoTIFF tiles in one folder or below it; files ``*-SPECTRAL_IMAGE.TIF`` alone where there are any.

    Splits are those that lists in ``splits/`` name; train and test for the Potsdam tiles; else test.
    """

    name = "enmap"

    def __init__(
        self,
        root: Path,
        path: str | Path | None = None,
        bands: str = "202",
        response: str = DEFAULT_CAMERA,
        wavelengths: str = "",
    ) -> None:
        """``path``: folder of the tiles, absolute or below the data root (``enmap_potsdam`` or ``enmap``
        if not given); ``bands``: one of :data:`CHOICES`; ``response``: the camera that renders RGB from
        them; ``wavelengths``: a CSV file, or ``nominal``, for tiles that do not state theirs."""
        if path is None:
            folders = [child(root, name) for name in _FOLDERS]
            path = next((one for one in folders if one.is_dir()), folders[-1])
        folder = root / Path(path).expanduser()
        tiles = _find_tiles(folder)
        super().__init__(folder, tiles, _wavelengths(folder, tiles, wavelengths), bands, response)
        self.index = self._find_splits()
        self.require_disjoint()

    def read(self, split: str, scene: str) -> Scene:
        """Reflectance of the chosen bands (C, H, W), NaN where there is no data; RGB in 8 bits."""
        file = self.tiles[scene]
        cube, bands = tiff.load(file, usual=USUAL)
        require_stored_bands(self.stored, file, cube.shape, bands)
        _require_reflectance(cube, file)
        return self.rendered(scene, take(cube.transpose(2, 0, 1), self.stored, self.choice))

    def options(self) -> dict[str, Any]:
        """Also the bands that others are resampled from, which the tiles themselves need not state."""
        return super().options() | ({"stored": self.stored.to_json()} if self.choice == "visible" else {})

    def notes(self) -> list[str]:
        """Also how many tiles are in no split."""
        unused = len(self.tiles) - len({name for names in self.index.values() for name in names})
        return super().notes() + ([f"{unused} tiles are in no split"] if unused else [])

    def _find_splits(self) -> dict[str, list[str]]:
        lists = {split: child(lists_below(self.folder), f"{split}.csv") for split in _SPLITS}
        listed = {split: self._listed(file) for split, file in lists.items() if file.is_file()}
        if listed:
            return listed
        places = {name: _POTSDAM.fullmatch(name) for name in self.tiles}
        if not all(places.values()):
            return {"test": sorted(self.tiles)}
        # The four tiles of x 96-159, y 0-63 touch none of the others.
        test = sorted(name for name, place in places.items() if place and int(place[2]) < 64)
        return {"train": sorted(self.tiles.keys() - set(test)), "test": test}

    def _listed(self, file: Path) -> list[str]:
        names = sorted({stem_of(entry, (_SUFFIX,)) for entry in read_list(file)})
        absent = [name for name in names if name not in self.tiles]
        self.require_listed(file, absent, len(names), "Copy the tiles, or shorten the list")
        return names


def _wavelengths(folder: Path, tiles: Mapping[str, Path], declared: str) -> BandSet:
    """As declared, or by ``wavelengths.csv``, or as the first tile states them."""
    if declared == "nominal":
        return native_bands()
    beside = folder / FILE_NAME
    if declared or beside.is_file():
        return read_wavelengths(folder / Path(declared).expanduser() if declared else beside)
    first = tiles[min(tiles)]
    bands = tiff.read_bands(first)
    if bands is None:
        raise BandsError(
            f"The wavelengths of {first} are not known",
            expected="wavelengths in its GDAL metadata, in nanometres or micrometres",
            fix=f"Write them into {beside} (columns wavelength_nm, fwhm_nm), or take the usual ones of "
            "EnMAP's 224 bands with --data-option wavelengths=nominal",
        )
    return bands


def lists_below(folder: Path) -> Path:
    """The folder ``splits``, with the lists of scenes, in ``folder`` or an archive's folder below it."""
    return child(unpacked(folder, lambda one: child(one, "splits").is_dir()), "splits")


def read_list(file: Path) -> list[str]:
    """All cells of a CSV file without a header that are not empty; DatasetError if it is no text."""
    text = decode(file.read_bytes())
    try:
        return [cell.strip() for row in csv.reader(io.StringIO(text)) for cell in row if cell.strip()]
    except csv.Error as error:
        raise DatasetError(f"{file} is not a list of scenes", got=str(error)) from None


def stem_of(entry: str, endings: Sequence[str]) -> str:
    """A path of any system without folders, suffix (.tif, .tiff, .npy) and one of the ``endings``."""
    name = re.sub(r"\.(tiff?|npy)$", "", name_in(entry), flags=re.IGNORECASE)
    ending = next((ending for ending in endings if name.endswith(ending)), "")
    return name.removesuffix(ending)


def _require_reflectance(values: np.ndarray, file: Path) -> None:
    """Raise FormatError where almost nothing, or most of it, is above what surfaces reflect.

    Most, and not the few of :func:`.require_scaled`: bands of water vapour may hold anything before they
    are left out."""
    known = int(np.count_nonzero(np.isfinite(values)))
    lit, bright = (int(np.count_nonzero(values > limit)) for limit in (2 * SCALE, HIGHEST))
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
    chosen = [f for f in files if f.stem.endswith(_SUFFIX)] or files
    if not chosen:
        raise missing(SPEC, folder, nothing_in(folder, "no tile"), path_option=True)
    return unique_files(folder, ((stem_of(file.name, (_SUFFIX,)), file) for file in chosen))


SPEC = DatasetSpec(
    name="enmap",
    open=Enmap,
    title="EnMAP L2A tiles, 418-2446 nm in 224 bands, surface reflectance",
    where="EnMAP's portal gives L2A products after registration: https://www.enmap.org/data_access/. The "
    "tiles of Potsdam come with the test data of the EnMAP-Box (repository under GPL-3, terms of the data "
    "not stated).",
    size="the 12 tiles of Potsdam 12 MB",
    layout="enmap/NAME.tif with 224 bands (reflectance x 10000, or any with SCALE), in folders or not; "
    "wavelengths in GDAL's metadata or enmap/wavelengths.csv; splits, if any, in enmap/splits/train.csv, "
    "valid.csv and test.csv with a name a line",
)
