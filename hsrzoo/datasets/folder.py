"""Cubes of the user's own, with photographs of the same names or with RGB rendered from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.camera import Camera
from hsrzoo.datasets.base import Scene, require_scaled
from hsrzoo.datasets.common import IndexedDataset, missing, nothing_in, require_stored_bands
from hsrzoo.datasets.folder_files import Layout, parts_of
from hsrzoo.datasets.photographs import Photographs
from hsrzoo.datasets.wavelengths import FILE_NAME, parse_bands, read_wavelengths
from hsrzoo.errors import (
    BandsError,
    DatasetError,
    DatasetMissingError,
    InputError,
    note,
    notes_to,
    require_known,
)
from hsrzoo.io import load_cube
from hsrzoo.io.common import CubeAndBands, by_wavelength
from hsrzoo.io.photo import Encoding
from hsrzoo.spec import DatasetSpec

_ZERO_BANDS = ("keep", "nodata")
_FILLS, _HIGHEST = (-9999, -32768), 1e10
"""Stored numbers that are no measurements wherever they occur, and what none exceeds, scaled or not: NetCDF
fills with 1e37."""


class Folder(IndexedDataset):
    """Cubes in a folder; see :class:`hsrzoo.datasets.folder_files.Layout`."""

    layout = 3

    def __init__(
        self,
        folder: Path,
        spec: DatasetSpec | None = None,
        *,
        bands: str | BandSet | None = None,
        key: str | None = None,
        axes: str | None = None,
        scale: str | float | None = None,
        nodata: str | float | None = None,
        response: str | None = None,
        zero_bands: str = "keep",
        encoding: Encoding = "auto",
        bit_depth: str | int | None = None,
        suffix: str | None = None,
    ) -> None:
        """Open the cubes in ``folder``, or the one cube that it is.

        Args:
            folder: See :class:`hsrzoo.datasets.folder_files.Layout`.
            spec: The data set that this is; ``folder`` if not given.
            bands: The wavelengths of files that do not state them, as a text one that
                :func:`hsrzoo.datasets.wavelengths.parse_bands` reads.
            key: The variable of .mat, .h5 and .npz files that holds the cube.
            axes: The order of its axes, e.g. "cwh"; "hwc" if not given.
            scale: Divides the stored numbers, where the files do not state their scale.
            nodata: A stored number that stands for no data, besides those that the files state.
            response: The camera that renders RGB from the cubes; None reads photographs in ``rgb/``.
            zero_bands: "nodata" if bands that are 0 in a whole cube have no data, else "keep".
            encoding: Of the photographs; see :func:`hsrzoo.io.photo.to_linear`.
            bit_depth: Bits of their values, where they are fewer than those of the files.
            suffix: Of the cubes, where other files have their names.
        """
        require_known("treatment of zero bands", zero_bands, _ZERO_BANDS)
        declared = parse_bands(bands) if isinstance(bands, str) else bands
        self.spec = spec or SPEC
        self.name = self.spec.name
        # The sizes have to do for the tens of GB of a published set.
        self.contents = self.spec is SPEC
        self.camera = Camera.named(response) if response else None
        where = Layout(rendered=self.camera is not None, suffix=suffix, several=self.spec is not SPEC)
        self._path, base = folder, where.base(folder)
        self.folder = base if base.is_dir() and base.suffix != ".zarr" else base.parent
        self._reading = {"key": key, "axes": axes}
        self._scale = None if scale is None else _factor(scale)
        self._no_data = None if nodata is None else _number(nodata)
        self._zero_bands = zero_bands
        self._splits = where.splits(base)
        self.index = {
            split: sorted(files.cubes if self.camera else files.cubes.keys() & files.images.keys())
            for split, files in self._splits.items()
        }
        self._require_scenes()
        self.require_disjoint()
        split, first = next((split, names[0]) for split, names in self.index.items() if names)
        files = self._splits[split]
        declared = declared or self._listed_bands()
        self._order = declared.sorting() if declared else None
        if declared and self._order:
            note("The bands are not declared by wavelength: cubes that state none are sorted")
            declared = declared.select(self._order)
        self.bands = declared or self._bands_of(files.cubes[first])
        self.rgb_bits = 8
        self.info = {
            "scale": self._scale or 1.0,
            **(self.camera.record() if self.camera else {"response": None}),
            "zero_bands": zero_bands,
        }
        self.info |= self._reading
        if self._no_data is not None:
            self.info["nodata"] = self._no_data
        if self.camera is None:
            self._read_photographs(encoding, bit_depth)
        elif encoding != "auto" or bit_depth is not None:
            problem = "RGB is rendered from the cubes, so no photograph is decoded"
            raise InputError(problem, fix="Leave out either response, or encoding and bit_depth")

    def read(self, split: str, scene: str) -> Scene:
        """The photograph in linear values (or rendered), the cube's values."""
        files = self._splits[split]
        cube = self._cube(files.cubes[scene])
        if self.camera:
            return self.rendered(scene, cube)
        image = files.images[scene]
        return self.paired(scene, image, self._photographs.read(image), files.cubes[scene], cube)

    def files(self) -> list[Path]:
        """All files of cubes and photographs."""
        listed = [(self._splits[split], name) for split, names in self.index.items() for name in names]
        cubes = [part for files, name in listed for part in parts_of(files.cubes[name])]
        return cubes + [files.images[name] for files, name in listed if files.images]

    def options(self) -> dict[str, Any]:
        """Bands and options."""
        return {**self.info, "bands": self.bands.to_json()}

    def problems(self) -> list[str]:
        """Cubes and images without a partner."""
        return [
            f"{files.cubes.get(stem) or files.images[stem]} has no partner"
            for files in self._splits.values()
            for stem in sorted(files.cubes.keys() ^ files.images.keys())
            if not self.camera
        ]

    def _read_photographs(self, encoding: Encoding, bit_depth: str | int | None) -> None:
        """Decide how they are read. Only what changes their values is part of the protocol."""
        listed = [self._splits[split].images[name] for split, names in self.index.items() for name in names]
        self._photographs = photos = Photographs(listed, encoding, bit_depth)
        self.encoding, self.rgb_bits = photos.encoding, photos.bits
        if photos.encoding != "linear":
            self.info["encoding"] = photos.encoding
        if photos.bit_depth is not None:
            self.info["bit_depth"] = photos.bit_depth

    def _require_scenes(self) -> None:
        """DatasetMissingError if there is nothing here, DatasetError if there are no pairs."""
        if any(self.index.values()):
            return
        if self._splits:
            raise DatasetError(
                f"No image in {self._path} has the name of a cube",
                expected="rgb/NAME.png beside cube/NAME.mat and so on",
                fix="Rename the files, or render RGB from cubes with --data-option response=nikon-d5100",
            )
        if self.spec is not SPEC:
            raise missing(self.spec, self._path, nothing_in(self._path, f"no cube in {self._path}"))
        cubes = Layout(rendered=True)
        if cubes.splits(cubes.base(self._path)):
            raise DatasetMissingError(
                f"{self._path} holds cubes without photographs",
                expected="folders rgb and cube with files of the same names",
                fix="Render RGB from the cubes with --data-option response=nikon-d5100",
            )
        raise DatasetMissingError(
            "There are no pairs of image and cube here",
            expected=f"{self._path / 'rgb'} and {self._path / 'cube'} with files of the same names",
            got="neither" if self._path.exists() else f"no folder {self._path}",
            fix=f"{SPEC.where} Put them there, or name another folder with --data-option path=FOLDER",
        )

    def _listed_bands(self) -> BandSet | None:
        # In the second place where an archive was unpacked below it.
        for listed in (self.folder / FILE_NAME, self._path / FILE_NAME):
            if listed.is_file():
                return read_wavelengths(listed)
        return None

    def _bands_of(self, cube: Path) -> BandSet:
        """The bands that ``cube`` states, one of the set."""
        notes: list[str] = []
        with notes_to(notes.append):  # they are issued when the cube is read for its values
            _, bands = self._read(cube)
        if bands is None:
            raise BandsError(
                f"The wavelengths of {cube} are not known",
                expected="wavelengths inside the file",
                got="; ".join(text for text in notes if "not used" in text) or None,
                fix=f"Write them into {self.folder / FILE_NAME} (a column wavelength_nm), or give "
                "--data-option bands=400:700:10 or bands=FILE.csv",
            )
        return bands

    def _read(self, file: Path) -> CubeAndBands:
        """Values, (H, W, C) float32 with NaN where there is no data, and the file's bands."""
        return by_wavelength(*load_cube(file, **self._reading, scale=self._scale, nodata=self._no_data))

    def _cube(self, file: Path) -> np.ndarray:
        """(C, H, W) float32."""
        array, bands = self._read(file)
        hint = _axes_hint(array.shape, self._reading["axes"], len(self.bands))
        require_stored_bands(self.bands, file, array.shape, bands, hint)
        if bands is None and self._order:
            array = array[..., self._order]
        cube = np.ascontiguousarray(array.transpose(2, 0, 1))
        if self._zero_bands == "nodata":
            cube[~cube.any(axis=(1, 2))] = np.nan
        self._require_values(cube, file)
        return cube

    def _require_values(self, cube: np.ndarray, file: Path) -> None:
        infinite = np.flatnonzero(np.isinf(cube).any(axis=(1, 2)))
        if len(infinite):
            first_nm = self.bands.centres_nm[infinite[0]]
            raise DatasetError(
                f"{file} holds infinite values",
                expected="finite values, or NaN where there is no data",
                got=f"such values in {len(infinite)} bands, first at {first_nm:g} nm",
                fix="Leave those bands or pixels out of the files, or make them NaN",
            )
        if np.isnan(cube).all():
            got = "NaN or no-data values everywhere"
            raise DatasetError(f"{file} holds no data", expected="some values", got=got)
        scale = np.float32(self._scale or 1)
        for number in _FILLS:  # also where few values have it
            self._require_absent(cube, np.float32(number) / scale, str(number), file)
        most = np.nanmax(cube)
        if most > _HIGHEST:
            self._require_absent(cube, most, str(most * scale), file)
        require_scaled(cube, str(file), fix="Give the full scale, e.g. --data-option scale=10000")

    def _require_absent(self, cube: np.ndarray, value: np.float32, number: str, file: Path) -> None:
        """DatasetError where ``value``, stored as ``number``, occurs: it is no measurement."""
        found = np.count_nonzero(cube == value)
        if found:
            raise DatasetError(
                f"{file} holds {number} without stating that it is no data",
                expected="values, or NaN where there is no data",
                got=f"it {found} times",
                fix=f"Give --data-option nodata={number} if there is no data, or make these values NaN",
            )


def _axes_hint(shape: tuple[int, ...], axes: str | None, bands: int) -> str:
    """What to try where the bands seem to be on another axis."""
    axes = axes or "hwc"
    if bands not in shape or "(" in axes:
        return "Declare the bands that the files have, or give --data-option axes=... (e.g. cwh)"
    place = axes.index("hwc"[shape.index(bands)])
    orders = [f"{rest[:place]}c{rest[place:]}" for rest in ("hw", "wh")]
    return f"The bands seem to be on another axis: give --data-option axes={' or axes='.join(orders)}"


def _factor(scale: str | float) -> float:
    factor = _number(scale, "The scale divides the cubes", "a number above 0")
    if not (np.isfinite(factor) and factor > 0):
        raise InputError("The scale divides the cubes", expected="a number above 0", got=scale)
    return factor


def _number(
    text: str | float, what: str = "No data is a stored number", expected: str = "a number"
) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(what, expected=expected, got=text) from None


def open_folder(
    root: Path,
    path: str | Path | None = None,
    bands: str | BandSet | None = None,
    key: str | None = None,
    axes: str | None = None,
    scale: str | float | None = None,
    nodata: str | float | None = None,
    response: str | None = None,
    zero_bands: str = "keep",
    encoding: Encoding = "auto",
    bit_depth: str | int | None = None,
) -> Folder:
    """Open cubes; ``path``: their folder, or one cube, absolute or below the data root (``folder`` if not
    given); ``bands``: see :func:`hsrzoo.datasets.wavelengths.parse_bands`; ``encoding``: auto (by
    profile and EXIF, else linear), linear or srgb."""
    folder = root / Path(path or "folder").expanduser()
    settings: dict[str, Any] = {"key": key, "axes": axes, "scale": scale, "nodata": nodata}
    settings |= {"encoding": encoding, "bit_depth": bit_depth}
    return Folder(folder, bands=bands, response=response, zero_bands=zero_bands, **settings)


SPEC = DatasetSpec(
    name="folder",
    open=open_folder,
    title="your own pairs of RGB image and cube, or cubes alone",
    where="These are files of your own.",
    layout="folder/rgb/NAME.png and folder/cube/NAME.mat (or .h5, .npz, .tif, .hdr, .zarr), optionally "
    "below train, valid and test, every NAME in one of them; cubes alone with --data-option response=...; "
    "folder/wavelengths.csv if the cubes do not state their wavelengths",
)
