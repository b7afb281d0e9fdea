"""``hsrzoo bench --random-weights``: a smoke test of every network in every benchmark.

Seeded random weights on one small crop of one scene. The scores mean nothing, so the rows go to a
temporary store, and the table counts them instead of showing them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from hsrzoo.datasets.base import Dataset, Scene, VerifyReport
from hsrzoo.errors import require_known
from hsrzoo.results import SpeedRow
from hsrzoo.spec import DatasetSpec
from hsrzoo_benchmark.plan.cells import Cell, Source

SIDE = 64
"""Height and width of the crop, pixels; less where the scene is smaller."""
PROTOCOLS = ("full-frame",)
"""Others may leave out a border wider than the crop."""


class Crop(Dataset):
    """The centre of a data set's one scene, as a data set."""

    def __init__(self, whole: Dataset, split: str, scene: Scene) -> None:
        self.whole, self.split = whole, split
        self.name, self.bands, self.rgb_bits = whole.name, whole.bands, whole.rgb_bits
        self.info = {**whole.info, "crop": SIDE}
        top, left = (max(0, (side - SIDE) // 2) for side in scene.rgb.shape[1:])
        window = (slice(None), slice(top, top + SIDE), slice(left, left + SIDE))
        self.scene = Scene(f"centre of {scene.name}", scene.rgb[window].copy(), scene.cube[window].copy())

    def splits(self) -> tuple[str, ...]:
        """The one split that the scene is of."""
        return (self.split,)

    def scenes(self, split: str) -> list[str]:
        """One name."""
        require_known(f"split of {self.name}", split, self.splits())
        return [self.scene.name]

    def load(self, split: str, scene: str) -> Scene:
        """RGB (3, h, w) and cube (C, h, w), h and w at most :data:`SIDE`."""
        require_known(f"scene of {self.name}", scene, self.scenes(split))
        return self.scene

    def fingerprint(self) -> str:
        """That of the whole set: nothing made from the crop outlives the run."""
        return self.whole.fingerprint()

    def verify(self) -> VerifyReport:
        """That of the whole set."""
        return self.whole.verify()


def open_crop(dataset: Dataset, spec: DatasetSpec, splits: Sequence[str]) -> Source:
    """One crop as a source: of the first of ``splits`` whose first scene is large enough for it, else
    of the first."""
    crops = []
    for split in splits:
        names = dataset.scenes(split)[:1]
        crops += [Crop(dataset, split, dataset.load(split, name)) for name in names]
        if crops and crops[-1].scene.rgb.shape[1:] == (SIDE, SIDE):
            crops = crops[-1:]
            break
    crop = crops[0]
    return Source(crop, spec, crop.split, (crop.scene.name,), crop.fingerprint())


def summary(cells: Sequence[Cell], speed_rows: Sequence[SpeedRow]) -> list[dict[str, Any]]:
    """A row for each model: under each benchmark how many rows it gave, of how many that were planned."""
    planned = Counter((cell.model.name, cell.bench) for cell in cells)
    made = Counter((cell.model.name, cell.bench) for cell in cells for _ in cell.file.rows)
    timed = {row.model: row.status for row in speed_rows}
    names = list(dict.fromkeys([*(cell.model.name for cell in cells), *timed]))
    return [
        {
            "model": name,
            **{bench: f"{made[of, bench]} of {n}" for (of, bench), n in planned.items() if of == name},
            **({"speed": timed[name]} if name in timed else {}),
        }
        for name in names
    ]
