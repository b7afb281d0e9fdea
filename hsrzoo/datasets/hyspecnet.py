"""HySpecNet-11k: 11,483 patches of EnMAP L2A tiles, 128 x 128 pixels, 224 bands of which 202 are used.

Fuchs and Demir, "HySpecNet-11k: A Large-Scale Hyperspectral Dataset for Benchmarking Learning-Based
Hyperspectral Image Compression Methods", IGARSS 2023. Patches come as GeoTIFF, or as NumPy arrays that
the authors' script makes of them. Folders are named differently from copy to copy, so patches are found
by the names of their files.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.camera import DEFAULT_CAMERA
from hsrzoo.datasets import enmap
from hsrzoo.datasets.base import Scene, require_scaled
from hsrzoo.datasets.common import missing, nothing_in, unique_files
from hsrzoo.datasets.layout import child
from hsrzoo.errors import FormatError, InputError, require_known
from hsrzoo.io import tiff
from hsrzoo.io.common import format_errors, require_file
from hsrzoo.spec import DatasetSpec

FULL = 11483
"""Patches in the lists of the authors, train, val and test together."""
SETS = ("easy", "hard")
"""``easy``: patches of a tile may be in several splits; ``hard``: whole tiles are split."""
_LISTS = {"train": "train.csv", "valid": "val.csv", "test": "test.csv"}
_TIFF, _NPY = "-SPECTRAL_IMAGE", "-DATA"


class HySpecNet(enmap.EnmapTiles):
    """The lists of one set of splits, and the patches anywhere below the folder."""

    name = "hyspecnet-11k"

    def __init__(
        self,
        root: Path,
        path: str | Path | None = None,
        split_set: str = "easy",
        bands: str = "202",
        response: str = DEFAULT_CAMERA,
        partial: str | bool = False,
    ) -> None:
        """``path``: the folder, absolute or below the data root (``hyspecnet-11k`` if not given);
        ``split_set``: one of :data:`SETS`; ``bands``: one of
        :data:`~hsrzoo.datasets.enmap.CHOICES`; ``response``: the camera that renders RGB from them;
        ``partial``: true to go on with the patches that are there where lists name others."""
        if str(partial).lower() not in ("true", "false"):
            raise InputError("partial is a yes or no", expected="true or false", got=partial)
        require_known("set of splits of hyspecnet-11k", split_set, SETS)
        folder = root / Path(path or "hyspecnet-11k").expanduser()
        super().__init__(folder, _find_patches(folder), enmap.native_bands(), bands, response)
        self.info["split_set"] = split_set
        self.partial = str(partial).lower() == "true"
        self.absent: dict[str, int] = {}
        """Split -> number of listed patches that are missing; not empty only if ``partial``."""
        lists = child(enmap.lists_below(folder), split_set)
        self.index = {split: self._listed(split, lists / file) for split, file in _LISTS.items()}
        self.require_disjoint()

    def read(self, split: str, scene: str) -> Scene:
        """Reflectance of the chosen bands (C, 128, 128), NaN where there is no data; RGB in 8 bits."""
        file = self.tiles[scene]
        if file.suffix.lower() == ".npy":
            stored = _read_npy(file)
        else:
            cube, _ = tiff.load(file, usual=enmap.USUAL)
            stored = cube.transpose(2, 0, 1)
        bands = _bands_of(len(stored), file)
        if self.choice == "all" and len(bands) != len(self.bands):
            raise FormatError(
                f"{file} does not hold all bands",
                expected=f"{len(self.bands)} bands",
                got=f"{len(bands)}",
                fix="Take those that it holds with --data-option bands=202, or get the TIFF files",
            )
        return self.rendered(scene, enmap.take(stored, bands, self.choice))

    def notes(self) -> list[str]:
        """Also that lists are shorter than the authors', and which patches are absent."""
        *first, values = super().notes()
        found = [*first, f"{values}; wavelengths: EnMAP's usual ones"]
        found += [f"{split}: {count} listed patches are absent" for split, count in self.absent.items()]
        count = sum(map(len, self.index.values()))
        if count != FULL:
            found.append(
                f"{count} of the authors' {FULL} patches: figures will not compare with published ones"
            )
        return found

    def _listed(self, split: str, file: Path) -> list[str]:
        self.require_list(file, "Copy the folder splits of the download")
        listed = sorted({enmap.stem_of(entry, (_NPY, _TIFF)) for entry in enmap.read_list(file)})
        here = [name for name in listed if name in self.tiles]
        absent = [name for name in listed if name not in self.tiles]
        if absent and self.partial and here:
            self.absent[split] = len(absent)
            return here
        fix = "Unpack all archives of the download"
        if here:
            fix += ", or use what is here with --data-option partial=true"
        self.require_listed(file, absent, len(listed), fix)
        return listed


def _bands_of(count: int, file: Path) -> BandSet:
    """The bands of a file with so many of them."""
    if count == len(enmap.native_bands()):
        return enmap.native_bands()
    used = enmap.choose(enmap.native_bands(), "202")
    if count != len(used):
        raise FormatError(
            f"{file} is not a patch of HySpecNet-11k",
            expected="224 bands, or 202 without those of water vapour",
            got=f"{count} bands",
        )
    return used


def _read_npy(file: Path) -> np.ndarray:
    """(C, H, W) float32 reflectance, NaN where there is no data.

    Integers are reflectance x 10000; floating-point numbers, as the authors' script writes them, are
    reflectance itself.
    """
    require_file(file)
    with format_errors(file, "NPY", (OSError, ValueError, EOFError)):
        stored = np.load(file, allow_pickle=False)
    if stored.ndim != 3 or stored.dtype.kind not in "iuf":
        raise FormatError(
            f"{file} is not a patch of HySpecNet-11k",
            expected="real numbers of shape (C, H, W)",
            got=f"shape {stored.shape}, {stored.dtype}",
        )
    cube = np.where(stored == enmap.NO_DATA, np.float32(np.nan), stored.astype(np.float32))
    if stored.dtype.kind != "f":
        return cube * np.float32(enmap.SCALE)
    fix = f"Store it as int16 (reflectance x 10000), not as {stored.dtype}, or divide it by 10000"
    require_scaled(cube, str(file), error=FormatError, fix=fix)
    return cube


def _find_patches(folder: Path) -> dict[str, Path]:
    """Name -> file anywhere below ``folder``; of a TIFF and an array the TIFF, which knows where there
    is no data."""
    kinds: dict[str, list[tuple[str, Path]]] = {_NPY: [], _TIFF: []}
    for where, _, names in os.walk(folder):
        for name in (name for name in names if not name.startswith(".")):
            stem, suffix = os.path.splitext(name)
            kind = {".tif": _TIFF, ".tiff": _TIFF, ".npy": _NPY}.get(suffix.lower())
            if kind is not None and stem.endswith(kind):
                kinds[kind].append((stem.removesuffix(kind), Path(where) / name))
    found: dict[str, Path] = {}
    for files in kinds.values():
        found |= unique_files(folder, files)
    if not found:
        raise missing(SPEC, folder, nothing_in(folder, "no patch"), path_option=True)
    return found


SPEC = DatasetSpec(
    name="hyspecnet-11k",
    open=HySpecNet,
    title="HySpecNet-11k, 11,483 patches of EnMAP L2A, 418-2446 nm in 202 of 224 bands",
    where="https://hyspecnet.rsim.berlin has it for download, with its terms.",
    size="11483 patches of 128 x 128 pixels and 224 bands, 84 GB as int16 by its shape; about 63 GB to "
    "download, in ten archives",
    mirrors=("https://huggingface.co/datasets/torchgeo/hyspecnet",),
    layout="hyspecnet-11k/splits/easy/train.csv, val.csv, test.csv, the same in splits/hard, and patches "
    "NAME-SPECTRAL_IMAGE.TIF or NAME-DATA.npy in any folders below hyspecnet-11k",
)
