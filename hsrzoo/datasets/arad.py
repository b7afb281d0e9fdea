"""ARAD-1K: 950 natural scenes in 31 bands, from the NTIRE 2022 challenge on spectral recovery.

Arad et al., "NTIRE 2022 Spectral Recovery Challenge and Data Set", CVPR Workshops 2022.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path

import numpy as np

from hsrzoo.bands import VISIBLE_31
from hsrzoo.datasets.base import Scene
from hsrzoo.datasets.common import IndexedDataset, missing, nothing_in, require_stored_bands, unique_files
from hsrzoo.datasets.layout import child, entries, name_in, unpacked
from hsrzoo.errors import DatasetError, FormatError
from hsrzoo.io import mat
from hsrzoo.io.common import require_file
from hsrzoo.io.photo import Encoding, to_linear
from hsrzoo.io.raster import open_raster
from hsrzoo.io.values import over_full_scale
from hsrzoo.spec import DatasetSpec
from hsrzoo.utils.tables import decode

FULL = {"train": 897, "valid": 50}
"""Scenes in the challenge's own lists: 0001-0900 less 0314, 0340 and 0531; 0901-0950."""
_FOLDERS = ("Train_Spec", "Train_RGB", "split_txt")
_CUBES, _IMAGES = ("Train_Spec", "Valid_Spec"), ("Train_RGB", "Valid_RGB")
"""Folders of the challenge's archives; its baseline has the files of both splits in the first of each."""


_SUFFIX = re.compile(r"\.(mat|jpe?g)$", re.IGNORECASE)
"""Of names in the lists."""


class Arad(IndexedDataset):
    """The challenge's layout: cubes and JPEG images of both splits in the same two folders."""

    name = "arad"
    bands = VISIBLE_31
    usual_shape = "31 x 482 x 512"
    encoding: Encoding = "linear"
    """The convention of this benchmark: its JPEG values are taken as they are, whatever their files say."""

    def __init__(self, root: Path) -> None:
        """``root``: the data root; the set is in ``arad`` below it, or directly in it."""
        own = child(root, "arad")
        beside = not own.is_dir() and child(root, "Train_Spec").is_dir()
        self.folder = root if beside else unpacked(own, lambda folder: child(folder, "Train_Spec").is_dir())
        self.info: dict[str, object] = {}
        lacking = [name for name in _FOLDERS if not child(self.folder, name).is_dir()]
        if lacking:
            raise missing(SPEC, own, nothing_in(own, f"no {', '.join(lacking)}"))
        self.index = {split: self._listed(split) for split in FULL}
        self.require_disjoint()

    def read(self, split: str, scene: str) -> Scene:
        """The camera's JPEG over 255 and the cube (31, 482, 512)."""
        image, file = self._rgb_file(scene), self._cube_file(scene)
        for wanted, what in ((image, "image"), (file, "cube")):
            if not wanted.is_file():
                raise DatasetError(
                    f"The {what} of {scene} is missing though a list names it",
                    expected=wanted,
                    fix="Copy it again, or take the name off the list in split_txt",
                )
        return self.paired(scene, image, self._read_image(image), file, self._cube(file))

    def files(self) -> list[Path]:
        """The lists and all listed files."""
        found = [self._list_file(split) for split in FULL]
        for names in self.index.values():
            found += [f for name in names for f in (self._cube_file(name), self._rgb_file(name))]
        return found

    def notes(self) -> list[str]:
        """How the images are read, and lists that are shorter than the challenge's."""
        return ["JPEG values are taken as proportional to light, as they are stored"] + [
            f"{split} lists {len(names)} of the challenge's {FULL[split]} scenes: "
            "figures will not compare with published ones"
            for split, names in self.index.items()
            if len(names) != FULL[split]
        ]

    def _list_file(self, split: str) -> Path:
        return child(child(self.folder, "split_txt"), f"{split}_list.txt")

    def _cube_file(self, scene: str) -> Path:
        return self._cubes.get(scene, self.folder / _CUBES[0] / f"{scene}.mat")

    def _rgb_file(self, scene: str) -> Path:
        return self._images.get(scene, self.folder / _IMAGES[0] / f"{scene}.jpg")

    @cached_property
    def _cubes(self) -> dict[str, Path]:
        return self._found(_CUBES, (".mat",))

    @cached_property
    def _images(self) -> dict[str, Path]:
        return self._found(_IMAGES, (".jpg", ".jpeg"))

    def _found(self, names: tuple[str, ...], suffixes: tuple[str, ...]) -> dict[str, Path]:
        """Scene -> its file with one of the ``suffixes`` in the folders of these ``names``."""

        def files_in(folder: Path) -> list[Path]:
            return [file for file in entries(folder) if file.suffix.lower() in suffixes]

        folders = (unpacked(child(self.folder, name), lambda one: bool(files_in(one))) for name in names)
        return unique_files(self.folder, ((f.stem, f) for folder in folders for f in files_in(folder)))

    def _listed(self, split: str) -> list[str]:
        file = self._list_file(split)
        self.require_list(file, "Copy it from the challenge")
        return sorted({_SUFFIX.sub("", name_in(entry)) for entry in decode(file.read_bytes()).split()})

    def _cube(self, file: Path) -> np.ndarray:
        require_file(file)
        # HDF5 holds 31 x 512 x 482; the reader gives MATLAB's view of it, 482 x 512 x 31
        cube, bands = mat.load(file, key="cube")
        require_stored_bands(self.bands, file, cube.shape, bands, "Copy the file again")
        return np.ascontiguousarray(cube.transpose(2, 0, 1))

    def _read_image(self, file: Path) -> np.ndarray:
        photo = to_linear(open_raster(file), file, self.encoding)
        pixels = photo.pixels.read(0, 0, *photo.pixels.shape)
        if pixels.dtype != np.uint8:
            raise FormatError(f"{file} is not one of ARAD-1K", expected="8 bits", got=pixels.dtype)
        return over_full_scale(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


SPEC = DatasetSpec(
    name="arad",
    open=Arad,
    title="ARAD-1K, the NTIRE 2022 spectral recovery challenge, 400-700 nm in 31 bands",
    where="Register at the challenge's page to download it; no licence is stated: "
    "https://codalab.lisn.upsaclay.fr/competitions/721.",
    size="950 public scenes of 482 x 512 pixels and 31 bands, 29 GB as float32 by its shape",
    mirrors=(
        "https://github.com/caiyuanhao1998/MST-plus-plus (links to Google Drive)",
        "https://doi.org/10.5281/zenodo.7839604 (spectra of the training scenes)",
    ),
    layout="arad/Train_Spec/ARAD_1K_0001.mat, arad/Train_RGB/ARAD_1K_0001.jpg, "
    "arad/split_txt/train_list.txt and valid_list.txt",
    protocols=("ntire2022", "full-frame"),
    mrae_epsilon=0.0,
)
