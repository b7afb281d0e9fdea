"""CAVE: 32 scenes of still life and skin, 31 bands, stacks of 16-bit PNG files.

Yasuma, Mitsunaga, Iso and Nayar, "Generalized Assorted Pixel Camera", Columbia University 2008.
The BMP beside each stack is a display rendering, not a camera image; RGB is rendered from the cube.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hsrzoo.bands import VISIBLE_31
from hsrzoo.camera import DEFAULT_CAMERA, Camera
from hsrzoo.datasets.base import Dataset, Scene, VerifyReport
from hsrzoo.datasets.common import fingerprint_of, require_disjoint, require_scene, require_split, survey
from hsrzoo.errors import BandsError, DatasetMissingError, FormatError
from hsrzoo.io.images import read_plane
from hsrzoo.spec import DatasetSpec

_SPLITS = ("train", "valid")
_VALID = ("beads", "fake_and_real_food", "feathers", "paints")
_PORTRAITS = ("face", "photo_and_face")
"""Scenes with people, which are neither trained on nor scored."""
_LAYOUT = 1


class Cave(Dataset):
    """CAVE on disk: ``cave/train`` and ``cave/valid``, or the original download unpacked in ``cave``."""

    name = "cave"
    bands = VISIBLE_31
    rgb_bits = 8

    def __init__(self, root: Path, response: str = DEFAULT_CAMERA) -> None:
        """``root``: the data root; ``response``: the camera that renders RGB."""
        self.camera = Camera.named(response)
        self.info = {"response": response}
        self.folder = root / "cave"
        self._scenes = _find_scenes(self.folder)
        require_disjoint(self.name, {split: sorted(found) for split, found in self._scenes.items()})
        if not any(self._scenes.values()):
            raise DatasetMissingError(
                f"The data set cave is not here: {SPEC.title}",
                expected=f"{self.folder}/train/beads_ms/beads_ms/beads_ms_01.png or "
                f"{self.folder}/beads_ms/beads_ms/beads_ms_01.png and so on",
                got="an empty folder" if self.folder.is_dir() else f"no folder {self.folder}",
                fix=f"{SPEC.where} Unpack it into {self.folder}, or name another data root with "
                "--data-root or HSRZOO_DATA",
            )

    def splits(self) -> tuple[str, ...]:
        """``("train", "valid")``."""
        return _SPLITS

    def scenes(self, split: str) -> list[str]:
        """Names without ``_ms``, sorted."""
        require_split(self.name, split, _SPLITS)
        return sorted(self._scenes[split])

    def load(self, split: str, scene: str) -> Scene:
        """RGB rendered in 8 bits; cube = PNG values over 65535 (255 for 8-bit files)."""
        require_scene(self.name, scene, self.scenes(split))
        planes = []
        for path in _band_files(self._scenes[split][scene]):
            if not path.is_file():
                raise BandsError(
                    f"Band {path.stem[-2:]} of the CAVE scene {scene} is missing",
                    expected=path,
                    fix="Copy or download the scene again",
                )
            plane = read_plane(path)
            planes.append(plane.astype(np.float32) / np.float32(np.iinfo(plane.dtype).max))
            if plane.shape != planes[0].shape:
                raise FormatError(
                    f"{path} does not fit its scene", expected=f"{planes[0].shape} pixels", got=plane.shape
                )
        cube = np.stack(planes)
        return Scene(scene, self.camera.render(cube, self.bands, bits=self.rgb_bits), cube)

    def fingerprint(self) -> str:
        """Names and sizes of all band files, and the rendering response."""
        files = (f for split in _SPLITS for s in self._scenes[split].values() for f in _band_files(s))
        return fingerprint_of(self.folder, files, layout=_LAYOUT, options=self.info)

    def verify(self) -> VerifyReport:
        """Read everything."""
        return survey(self, notes=[f"RGB rendered by {self.camera.name}, linear, 8 bits"])


def _find_scenes(folder: Path) -> dict[str, dict[str, Path]]:
    """Split -> scene -> folder of its PNG files; portraits are left out."""
    if any((folder / split).is_dir() for split in _SPLITS):
        return {split: _stacks(folder / split) for split in _SPLITS}
    stacks = _stacks(folder)
    valid = {name: path for name, path in stacks.items() if name in _VALID}
    return {"train": {n: p for n, p in stacks.items() if n not in valid}, "valid": valid}


def _stacks(folder: Path) -> dict[str, Path]:
    found = {}
    for outer in folder.glob("*_ms"):
        name = outer.name.removesuffix("_ms")
        if outer.is_dir() and name not in _PORTRAITS:
            inner = outer / outer.name
            found[name] = inner if inner.is_dir() else outer
    return found


def _band_files(stack: Path) -> list[Path]:
    return [stack / f"{stack.name}_{band:02d}.png" for band in range(1, len(VISIBLE_31) + 1)]


def open_cave(root: Path, response: str = DEFAULT_CAMERA) -> Cave:
    """Open CAVE under the data root; ``response``: one of ``hsrzoo.camera.camera_names()``."""
    return Cave(root, response)


SPEC = DatasetSpec(
    name="cave",
    open=open_cave,
    title="CAVE multispectral images, 400-700 nm in 31 bands",
    where="Columbia University offers it for research without a formal licence: "
    "https://www.cs.columbia.edu/CAVE/databases/multispectral/ (Complete data set).",
    layout="cave/train and cave/valid with SCENE_ms/SCENE_ms/SCENE_ms_01.png to _31.png, or all scenes "
    "directly in cave/ (beads, fake_and_real_food, feathers and paints are then the valid split)",
)
