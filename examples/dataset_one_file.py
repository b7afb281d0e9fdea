"""A data set in one file: cubes as NAME.npy, (H, W, 31) reflectance at 400, 410 ... 700 nm.

hsrzoo --plugin examples/dataset_one_file.py data verify npy-cubes
hsrzoo --plugin examples/dataset_one_file.py bench --model poly --dataset npy-cubes
"""

from pathlib import Path

import numpy as np

from hsrzoo.bands import VISIBLE_31
from hsrzoo.camera import Camera
from hsrzoo.datasets.base import Dataset, Scene, VerifyReport
from hsrzoo.datasets.common import fingerprint_of, require_scene, require_split, survey
from hsrzoo.errors import DatasetMissingError, FormatError
from hsrzoo.spec import DatasetSpec


class NpyCubes(Dataset):
    """One split, "test"; RGB is rendered from the cubes in 8 bits by a named camera."""

    name = "npy-cubes"
    bands = VISIBLE_31
    rgb_bits = 8

    def __init__(self, folder: Path, response: str) -> None:
        self.files = {path.stem: path for path in sorted(folder.glob("*.npy"))}
        if not self.files:
            raise DatasetMissingError(f"There are no .npy files in {folder}", fix=SPEC.where)
        self.folder, self.camera = folder, Camera.named(response)
        self.info = {"response": response}  # everything that affects scores: part of the protocol

    def splits(self) -> tuple[str, ...]:
        return ("test",)

    def scenes(self, split: str) -> list[str]:
        require_split(self.name, split, self.splits())
        return list(self.files)

    def load(self, split: str, scene: str) -> Scene:
        require_scene(self.name, scene, self.scenes(split))
        stored = np.load(self.files[scene], allow_pickle=False)
        if stored.ndim != 3 or stored.shape[2] != len(self.bands):
            raise FormatError(f"{scene}.npy has another shape", expected="(H, W, 31)", got=stored.shape)
        cube = np.ascontiguousarray(stored.transpose(2, 0, 1), dtype=np.float32)  # NaN: no data
        return Scene(scene, self.camera.render(cube, self.bands, bits=self.rgb_bits), cube)

    def fingerprint(self) -> str:
        return fingerprint_of(self.folder, self.files.values(), layout=1, options=self.info)

    def verify(self) -> VerifyReport:
        return survey(self)


def open_npy_cubes(root: Path, path: str = "npy-cubes", response: str = "nikon-d5100") -> NpyCubes:
    """Keyword arguments are what ``--data-option`` takes; ``path`` is relative to the data root."""
    return NpyCubes(root / path, response)


SPEC = DatasetSpec(
    name="npy-cubes",
    open=open_npy_cubes,
    title="your own cubes as .npy files",
    where="Save your cubes as npy-cubes/NAME.npy below the data root.",
    layout="npy-cubes/NAME.npy: (H, W, 31) floats, reflectance in [0, 1], 400-700 nm at 10 nm",
)
