"""Photographs as models need them: mapped to the camera of the training pairs, or as in training."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from hsrzoo.bands import VISIBLE_31
from hsrzoo.camera import Camera
from hsrzoo.colour.matrix import camera_from_camera, camera_from_srgb
from hsrzoo.colour.srgb import decode_srgb, encode_srgb, srgb_matrix
from hsrzoo.errors import InputError, UnknownNameError
from hsrzoo.io import read_photo
from hsrzoo.io.model_input import photo_for
from hsrzoo.io.photo import Photo
from hsrzoo.io.raster import open_raster

CAMERA = Camera.named("nikon-d5100")
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
LINEAR = decode_srgb(PIXELS / 255)


def config(**info: Any) -> dict[str, Any]:
    return {"training": {"dataset_info": info}}


OWN = config(response="nikon-d5100")


def opened(path: Path, of: dict[str, Any], **how: Any) -> Photo:
    return photo_for(of, open_raster(path), path, **how)


@pytest.fixture
def png(tmp_path: Path) -> Path:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_an_untagged_photograph_of_8_bits_is_srgb_and_mapped_to_the_camera_of_training(
    png: Path,
) -> None:
    photo = opened(png, OWN)
    expected = (LINEAR @ camera_from_srgb(CAMERA).T).clip(0, 1)
    np.testing.assert_allclose(photo.unit(), expected, atol=1e-6)
    assert "taken as sRGB" in photo.note and "to the camera nikon-d5100" in photo.note
    assert "--linear" in photo.note
    assert photo.about["input_camera"] == "linear sRGB" and "nikon-d5100" in photo.about["input_map"]
    assert photo.about["cube_values"] == "reflectance relative to the white of the photograph"


def test_a_grey_and_a_white_photograph_stay_grey_and_white(tmp_path: Path) -> None:
    for level in (0, 90, 255):
        Image.new("RGB", (4, 4), (level,) * 3).save(tmp_path / "grey.png")
        unit = opened(tmp_path / "grey.png", OWN).unit()
        np.testing.assert_allclose(unit, decode_srgb(np.float64(level / 255)), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "values"),
    [("a.npy", PIXELS), ("a.png", PIXELS), ("a.tif", PIXELS.astype(np.uint16) * 257)],
    ids=["raster", "linear by option", "16 bits"],
)
def test_linear_values_are_those_of_the_camera_already(
    tmp_path: Path, name: str, values: np.ndarray
) -> None:
    path = tmp_path / name
    if name == "a.npy":
        np.save(path, values)
    elif name == "a.tif":
        tifffile.imwrite(path, values, photometric="rgb")
    else:
        Image.fromarray(values).save(path)
    photo = opened(path, OWN, encoding="linear" if name == "a.png" else "auto")
    np.testing.assert_allclose(photo.unit(), PIXELS / 255, atol=1e-6)
    assert "input_map" not in photo.about


def test_linear_values_of_another_camera_are_mapped(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", PIXELS)
    matrix = camera_from_camera(CAMERA, Camera.named("canon-eos-r5"))
    photo = opened(tmp_path / "a.npy", OWN, camera="canon-eos-r5")
    np.testing.assert_allclose(photo.unit(), (PIXELS / 255 @ matrix.T).clip(0, 1), atol=1e-6)
    assert photo.about["input_camera"] == "canon-eos-r5"
    same = opened(tmp_path / "a.npy", OWN, camera="nikon-d5100")
    np.testing.assert_allclose(same.unit(), PIXELS / 255, atol=1e-6)


@pytest.mark.parametrize(
    ("of", "expected"),
    [(config(encoding="linear"), PIXELS / 255), (config(encoding="srgb"), LINEAR), ({}, LINEAR)],
    ids=["linear", "srgb", "unknown"],
)
def test_weights_without_a_camera_get_values_as_in_training(
    png: Path, of: dict[str, Any], expected: np.ndarray
) -> None:
    photo = opened(png, of)
    np.testing.assert_allclose(photo.unit(), expected, atol=1e-6)
    assert "input_map" not in photo.about


def test_a_camera_is_refused_where_it_means_nothing(png: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", PIXELS)
    with pytest.raises(InputError, match=r"only be named for linear values.*--linear"):
        opened(png, OWN, camera="canon-eos-r5")
    with pytest.raises(InputError, match="weights do not name the camera"):
        opened(tmp_path / "a.npy", {}, camera="canon-eos-r5")
    with pytest.raises(UnknownNameError, match="canon-eos-r5"):
        opened(tmp_path / "a.npy", OWN, camera="canon-r5")


def test_a_scene_photographed_in_srgb_is_nearly_what_the_camera_sees(tmp_path: Path) -> None:
    """Smooth spectra, rendered to an sRGB photograph and by the camera."""
    random = np.random.default_rng(1)
    nm = np.asarray(VISIBLE_31.centres_nm)
    peaks, widths, heights = (random.uniform(*r, (200, 3, 1)) for r in ((400, 700), (60, 150), (0.05, 0.3)))
    spectra = (heights * np.exp(-(((nm - peaks) / widths) ** 2))).sum(axis=1) + 0.02
    srgb = srgb_matrix(VISIBLE_31)
    assert srgb is not None
    stored = np.rint(encode_srgb((spectra @ srgb.T).clip(0, 1)) * 255).astype(np.uint8)
    Image.fromarray(stored.reshape(10, 20, 3)).save(tmp_path / "a.png")
    seen = (spectra @ CAMERA.matrix(VISIBLE_31).T).reshape(10, 20, 3)
    mapped, unmapped = opened(tmp_path / "a.png", OWN).unit(), opened(tmp_path / "a.png", {}).unit()
    error, without = (float(np.sqrt(np.mean((x - seen) ** 2))) for x in (mapped, unmapped))
    assert error < 0.02 < without


def test_the_helper_gives_what_predict_uses(png: Path) -> None:
    model = SimpleNamespace(config=OWN)
    np.testing.assert_array_equal(read_photo(png, model), opened(png, OWN).unit())
    np.testing.assert_allclose(read_photo(png), LINEAR, atol=1e-6)
    np.testing.assert_array_equal(read_photo(png, encoding="linear"), PIXELS)
    with pytest.raises(InputError, match="encoding='srgb'"):
        read_photo(png, "srgb")  # type: ignore[arg-type]
