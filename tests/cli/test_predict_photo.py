"""``hsrzoo predict`` as its users call it: what goes where, is kept, shown, said and refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import spectral
from click.testing import CliRunner, Result
from PIL import Image

from hsrzoo.cli.fit import command as fit
from hsrzoo.cli.predict import command
from hsrzoo.datasets import open_dataset
from hsrzoo.errors import BandsError, HsrzooError, InputError, Note, StoreError
from hsrzoo.io import SUFFIX_OF, load_cube, save_cube
from hsrzoo.io.stream import part_of
from hsrzoo.models.loading import load
from hsrzoo.prediction.predict import PredictOptions, Step, predict_file
from hsrzoo.prediction.quicklook import srgb_of
from make_fixtures import write_png16
from tiled_networks import BANDS, Chained, Local, model

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 44, 3), dtype=np.uint8)
FORMATS = ["envi", "tiff", "h5", "mat", "npz"]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.fromarray(PIXELS).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def predict(*arguments: object, network: str = "linear.cave") -> Result:
    call = [str(a) for a in (*arguments, "--model", network, "--device", "cpu")]
    return CliRunner().invoke(command, call)


def refused(*arguments: object, network: str = "linear.cave") -> str:
    """What is said of a call that ends with an error of a user, or of click."""
    result = predict(*arguments, network=network)
    if isinstance(result.exception, SystemExit):
        assert result.exit_code == 2, result.output
        return result.stderr
    assert isinstance(result.exception, HsrzooError), result.exception
    return str(result.exception)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("there", [False, True])
def test_one_photograph_goes_into_a_folder_in_every_format(photo, form, there):
    out = photo.with_name("out")
    if there:
        out.mkdir()
    result = predict(photo, "-o", f"{out}/", "--format", form)
    assert result.exit_code == 0 and result.stdout == "", result.output
    cube = out / f"photo{SUFFIX_OF[form]}"
    assert f"{cube}: 30 x 44 pixels, 31 bands" in result.stderr
    values, bands = load_cube(cube)
    assert values.shape == (30, 44, 31) and bands.centres_nm[0] == 400


def test_what_out_means_for_one_photograph(photo):
    at = photo.parent.joinpath
    assert predict(photo, "-o", at("plain")).exit_code == 0 and at("plain/photo.hdr").exists()
    assert (
        predict(photo, "-o", at("one.tif"), "--format", "tiff").exit_code == 0 and at("one.tif").is_file()
    )
    assert "does not fit" in refused(photo, "-o", at("one.tif"), "--format", "h5")
    assert "not that of a cube format" in refused(photo, "-o", at("one.png"))
    again = predict(photo, "-o", at("plain"), "--format", "envi")
    assert again.exit_code == 0 and "skipped (exists; --overwrite" in again.stderr
    before = at("plain/photo.hdr").stat().st_mtime_ns
    assert predict(photo, "-o", at("plain"), "--overwrite").exit_code == 0
    assert at("plain/photo.hdr").stat().st_mtime_ns > before
    assert "go into a folder" in refused(photo, photo.parent, "-o", at("many.tif"))


def test_the_sample_of_arad_runs(data_root, tmp_path):
    result = predict(
        data_root / "arad1k_rgb_sample" / "ARAD_1K_0912.jpg", "-o", tmp_path / "out", "--format", "envi",
        "--quicklook", "--linear",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "taken as proportional to light, as asked" in result.stderr
    opened = spectral.open_image(str(tmp_path / "out" / "ARAD_1K_0912.hdr"))
    assert opened.shape == (482, 512, 31) and opened.bands.centers == list(range(400, 701, 10))
    with Image.open(tmp_path / "out" / "ARAD_1K_0912.png") as picture:
        assert picture.size == (512, 482) and picture.mode == "RGB"


def test_srgb_is_decoded_before_the_network_tile_by_tile(photo):
    stored = PIXELS / 255
    light = np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)
    network = model(Chained)
    for encoding, rgb in (("srgb", light), ("linear", stored), ("auto", light)):
        expected = network(rgb.astype(np.float32)).cube
        for tile, name in ((16, "a.tif"), (None, "a.npz")):
            out = photo.with_name(name)
            predict_file(photo, model(Chained, tile=tile), out, PredictOptions(encoding=encoding))
            np.testing.assert_allclose(load_cube(out)[0], expected, atol=3e-6)


def test_what_was_assumed_is_said_and_exclusive(photo):
    for option, words in (("--srgb", "taken as sRGB, as asked"), ("--linear", "to light, as asked")):
        result = predict(photo, "-o", photo.with_name("a.hdr"), option)
        assert result.exit_code == 0 and words in result.stderr and result.stderr.count("Input:") == 1
    assert "exclude each other" in refused(photo, "-o", photo.with_name("b.hdr"), "--srgb", "--linear")


def test_a_bit_depth_that_is_declared_or_seems_to_be_needed(photo):
    twelve = np.random.default_rng(0).integers(0, 4096, (30, 44, 3), dtype=np.uint16)
    write_png16(photo, twelve)
    out, said = photo.with_name("a.npz"), []
    predict_file(photo, model(Local), out, say=said.append)
    assert re.search(
        r"no value of photo\.png exceeds \d+ of 65535; .*give --bit-depth 12$", "\n".join(said)
    )
    result = predict(photo, "-o", photo.with_name("b.npz"), "--bit-depth", "12")
    assert result.exit_code == 0 and "exceeds" not in result.stderr
    predict_file(photo, model(Local), out, PredictOptions(bit_depth=12))
    np.testing.assert_allclose(
        load_cube(out)[0], model(Local)((twelve / 4095).astype(np.float32)).cube, atol=3e-6
    )
    options = ("--bit-depth", "12", "--value-range", "0", "1")
    assert "exclude each other" in refused(photo, "-o", photo.with_name("c.hdr"), *options)


def test_weights_of_decoded_pairs_give_the_cube_that_their_data_set_scores(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 1
    for split in ("train", "valid"):
        for kind in ("rgb", "cube"):
            (tmp_path / "folder" / split / kind).mkdir(parents=True)
        Image.fromarray(PIXELS).save(tmp_path / f"folder/{split}/rgb/{split}.jpg", exif=exif)
        cube = np.linspace(0.1, 0.9, len(BANDS)) * PIXELS.mean(axis=2, keepdims=True) / 255
        save_cube(tmp_path / f"folder/{split}/cube/{split}.npz", cube, BANDS)
    out, weights = tmp_path / "p.npz", tmp_path / "w"
    call = ["poly", "--dataset", "folder", "--data-root", str(tmp_path), "--out", str(weights)]
    with pytest.warns(Note, match=r"train\.jpg, the first of 2: sRGB by its EXIF ColorSpace"):
        CliRunner().invoke(fit, call, catch_exceptions=False)
        scene = open_dataset("folder", tmp_path).load("valid", "valid")
    config = json.loads((weights / "config.json").read_text())
    assert config["training"]["dataset_info"]["encoding"] == "srgb"
    image = tmp_path / "folder/valid/rgb/valid.jpg"
    result = predict(image, "-o", out, network=f"local-dir:{weights}")
    assert result.exit_code == 0 and "The weights learned" not in result.stderr
    scored = load(f"local-dir:{weights}", device="cpu").predict(scene.rgb)
    np.testing.assert_allclose(load_cube(out)[0].transpose(2, 0, 1), scored, atol=1e-5)
    taken = predict(image, "-o", out, "--linear", network=f"local-dir:{weights}")
    assert "decoded to linear light; this one is taken as it is (--srgb" in taken.stderr


def interrupted(photo: Path, out: Path, options: PredictOptions) -> None:
    def progress(step: Step) -> None:
        if step.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_file(photo, model(Local, tile=16), out, options, progress)
    assert part_of(out).exists()


def test_going_on_never_mixes_assumptions_or_bands(photo):
    out = photo.with_name("a.tif")
    begun = PredictOptions(encoding="srgb", bands=(475, 550), save_seconds=0)
    interrupted(photo, out, begun)
    for other, words in (
        (replace(begun, encoding="linear"), r"image\.input_values: sRGB.* before, linear now"),
        (PredictOptions(encoding="srgb"), r"options\.bands: .*475.* before, None now"),
    ):
        with pytest.raises(StoreError, match=rf"another run.*{words}"):
            predict_file(photo, model(Local, tile=16), out, other)
    report = predict_file(photo, model(Local, tile=16), out, begun)
    assert report.resumed
    predict_file(photo, model(Local, tile=16), photo.with_name("b.tif"), begun)
    assert out.read_bytes() == photo.with_name("b.tif").read_bytes()


@pytest.mark.parametrize("name", ["a.hdr", "a.tif", "a.h5", "a.mat", "a.npz", "a.zarr"])
def test_bands_are_kept_in_the_order_asked(photo, name):
    if name == "a.zarr":
        pytest.importorskip("zarr", minversion="3")
    out = photo.with_name(name)
    tile = 16 if name in ("a.hdr", "a.tif", "a.zarr") else None
    options = PredictOptions(encoding="linear", bands=(640, 400, 530))
    report = predict_file(photo, model(Local, tile=tile), out, options)
    cube, bands = load_cube(out)
    assert bands.centres_nm == (625, 400, 550) and report.bands == 3 and report.bytes == cube.nbytes
    np.testing.assert_allclose(cube, model(Local)(PIXELS).cube[..., [3, 0, 2]], atol=2e-6)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ((450, 760), r"no band at 760 nm.*within 37\.5 nm.*5 bands, 400-700 nm.*700 nm is nearest"),
        ((300,), "no band at 300 nm"),
        ((400, 405), "400 and 405 nm are the same band"),
    ],
)
def test_a_band_that_is_not_there_is_refused_with_the_range(photo, wanted, words):
    with pytest.raises(BandsError, match=words):
        predict_file(photo, model(Local), photo.with_name("a.hdr"), PredictOptions(bands=wanted))
    assert [p.name for p in photo.parent.iterdir()] == ["photo.png"]


def test_the_command_keeps_bands_and_refuses_others(photo):
    out = photo.with_name("a.hdr")
    assert predict(photo, "-o", out, "--bands", "450, 550,650").exit_code == 0
    assert load_cube(out)[1].centres_nm == (450, 550, 650)
    assert "write 450,550,650" in refused(photo, "-o", out, "--bands", "450;550")
    assert "write 450,550,650" in refused(photo, "-o", out, "--bands", "-1")
    # before any of many images
    assert "400-700 nm" in refused(
        photo, "-o", photo.with_name("out"), "--bands", "900", "--format", "envi"
    )


@pytest.mark.parametrize("name", ["a.hdr", "a.tif", "a.npz", "a.zarr"])
@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_the_quick_look_is_the_cube_rendered(photo, name, dtype):
    if name == "a.zarr":
        pytest.importorskip("zarr", minversion="3")
    if name == "a.npz":
        dtype = "float32"
    out = photo.with_name(name)
    report = predict_file(photo, model(Local), out, PredictOptions(dtype=dtype, quicklook=True))
    assert report.picture == photo.with_name("a.png")
    with Image.open(report.picture) as picture:
        assert picture.mode == "RGB" and np.array_equal(np.asarray(picture), srgb_of(*load_cube(out)))


def test_a_large_cube_is_shown_by_every_nth_pixel(photo, monkeypatch):
    monkeypatch.setattr("hsrzoo.prediction.quicklook.LONGEST", 11)
    monkeypatch.setattr("hsrzoo.prediction.quicklook._AT_ONCE", 1)  # a strip is one row of the picture
    monkeypatch.setattr("hsrzoo.io.load_cube", lambda *_, **__: pytest.fail("the cube was read whole"))
    out = photo.with_name("a.tif")
    predict_file(photo, model(Local, tile=16), out, PredictOptions(quicklook=True))
    monkeypatch.undo()
    with Image.open(photo.with_name("a.png")) as picture:
        assert picture.size == (11, 8)
        expected = srgb_of(np.ascontiguousarray(load_cube(out)[0][::4, ::4]), BANDS)
        assert np.array_equal(np.asarray(picture), expected)


def test_false_colours_are_said_and_missing_pictures_made_later(photo):
    out = photo.with_name("out")
    result = predict(photo, "-o", out, "--bands", "450,550", "--quicklook", "--format", "tiff")
    assert "do not cover the visible range: red, green, blue are 550, 450, 450 nm" in result.stderr
    (out / "photo.png").unlink()
    assert predict(photo.parent / "*.png", "-o", out, "--quicklook", "--format", "tiff").exit_code == 0
    assert (out / "photo.png").exists()


def test_a_quick_look_never_takes_the_place_of_the_photograph(photo):
    before = photo.read_bytes()
    words = refused(photo, "-o", photo.with_suffix(".hdr"), "--quicklook")
    assert "would overwrite the image" in words and photo.read_bytes() == before


def test_a_quick_look_replaces_quick_looks_and_no_other_picture(photo):
    jpeg, picture = photo.with_name("other.jpg"), photo.with_name("other.png")
    shutil.copy(photo, picture)  # beside the JPEG of the same name, as cameras and editors leave them
    Image.open(photo).save(jpeg)
    words = refused(jpeg, "-o", jpeg.with_suffix(".hdr"), "--quicklook")
    assert "would overwrite the image" in words and picture.read_bytes() == photo.read_bytes()
    picture.write_text("no picture at all")
    assert "would overwrite the image" in refused(jpeg, "-o", jpeg.with_suffix(".hdr"), "--quicklook")
    picture.unlink()
    for _ in range(2):
        assert predict(jpeg, "-o", jpeg.with_suffix(".hdr"), "--quicklook").exit_code == 0


def test_adaptation_changes_the_cube_and_says_where_it_cannot(photo):
    calls = []

    def adapt(module, rgb):
        calls.append(rgb.shape)
        warnings.warn("a word of the network", stacklevel=1)
        return module(rgb) + 1

    said = []
    for name in ("a.tif", "a.npz"):
        out = photo.with_name(name)
        options = PredictOptions(tta=True, encoding="linear")
        predict_file(photo, model(Local, adapt=adapt), out, options, say=said.append)
        np.testing.assert_allclose(load_cube(out)[0], model(Local)(PIXELS).cube + 1, atol=1e-5)
    assert len(calls) == 2 and said.count("a word of the network") == 2
    told = refused(photo, "-o", photo.with_name("b.hdr"), "--tta")
    assert "linear.cave has no test-time adaptation" in told
    told = refused(photo, "-o", photo.with_name("b.hdr"), "--tta", "--tile", "16", network="mcga-s2.cave")
    assert "adaptation needs the whole image" in told and "tiles" in told


def test_trust_is_said_once_and_names_the_camera_of_the_photograph(photo, tmp_path):
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Maker", "Phone 3"
    Image.fromarray(PIXELS).save(tmp_path / "phone.jpg", exif=exif)
    result = predict(photo, tmp_path / "phone.jpg", "-o", tmp_path / "out")
    assert result.exit_code == 0
    assert result.stderr.count("trained on cave") == 1 and "camera nikon-d5100" in result.stderr
    assert "% of the 2 pictures, on average, is unlike the training data" in result.stderr
    assert "the camera Maker Phone 3 is not in it" in result.stderr


def test_not_an_image_and_an_empty_file(tmp_path):
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("no image at all")
    for name, words in (("empty.jpg", "0 bytes"), ("text.jpg", "not an image that can be read")):
        for out in ("a.hdr", "folder"):
            told = refused(tmp_path / name, "-o", tmp_path / out)
            assert words in told and name in told
        assert sorted(p.name for p in tmp_path.iterdir()) == ["empty.jpg", "text.jpg"]
    both = predict(tmp_path / "empty.jpg", tmp_path / "text.jpg", "-o", tmp_path / "in" / "folders")
    assert both.exit_code == 1 and "0 of 2 images done, 2 failed" in both.stderr
    assert not (tmp_path / "in").exists()
    assert "no such file" in refused(tmp_path / "absent.jpg", "-o", tmp_path / "a.hdr")
    assert "There is no image in" in refused(tmp_path / "*.tif", "-o", tmp_path / "a")


@pytest.mark.parametrize(("mode", "words"), [("L", "grey"), ("RGBA", "alpha"), ("P", "palette")])
def test_other_than_rgb_is_refused_with_a_hint(tmp_path, mode, words):
    Image.fromarray(PIXELS).convert(mode).save(tmp_path / "a.png")
    told = refused(tmp_path / "a.png", "-o", tmp_path / "a.hdr")
    assert words in told and "Save it as plain RGB" in told


def test_a_wide_panorama_runs_in_tiles(tmp_path):
    """20,000 pixels, and a picture of 2,048 at most."""
    rows, columns = np.mgrid[0:24, 0:20_000]
    rgb = np.stack([columns // 80, rows * 10, (rows + columns) % 256], axis=-1).astype(np.uint8)
    Image.fromarray(rgb).save(tmp_path / "wide.png")
    out = tmp_path / "tiles.tif"
    options = PredictOptions(encoding="srgb", quicklook=True)
    report = predict_file(tmp_path / "wide.png", model(Local, tile=1024), out, options)
    assert report.tiles > 1 and report.size == (24, 20_000)
    predict_file(tmp_path / "wide.png", model(Local), tmp_path / "whole.tif", options)
    np.testing.assert_allclose(load_cube(out)[0], load_cube(tmp_path / "whole.tif")[0], atol=2e-6)
    with Image.open(tmp_path / "tiles.png") as picture:
        assert picture.size == (2000, 3)


def test_a_folder_of_mixed_sizes_with_a_broken_file(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name, size in (("a.png", (20, 30)), ("b.jpg", (51, 17)), ("d.tif", (9, 64))):
        Image.fromarray(PIXELS).resize(size).save(folder / name)
    (folder / "c.png").write_bytes((folder / "a.png").read_bytes()[:60])
    result = predict(folder, "-o", tmp_path / "out", "--format", "npz", "--quicklook")
    assert result.exit_code == 1 and f"Failed: {folder / 'c.png'}" in result.stderr
    assert "3 of 4 images done, 1 failed" in result.stderr
    shapes = {p.stem: load_cube(p)[0].shape[:2] for p in (tmp_path / "out").glob("*.npz")}
    assert shapes == {"a": (30, 20), "b": (17, 51), "d": (64, 9)}
    assert sorted(p.name for p in (tmp_path / "out").glob("*.png")) == ["a.png", "b.png", "d.png"]


def test_a_folder_that_cannot_be_made_is_an_error_before_anything_runs(photo, monkeypatch):
    (photo.parent / "file").write_text("in the way")
    monkeypatch.setattr("hsrzoo.prediction.predict.predict_file", lambda *_: pytest.fail("it ran"))
    for out, form in (("file", "envi"), ("file/below", "envi"), ("file/below", "npz")):
        told = refused(photo, "-o", photo.parent / out, "--format", form)
        assert "cannot be written" in told and str(photo.parent / "file") in told


@pytest.mark.parametrize("name", ["a.hdr", "a.npz"])
def test_a_folder_without_permission_is_refused(photo, name, monkeypatch):
    closed = photo.parent / "closed"
    closed.mkdir()
    if os.geteuid() == 0:  # who may write everywhere
        monkeypatch.setattr("hsrzoo.io.stream.os.access", lambda path, _: Path(path) != closed)
    else:
        closed.chmod(0o500)
    with pytest.raises(InputError, match=r"closed is not writable"):
        predict_file(photo, model(Local), closed / name)
    assert not list(closed.iterdir())
