"""Anyone's cubes: with photographs of the same names beside them, or with RGB rendered from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.camera import Camera
from hsrzoo.datasets.base import Dataset, Scene, VerifyReport
from hsrzoo.datasets.common import (
    fingerprint_of,
    missing,
    require_disjoint,
    require_scene,
    require_split,
    survey,
)
from hsrzoo.datasets.folder_files import SplitFiles, find_splits, parts_of
from hsrzoo.datasets.wavelengths import FILE_NAME, parse_bands, read_wavelengths
from hsrzoo.errors import BandsError, DatasetError, DatasetMissingError, InputError, unknown_name
from hsrzoo.io import images, load_cube
from hsrzoo.spec import DatasetSpec

_UNSCALED, _MANY = 2.0, 0.01
"""More than this share of values above 2 are surely not reflectance or radiance scaled to [0, 1]; single
ones may be: specular points exceed 1."""
_ZERO_BANDS = ("keep", "nodata")
_LAYOUT = 2


class Folder(Dataset):
    """Cubes in a folder; see :func:`hsrzoo.datasets.folder_files.find_splits` for where they may lie."""

    rgb_bits: int

    def __init__(
        self,
        folder: Path,
        *,
        spec: DatasetSpec | None = None,
        bands: BandSet | None = None,
        key: str | None = None,
        axes: str | None = None,
        scale: str | float = 1.0,
        response: str | None = None,
        zero_bands: str = "keep",
    ) -> None:
        """``spec``: the data set that this is (``folder`` if not given). ``bands`` declares the wavelengths
        of files that do not tell them; ``key`` and ``axes`` say where the cube lies in .mat, .h5 and .npz
        files; its values are divided by ``scale``; ``response`` renders RGB from the cubes instead of
        reading ``rgb/``; ``zero_bands="nodata"``: bands that are 0 in a whole cube have no data."""
        if zero_bands not in _ZERO_BANDS:
            raise unknown_name("treatment of zero bands", zero_bands, _ZERO_BANDS)
        self.spec = spec or SPEC
        self.name = self.spec.name
        self.folder = folder
        self.camera = Camera.named(response) if response else None
        self._reading = {"key": key, "axes": axes}
        self._scale = _factor(scale)
        self._zero_bands = zero_bands
        self._files = find_splits(folder, rendered=self.camera is not None)
        self._require_scenes()
        require_disjoint(self.name, {split: self.scenes(split) for split in self.splits()})
        self.bands = bands or self._listed() or self._first_bands()
        self.rgb_bits = self._first_bits()
        self.info = {
            "scale": self._scale, "response": response, "zero_bands": zero_bands, **self._reading
        }  # fmt: skip

    def splits(self) -> tuple[str, ...]:
        """The split folders, train, valid and test first; ``("valid",)`` without any."""
        return tuple(self._files)

    def scenes(self, split: str) -> list[str]:
        """File names without suffix, sorted."""
        require_split(self.name, split, self.splits())
        files = self._files[split]
        return sorted(files.cubes if self.camera else files.cubes.keys() & files.images.keys())

    def load(self, split: str, scene: str) -> Scene:
        """The photograph over 255 or 65535 (or rendered), the cube divided by ``scale``."""
        require_scene(self.name, scene, self.scenes(split))
        files = self._files[split]
        cube = self._cube(files.cubes[scene])
        if self.camera:
            return Scene(scene, self.camera.render(cube, self.bands, bits=self.rgb_bits), cube)
        rgb = self._photograph(files.images[scene])
        if rgb.shape[1:] != cube.shape[1:]:
            raise DatasetError(
                f"Image and cube of {scene} differ in size",
                expected=f"{cube.shape[1:]} pixels as in {files.cubes[scene]}",
                got=f"{rgb.shape[1:]} in {files.images[scene]}",
                fix="If the axes are stored in another order, give --data-option axes=... (e.g. cwh)",
            )
        return Scene(scene, rgb, cube)

    def fingerprint(self) -> str:
        """Names of all files, bands and options; contents too where these are files of your own, which may
        be written anew. The sizes have to do for the tens of GB of a published set."""
        files = []
        for split in self.splits():
            for scene in self.scenes(split):
                files += parts_of(self._files[split].cubes[scene])
                files += [f for f in [self._files[split].images.get(scene)] if f]
        options = {**self.info, "bands": self.bands.to_json()}
        return fingerprint_of(
            self._base(), files, layout=_LAYOUT, options=options, contents=self.spec is SPEC
        )

    def verify(self) -> VerifyReport:
        """Read everything; cubes and images without a partner are problems."""
        notes = [f"RGB rendered by {self.camera.name}, linear, 8 bits"] if self.camera else []
        problems = [p for files in self._files.values() for p in self._without_partner(files)]
        return survey(self, problems=problems, notes=notes)

    def _base(self) -> Path:
        return self.folder if self.folder.is_dir() and self.folder.suffix != ".zarr" else self.folder.parent

    def _require_scenes(self) -> None:
        """DatasetMissingError if there is nothing here, DatasetError if there are no pairs."""
        if not self._files:
            raise self._missing()
        if not any(self.scenes(split) for split in self._files):
            raise DatasetError(
                f"No image in {self.folder} has the name of a cube",
                expected="rgb/NAME.png beside cube/NAME.mat and so on",
                fix="Rename the files, or render RGB from cubes with --data-option response=nikon-d5100",
            )

    def _missing(self) -> DatasetMissingError:
        if self.spec is not SPEC:
            got = f"no cube in {self.folder}" if self.folder.exists() else f"no folder {self.folder}"
            return missing(self.spec, self.folder, got)
        if find_splits(self.folder, rendered=True):
            return DatasetMissingError(
                f"{self.folder} holds cubes without photographs",
                expected="folders rgb and cube with files of the same names",
                fix="Render RGB from the cubes with --data-option response=nikon-d5100",
            )
        return DatasetMissingError(
            "There are no pairs of image and cube here",
            expected=f"{self.folder / 'rgb'} and {self.folder / 'cube'} with files of the same names",
            got="neither" if self.folder.exists() else f"no folder {self.folder}",
            fix=f"{SPEC.where} Put them there, or name another folder with --data-option path=FOLDER",
        )

    def _without_partner(self, files: SplitFiles) -> list[str]:
        if self.camera:
            return []
        lonely = sorted(files.cubes.keys() ^ files.images.keys())
        return [f"{files.cubes.get(stem) or files.images[stem]} has no partner" for stem in lonely]

    def _listed(self) -> BandSet | None:
        file = self._base() / FILE_NAME
        return read_wavelengths(file) if file.is_file() else None

    def _first(self, of: str) -> Path:
        split = next(split for split in self.splits() if self.scenes(split))
        return getattr(self._files[split], of)[self.scenes(split)[0]]

    def _first_bands(self) -> BandSet:
        file = self._first("cubes")
        _, bands = self._read(file)
        if bands is None:
            raise BandsError(
                f"The wavelengths of {file} are not known",
                expected="wavelengths inside the file",
                fix=f"Write them into {self._base() / FILE_NAME} (a column wavelength_nm), or give "
                "--data-option bands=400:700:10 or bands=FILE.csv",
            )
        return bands

    def _first_bits(self) -> int:
        return 8 if self.camera else 8 * images.read_image(self._first("images")).dtype.itemsize

    def _read(self, file: Path) -> tuple[np.ndarray, BandSet | None]:
        """Values as stored, (H, W, C) float32 with NaN where there is no data, and the file's bands."""
        return load_cube(file, **self._reading)

    def _cube(self, file: Path) -> np.ndarray:
        """(C, H, W) float32, scaled."""
        array, bands = self._read(file)
        if array.shape[2] != len(self.bands):
            raise BandsError(
                f"{file} does not have the bands of its set",
                expected=self.bands,
                got=f"shape {array.shape} (H, W, C)",
                fix=_axes_hint(array.shape, self._reading["axes"], len(self.bands)),
            )
        if bands is not None:
            self.bands.require_same(
                bands, "this set", str(file), fix="Keep cubes of other bands in a folder of their own"
            )
        cube = np.ascontiguousarray(array.transpose(2, 0, 1)) / np.float32(self._scale)
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
            raise DatasetError(
                f"{file} holds no data", expected="some values", got="NaN or no-data values everywhere"
            )
        if np.count_nonzero(cube > _UNSCALED) > _MANY * cube.size:
            raise DatasetError(
                f"{file} is not scaled to [0, 1]",
                expected="reflectance or scaled radiance",
                got=f"values up to {np.nanmax(cube):g}",
                fix="Give the full scale, e.g. --data-option scale=10000",
            )

    def _photograph(self, image: Path) -> np.ndarray:
        pixels = images.read_image(image)
        levels = np.iinfo(pixels.dtype).max
        if levels != 2**self.rgb_bits - 1:
            raise DatasetError(
                f"{image} differs in depth from the first image",
                expected=f"{self.rgb_bits} bits",
                got=pixels.dtype,
            )
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)).astype(np.float32) / np.float32(levels)


def _axes_hint(shape: tuple[int, ...], axes: str | None, bands: int) -> str:
    """What to try where the bands lie on another axis than was thought."""
    axes = axes or "hwc"
    if bands not in shape or "(" in axes:
        return "Declare the bands that the files have, or give --data-option axes=... (e.g. cwh)"
    place = axes.index("hwc"[shape.index(bands)])
    orders = [f"{rest[:place]}c{rest[place:]}" for rest in ("hw", "wh")]
    return f"The bands seem to lie on another axis: give --data-option axes={' or axes='.join(orders)}"


def _factor(scale: str | float) -> float:
    try:
        factor = float(scale)
    except ValueError:
        factor = np.nan
    if not (np.isfinite(factor) and factor > 0):
        raise InputError("The scale divides the cubes", expected="a number above 0", got=scale)
    return factor


def open_folder(
    root: Path,
    path: str | Path | None = None,
    bands: str | BandSet | None = None,
    key: str | None = None,
    axes: str | None = None,
    scale: str | float = 1.0,
    response: str | None = None,
    zero_bands: str = "keep",
) -> Folder:
    """Open cubes; ``path``: their folder, or one cube, absolute or below the data root (``folder`` if not
    given); ``bands``: see :func:`hsrzoo.datasets.wavelengths.parse_bands`."""
    declared = parse_bands(bands) if isinstance(bands, str) else bands
    folder = root / Path(path or "folder").expanduser()
    return Folder(
        folder,
        bands=declared,
        key=key,
        axes=axes,
        scale=scale,
        response=response,
        zero_bands=zero_bands,
    )


SPEC = DatasetSpec(
    name="folder",
    open=open_folder,
    title="your own pairs of RGB image and cube, or cubes alone",
    where="These are files of your own.",
    layout="folder/rgb/NAME.png and folder/cube/NAME.mat (or .h5, .npz, .tif, .hdr, .zarr), optionally "
    "below train, valid and test, every NAME in one of them; cubes alone with --data-option response=...; "
    "folder/wavelengths.csv if the cubes do not tell their wavelengths",
)
