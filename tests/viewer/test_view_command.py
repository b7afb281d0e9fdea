"""``hsrzoo view``: what it reads, what it prints, what it refuses; and how values are packed."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from PIL import Image, ImageCms

from hsrzoo.bands import BandSet
from hsrzoo.cli.view import _photo, command
from hsrzoo.colour.srgb import encode_srgb
from hsrzoo.errors import InputError
from hsrzoo.io import save_cube
from hsrzoo.io.metadata import Metadata, is_reflectance, metadata_of
from hsrzoo.io.values import UNITS as VALUES
from hsrzoo.viewer.cubes import fit_photo, runs_of, stride_for
from hsrzoo.viewer.pack import NO_DATA, colour_picture, pack_values
from make_fixtures import write_png16

from .conftest import BANDS

UNITS = "W m-2 sr-1 nm-1"


def facts_of(page: Path) -> dict:
    text = page.read_text("utf-8")
    found = re.search(r'<script type="application/json" id="facts">(.*?)</script>', text)
    assert found
    return json.loads(found[1])


def test_the_page_lies_beside_the_cube_and_its_path_is_printed(run_hsrzoo, tmp_path, cube):
    save_cube(tmp_path / "scene.hdr", cube, BANDS)
    done = run_hsrzoo("view", "scene.hdr")
    assert (done.returncode, done.stdout) == (0, "scene.html\n"), done.stderr
    assert "open it in any browser" in done.stderr
    text = (tmp_path / "scene.html").read_text("utf-8")
    assert re.findall(r"https?://[^\s\"'<]*", text) == ["http://www.w3.org/2000/svg"], (
        "a name, not an address"
    )
    assert str(tmp_path) not in text, "a page that is passed on tells no folders"


def test_the_browser_is_opened_when_asked(monkeypatch, tmp_path, cube):
    asked = []
    monkeypatch.setattr("webbrowser.open", asked.append)
    save_cube(tmp_path / "a scene.npz", cube, BANDS)
    done = CliRunner().invoke(command, [str(tmp_path / "a scene.npz"), "--open"])
    assert done.exit_code == 0, done.output
    assert asked == [(tmp_path / "a scene.html").as_uri()]


def test_looking_at_a_cube_needs_no_torch(tmp_path, cube):
    save_cube(tmp_path / "scene.npz", cube, BANDS)
    code = (
        "import sys; from hsrzoo.cli.view import command; "
        "command(['scene.npz'], standalone_mode=False); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True).returncode == 0


def test_a_photograph_is_shown_upright_beside_the_cube(run_hsrzoo, tmp_path, cube):
    """Stored on its side, with EXIF's orientation 6: 32 wide and 24 high when upright."""
    save_cube(tmp_path / "scene.npz", cube, BANDS)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((64, 48, 3), np.uint8)).save(tmp_path / "photo.jpg", exif=exif)
    done = run_hsrzoo("view", "scene.npz", "photo.jpg", "-o", "pages/both.html")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "pages/both.html").read_text("utf-8")
    assert 'data-kind="photo"' in text
    assert "photograph, 2 x 2 pixels averaged" in text


def test_a_photograph_is_shown_in_srgb_however_it_is_stored(tmp_path):
    stored = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(stored).save(tmp_path / "srgb.png", icc_profile=profile)
    assert np.array_equal(_photo(tmp_path / "srgb.png"), stored)
    Image.fromarray(stored).save(tmp_path / "untagged.png")
    assert np.array_equal(_photo(tmp_path / "untagged.png"), stored)
    write_png16(tmp_path / "linear.png", stored.astype(np.uint16) * 257)
    assert np.array_equal(_photo(tmp_path / "linear.png"), np.rint(encode_srgb(stored / 255) * 255))
    tifffile.imwrite(tmp_path / "cube.tif", (stored / 255).astype(np.float32), photometric="rgb")
    assert _photo(tmp_path / "cube.tif") is None


@pytest.mark.parametrize("name", [".", "absent.npz"])
def test_what_is_no_file_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        CliRunner().invoke(command, [name], catch_exceptions=False)
    assert not list(tmp_path.iterdir())


def test_a_cube_without_wavelengths_is_shown_with_a_warning(run_hsrzoo, tmp_path, cube):
    np.save(tmp_path / "bare.npy", cube)
    done = run_hsrzoo("view", "bare.npy")
    assert (done.returncode, done.stdout) == (0, "bare.html\n")
    assert "Warning: No wavelengths in bare.npy" in done.stderr
    assert facts_of(tmp_path / "bare.html")["axis"] == "band number"


def test_a_tiff_is_told_apart_and_equal_names_get_their_folders(run_hsrzoo, tmp_path, cube):
    for folder in ("truth", "guess"):
        (tmp_path / folder).mkdir()
        save_cube(tmp_path / folder / "scene.tif", cube, BANDS, metadata={"units": UNITS})
    done = run_hsrzoo("view", "truth/scene.tif", "guess/scene.tif", "-o", "two.html")
    assert done.returncode == 0, done.stderr
    facts = facts_of(tmp_path / "two.html")
    assert [c["label"] for c in facts["cubes"]] == ["A: truth/scene.tif", "B: guess/scene.tif"]
    assert facts["value_axis"] == f"value, unit: {UNITS}"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["scene.hdr", "small.png"], "The photograph does not fit the cube"),
        (["scene.hdr", "narrow.npz"], "differ in size"),
        (["scene.hdr", "-o", "scene.img"], "The page is an HTML file"),
        (["nothing.hdr"], "There is no such file"),
        (["scene.hdr", "nothing.jpg"], "There is no such file"),
        (["scene.hdr", "--key", "cube"], "--key and --axes are not for ENVI"),
        (["empty.tif"], "is empty (0 bytes)"),
        (["scene.hdr", "-o", "small.png/page.html"], "cannot be written"),
    ],
)
def test_what_cannot_be_shown_is_explained_and_nothing_written(run_hsrzoo, tmp_path, cube, arguments, told):
    save_cube(tmp_path / "scene.hdr", cube, BANDS)
    save_cube(tmp_path / "narrow.npz", cube[:, :-2], BANDS)
    Image.fromarray(np.zeros((20, 32, 3), np.uint8)).save(tmp_path / "small.png")
    (tmp_path / "empty.tif").touch()
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    done = run_hsrzoo("view", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in " ".join(done.stderr.split())
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["c.hdr", "c.img", "c.tif", "c.h5", "c.mat", "c.npz", "c.zarr"])
def test_units_and_origin_are_read_from_every_format(tmp_path, cube, name):
    if name.endswith(".zarr"):
        pytest.importorskip("zarr")
    about = {"model": "a.b", "training_data": "some pairs, with RGB of an unknown camera"}
    save_cube(tmp_path / name, cube, BANDS, metadata={"units": UNITS, **about})
    found = metadata_of(tmp_path / name)
    assert found.units == UNITS and about.items() <= found.facts.items()
    save_cube(tmp_path / name, cube, BANDS)
    assert metadata_of(tmp_path / name) == Metadata(VALUES, {})


def test_files_of_others_have_no_origin(tmp_path, cube):
    np.savez(tmp_path / "a.npz", cube=cube, metadata=np.asarray("[1]"))
    tifffile.imwrite(tmp_path / "a.tif", cube, description='{"metadata": 3}')
    for name in ("a.npz", "a.tif", "absent.hdr"):
        assert metadata_of(tmp_path / name) == Metadata()


@pytest.mark.parametrize(
    ("units", "facts", "marked"),
    [
        (VALUES, {}, True),
        ("reflectance", {}, True),
        (None, {"cube_values": "reflectance relative to the white of the photograph"}, True),
        (VALUES, {"cube_values": "light times reflectance"}, False),
        (UNITS, {}, False),
        (None, {}, False),
    ],
)
def test_limits_of_values_are_those_of_reflectance(units, facts, marked):
    assert is_reflectance(units, facts) == marked


def test_packed_values_are_off_by_half_a_step_at_most(cube):
    cube = cube * 300 - 100
    cube[3, 4, 5], cube[0, 0] = np.inf, np.nan
    found = pack_values(cube, "x")
    halves = np.frombuffer(zlib.decompress(base64.b64decode(found.text)), np.uint8).reshape(2, -1)
    planes = (halves[0] + 256 * halves[1].astype(np.uint16)).reshape(-1, *cube.shape[:2])
    integers = np.cumsum(planes, axis=0, dtype=np.uint16).transpose(1, 2, 0)
    values = np.where(integers == NO_DATA, np.nan, found.offset + found.step * integers.astype(np.float64))
    wanted = np.where(np.isfinite(cube), cube, np.nan)
    np.testing.assert_allclose(values, wanted, atol=0.5001 * found.step)
    assert found.step == pytest.approx((np.nanmax(wanted) - np.nanmin(wanted)) / 65534)


def test_large_cubes_are_thinned_to_the_limit():
    assert stride_for((1024, 1024, 31), None) == 1
    assert stride_for((2048, 2048, 31), None) == 2
    assert stride_for((100, 301, 31), 100) == 4
    assert stride_for((100, 300, 31), 300) == 1


def test_lines_join_the_bands_of_one_detector_in_ascending_order():
    assert runs_of(BandSet.of([400, 500, 450, 550]), 4) == [[0, 1], [2, 3]]
    assert runs_of(BandSet.of([600, 500, 400]), 3) == [[2, 1, 0]]
    assert runs_of(None, 3) == [[0, 1, 2]]
    assert runs_of(BandSet.of([400, 408, 416, 600, 608]), 5) == [[0, 1, 2], [3, 4]]


def test_photographs_of_a_whole_multiple_are_averaged():
    fine = np.arange(4 * 6 * 3, dtype=np.uint16).reshape(4, 6, 3) * 256
    small = fit_photo(fine, 2, 3)
    assert small.dtype == np.uint8
    wanted = [[(fine[2 * y : 2 * y + 2, 2 * x : 2 * x + 2] // 256).mean(axis=(0, 1)) for x in range(3)]
              for y in range(2)]  # fmt: skip
    np.testing.assert_array_equal(small, np.rint(wanted))


def test_values_far_from_reflectance_are_scaled_for_the_picture(cube):
    plain, how = colour_picture(cube, BANDS)
    assert "divided" not in how
    scaled, how = colour_picture(cube * 5000, BANDS)
    assert re.search(r"values divided by 49\d\d$|values divided by 4\.9\de\+03$", how)
    assert abs(scaled.astype(int) - plain).mean() < 3
    assert (plain[..., 3] == 255).all()
