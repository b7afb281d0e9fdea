"""A data set in one file: cubes as NAME.npy, (H, W, 31) reflectance at 400, 410 ... 700 nm.

hsrzoo --plugin examples/dataset_one_file.py data verify npy-cubes
hsrzoo --plugin examples/dataset_one_file.py bench --model poly --dataset npy-cubes
"""

from pathlib import Path

import numpy as np

from hsrzoo.bands import VISIBLE_31
from hsrzoo.camera import Camera
from hsrzoo.datasets.base import Scene
from hsrzoo.datasets.common import IndexedDataset, missing, nothing_in
from hsrzoo.errors import FormatError
from hsrzoo.spec import DatasetSpec


class NpyCubes(IndexedDataset):
    """One split, "test"; RGB is rendered from the cubes in 8 bits by a named camera."""

    name = "npy-cubes"
    bands = VISIBLE_31

    def __init__(self, root: Path, path: str = "npy-cubes", response: str = "nikon-d5100") -> None:
        """Keyword arguments are what ``--data-option`` takes; ``path`` is relative to the data root."""
        self.folder, self.camera = root / path, Camera.named(response)
        self.index = {"test": sorted(file.stem for file in self.folder.glob("*.npy"))}
        if not self.index["test"]:
            raise missing(SPEC, self.folder, nothing_in(self.folder), path_option=True)
        self.info = {"response": response}  # everything that affects scores: part of the protocol

    def read(self, split: str, scene: str) -> Scene:
        stored = np.load(self.folder / f"{scene}.npy", allow_pickle=False)
        if stored.ndim != 3 or stored.shape[2] != len(self.bands):
            raise FormatError(f"{scene}.npy has another shape", expected="(H, W, 31)", got=stored.shape)
        cube = np.ascontiguousarray(stored.transpose(2, 0, 1), dtype=np.float32)  # NaN: no data
        return self.rendered(scene, cube)

    def files(self) -> list[Path]:
        return [self.folder / f"{scene}.npy" for scene in self.index["test"]]


SPEC = DatasetSpec(
    name="npy-cubes",
    open=NpyCubes,
    title="your own cubes as .npy files",
    where="Save your cubes as npy-cubes/NAME.npy below the data root.",
    layout="npy-cubes/NAME.npy: (H, W, 31) floats, reflectance in [0, 1], 400-700 nm at 10 nm",
)
