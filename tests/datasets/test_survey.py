"""The survey behind ``data verify``: values that are no numbers."""

from __future__ import annotations

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.datasets.base import Dataset, Scene, VerifyReport
from hsrzoo.datasets.common import survey


class Spotted(Dataset):
    """Three scenes from 0.25 to 0.75; "cube" and "rgb" hold values that are not finite there."""

    name = "spotted"
    bands = BandSet((450.0, 550.0))

    def splits(self) -> tuple[str, ...]:
        return ("train",)

    def scenes(self, split: str) -> list[str]:
        return ["clean", "cube", "rgb"]

    def load(self, split: str, scene: str) -> Scene:
        arrays = {
            "rgb": np.linspace(0.25, 0.75, 12, dtype=np.float32).reshape(3, 2, 2),
            "cube": np.linspace(0.25, 0.75, 8, dtype=np.float32).reshape(2, 2, 2),
        }
        if scene in arrays:
            arrays[scene][0, 0] = (np.nan, np.inf)
        return Scene(scene, arrays["rgb"], arrays["cube"])

    def fingerprint(self) -> str:
        return "0"

    def verify(self) -> VerifyReport:
        return survey(self)


def test_values_that_are_not_finite_are_named_by_scene_and_left_out_of_the_ranges() -> None:
    report = Spotted().verify()
    assert report.problems == [
        "train/cube: 2 NaN or infinite values in its cube",
        "train/rgb: 2 NaN or infinite values in its rgb",
    ]
    assert report.cube_range == report.rgb_range == (0.25, 0.75) and report.notes == []
