"""The survey behind ``data verify``: values that are no numbers."""

from __future__ import annotations

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.datasets.base import Dataset, Scene, VerifyReport
from hsrzoo.datasets.common import survey


class Spotted(Dataset):
    """Scenes from 0.25 to 0.75; "cube" and "rgb" hold values that are not finite there."""

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
        "train/cube: infinite values in its cube: 1",
        "train/rgb: NaN or infinite values in its rgb: 2",
    ]
    assert report.cube_range == report.rgb_range == (0.25, 0.75)
    assert report.notes == [
        "1 of 24 values have no data, in 1 scenes; 1 pixels lack a band that their scene has elsewhere"
    ]


class Leaky(Spotted):
    """One scene in two splits."""

    def splits(self) -> tuple[str, ...]:
        return ("train", "test")

    def scenes(self, split: str) -> list[str]:
        return ["clean"]


def test_a_scene_in_two_splits_is_a_problem() -> None:
    assert Leaky().verify().problems == ["clean is in both train and test"]


class Gappy(Spotted):
    """Three bands of 2 x 2 pixels: the second has no data in any scene, "empty" has none at all."""

    bands = BandSet((450.0, 550.0, 650.0))

    def scenes(self, split: str) -> list[str]:
        return ["black", "empty", "gap"]

    def load(self, split: str, scene: str) -> Scene:
        rgb, cube = np.full((3, 2, 2), 0.5, np.float32), np.full((3, 2, 2), 0.5, np.float32)
        cube[1] = np.nan
        if scene == "gap":
            cube[2, 0, 0] = np.nan
        if scene == "empty":
            cube[:], rgb[:] = np.nan, 0
        if scene == "black":
            rgb[:] = 0
        return Scene(scene, rgb, cube)


def test_values_without_data_are_counted_and_scenes_without_any_are_a_problem() -> None:
    report = Gappy().verify()
    assert report.problems == [
        "train/black: its rgb is black everywhere",
        "train/empty: none of its 4 pixels has data",
    ]
    assert report.cube_range == (0.5, 0.5)
    assert report.notes == [
        # 4 of a band in each of two scenes, one more in "gap", all 12 of "empty"
        "21 of 36 values have no data, in 3 scenes; 5 pixels lack a band that their scene has elsewhere",
        "1 of 3 bands have data in no scene, between 550 and 550 nm",
    ]
