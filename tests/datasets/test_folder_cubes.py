"""Folders of cubes alone, and the real cubes that circulate: Berlin, Samson, Jasper Ridge, GatorSense."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from hsrzoo.bands import BandSet
from hsrzoo.camera import Camera
from hsrzoo.datasets import open_dataset
from hsrzoo.errors import BandsError, DatasetError, DatasetMissingError, UnknownNameError
from hsrzoo.io import save_cube
from make_fixtures import smooth_cube

BANDS = BandSet.of([450, 500, 550, 600, 650])
CUBE = smooth_cube(BANDS, 6, 9, 1)
NIKON = "nikon-d5100"


def write(file, cube=CUBE):
    file.parent.mkdir(parents=True, exist_ok=True)
    save_cube(file, cube.transpose(1, 2, 0), BANDS)


def test_a_flat_folder_of_cubes_needs_a_response_and_no_photographs(tmp_path):
    write(tmp_path / "mine/a.h5")
    write(tmp_path / "mine/b.hdr")
    dataset = open_dataset("folder", tmp_path, path="mine", response=NIKON)
    assert dataset.splits() == ("valid",) and dataset.scenes("valid") == ["a", "b"]
    scene = dataset.load("valid", "b")
    assert np.array_equal(scene.cube, CUBE)
    assert np.array_equal(scene.rgb, Camera.named(NIKON).render(CUBE, BANDS, bits=8))
    with pytest.raises(DatasetMissingError, match=r"cubes without photographs.*response=nikon-d5100"):
        open_dataset("folder", tmp_path, path="mine")


def test_flat_split_folders(tmp_path):
    write(tmp_path / "mine/train/a.h5")
    write(tmp_path / "mine/test/b.h5")
    dataset = open_dataset("folder", tmp_path, path="mine", response=NIKON)
    assert {s: dataset.scenes(s) for s in dataset.splits()} == {"train": ["a"], "test": ["b"]}


def test_split_folders_of_any_name_hold_cube_and_rgb(tmp_path):
    for split in ("hard", "test"):
        write(tmp_path / "mine" / split / "cube" / f"{split}.h5")
    dataset = open_dataset("folder", tmp_path, path="mine", response=NIKON)
    assert dataset.splits() == ("test", "hard")


def test_one_cube_is_a_set(tmp_path):
    write(tmp_path / "mine/a.hdr")
    write(tmp_path / "mine/b.h5")
    for path in ("mine/a.hdr", "mine/a.img"):
        dataset = open_dataset("folder", tmp_path, path=path, response=NIKON)
        assert dataset.scenes("valid") == ["a"] and np.array_equal(dataset.load("valid", "a").cube, CUBE)
    before = dataset.fingerprint()
    (tmp_path / "mine/a.hdr").write_text((tmp_path / "mine/a.hdr").read_text() + "\n")
    assert dataset.fingerprint() != before
    with pytest.raises(DatasetMissingError, match="cubes without photographs"):
        open_dataset("folder", tmp_path, path="mine/a.hdr")


def test_zero_bands_and_nan_have_no_data_where_that_is_said(tmp_path):
    cube = CUBE.copy()
    cube[1] = 0
    cube[3, 2, 4] = np.nan
    write(tmp_path / "mine/a.h5", cube)
    kept = open_dataset("folder", tmp_path, path="mine", response=NIKON)
    assert np.array_equal(kept.load("valid", "a").cube, cube, equal_nan=True)
    nodata = open_dataset("folder", tmp_path, path="mine", response=NIKON, zero_bands="nodata")
    expected = cube.copy()
    expected[1] = np.nan
    assert np.array_equal(nodata.load("valid", "a").cube, expected, equal_nan=True)
    assert nodata.fingerprint() != kept.fingerprint()
    assert any("1 of 5 bands have data in no scene" in note for note in nodata.verify().notes)
    with pytest.raises(UnknownNameError, match="keep, nodata"):
        open_dataset("folder", tmp_path, path="mine", response=NIKON, zero_bands="drop")


def test_single_bright_points_are_not_a_wrong_scale(tmp_path):
    cube = np.tile(CUBE, (1, 3, 3))
    cube[:, 0, 0] = 2.5
    write(tmp_path / "mine/a.h5", cube)
    dataset = open_dataset("folder", tmp_path, path="mine", response=NIKON)
    assert dataset.load("valid", "a").cube.max() == 2.5
    write(tmp_path / "mine/a.h5", CUBE * 100)
    with pytest.raises(DatasetError, match="not scaled"):
        dataset.load("valid", "a")


def test_bands_in_micrometres_or_from_a_csv_file(tmp_path):
    (tmp_path / "mine").mkdir()
    np.save(tmp_path / "mine/a.npy", CUBE.transpose(1, 2, 0))
    (tmp_path / "grid.csv").write_text("wavelength\n0.45\n0.50\n0.55\n0.60\n0.65\n")
    for bands in ("0.45:0.65:0.05", "0.45,0.5,0.55,0.6,0.65", "450:650:50", str(tmp_path / "grid.csv")):
        dataset = open_dataset("folder", tmp_path, path="mine", response=NIKON, bands=bands)
        assert dataset.bands.same_as(BANDS, 1e-6)
    with pytest.raises(BandsError, match="These are not wavelengths"):
        open_dataset("folder", tmp_path, path="mine", response=NIKON, bands="1:5:1")


def one_of(data_root, **options):
    """The only scene of a real cube, and its data set."""
    dataset = open_dataset("folder", data_root, response=NIKON, **options)
    report = dataset.verify()
    assert report.problems == [] and sum(report.scenes.values()) == 1
    return dataset.load("valid", dataset.scenes("valid")[0]).cube, dataset, report


def present(data_root, path):
    if not (data_root / path).is_file():
        pytest.skip(f"needs {path} in the data root")
    return path


def test_berlin_gzipped_in_micrometres(data_root):
    stem = "berlin_urban_gradient/EnMAP02_Berlin_Urban_Gradient_2009_testData_compressed"
    cube, dataset, _ = one_of(data_root, path=present(data_root, f"{stem}.hdr"), scale=10000)
    raw = gzip.decompress((data_root / f"{stem}.bsq").read_bytes())
    stored = np.frombuffer(raw, "<i2").reshape(244, 80, 60)
    assert np.abs(cube - stored / 1e4).max() < 1e-6
    assert dataset.bands.centres_nm[:2] == pytest.approx((424, 429))
    assert dataset.bands.widths_nm[0] == pytest.approx(6.9)


def test_berlin_with_wavelengths_in_its_band_names(data_root):
    path = present(data_root, "berlin_urban_gradient/HyMap02_Berlin_Urban_Gradient_2009.bsq")
    cube, dataset, _ = one_of(data_root, path=path)
    assert np.array_equal(cube, np.fromfile(data_root / path, "<f4").reshape(111, 100, 67))
    assert dataset.bands.centres_nm[0] == pytest.approx(455.4)
    assert dataset.bands.centres_nm[-1] == pytest.approx(2446.5)


def test_samson_and_jasper_ridge_are_matrices(data_root, tmp_path):
    path = present(data_root, "samson/samson_1.mat")
    cube, _, _ = one_of(data_root, path=path, axes="c(wh)", bands="401:889:3.1484")
    stored = loadmat(data_root / path)["V"]
    assert np.allclose(cube, stored.T.reshape(95, 95, 156, order="F").transpose(2, 0, 1), atol=1e-7)

    path = present(data_root, "jasper_ridge/jasperRidge2_R198.mat")
    found = loadmat(data_root / path)
    grid = tmp_path / "jasper.csv"
    centres = 380 + 9.46 * (found["SlectBands"].ravel().astype(float) - 1)
    grid.write_text("wavelength_nm\n" + "".join(f"{c:.2f}\n" for c in centres))
    cube, dataset, report = one_of(data_root, path=path, key="Y", axes="c(wh)", scale=5000, bands=str(grid))
    stored = found["Y"].T.reshape(100, 100, 198, order="F").transpose(2, 0, 1)
    assert np.allclose(cube, stored / 5000, atol=1e-6) and len(dataset.bands) == 198
    assert any("leave [0, 1]: 0 to 1.087" in note for note in report.notes)


def test_gatorsense_zero_bands(data_root):
    path = present(data_root, "gatorsense/a_hsi_img_for_VI_demo.mat")
    cube, dataset, report = one_of(data_root, path=path, scale=10000, zero_bands="nodata")
    assert cube.shape == (224, 90, 90) and np.isnan(cube).all(axis=(1, 2)).sum() == 43
    assert dataset.bands.centres_nm[0] == pytest.approx(365.91)
    assert any("43 of 224 bands have data in no scene" in note for note in report.notes)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("an_hsi_image_sub_for_demo", (72, 51, 88)),
        ("an_hsi_img_for_class_demo", (72, 31, 20)),  # its key is wavlength
        ("an_hsi_img_for_tgt_det_demo", (72, 36, 36)),
    ],
)
def test_gatorsense_finds_cube_and_wavelengths_by_itself(data_root, name, shape):
    cube, dataset, report = one_of(data_root, path=present(data_root, f"gatorsense/{name}.mat"))
    assert cube.shape == shape and cube.min() < 0
    assert (dataset.bands.centres_nm[0], dataset.bands.centres_nm[-1]) == pytest.approx((367.7, 1043.4))
    assert any("leave [0, 1]" in note for note in report.notes)


def test_several_cubes_in_one_file_need_a_key(tmp_path):
    (tmp_path / "mine").mkdir()
    savemat(tmp_path / "mine/a.mat", {"x": CUBE, "y": CUBE, "wavlength": BANDS.centres_nm})
    dataset = open_dataset("folder", tmp_path, path="mine", response=NIKON, key="y", axes="chw")
    assert dataset.bands == BANDS and np.array_equal(dataset.load("valid", "a").cube, CUBE)
