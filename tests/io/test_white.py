"""The light from a white or grey area: the area becomes neutral, and with --reflectance its spectrum 1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner, Result
from PIL import Image

from hsrzoo.camera import Camera
from hsrzoo.cli.predict import command
from hsrzoo.colour.matrix import camera_from_srgb
from hsrzoo.colour.srgb import decode_srgb
from hsrzoo.errors import InputError
from hsrzoo.io import load_cube, read_photo
from hsrzoo.io.model_input import photo_for
from hsrzoo.io.photo import Photo
from hsrzoo.io.raster import open_raster

CONFIG = {"training": {"dataset_info": {"response": "nikon-d5100"}}}
GREY = (180, 150, 100)
"""A grey area under a warm light, as stored."""


@pytest.fixture(scope="module")
def png(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 x 30 pixels; the grey area has x 10-17, y 4-9."""
    pixels = np.random.default_rng(0).integers(20, 120, (24, 30, 3), dtype=np.uint8)
    pixels[4:10, 10:18] = GREY
    path = tmp_path_factory.mktemp("white") / "a.png"
    Image.fromarray(pixels).save(path)
    return path


def opened(path: Path, white: tuple[float, ...] | None, of: dict[str, Any] = CONFIG, **how: Any) -> Photo:
    return photo_for(of, open_raster(path), path, white=white, **how)


def predict(path: Path, *more: Any, model: str = "poly.cave", out: str = "a.hdr") -> Result:
    words = [path, "--model", model, "-o", path.with_name(out), *more, "--device", "cpu"]
    return CliRunner().invoke(command, [str(word) for word in words])


@pytest.mark.parametrize("white", [(10.0, 4.0, 8.0, 6.0), tuple(map(float, GREY))])
def test_area_or_colour_becomes_neutral_in_the_rgb_of_the_network(
    png: Path, white: tuple[float, ...]
) -> None:
    photo = opened(png, white)
    seen = camera_from_srgb(Camera.named("nikon-d5100")) @ decode_srgb(np.array(GREY) / 255)
    np.testing.assert_allclose(photo.unit()[6, 12], seen.max(), rtol=1e-5)
    plain = opened(png, None).unit()
    np.testing.assert_allclose(photo.unit(), (plain * (seen.max() / seen)).clip(0, 1), atol=1e-5)
    assert "made neutral" in photo.statement and "gains" in photo.about["input_white"]


def test_linear_values_of_the_trained_camera_and_of_pairs_of_photographs_are_balanced_too(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.full((4, 5, 3), (30000, 20000, 10000), np.uint16), photometric="rgb")
    for of in (CONFIG, {}):
        photo = opened(path, (0, 0, 5, 4), of)
        np.testing.assert_allclose(photo.unit(), 30000 / 65535, rtol=1e-5)


def test_read_photo_balances_as_predict_does(png: Path) -> None:
    class Model:
        config = CONFIG

    rgb = read_photo(png, Model(), white=(10, 4, 8, 6))
    np.testing.assert_array_equal(rgb, opened(png, (10, 4, 8, 6)).unit())


@pytest.mark.parametrize(("white", "words"), [
    ((25.0, 4.0, 8.0, 6.0), "does not lie in the image"),
    ((255.0, 255.0, 250.0), "full scale"),
    ((200.0, 100.0, 0.0), "too dark or too coloured"),
    ((256.0, 10.0, 10.0), "uint8"),
    ((10.5, 10.0, 10.0), "uint8"),
])  # fmt: skip
def test_what_is_no_white_is_refused(png: Path, white: tuple[float, ...], words: str) -> None:
    encoding = "linear" if white[-1] == 0 else "auto"
    with pytest.raises(InputError, match=words):
        opened(png, white, encoding=encoding)


@pytest.mark.parametrize("text", ["1,2", "1,2,x", "1,2,0,4", "1,2,inf,4", "nan,1,1", "-1,2,3", "1.5,2,3,4"])
def test_a_white_of_another_form_is_a_usage_error(png: Path, text: str) -> None:
    done = predict(png, "--white", text)
    assert done.exit_code == 2 and "is no white" in done.output


@pytest.mark.parametrize("out", ["r.hdr", "r.npz"])
@pytest.mark.parametrize("white", ["10,4,8,6", "180,150,100"])
def test_reflectance_is_relative_to_the_area(png: Path, out: str, white: str) -> None:
    done = predict(png, "--white", white, "--reflectance", "--bands", "450,550,650", out=out)
    assert done.exit_code == 0, done.output
    cube, bands = load_cube(png.with_name(out))
    assert bands is not None and len(bands) == 3
    np.testing.assert_allclose(cube[4:10, 10:18], 1, atol=2e-3)
    plain = predict(png, "--white", white, "--bands", "450,550,650", out=f"plain-{out}")
    assert plain.exit_code == 0, plain.output
    before, _ = load_cube(png.with_name(f"plain-{out}"))
    np.testing.assert_allclose(cube, before / before[6, 12], rtol=5e-3, atol=5e-3)


def test_the_file_states_light_and_reflectance(png: Path) -> None:
    assert predict(png, "--white", "10,4,8,6", "--reflectance", out="s.hdr").exit_code == 0
    header = png.with_name("s.hdr").read_text()
    assert "input white = area 10,4,8,6 made neutral" in header
    assert "cube values = reflectance relative to the area 10,4,8,6" in header


@pytest.mark.parametrize("more", [["--reflectance"], ["--white", "10,4,8,6", "--reflectance", "--tta"]])
def test_reflectance_without_effect_is_an_error(png: Path, more: list[str]) -> None:
    assert predict(png, *more).exit_code == 2
