"""Anyone's pairs: every cube format, declared bands, and pairs that do not fit."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from folder_pairs import BANDS, CUBE, pair, photograph
from hsrzoo.bands import BandSet
from hsrzoo.camera import Camera
from hsrzoo.datasets import open_dataset
from hsrzoo.datasets.wavelengths import parse_bands
from hsrzoo.errors import (
    BandsError,
    DatasetError,
    DatasetMissingError,
    FormatError,
    InputError,
    UnknownNameError,
)
from hsrzoo.io import save_cube
from make_fixtures import smooth_cube


@pytest.mark.parametrize("suffix", [".npz", ".mat", ".h5", ".tif", ".hdr"])
def test_pairs_of_every_format(tmp_path, suffix):
    pixels = pair(tmp_path / "folder", "field", suffix)
    dataset = open_dataset("folder", tmp_path)
    assert dataset.splits() == ("valid",) and dataset.scenes("valid") == ["field"]
    assert dataset.bands.same_as(BANDS, 1e-6)
    scene = dataset.load("valid", "field")
    assert np.array_equal(scene.cube, CUBE) and scene.cube.flags["C_CONTIGUOUS"]
    assert np.array_equal(np.rint(scene.rgb * 255), pixels.transpose(2, 0, 1))
    assert dataset.verify().problems == []


def test_split_folders_and_a_path_of_ones_own(tmp_path):
    for split, stems in {"train": ["a", "b"], "test": ["c"]}.items():
        for stem in stems:
            pair(tmp_path / "mine" / split, stem)
    for dataset in (
        open_dataset("folder", tmp_path, path="mine"),
        open_dataset("folder", "/nowhere", path=tmp_path / "mine"),
    ):
        assert {s: dataset.scenes(s) for s in dataset.splits()} == {"train": ["a", "b"], "test": ["c"]}


def test_one_name_in_two_split_folders_is_an_error(tmp_path):
    for split in ("train", "test"):
        pair(tmp_path / "folder" / split, "a")
    with pytest.raises(DatasetError, match=r"Splits of folder share scenes.*a in train and test.*rename"):
        open_dataset("folder", tmp_path)


def test_foreign_mat_with_key_axes_scale_and_wavelengths_file(tmp_path):
    base = tmp_path / "folder"
    (base / "cube").mkdir(parents=True)
    stored = np.rint(CUBE * 10000).astype(np.int16)
    savemat(base / "cube/x.mat", {"ref": stored.transpose(0, 2, 1), "other": np.zeros((2, 2, 2))})
    photograph(base / "rgb", "x.jpg")
    (base / "wavelengths.csv").write_text(
        "band,wavelength_nm,fwhm_nm\n" + "".join(f"{i},{c},20\n" for i, c in enumerate(BANDS.centres_nm))
    )
    dataset = open_dataset("folder", tmp_path, key="ref", axes="cwh", scale="10000")
    assert dataset.bands == BANDS
    assert np.abs(dataset.load("valid", "x").cube - stored / 1e4).max() < 1e-7
    with pytest.raises(DatasetError) as scale:
        open_dataset("folder", tmp_path, key="ref", axes="cwh").load("valid", "x")
    file = base / "cube/x.mat"
    assert str(scale.value) == (
        f"{file} is not scaled to [0, 1]. Expected reflectance or radiance in [0, 1]. "
        f"Got values up to {stored.max()}. Give the full scale, e.g. --data-option scale=10000."
    )
    with pytest.raises(BandsError) as axes:
        open_dataset("folder", tmp_path, key="ref", scale=1e4).load("valid", "x")
    assert str(axes.value) == (
        f"{file} does not have the bands of its set. Expected 5 bands, 450-650 nm. "
        "Got shape (5, 9, 6) (H, W, C). "
        "The bands seem to be on another axis: give --data-option axes=chw or axes=cwh."
    )


def test_rendered_pairs_need_no_photographs(tmp_path):
    (tmp_path / "folder/cube").mkdir(parents=True)
    save_cube(tmp_path / "folder/cube/x.h5", CUBE.transpose(1, 2, 0), BANDS)
    dataset = open_dataset("folder", tmp_path, response="cie-1931")
    assert np.array_equal(dataset.load("valid", "x").rgb, Camera.named("cie-1931").render(CUBE, BANDS))
    with pytest.raises(DatasetError) as caught:
        open_dataset("folder", tmp_path)
    assert str(caught.value) == (
        f"No image in {tmp_path / 'folder'} has the name of a cube. "
        "Expected rgb/NAME.png beside cube/NAME.mat and so on. Rename the files, or render RGB from "
        "cubes with --data-option response=nikon-d5100."
    )


def test_files_without_partner_and_without_wavelengths(tmp_path):
    base = tmp_path / "folder"
    pair(base, "a")
    photograph(base / "rgb", "lonely.png")
    problems = open_dataset("folder", tmp_path).verify().problems
    assert len(problems) == 1 and "lonely.png" in problems[0]
    np.save(base / "cube/a.npy", CUBE.transpose(1, 2, 0))
    (base / "cube/a.npz").unlink()
    with pytest.raises(BandsError) as caught:
        open_dataset("folder", tmp_path)
    assert str(caught.value) == (
        f"The wavelengths of {base / 'cube/a.npy'} are not known. Expected wavelengths inside the file. "
        f"Write them into {base / 'wavelengths.csv'} (a column wavelength_nm), or give "
        "--data-option bands=400:700:10 or bands=FILE.csv."
    )
    assert len(open_dataset("folder", tmp_path, bands="450:650:50").bands) == 5


def test_wavelengths_that_do_not_fit_are_the_reason(tmp_path):
    pair(tmp_path / "folder", "a", ".hdr")
    header = tmp_path / "folder/cube/a.hdr"
    header.write_text(re.sub(r"(wavelength = \{)[^}]*", r"\g<1>450, 500", header.read_text()))
    with pytest.raises(
        BandsError, match=r"not known.*Got A list of 2 band centres is not used: there are 5"
    ):
        open_dataset("folder", tmp_path)


def test_pairs_that_do_not_fit_are_named(tmp_path):
    base = tmp_path / "folder"
    pair(base, "a")
    pair(base, "bands", cube=CUBE[:4], bands=BANDS.select([0, 1, 2, 3]))
    pair(base, "shifted", bands=BandSet.of([460, 500, 550, 600, 650]))
    pair(base, "size")
    photograph(base / "rgb", "size.png", width=8)
    pair(base, "infinite", cube=np.where(CUBE > 0.5, np.inf, CUBE).astype(np.float32))
    pair(base, "void", cube=np.full_like(CUBE, np.nan))
    pair(base, "torn")
    torn = base / "cube/torn.npz"
    torn.write_bytes(torn.read_bytes()[:300])
    dataset = open_dataset("folder", tmp_path)
    expected = {
        "bands": BandsError,
        "shifted": BandsError,
        "size": DatasetError,
        "infinite": DatasetError,
        "void": DatasetError,
        "torn": FormatError,
    }
    with pytest.raises(BandsError, match="Keep cubes of other bands in a folder of their own"):
        dataset.load("valid", "shifted")
    with pytest.raises(DatasetError, match=r"give --data-option axes=\.\.\. \(e\.g\. cwh\)"):
        dataset.load("valid", "size")
    for name, error in expected.items():
        with pytest.raises(error, match=name):
            dataset.load("valid", name)
    assert len(dataset.verify().problems) == len(expected)


def test_the_fingerprint_covers_envi_binaries(tmp_path):
    pair(tmp_path / "folder", "a", ".hdr")
    before = open_dataset("folder", tmp_path).fingerprint()
    with (tmp_path / "folder/cube/a.img").open("ab") as stream:
        stream.write(b"\0")
    assert open_dataset("folder", tmp_path).fingerprint() != before


def test_the_fingerprint_covers_masks_beside_tiff_files(tmp_path):
    pair(tmp_path / "folder", "a", ".tif")
    before = open_dataset("folder", tmp_path).fingerprint()
    (tmp_path / "folder/cube/a.tif.aux.xml").write_text("<PAMDataset></PAMDataset>")
    dataset = open_dataset("folder", tmp_path)
    assert dataset.fingerprint() != before and dataset.scenes("valid") == ["a"]


def test_envi_pairs_in_upper_case_are_one_cube(tmp_path):
    cubes = tmp_path / "folder/cube"
    pair(tmp_path / "folder", "a", ".hdr")
    for file in list(cubes.iterdir()):
        file.rename(cubes / file.name.upper())
    photograph(tmp_path / "folder/rgb", "A.png")
    dataset = open_dataset("folder", tmp_path)
    assert dataset.scenes("valid") == ["A"] and np.array_equal(dataset.load("valid", "A").cube, CUBE)
    before = dataset.fingerprint()
    with (cubes / "A.IMG").open("ab") as stream:
        stream.write(b"\0")
    assert dataset.fingerprint() != before


def test_a_file_written_anew_at_the_same_size_has_another_fingerprint(tmp_path):
    pair(tmp_path / "folder", "a", ".tif")
    dataset = open_dataset("folder", tmp_path)
    before = dataset.fingerprint()
    cube = tmp_path / "folder/cube/a.tif"
    size = cube.stat().st_size
    pair(tmp_path / "folder", "a", ".tif", cube=CUBE / 2)
    assert cube.stat().st_size == size
    assert dataset.fingerprint() != before
    pair(tmp_path / "folder", "a", ".tif")
    assert open_dataset("folder", tmp_path).fingerprint() == before


def test_two_cubes_of_one_name_are_an_error(tmp_path):
    pair(tmp_path / "folder", "a")
    pair(tmp_path / "folder", "a", ".h5")
    with pytest.raises(DatasetError, match="share a name"):
        open_dataset("folder", tmp_path)


def test_bad_options(tmp_path):
    pair(tmp_path / "folder", "a")
    for scale in ("ten", "0", "-1", "nan"):
        with pytest.raises(InputError, match="above 0"):
            open_dataset("folder", tmp_path, scale=scale)
    for text in ("a:b:c", "400:700", "400:700:0", "400,x"):
        with pytest.raises(BandsError, match="band"):
            parse_bands(text)
    with pytest.raises(UnknownNameError, match="response"):
        open_dataset("folder", tmp_path, reponse="cie-1931")
    with pytest.raises(DatasetMissingError) as caught:
        open_dataset("folder", tmp_path, path="empty")
    empty = tmp_path / "empty"
    assert str(caught.value) == (
        "There are no pairs of image and cube here. "
        f"Expected {empty / 'rgb'} and {empty / 'cube'} with files of the same names. "
        f"Got no folder {empty}. These are files of your own. Put them there, or name another folder with "
        "--data-option path=FOLDER."
    )


@pytest.mark.parametrize("suffix", [".bil", ".raw"])
def test_binaries_and_their_headers_have_one_name(tmp_path, suffix):
    cubes = tmp_path / "folder/cube"
    pair(tmp_path / "folder", "a", ".hdr")
    (cubes / "a.img").rename(cubes / f"a{suffix}")
    (cubes / "a.hdr").rename(cubes / f"a{suffix}.hdr")
    dataset = open_dataset("folder", tmp_path)
    assert dataset.scenes("valid") == ["a"] and np.array_equal(dataset.load("valid", "a").cube, CUBE)
    assert {file.name for file in dataset.files()} == {f"a{suffix}", f"a{suffix}.hdr", "a.png"}
    assert dataset.verify().problems == []
    for name in ("a.bil", "a.bil.hdr") if suffix == ".bil" else ("a.raw.hdr",):
        one = open_dataset("folder", tmp_path, path=f"folder/cube/{name}", response="cie-1931")
        assert one.scenes("valid") == ["a"]


def fill(base, stem, number, cube=CUBE, **attributes):
    """A pair whose cube, in an .h5 file, has ``number`` at one pixel."""
    import h5py

    stored = cube.transpose(1, 2, 0).copy()
    stored[2, 3] = number
    (base / "cube").mkdir(parents=True, exist_ok=True)
    with h5py.File(base / f"cube/{stem}.h5", "w") as file:
        file["cube"], file["wavelength"] = stored, BANDS.centres_nm
        file["cube"].attrs.update(attributes)
    photograph(base / "rgb", f"{stem}.png")


@pytest.mark.parametrize(
    ("scale", "number"),
    [(1, -9999), (1, -32768), (1, 9.96921e36), (10000, -9999), (4095, -32768)],
)
def test_fill_values_that_nobody_states_stop_and_name_the_option(tmp_path, scale, number):
    cube = np.rint(CUBE * scale).astype(np.int16) if scale > 1 else CUBE
    fill(tmp_path / "folder", "a", number, cube)
    options = {"scale": scale} if scale > 1 else {}
    dataset, text = open_dataset("folder", tmp_path, **options), re.escape(str(number))
    with pytest.raises(DatasetError, match=rf"holds {text} without.*5 times.*--data-option nodata={text}"):
        dataset.load("valid", "a")
    assert len(dataset.verify().problems) == 1
    declared = open_dataset("folder", tmp_path, nodata=str(number), **options)
    expected = cube / np.float32(scale)
    expected[:, 2, 3] = np.nan
    np.testing.assert_allclose(declared.load("valid", "a").cube, expected, rtol=1e-6)
    assert declared.info["nodata"] == number and "nodata" not in dataset.info
    assert declared.fingerprint() != dataset.fingerprint() and declared.verify().problems == []
    with pytest.raises(InputError, match=r"No data is a stored number.*Got much"):
        open_dataset("folder", tmp_path, nodata="much")


def test_a_stated_scale_is_applied_once_and_told_in_a_note(tmp_path):
    cube = np.rint(CUBE * 10000).astype(np.int16)
    fill(tmp_path / "folder", "a", -9999, cube, Scale_Factor=10000.0, Data_Ignore_Value=-9999.0)
    expected = cube / np.float32(10000)
    expected[:, 2, 3] = np.nan
    for options in ({}, {"scale": "10000"}):
        dataset = open_dataset("folder", tmp_path, **options)
        np.testing.assert_allclose(dataset.load("valid", "a").cube, expected, rtol=1e-6)
        notes = dataset.verify().notes
        assert sum("divided by 10000 (Scale_Factor)" in note for note in notes) == 1
        assert any("scale=10000 is what" in note for note in notes) == bool(options)
    with pytest.raises(InputError, match="states another scale itself"):
        open_dataset("folder", tmp_path, scale=255)


def test_declared_and_stated_bands_are_sorted(tmp_path):
    down = list(range(len(BANDS)))[::-1]
    pair(tmp_path / "stated", "a", cube=CUBE[down], bands=BANDS.select(down))
    (tmp_path / "silent/cube").mkdir(parents=True)
    np.save(tmp_path / "silent/cube/a.npy", CUBE[down].transpose(1, 2, 0))
    photograph(tmp_path / "silent/rgb", "a.png")
    listed = "650,600,550,500,450"
    for folder, options in (("stated", {}), ("stated", {"bands": listed}), ("silent", {"bands": listed})):
        dataset = open_dataset("folder", tmp_path, path=folder, **options)
        assert dataset.bands.same_as(BANDS)
        assert np.array_equal(dataset.load("valid", "a").cube, CUBE)
        assert any("sorted by wavelength" in note for note in dataset.verify().notes) == (
            folder == "stated"
        )


@pytest.mark.parametrize("turn", ["transposed", "flipped upside down", "turned by 90 degrees", None])
def test_verify_tells_of_cubes_that_are_turned_against_their_images(tmp_path, turn):
    cube = smooth_cube(BANDS, 12, 12, 7)
    base = tmp_path / "folder"
    (base / "rgb").mkdir(parents=True)
    for stem in ("a", "b"):
        pixels = np.rint(Camera.named("cie-1931").render(cube, BANDS) * 255).astype(np.uint8)
        Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).save(base / f"rgb/{stem}.png")
        (base / "cube").mkdir(exist_ok=True)
        stored = {
            "transposed": cube.transpose(0, 2, 1),
            "flipped upside down": cube[:, ::-1],
            "turned by 90 degrees": np.rot90(cube, -1, (1, 2)),
        }.get(turn, cube)
        save_cube(base / f"cube/{stem}.npz", np.ascontiguousarray(stored.transpose(1, 2, 0)), BANDS)
    notes = [note for note in open_dataset("folder", tmp_path).verify().notes if "resembles" in note]
    assert len(notes) == (turn is not None)
    if turn:
        assert f"2 of 2 scenes: the cube resembles its image more when it is {turn}" in notes[0]
        assert ("axes=whc" in notes[0]) == (turn == "transposed")
