"""The survey behind ``data verify``: values that are no numbers, and those of a wrong scale."""

from __future__ import annotations

import numpy as np
import pytest

from hsrzoo.bands import BandSet
from hsrzoo.datasets.base import Dataset, Scene, VerifyReport, require_scaled
from hsrzoo.datasets.survey import survey
from hsrzoo.errors import DatasetError


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


SCALED = np.linspace(0, 1, 1000, dtype=np.float32)


def spoilt(value: float, count: int) -> np.ndarray:
    """1000 values from 0 to 1, of which ``count`` are ``value``."""
    return np.where(np.arange(1000) < count, np.float32(value), SCALED)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (spoilt(2.5, 10), None),  # specular points
        (spoilt(1.9, 900), None),
        (spoilt(np.nan, 900), None),
        (spoilt(np.inf, 900), None),  # named elsewhere
        (spoilt(-0.4, 900), None),
        (-0.9 * SCALED, None),
        (np.full(1000, np.nan, np.float32), None),
        (spoilt(2.5, 11), "not scaled to .* up to 2.5"),
        (4095 * SCALED, "not scaled to .* up to 4095"),
        (np.where(SCALED < 0.5, np.float32(np.nan), 255 * SCALED), "not scaled to .* up to 255"),
        (spoilt(-9999, 1), "far below 0.* down to -9999"),
        (spoilt(-0.9999, 11), "far below 0.* down to -0.9999"),
        (-1.9 * SCALED, "far below 0.* down to -1.9"),
    ],
)
def test_the_rule_on_the_range_of_values(values: np.ndarray, told: str | None) -> None:
    if told is None:
        require_scaled(values, "it")
        require_scaled(values * np.float32(4095), "it", peak=4095)
        return
    with pytest.raises(DatasetError, match=told):
        require_scaled(values, "it")
    with pytest.raises(DatasetError):
        require_scaled(values * np.float32(4095), "it", peak=4095)


@pytest.mark.parametrize("bands", [5, 4])
def test_one_number_far_below_0_in_all_bands_of_a_pixel_is_no_measurement(bands: int) -> None:
    cube = np.full((5, 20, 20), 0.5, np.float32)
    cube[:bands, 2, 3] = -0.9999
    if bands == 4:
        require_scaled(cube, "it")  # the fifth is measured
        cube[4] = np.nan
    require_scaled(cube, "it", truth=False)
    with pytest.raises(DatasetError, match=r"far below 0.* down to -0.9999.*nodata"):
        require_scaled(cube, "it")


def test_a_prediction_may_be_wrong_in_few_places_by_any_amount() -> None:
    require_scaled(spoilt(-9999, 10), "it", truth=False)
    with pytest.raises(DatasetError, match="far below 0"):
        require_scaled(spoilt(-9999, 11), "it", truth=False)


class Unscaled(Spotted):
    """Digital numbers, no data as -9999, and an image in 8 bits, each in a scene of its own."""

    def scenes(self, split: str) -> list[str]:
        return ["cube", "filled", "image"]

    def load(self, split: str, scene: str) -> Scene:
        clean = super().load(split, "clean")
        rgb, cube = clean.rgb, clean.cube
        if scene == "filled":
            cube[:, 0, 0] = -9999
        return Scene(
            scene, rgb * 255 if scene == "image" else rgb, cube * 4095 if scene == "cube" else cube
        )


def test_scenes_that_are_not_scaled_are_refused_by_every_data_set() -> None:
    first, second, third = Unscaled().verify().problems
    assert "The cube of cube in spotted/train is not scaled to [0, 1]" in first
    assert "The cube of filled in spotted/train holds values far below 0" in second
    assert "The image of image in spotted/train is not scaled to [0, 1]" in third
