"""Calibration by a chart, on rendered photographs: a known camera, a known light, sensor noise."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from chart_image import CORNERS, chart_cube, photograph
from hsrzoo.bands import VISIBLE_31
from hsrzoo.camera import Camera
from hsrzoo.cli.calibrate import command
from hsrzoo.colour.calibration import Calibration, Measured, measure_chart
from hsrzoo.colour.chart import CHARTS, Corners, chart, orientations, read_patches
from hsrzoo.colour.lights import Light
from hsrzoo.colour.matrix import map_colours
from hsrzoo.colour.srgb import encode_srgb, srgb_matrix
from hsrzoo.errors import FormatError, HsrzooError, InputError, UnknownNameError
from hsrzoo.io.model_input import photo_for
from hsrzoo.io.photo import to_linear
from hsrzoo.io.raster import open_raster

TRAINED = Camera.named("nikon-d5100")
CONFIG = {"training": {"dataset_info": {"response": "nikon-d5100"}}}
DAYLIGHT = Light.named("D65").power
CUBES = {name: chart_cube(name) for name in CHARTS}


def given(corners: Corners | None) -> list[str]:
    return [] if corners is None else ["--corners", *(f"{x},{y}" for x, y in corners)]


def calibrate(
    photo: Path, *more: Any, chart: str = "colorchecker24", corners: Corners | None = CORNERS
) -> Result:
    out = photo.with_name("my.json")
    words = ["chart", photo, "--chart", chart, *given(corners), "-o", out, *more]
    return CliRunner().invoke(command, [str(word) for word in words])


def measured(path: Path, name: str, light: Light | None = None) -> Measured:
    photo = to_linear(open_raster(path), path)
    return measure_chart(photo.unit(), name, CORNERS, photo.about, light)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every chart by one camera in daylight."""
    folder = tmp_path_factory.mktemp("charts")
    return {
        name: photograph(folder / f"{name}.tif", name, light=DAYLIGHT, cube=CUBES[name], seed=i)
        for i, name in enumerate(CHARTS)
    }


@pytest.fixture
def calibration(photos: dict[str, Path], tmp_path: Path) -> Path:
    file = tmp_path / "my.json"
    file.write_text(
        json.dumps(measured(photos["colorchecker24"], "colorchecker24").calibration.to_json(TRAINED))
    )
    return file


@pytest.mark.parametrize(("name", "columns", "rows"), [
    ("colorchecker24", 6, 4), ("sg140", 14, 10), ("ngt130", 13, 10),
])  # fmt: skip
def test_charts_have_their_layout_and_reflectances(name: str, columns: int, rows: int) -> None:
    of = chart(name)
    assert (of.columns, of.rows) == (columns, rows) and of.reflectance.shape == (columns * rows, 31)
    assert of.patches[:2] == ("A1", "A2") and of.patches[rows] == "B1"
    assert of.reflectance.min() > 0 and of.reflectance.max() < 0.95


def test_patches_of_the_classic_chart_have_the_colours_of_their_names() -> None:
    of = chart("colorchecker24")
    srgb = dict(zip(of.patches, of.reflectance @ srgb_matrix(VISIBLE_31).T, strict=True))
    assert [int(srgb[p].argmax()) for p in ("C3", "B3", "A3")] == [0, 1, 2]  # red, green, blue
    greys = [srgb[f"{column}4"].mean() for column in "ABCDEF"]
    assert greys == sorted(greys, reverse=True) and greys[0] > 0.8 and greys[-1] < 0.05


def test_illuminant_a_is_the_radiator_of_2856_kelvin() -> None:
    power = 198.261 * Light.named("A").power
    # CIE 15:2004, table T.1, at 400, 500, 600, 700 nm
    np.testing.assert_allclose(power[::10], [14.7080, 59.8611, 129.043, 198.261], 1e-4)


def test_patches_are_read_through_a_projective_transform() -> None:
    patches = read_patches(CUBES["sg140"][[5, 15, 25]].transpose(1, 2, 0), chart("sg140"), CORNERS)
    np.testing.assert_allclose(patches.rgb, chart("sg140").reflectance[:, [5, 15, 25]], atol=1e-12)


def test_a_few_wrong_pixels_of_a_patch_do_not_count() -> None:
    pixels = CUBES["colorchecker24"][[5, 15, 25]].transpose(1, 2, 0).copy()
    x, y = (int(v) for v in CORNERS[0])
    pixels[y : y + 2, x : x + 2] = 0.9
    pixels[y - 2, x] = 1.0  # clipped
    patches = read_patches(pixels, chart("colorchecker24"), CORNERS)
    np.testing.assert_allclose(patches.rgb[0], chart("colorchecker24").reflectance[0, [5, 15, 25]])


@pytest.mark.parametrize(("own", "other"), [("colorchecker24", "sg140"), ("sg140", "ngt130")])
def test_a_calibration_holds_for_another_chart(photos: dict[str, Path], own: str, other: str) -> None:
    matrix = measured(photos[own], own).calibration.matrix(TRAINED)
    assert measured(photos[other], other).calibration.residuals(TRAINED, matrix).mean < 1.5


def test_an_identical_camera_gives_the_inverse_of_its_exposure(tmp_path: Path) -> None:
    path = photograph(tmp_path / "a.tif", camera="nikon-d5100", cube=CUBES["colorchecker24"])
    matrix = measured(path, "colorchecker24").calibration.matrix(TRAINED)
    np.testing.assert_allclose(matrix, np.eye(3) / 0.8, atol=0.02)


def test_a_stated_light_gives_light_times_reflectance(photos: dict[str, Path]) -> None:
    path, light = photos["colorchecker24"], Light.named("D65")
    lit = measured(path, "colorchecker24", light).calibration
    expected = (chart("colorchecker24").reflectance * light.power) @ TRAINED.matrix(VISIBLE_31).T
    np.testing.assert_allclose(map_colours(lit.rgb, lit.matrix(TRAINED)), expected, atol=0.02)
    assert lit.residuals(TRAINED).mean < 1.5 and "D65" in lit.cube_values


def test_the_command_writes_file_picture_and_table(photos: dict[str, Path], tmp_path: Path) -> None:
    photo = tmp_path / "photo.tif"
    photo.write_bytes(photos["colorchecker24"].read_bytes())
    done = calibrate(photo, "--json")
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    assert [row["patch"] for row in rows][:5] == ["A1", "A2", "A3", "A4", "B1"]
    stored = json.loads((tmp_path / "my.json").read_text())
    assert stored["kind"] == "calibration" and stored["camera"] == "nikon-d5100"
    assert np.mean([row["de2000"] for row in rows]) == pytest.approx(
        stored["residuals"]["de2000"], abs=1e-3
    )
    assert f"mean {stored['residuals']['de2000']:.2f} dE2000" in done.stderr
    picture = np.asarray(Image.open(tmp_path / "my.png"))
    assert (picture == (0, 255, 120)).all(axis=-1).sum() > 24 * 20  # outlines of the patches


@pytest.mark.parametrize("way", list(orientations(CORNERS)))
def test_a_turned_chart_is_refused_with_the_right_corners(photos: dict[str, Path], way: str) -> None:
    photo = photos["colorchecker24"]
    error = calibrate(photo, corners=orientations(CORNERS)[way]).exception
    assert isinstance(error, InputError)
    assert f"--corners {' '.join(f'{x:g},{y:g}' for x, y in CORNERS)}" in str(error)
    assert way != "upside down" or "is upside down" in str(error)
    assert not photo.with_name("my.json").exists()


@pytest.mark.parametrize(("photo", "stated"), [
    ("colorchecker24", "sg140"), ("sg140", "ngt130"), ("ngt130", "sg140"), ("sg140", "colorchecker24"),
])  # fmt: skip
def test_another_chart_is_refused(photos: dict[str, Path], photo: str, stated: str) -> None:
    error = calibrate(photos[photo], chart=stated).exception
    assert isinstance(error, InputError) and "at most 5 dE2000" in str(error)


def test_encoded_values_taken_as_linear_are_refused(photos: dict[str, Path]) -> None:
    path = photos["colorchecker24"]
    encoded = encode_srgb(to_linear(open_raster(path), path).unit())
    with pytest.raises(InputError, match="--srgb"):
        measure_chart(encoded, "colorchecker24", CORNERS, {}).require_fit(TRAINED)


@pytest.mark.parametrize(("corners", "words"), [
    (((22, 18), (296, 27), (188, 134), (15, 122)), "not in the picture.* Got 296,27"),
    (((22, 18), (188, 134), (196, 27), (15, 122)), "do not span"),
    (((22, 18), (50, 18), (50, 34), (22, 34)), "too small"),
    (((22, 18), (22, 18), (50, 34), (22, 34)), "do not span"),
])  # fmt: skip
def test_corners_that_hold_no_chart_are_refused(corners: Corners, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_patches(np.zeros((150, 215, 3)), chart("colorchecker24"), corners)


def test_some_patches_at_full_scale_are_left_out_and_many_refused(tmp_path: Path) -> None:
    pixels = CUBES["colorchecker24"][[25, 15, 5]].transpose(1, 2, 0)
    some = measure_chart((1.2 * pixels).clip(0, 1), "colorchecker24", CORNERS, {})
    some.require_usable()
    assert [chart("colorchecker24").patches[i] for i in np.flatnonzero(~some.calibration.usable)] == ["A4"]
    many = measure_chart((4 * pixels).clip(0, 1), "colorchecker24", CORNERS, {})
    with pytest.raises(InputError, match=r"A4.*at least 18 usable patches.*Expose less"):
        many.require_usable()
    with pytest.raises(InputError, match="black"):
        measure_chart(pixels / 1000, "colorchecker24", CORNERS, {}).require_usable()


def test_predict_maps_by_the_calibration_and_says_so(calibration: Path, photos: dict[str, Path]) -> None:
    photo = photo_for(CONFIG, open_raster(photos["sg140"]), photos["sg140"], camera=str(calibration))
    read = read_patches(photo.unit(), chart("sg140"), CORNERS).rgb
    expected = chart("sg140").reflectance @ TRAINED.matrix(VISIBLE_31).T
    assert np.sqrt(np.mean((read - expected) ** 2)) < 0.01
    assert photo.about["input_camera"].startswith("my-") and "colorchecker24" in photo.about["input_map"]
    assert "perfect white" in photo.about["cube_values"]


def test_another_trained_camera_gets_a_matrix_of_its_own(
    calibration: Path, photos: dict[str, Path]
) -> None:
    config = {"training": {"dataset_info": {"response": "sigma-sdmerill"}}}
    photo = photo_for(config, open_raster(photos["sg140"]), photos["sg140"], camera=str(calibration))
    read = read_patches(photo.unit(), chart("sg140"), CORNERS).rgb
    expected = chart("sg140").reflectance @ Camera.named("sigma-sdmerill").matrix(VISIBLE_31).T
    assert np.sqrt(np.mean((read - expected) ** 2)) < 0.02


def test_photographs_in_srgb_are_calibrated_too(photos: dict[str, Path], tmp_path: Path) -> None:
    for name in ("colorchecker24", "sg140"):
        linear = to_linear(open_raster(photos[name]), photos[name]).unit()
        stored = np.rint(encode_srgb(linear) * 255).astype(np.uint8)
        Image.fromarray(stored).save(tmp_path / f"{name}.png")
    done = calibrate(tmp_path / "colorchecker24.png")
    assert done.exit_code == 0, done.output
    path = tmp_path / "sg140.png"
    photo = photo_for(CONFIG, open_raster(path), path, camera=str(tmp_path / "my.json"))
    read = read_patches(photo.unit(), chart("sg140"), CORNERS).rgb
    assert np.sqrt(np.mean((read - chart("sg140").reflectance @ TRAINED.matrix(VISIBLE_31).T) ** 2)) < 0.01
    with pytest.raises(InputError, match=r"not decoded as that of the calibration.*sRGB"):
        photo_for(CONFIG, open_raster(path), path, encoding="linear", camera=str(tmp_path / "my.json"))


def test_weights_without_a_camera_take_no_calibration(calibration: Path, photos: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="do not name the camera"):
        photo_for({}, open_raster(photos["sg140"]), photos["sg140"], camera=str(calibration))


def test_a_calibration_is_no_response(calibration: Path) -> None:
    with pytest.raises(InputError, match="predict --camera"):
        Camera.named(str(calibration))


def _patches(value: Any) -> dict[str, Any]:
    return {"patches": dict.fromkeys(chart("colorchecker24").patches, value)}


def _light(*power: float) -> dict[str, Any]:
    return {"light": {"name": "lamp", "power": power}}


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2}, {"chart": "sg140"}, {"patches": {}}, {"light": {}}, {"decoding": None},
        _patches(None), _patches([0, 0, 0]), _patches([1e300] * 3), _patches([0.5, 0.5]),
        _patches([-0.1] * 3), _light(1, 1), _light(*[0] * 31), _light(*[-1] * 31), _light(*[math.nan] * 31),
    ],
)  # fmt: skip
def test_a_damaged_calibration_is_refused(calibration: Path, change: dict[str, Any]) -> None:
    calibration.write_text(json.dumps({**json.loads(calibration.read_text()), **change}))
    with pytest.raises(FormatError):
        Calibration.read(calibration)


@pytest.mark.parametrize("text", ["400,1\n700,1\n", "450,1\n460,1\n", "nm,power\n", "400,x\n", "400,-1\n"])
def test_a_file_that_is_no_light_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "light.csv").write_text(text)
    with pytest.raises(HsrzooError, match="not the spectrum of a light"):
        Light.named(str(tmp_path / "light.csv"))


def test_a_light_of_a_file_is_interpolated(tmp_path: Path) -> None:
    rows = "".join(f"{nm},{nm - 300}\n" for nm in range(390, 721, 15))
    (tmp_path / "light.csv").write_text("wavelength_nm,power\n" + rows)
    light = Light.named(str(tmp_path / "light.csv"))
    np.testing.assert_allclose(light.power, (np.arange(400, 701, 10) - 300) / 400)


def test_the_photograph_is_not_overwritten(photos: dict[str, Path], tmp_path: Path) -> None:
    photo = tmp_path / "my.png"
    Image.new("RGB", (215, 150)).save(photo)
    error = calibrate(photo).exception
    assert isinstance(error, InputError) and "overwrite the image" in str(error)


def test_raw_photographs_of_another_white_balance_are_refused() -> None:
    raw = {"input_values": "linear", "input_raw": "white balance 2, 1, 1.5 as shot"}
    of = chart("colorchecker24")
    found = Calibration("", of, of.reflectance[:, :3], raw)
    found.require_decoding({**raw, "input_evidence": "raw"})
    for other in ({**raw, "input_raw": "white balance 1.8, 1, 1.7 as shot"}, {"input_values": "linear"}):
        with pytest.raises(InputError, match="white balance 2, 1"):
            found.require_decoding(other)


FLAT: Corners = ((30.0, 30.0), (180.0, 30.0), (180.0, 120.0), (30.0, 120.0))
"""Of a chart from the front; its outline is 15 pixels further out."""


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("first", [0, 1, 3])
@pytest.mark.parametrize("clockwise", [True, False])
def test_the_fit_decides_which_corner_of_the_outline_found_is_the_first_patch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, turned: bool, first: int, clockwise: bool
) -> None:
    cube = chart_cube("colorchecker24", FLAT)
    cube = np.rot90(cube, -1, axes=(1, 2)) if turned else cube  # the detector gets it turned back
    path = photograph(tmp_path / "a.tif", cube=cube)
    outline = np.array([(15, 15), (195, 15), (195, 135), (15, 135)])[:: 1 if clockwise else -1]

    def detect(image: np.ndarray, additional_data: bool, working_width: int) -> list[Any]:
        assert image.shape[:2] == (150, 215)
        return [SimpleNamespace(quadrilateral=np.roll(outline, first, axis=0) * working_width / 215)]

    module = SimpleNamespace(detect_colour_checkers_segmentation=detect)
    monkeypatch.setitem(sys.modules, "colour_checker_detection", module)
    done = calibrate(path, corners=None)
    assert done.exit_code == 0, done.output
    expected = FLAT if not turned else tuple((149 - y, x) for x, y in FLAT)
    words = done.stderr.split("--corners ")[1].split("\n")[0].split()
    found = [tuple(map(float, word.split(","))) for word in words]
    np.testing.assert_allclose(found, expected, atol=1)


def test_without_the_detector_corners_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, photos: dict[str, Path]
) -> None:
    monkeypatch.setitem(sys.modules, "colour_checker_detection", None)
    for name, words in (("colorchecker24", "hsrzoo[chart]"), ("sg140", "Only ColorChecker Classic")):
        error = calibrate(photos[name], chart=name, corners=None).exception
        assert isinstance(error, InputError) and words in str(error) and "--corners" in str(error)


def test_the_name_of_a_chart_is_checked_first(photos: dict[str, Path]) -> None:
    error = calibrate(photos["sg140"], chart="sg-140", corners=None).exception
    assert isinstance(error, UnknownNameError) and "sg140" in str(error)
