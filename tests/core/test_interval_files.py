"""Files of prediction intervals that ``hsrzoo predict`` writes beside a cube, and what it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner, Result

import hsrzoo
from hsrzoo.cli.predict import command
from hsrzoo.errors import HsrzooError
from hsrzoo.io import load_cube, save_cube
from hsrzoo.models.reconstruction import Level
from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo.prediction.caveats import low_interval, mapped_interval, unlike_text
from hsrzoo.prediction.predict import PredictOptions, predict_file


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Linear pixels, half of them of a colour that no training pixel has."""
    rgb = np.random.default_rng(0).uniform(0.1, 0.4, (20, 17, 3)).astype(np.float32)
    rgb[:10] = 0, 1, 0
    np.save(tmp_path / "image.npy", rgb)
    return tmp_path / "image.npy"


@pytest.mark.parametrize("suffix", [".hdr", ".tif", ".npz"])
@pytest.mark.parametrize("kept", [None, (700.0, 500.0)], ids=["all bands", "some bands"])
def test_half_widths_and_map_are_those_of_the_image_in_memory(
    model: Reconstructor, image: Path, suffix: str, kept: tuple[float, ...] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("hsrzoo.prediction.intervals._AT_ONCE", 40)
    out = image.with_name(f"cube{suffix}")
    report = predict_file(image, model, out, PredictOptions(interval=0.9, bands=kept))
    expected = model(np.load(image), interval=0.9)
    half, bands = load_cube(image.with_name(f"cube.interval90{suffix}"))
    chosen = [3, 1] if kept else [0, 1, 2, 3]
    assert bands == model.bands.select(chosen)
    cube, upper = expected.cube[..., chosen], expected.upper[..., chosen]
    assert np.allclose(half, upper - cube, atol=1e-3)  # a root enlarges rounding near 0
    levels = tifffile.imread(image.with_name("cube.unfamiliar.tif"))
    assert np.array_equal(levels, np.rint(65535 * expected.unfamiliar))
    stated = load_cube(image.with_name("cube.unfamiliar.tif"))[0][..., 0]  # by the scale in its metadata
    assert np.allclose(stated, expected.unfamiliar, atol=1e-5)
    assert report.unlike == pytest.approx(np.mean(expected.unfamiliar > 0.99))
    assert 0.5 <= report.unlike < 0.7


def test_half_widths_can_be_of_16_bits_and_tiles_change_nothing(calibrated: Path, image: Path) -> None:
    name, found = f"local-dir:{calibrated}", []
    for tile in (None, 6):
        out = image.with_name(f"{tile}.hdr")
        options = PredictOptions("uint16", interval=0.95)
        predict_file(image, hsrzoo.load(name, device="cpu", tile=tile), out, options)
        stored = image.with_name(f"{tile}.interval95.img").read_bytes()
        found.append(np.frombuffer(stored, "<u2").astype(int))
    assert len(found[0]) == 20 * 17 * 4
    assert np.abs(found[0] - found[1]).max() <= 4


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_the_share_of_unlike_pixels_takes_the_place_of_the_general_caveat(
    calibrated: Path, image: Path
) -> None:
    found = run(image, "--model", f"local-dir:{calibrated}", "-o", image.with_name("cube.hdr"))
    assert "% of the picture is unlike the training data" in found.output
    assert "outside their domain" not in found.output
    assert not image.with_name("cube.interval90.hdr").exists()


def test_the_map_of_an_image_never_takes_its_place(model: Reconstructor, image: Path) -> None:
    photo = image.with_name("photo.unfamiliar.tif")
    tifffile.imwrite(photo, np.zeros((9, 8, 3), np.uint16), photometric="rgb")
    with pytest.raises(HsrzooError, match="would take the place of"):
        predict_file(photo, model, image.with_name("photo.hdr"), PredictOptions(interval=0.9))
    assert tifffile.imread(photo).shape == (9, 8, 3)


def test_images_are_skipped_only_where_their_intervals_exist(calibrated: Path, image: Path) -> None:
    out = image.with_name("cubes")
    arguments = (image, image.parent / "*.npy", "--model", f"local-dir:{calibrated}", "-o", out)
    assert run(*arguments).exit_code == 0
    again = run(*arguments, "--interval", "80")
    assert "cubes: skipped" not in again.output
    assert f"map of unfamiliar pixels {out / 'image.unfamiliar.tif'}" in again.output
    assert (out / "image.interval80.hdr").exists()
    assert "1 cubes: skipped" in run(*arguments, "--interval", "80").output
    cube, bands = load_cube(out / "image.hdr")
    save_cube(
        out / "image.hdr", cube, bands, metadata={"model": "another"}
    )  # not lost for missing intervals
    refused = run(*arguments, "--interval", "90")
    assert refused.exit_code == 1
    assert "is not a cube of these weights" in refused.output and "Got another" in refused.output


def test_for_a_mapped_photograph_a_note_says_what_was_measured(model: Reconstructor, image: Path) -> None:
    notes: list[str] = []
    for encoding, noted in (("srgb", True), ("linear", False)):
        notes.clear()
        options = PredictOptions(interval=0.5, encoding=encoding)
        predict_file(image, model, image.with_name("a.hdr"), options, say=notes.append)
        assert any("of bundled models need 0.95 to 1.11 times that" in note for note in notes) is noted


@pytest.mark.parametrize(("level", "noted"), [(0.5, True), (None, False)])
def test_a_note_says_where_stored_rows_have_low_coverage(
    model: Reconstructor, image: Path, monkeypatch: pytest.MonkeyPatch, level: Level | None, noted: bool
) -> None:
    known = {
        "other.cave": {"weights_sha256": "0" * 64, "low": {"no scenes": 0.1}},
        "net.cave": {
            "weights_sha256": model.weights_sha256,
            "low": {"dark scenes": 0.746, "metamers": 0.5},
        },
    }
    monkeypatch.setattr("hsrzoo.zoo.read_zoo", lambda: SimpleNamespace(intervals=known))
    notes: list[str] = []
    predict_file(image, model, image.with_name("a.hdr"), PredictOptions(interval=level), say=notes.append)
    said = [note for note in notes if note.startswith("Do not trust intervals")]
    assert [note.partition(" held ")[2] for note in said] == [
        "less than 75 % of the values: dark scenes: 74.6 %; metamers: 50.0 %"
    ] * noted
    assert low_interval("1" * 64, 0.9) is low_interval(model.weights_sha256, "metamer") is None


@pytest.mark.parametrize(
    ("how", "level", "text"),
    [
        ("3 x 3 matrix to the camera a, fitted to the chart b", 0.9, "was not measured"),
        ("3 x 3 matrix to the camera a, white kept", "metamer", "errors of the map to it are not counted"),
        (None, 0.9, "those of 90 % of bundled models held only"),
        (None, "metamer", None),
    ],
)
def test_notes_on_maps(how: str | None, level: Level, text: str | None) -> None:
    photo: Any = SimpleNamespace(about={} if how is None else {"input_map": how})
    found = mapped_interval(photo, level)
    assert found is None if text is None else text in str(found)


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (0.0996, "10 %"), (0.004, "0.4 %"), (0.0004, "0.04 %"), (0.314, "31 %"), (1, "100 %")],
)
def test_shares_are_rounded_for_people(share: float, text: str) -> None:
    assert unlike_text(share).startswith(f"{text} of the picture")
    assert unlike_text(share, 3).startswith(f"{text} of the 3 pictures, on average,")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--interval", "70"], "'70' is not one of"),
        (["--interval", "90", "--tta"], "do not hold for test-time adaptation"),
        (["--interval", "90", "--white", "1,1,2,2", "--reflectance"], "exclude each other"),
        (["--interval", "90", "--approximate-tiles"], "do not hold for tiles with statistics"),
    ],
)
def test_intervals_that_do_not_hold_are_refused_before_any_image_is_read(
    calibrated: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    args = [tmp_path / "no.png", "--model", f"local-dir:{calibrated}", "-o", tmp_path / "o.hdr", *options]
    found = run(*args)
    assert message in f"{found.output} {found.exception}"


def test_a_cube_of_another_size_is_not_taken(model: Reconstructor, image: Path) -> None:
    from hsrzoo.io.raster import ArrayPixels
    from hsrzoo.models.tiling.windows import PaddedImage
    from hsrzoo.prediction.intervals import write_intervals

    cube = image.with_name("other.hdr")
    save_cube(cube, np.zeros((3, 3, 4), np.float32), model.bands)
    pixels = PaddedImage(ArrayPixels(np.load(image)), replace(model.spec.input))
    with pytest.raises(HsrzooError, match="is not the cube of this image"):
        write_intervals(cube, pixels, model.intervals, 0.9, None, "float32", {})
