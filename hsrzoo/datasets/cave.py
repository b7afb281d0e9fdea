"""CAVE: 32 scenes of still life and skin, 31 bands, stacks of 16-bit PNG files.

Yasuma, Mitsunaga, Iso and Nayar, "Generalized Assorted Pixel Camera", Columbia University 2008.
The BMP next to each stack is a display rendering, not a camera image; RGB is rendered from the cube.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hsrzoo.bands import VISIBLE_31
from hsrzoo.camera import DEFAULT_CAMERA, Camera
from hsrzoo.datasets.base import Scene
from hsrzoo.datasets.common import IndexedDataset, missing, nothing_in
from hsrzoo.datasets.layout import child, entries, subfolders, unpacked
from hsrzoo.errors import BandsError, FormatError
from hsrzoo.io.photographs.images import read_plane
from hsrzoo.io.values import over_full_scale
from hsrzoo.spec import DatasetSpec

_SPLITS = ("train", "valid")
_VALID = ("beads", "fake_and_real_food", "feathers", "paints")
_PORTRAITS = ("face", "photo_and_face")
"""Scenes with people, which are neither trained on nor scored."""


class Cave(IndexedDataset):
    """CAVE on disk: ``cave/train`` and ``cave/valid``, or the original download unpacked in ``cave``."""

    name = "cave"
    bands = VISIBLE_31

    def __init__(self, root: Path, response: str = DEFAULT_CAMERA) -> None:
        """``root``: the data root; ``response``: the camera that renders RGB."""
        self.camera = Camera.named(response)
        self.info = self.camera.record()
        self.folder = unpacked(child(root, "cave"), _holds_scenes)
        self._stacks = _find_scenes(self.folder)
        self.index = {split: sorted(found) for split, found in self._stacks.items()}
        self.require_disjoint()
        if not any(self.index.values()):
            raise missing(SPEC, self.folder, nothing_in(self.folder))

    def read(self, split: str, scene: str) -> Scene:
        """RGB rendered in 8 bits; cube = PNG values over 65535 (255 for 8-bit files)."""
        planes = []
        for path in _band_files(self._stacks[split][scene]):
            if not path.is_file():
                raise BandsError(
                    f"Band {path.stem[-2:]} of the CAVE scene {scene} is missing",
                    expected=path,
                    fix="Copy or download the scene again",
                )
            plane = read_plane(path)
            planes.append(over_full_scale(plane))
            if plane.shape != planes[0].shape:
                raise FormatError(
                    f"{path} does not fit its scene", expected=f"{planes[0].shape} pixels", got=plane.shape
                )
        return self.rendered(scene, np.stack(planes))

    def files(self) -> list[Path]:
        """All band files."""
        return [f for stacks in self._stacks.values() for s in stacks.values() for f in _band_files(s)]


def _find_scenes(folder: Path) -> dict[str, dict[str, Path]]:
    """Split -> scene -> folder of its PNG files; portraits are left out."""
    if _has_splits(folder):
        return {split: _stacks(unpacked(child(folder, split), _holds_stacks)) for split in _SPLITS}
    stacks = _stacks(folder)
    valid = {name: path for name, path in stacks.items() if name in _VALID}
    return {"train": {n: p for n, p in stacks.items() if n not in valid}, "valid": valid}


def _has_splits(folder: Path) -> bool:
    return any(child(folder, split).is_dir() for split in _SPLITS)


def _holds_stacks(folder: Path) -> bool:
    return any(outer.name.endswith("_ms") for outer in subfolders(folder))


def _holds_scenes(folder: Path) -> bool:
    return _has_splits(folder) or _holds_stacks(folder)


def _stacks(folder: Path) -> dict[str, Path]:
    found = {}
    for outer in subfolders(folder):
        name = outer.name.removesuffix("_ms")
        if name != outer.name and name not in _PORTRAITS:
            inner = child(outer, outer.name)
            found[name] = inner if inner.is_dir() else outer
    return found


def _band_files(stack: Path) -> list[Path]:
    """The files of all bands, whatever the case of their names."""
    there = {file.name.lower(): file for file in entries(stack)}
    names = [f"{stack.name}_{band:02d}.png" for band in range(1, len(VISIBLE_31) + 1)]
    return [there.get(name.lower(), stack / name) for name in names]


SPEC = DatasetSpec(
    name="cave",
    open=Cave,
    title="CAVE multispectral images, 400-700 nm in 31 bands",
    where="Columbia University offers it for research without a formal licence: "
    "https://www.cs.columbia.edu/CAVE/databases/multispectral/ (Complete data set).",
    size="32 scenes of 512 x 512 pixels and 31 bands in PNG of 16 bits, about 0.41 GB to download",
    mirrors=("https://huggingface.co/datasets/danaroth/cave",),
    layout="cave/train and cave/valid with SCENE_ms/SCENE_ms/SCENE_ms_01.png to _31.png, or all scenes "
    "in cave/ or cave/complete_ms_data/ (the valid split is then beads, fake_and_real_food, feathers and "
    "paints)",
)
