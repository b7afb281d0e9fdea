"""Raw photographs: DNG files with known sensor values, the camera by EXIF, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from hsrzoo.camera import Camera
from hsrzoo.colour.matrix import camera_from_camera
from hsrzoo.errors import FormatError, InputError
from hsrzoo.io.model_input import photo_for
from hsrzoo.io.photo import Photo, to_linear
from hsrzoo.io.raster import open_raster

OWN = {"training": {"dataset_info": {"response": "nikon-d5100"}}}
BLACK, WHITE = 512, 15872
NEUTRAL = np.array([0.5, 1.0, 0.75])
"""RGB of a grey surface in the sensor's values."""
LEFT, RIGHT = np.array([0.3, 0.4, 0.2]), np.array([0.05, 0.1, 0.6])
"""The colours of the two halves of the picture, white balanced."""


def write_dng(path: Path, make: str = "Canon", model: str = "Canon EOS R5", orientation: int = 1) -> Path:
    """A DNG of 64 x 96 pixels with the Bayer pattern RG/GB."""
    mosaic = np.zeros((64, 96), np.uint16)
    for colour, columns in ((LEFT, slice(0, 48)), (RIGHT, slice(48, 96))):
        red, green, blue = BLACK + np.rint(colour * NEUTRAL * (WHITE - BLACK)).astype(int)
        part = mosaic[:, columns]
        part[0::2, 0::2], part[1::2, 1::2] = red, blue
        part[0::2, 1::2] = part[1::2, 0::2] = green
    neutral = [number for x in NEUTRAL for number in (int(x * 10_000), 10_000)]
    unit = [1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1]
    tags: list[Any] = [
        (271, 2, len(make) + 1, make, True), (272, 2, len(model) + 1, model, True),
        (274, 3, 1, orientation, True), (33421, 3, 2, (2, 2), True),
        (33422, 1, 4, bytes([0, 1, 1, 2]), True),
        (50706, 1, 4, bytes([1, 4, 0, 0]), True), (50710, 1, 3, bytes([0, 1, 2]), True),
        (50711, 3, 1, 1, True), (50713, 3, 2, (1, 1), True), (50714, 4, 1, BLACK, True),
        (50717, 4, 1, WHITE, True), (50721, 10, 9, unit, True), (50728, 5, 3, neutral, True),
    ]  # fmt: skip
    tifffile.imwrite(path, mosaic, photometric=32803, extratags=tags, metadata=None, software=False)
    return path


def opened(path: Path, **how: Any) -> Photo:
    return photo_for(OWN, open_raster(path), path, **how)


@pytest.fixture
def dng(tmp_path: Path) -> Path:
    pytest.importorskip("rawpy")
    return write_dng(tmp_path / "a.dng")


def test_values_are_the_sensor_s_less_black_with_white_balance(dng: Path) -> None:
    raster = open_raster(dng)
    unit = to_linear(raster, dng).unit()
    assert unit.shape == (64, 96, 3)
    np.testing.assert_allclose(unit[4:-4, 4:40], np.broadcast_to(LEFT, (56, 36, 3)), atol=2e-4)
    np.testing.assert_allclose(unit[4:-4, 56:-4], np.broadcast_to(RIGHT, (56, 36, 3)), atol=2e-4)
    assert raster.notes == (
        "Raw: demosaiced by LibRaw, black 512, white 15872, white balance 2, 1, 1.33 as shot",
    )


def test_the_camera_by_exif_is_mapped_to_that_of_the_training_pairs(dng: Path) -> None:
    photo = opened(dng)
    matrix = camera_from_camera(Camera.named("nikon-d5100"), Camera.named("canon-eos-r5"))
    np.testing.assert_allclose(photo.unit()[30, 20], matrix @ LEFT, atol=3e-4)
    assert photo.about["input_camera"] == "canon-eos-r5" and "raw values" in photo.note
    other = opened(dng, camera="sony-ilce-9")
    assert other.about["input_camera"] == "sony-ilce-9"


def test_a_picture_on_its_side_is_turned(tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    path = write_dng(tmp_path / "a.dng", orientation=6)
    unit = to_linear(open_raster(path), path).unit()
    assert unit.shape == (96, 64, 3)
    np.testing.assert_allclose(unit[20, 30], LEFT, atol=2e-4)


def test_an_unknown_camera_is_told_with_the_nearest(tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    path = write_dng(tmp_path / "a.dng", model="Canon EOS R5 Mark III")
    with pytest.raises(InputError, match=r"Got Canon EOS R5 Mark III\. Give --camera.*canon-eos-"):
        opened(path)
    assert opened(path, camera="canon-eos-r5").about["input_camera"] == "canon-eos-r5"


def test_raw_values_are_never_srgb(dng: Path) -> None:
    with pytest.raises(InputError, match="are linear"):
        opened(dng, encoding="srgb")


def test_a_sensor_without_colours_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    path, name = tmp_path / "a.dng", "Leica M Monochrom"
    tags: list[Any] = [
        (271, 2, 6, "Leica", True), (272, 2, len(name) + 1, name, True),
        (50706, 1, 4, bytes([1, 4, 0, 0]), True), (50717, 4, 1, WHITE, True),
    ]  # fmt: skip
    tifffile.imwrite(path, np.full((64, 96), 999, np.uint16), photometric=32803, extratags=tags)
    with pytest.raises(InputError, match=r"without colours.*Got 1 channel\. .*develop it first"):
        opened(path, camera="nikon-d5100")


def test_what_libraw_cannot_read_is_told(tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    (tmp_path / "a.nef").write_bytes(b"no raw photograph" * 100)
    with pytest.raises(FormatError, match="cannot be read as a raw photograph"):
        open_raster(tmp_path / "a.nef")


def test_without_rawpy_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(InputError, match=r"Develop it first.*hsrzoo\[raw\]"):
        open_raster(write_dng(tmp_path / "a.dng"))
