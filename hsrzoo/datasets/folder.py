"""Anyone's pairs: photographs in ``rgb/``, cubes in ``cube/``, matched by file name without suffix."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.camera import Camera
from hsrzoo.datasets.base import Dataset, Scene, VerifyReport
from hsrzoo.datasets.common import fingerprint_of, require_scene, require_split, survey
from hsrzoo.errors import BandsError, DatasetError, DatasetMissingError, InputError
from hsrzoo.io import CUBE_SUFFIXES, images, load_cube
from hsrzoo.io.common import bands_from
from hsrzoo.spec import DatasetSpec

_SPLITS = ("train", "valid", "test")
_ONLY_SPLIT = "valid"
"""Name of the split when the folder has no split folders: pairs to score a model on."""
_COMPANIONS = (".img", ".dat", ".bsq", ".bil", ".bip")
"""ENVI binaries, which stand for themselves only if no .hdr of that name does."""
_UNSCALED = 2.0
"""Values above this are surely not reflectance or radiance scaled to [0, 1]."""
_LAYOUT = 1


class Folder(Dataset):
    """Pairs in ``PATH/rgb`` and ``PATH/cube``, or in ``PATH/SPLIT/rgb`` and ``PATH/SPLIT/cube``."""

    name = "folder"
    rgb_bits: int

    def __init__(
        self,
        folder: Path,
        *,
        bands: BandSet | None = None,
        key: str | None = None,
        axes: str | None = None,
        scale: float = 1.0,
        response: str | None = None,
    ) -> None:
        """``bands`` declares the wavelengths of files that do not tell them; ``key`` and ``axes`` say
        where the cube lies in .mat, .h5 and .npz files; its values are divided by ``scale``;
        ``response`` renders RGB from the cubes instead of reading ``rgb/``."""
        if not (np.isfinite(scale) and scale > 0):
            raise InputError("The scale divides the cubes", expected="a number above 0", got=scale)
        self.folder = folder
        self.camera = Camera.named(response) if response else None
        self._reading = {"key": key, "axes": axes}
        self._scale = scale
        self._pairs = self._find_pairs()
        self.bands = self._declared(bands) or self._first_bands()
        self.rgb_bits = self._first_bits()
        self.info = {"scale": scale, "response": response, **self._reading}

    def splits(self) -> tuple[str, ...]:
        """Those of train, valid and test that exist; ``("valid",)`` without split folders."""
        return tuple(self._pairs)

    def scenes(self, split: str) -> list[str]:
        """File names without suffix, sorted."""
        require_split(self.name, split, self.splits())
        return sorted(self._pairs[split])

    def load(self, split: str, scene: str) -> Scene:
        """The photograph over 255 or 65535 (or rendered), the cube divided by ``scale``."""
        require_scene(self.name, scene, self.scenes(split))
        image, file = self._pairs[split][scene]
        cube = self._cube(file)
        if self.camera:
            rgb = self.camera.render(cube, self.bands, bits=self.rgb_bits)
        else:
            rgb = self._photograph(image, file)
        if rgb.shape[1:] != cube.shape[1:]:
            raise DatasetError(
                f"Image and cube of {scene} differ in size",
                expected=f"{cube.shape[1:]} pixels as in {file}",
                got=f"{rgb.shape[1:]} in {image}",
                fix="If the axes are stored in another order, give --data-option axes=... (e.g. cwh)",
            )
        return Scene(scene, rgb, cube)

    def fingerprint(self) -> str:
        """Names and contents of all files, bands and options."""
        files = [f for pairs in self._pairs.values() for pair in pairs.values() for f in pair if f]
        binaries = [f.with_suffix(s) for f in files if f.suffix == ".hdr" for s in _COMPANIONS]
        files += [f for f in binaries if f.is_file()]
        options = {**self.info, "bands": self.bands.to_json()}
        return fingerprint_of(self.folder, files, layout=_LAYOUT, options=options, contents=True)

    def verify(self) -> VerifyReport:
        """Read everything; cubes and images without a partner are problems."""
        problems = [p for split in self.splits() for p in self._without_partner(split)]
        return survey(self, problems=problems)

    def _base(self, split: str) -> Path:
        return self.folder / split if (self.folder / split).is_dir() else self.folder

    def _find_pairs(self) -> dict[str, dict[str, tuple[Path | None, Path]]]:
        """Split -> stem -> (image or None, cube); an image is needed unless RGB is rendered."""
        splits = [s for s in _SPLITS if (self.folder / s / "cube").is_dir()]
        if not splits and (self.folder / "cube").is_dir():
            splits = [_ONLY_SPLIT]
        if not splits:
            raise DatasetMissingError(
                "There are no pairs of image and cube here",
                expected=f"{self.folder / 'rgb'} and {self.folder / 'cube'} with files of the same names",
                got="neither" if self.folder.is_dir() else f"no folder {self.folder}",
                fix=f"{SPEC.where} Put them there, or name another folder with --data-option path=FOLDER",
            )
        found: dict[str, dict[str, tuple[Path | None, Path]]] = {}
        for split in splits:
            cubes = _by_stem(self._base(split) / "cube", CUBE_SUFFIXES)
            photographs = _by_stem(self._base(split) / "rgb", images.SUFFIXES)
            found[split] = {
                stem: (photographs.get(stem), cube)
                for stem, cube in cubes.items()
                if self.camera or stem in photographs
            }
        if not any(found.values()):
            raise DatasetError(
                f"No image in {self.folder} has the name of a cube",
                expected="rgb/NAME.png beside cube/NAME.mat and so on",
                fix="Rename the files, or render RGB from cubes with --data-option response=nikon-d5100",
            )
        return found

    def _without_partner(self, split: str) -> list[str]:
        if self.camera:
            return []
        cubes = _by_stem(self._base(split) / "cube", CUBE_SUFFIXES)
        photographs = _by_stem(self._base(split) / "rgb", images.SUFFIXES)
        return [
            f"{(cubes.get(stem) or photographs[stem])} has no partner"
            for stem in sorted(cubes.keys() ^ photographs.keys())
        ]

    def _declared(self, bands: BandSet | None) -> BandSet | None:
        file = self.folder / "wavelengths.csv"
        return bands or (read_wavelengths(file) if file.is_file() else None)

    def _first_file(self) -> tuple[Path | None, Path]:
        return next(pairs[min(pairs)] for pairs in self._pairs.values() if pairs)

    def _first_bands(self) -> BandSet:
        _, file = self._first_file()
        _, bands = load_cube(file, **self._reading)
        if bands is None:
            raise BandsError(
                f"The wavelengths of {file} are not known",
                expected="wavelengths inside the file",
                fix=f"Write them into {self.folder / 'wavelengths.csv'} (a column wavelength_nm), or give "
                "--data-option bands=400:700:10",
            )
        return bands

    def _first_bits(self) -> int:
        image, _ = self._first_file()
        if self.camera or image is None:
            return 8
        return 8 * images.read_image(image).dtype.itemsize

    def _cube(self, file: Path) -> np.ndarray:
        array, bands = load_cube(file, **self._reading)
        if array.shape[2] != len(self.bands):
            raise BandsError(
                f"{file} does not have the bands of its set",
                expected=self.bands,
                got=f"shape {array.shape} (H, W, C)",
                fix="If the axes are stored in another order, give --data-option axes=... (e.g. cwh)",
            )
        if bands is not None:
            self.bands.require_same(
                bands, "this set", str(file), fix="Keep cubes of other bands in a folder of their own"
            )
        cube = np.ascontiguousarray(array.transpose(2, 0, 1)) / np.float32(self._scale)
        if not np.all(np.isfinite(cube)):
            bad = np.flatnonzero(~np.isfinite(cube).all(axis=(1, 2)))
            raise DatasetError(
                f"{file} holds NaN, infinite or no-data values",
                expected="finite values",
                got=f"such values in {len(bad)} bands, first at {self.bands.centres_nm[bad[0]]:g} nm",
                fix="Leave those bands or pixels out of the files",
            )
        if cube.max() > _UNSCALED:
            raise DatasetError(
                f"{file} is not scaled to [0, 1]",
                expected="reflectance or scaled radiance",
                got=f"values up to {cube.max():g}",
                fix="Give the full scale, e.g. --data-option scale=10000",
            )
        return cube

    def _photograph(self, image: Path | None, cube: Path) -> np.ndarray:
        if image is None:
            raise DatasetError(f"{cube} has no image of the same name", expected="a file in rgb/")
        pixels = images.read_image(image)
        levels = np.iinfo(pixels.dtype).max
        if levels != 2**self.rgb_bits - 1:
            raise DatasetError(
                f"{image} differs in depth from the first image",
                expected=f"{self.rgb_bits} bits",
                got=pixels.dtype,
            )
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)).astype(np.float32) / np.float32(levels)


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Stem -> file; two files of one stem are an error, ENVI's pairs of files count once."""
    found: dict[str, Path] = {}
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    files = [f for f in files if f.suffix.lower() in suffixes and not f.name.startswith(".")]
    headers = {f.stem for f in files if f.suffix == ".hdr"}
    for file in files:
        if file.suffix.lower() in _COMPANIONS and file.stem in headers:
            continue
        stem = file.stem
        if stem in found:
            raise DatasetError(
                f"Two files in {folder} share a name",
                expected="one each",
                got=f"{found[stem].name}, {file.name}",
            )
        found[stem] = file
    return found


def read_wavelengths(file: Path) -> BandSet:
    """Bands from a CSV file: columns ``wavelength_nm`` and, if known, ``fwhm_nm``; or numbers alone."""
    with file.open(newline="", encoding="utf-8-sig") as stream:
        rows = [row for row in csv.reader(stream) if row and not row[0].lstrip().startswith("#")]
    try:
        names = [cell.strip().lower() for cell in rows[0]] if rows else []
        if names and any(name.startswith("wavelength") for name in names):
            rows = rows[1:]
            column = next(i for i, name in enumerate(names) if name.startswith("wavelength"))
            width = next((i for i, name in enumerate(names) if name.startswith(("fwhm", "width"))), None)
        else:
            column, width = 0, (1 if names and len(names) > 1 else None)
        centres = [float(row[column]) for row in rows]
        widths = None if width is None else [float(row[width]) for row in rows]
        bands = bands_from(centres, widths, len(centres)) if centres else None
    except (ValueError, IndexError) as error:
        raise BandsError(f"{file} is not a list of wavelengths", got=str(error)) from error
    if bands is None:
        raise BandsError(
            f"{file} is not a list of wavelengths", expected="nanometres or micrometres", got=rows[:2]
        )
    return bands


def parse_bands(text: str) -> BandSet:
    """``visible`` (400-700 nm at 10 nm), ``START:STOP:STEP`` or ``400,410,...`` in nm."""
    try:
        if text == "visible":
            return VISIBLE_31
        if ":" in text:
            start, stop, step = (float(part) for part in text.split(":"))
            return BandSet.regular(start, stop, step)
        return BandSet.of([float(part) for part in text.split(",")])
    except (ValueError, ZeroDivisionError) as error:
        raise BandsError(
            "Cannot read the bands",
            expected="visible, START:STOP:STEP or numbers with commas",
            got=repr(text),
        ) from error


def open_folder(
    root: Path,
    path: str | Path | None = None,
    bands: str | BandSet | None = None,
    key: str | None = None,
    axes: str | None = None,
    scale: str | float = 1.0,
    response: str | None = None,
) -> Folder:
    """Open pairs; ``path``: their folder, absolute or below the data root (``folder`` if not given)."""
    try:
        factor = float(scale)
    except ValueError as error:
        raise InputError("The scale divides the cubes", expected="a number above 0", got=scale) from error
    settings: dict[str, Any] = {"key": key, "axes": axes, "scale": factor, "response": response}
    declared = parse_bands(bands) if isinstance(bands, str) else bands
    return Folder(root / Path(path or "folder").expanduser(), bands=declared, **settings)


SPEC = DatasetSpec(
    name="folder",
    open=open_folder,
    title="your own pairs of RGB image and cube",
    where="These are files of your own.",
    layout="folder/rgb/NAME.png and folder/cube/NAME.mat (or .h5, .npz, .tif, .hdr), optionally below "
    "train, valid and test; folder/wavelengths.csv if the cubes do not tell their wavelengths",
)
