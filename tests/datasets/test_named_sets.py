"""ICVL, Harvard, KAIST and HyperGlobal-450K: tiny trees in the formats in which their files circulate."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from scipy.io import savemat

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.camera import Camera
from hsrzoo.cli.data import command
from hsrzoo.datasets import open_dataset
from hsrzoo.errors import (
    BandsError,
    DatasetError,
    DatasetMissingError,
    FormatError,
    HsrzooError,
    UnknownNameError,
)
from hsrzoo.registry import DATASETS
from make_fixtures import smooth_cube, write_arad_mat

LONG = BandSet.regular(420, 720, 10)
HEIGHT, WIDTH = 6, 8


def write_icvl(file, cube):
    """HDF5 as MATLAB v7.3 writes it: ``rad`` 31 x W x H, 12-bit values."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(file, "w", userblock_size=512) as stored:
        stored["rad"] = np.rint(cube.transpose(0, 2, 1) * 4095)
        stored["bands"] = np.asarray(VISIBLE_31.centres_nm)[:, None]
        stored["rgb"] = np.zeros((3, WIDTH, HEIGHT))


def write_harvard(file, cube, mask):
    file.parent.mkdir(parents=True, exist_ok=True)
    savemat(file, {"ref": cube.transpose(1, 2, 0).astype(np.float64), "lbl": mask.astype(np.uint8)})


@pytest.fixture
def cube():
    return smooth_cube(VISIBLE_31, HEIGHT, WIDTH, 3)


def test_icvl_is_scaled_from_12_bits_and_rendered(tmp_path, cube):
    write_icvl(tmp_path / "icvl/scene.mat", cube)
    dataset = open_dataset("icvl", tmp_path)
    scene = dataset.load("valid", "scene")
    assert np.abs(scene.cube - cube).max() <= 0.5 / 4095 + 1e-6
    assert np.array_equal(scene.rgb, Camera.named("nikon-d5100").render(scene.cube, VISIBLE_31, bits=8))
    assert dataset.bands == VISIBLE_31 and dataset.name == "icvl" and dataset.splits() == ("valid",)


def test_split_folders_are_honoured(tmp_path, cube):
    for split, name in (("train", "a"), ("test", "b")):
        write_icvl(tmp_path / f"icvl/{split}/{name}.mat", cube)
    dataset = open_dataset("icvl", tmp_path)
    assert {s: dataset.scenes(s) for s in dataset.splits()} == {"train": ["a"], "test": ["b"]}


@pytest.mark.parametrize("name", ["icvl", "harvard", "kaist", "hyperglobal-450k"])
def test_fingerprints_of_published_sets_read_no_file(tmp_path, cube, name, monkeypatch):
    write_icvl(tmp_path / name / "scene.mat", cube)
    (tmp_path / name / "wavelengths.csv").write_text("".join(f"{c}\n" for c in VISIBLE_31.centres_nm))
    dataset = open_dataset(name, tmp_path)
    before = dataset.fingerprint()

    def unwanted(path):
        raise AssertionError(path)

    monkeypatch.setattr("hsrzoo.datasets.common.sha256_of_file", unwanted)
    (tmp_path / name / "scene.mat").write_bytes(b"shorter")
    assert dataset.fingerprint() != before


def test_icvl_with_another_key_or_truncated(tmp_path, cube):
    file = tmp_path / "icvl/scene.mat"
    write_icvl(file, cube)
    with pytest.raises(FormatError, match=r"no array 'cube'.*rad \(6, 8, 31\)"):
        open_dataset("icvl", tmp_path, key="cube").load("valid", "scene")
    file.write_bytes(file.read_bytes()[:3000])
    report = open_dataset("icvl", tmp_path).verify()
    assert len(report.problems) == 1 and "scene.mat cannot be read as MATLAB v7.3" in report.problems[0]


def test_harvards_mask_leaves_pixels_without_data(tmp_path, cube):
    mask = np.ones((HEIGHT, WIDTH))
    mask[:2, :3] = 0
    write_harvard(tmp_path / "harvard/imga1.mat", cube, mask)
    dataset = open_dataset("harvard", tmp_path)
    scene = dataset.load("valid", "imga1")
    assert dataset.bands == LONG
    assert np.array_equal(np.isnan(scene.cube), np.broadcast_to(mask == 0, cube.shape))
    assert np.array_equal(scene.cube[:, mask == 1], cube[:, mask == 1])
    assert (scene.rgb[:, mask == 0] == 0).all() and (scene.rgb[:, mask == 1] > 0).any()
    report = dataset.verify()
    assert report.problems == [] and "pixels whose lbl is 0 have no data" in report.notes
    assert any(note.startswith("186 of 1488 values have no data") for note in report.notes)  # 6 x 31


def test_harvards_mask_the_other_way_round_and_without(tmp_path, cube):
    mask = np.zeros((HEIGHT, WIDTH))
    mask[4] = 1
    write_harvard(tmp_path / "harvard/imga1.mat", cube, mask)
    other = open_dataset("harvard", tmp_path, mask="nonzero")
    assert np.array_equal(np.isnan(other.load("valid", "imga1").cube[0]), mask == 1)
    none = open_dataset("harvard", tmp_path, mask="none")
    assert np.array_equal(none.load("valid", "imga1").cube, cube)
    assert none.fingerprint() != other.fingerprint()
    with pytest.raises(UnknownNameError, match="mask"):
        open_dataset("harvard", tmp_path, mask="black")


def test_harvard_without_a_mask_of_the_right_size(tmp_path, cube):
    write_harvard(tmp_path / "harvard/imga1.mat", cube, np.ones((HEIGHT, HEIGHT)))
    with pytest.raises(DatasetError, match=r"lbl \(6, 8\). Got \(6, 6\).*mask=none"):
        open_dataset("harvard", tmp_path).load("valid", "imga1")


def test_kaist_crops_by_key_axes_and_bands(tmp_path):
    (tmp_path / "kaist").mkdir()
    cube = smooth_cube(LONG, HEIGHT, WIDTH, 5)
    write_arad_mat(tmp_path / "kaist/crop.mat", cube, None)
    dataset = open_dataset("kaist", tmp_path)
    assert np.array_equal(dataset.load("valid", "crop").cube, cube) and dataset.bands == LONG
    # as h5py writes C x H x W, under another key and on the 31 bands of a copy at 400-700 nm
    with h5py.File(tmp_path / "kaist/crop.mat", "w") as file:
        file["img"] = cube
    other = open_dataset("kaist", tmp_path, key="img", axes="whc", bands="400:700:10")
    assert np.array_equal(other.load("valid", "crop").cube, cube) and other.bands == VISIBLE_31


def test_kaist_in_another_order_suggests_the_axes(tmp_path):
    (tmp_path / "kaist").mkdir()
    cube = smooth_cube(LONG, HEIGHT, WIDTH, 5)
    savemat(tmp_path / "kaist/crop.mat", {"cube": cube})
    with pytest.raises(BandsError, match="axes=chw or axes=cwh"):
        open_dataset("kaist", tmp_path).load("valid", "crop")
    assert np.array_equal(open_dataset("kaist", tmp_path, axes="chw").load("valid", "crop").cube, cube)
    savemat(tmp_path / "kaist/crop.mat", {"cube": cube.transpose(1, 0, 2)})
    with pytest.raises(BandsError, match="axes=hcw or axes=wch"):
        open_dataset("kaist", tmp_path).load("valid", "crop")


def test_kaist_as_exr_says_to_convert(tmp_path):
    (tmp_path / "kaist/EXR").mkdir(parents=True)
    (tmp_path / "kaist/EXR/scene01.exr").write_bytes(b"v/1\x01")
    with pytest.raises(FormatError, match=r"scene01\.exr is OpenEXR.*Convert"):
        open_dataset("kaist", tmp_path)


def test_a_model_of_400_to_700_nm_reaches_29_of_kaists_31_bands(tmp_path):
    """420-700 nm: what ``bench --resample`` scores, and says that it does."""
    (tmp_path / "kaist").mkdir()
    write_arad_mat(tmp_path / "kaist/crop.mat", smooth_cube(LONG, 24, 24, 5), None)
    from hsrzoo_benchmark.command import bench

    options = ["--model", "mean-spectrum.cave", "--dataset", "kaist", "--data-root", tmp_path]
    options += ["--store", tmp_path / "results", "--metrics", "rmse"]
    refused = CliRunner().invoke(bench, list(map(str, options)))
    assert isinstance(refused.exception, BandsError)
    done = CliRunner().invoke(bench, list(map(str, [*options, "--resample"])))
    assert done.exit_code == 0, done.output
    assert "mean-spectrum.cave: resampled, scored on the 29 of the data's 31 bands" in done.output
    rows = [json.loads(line) for file in (tmp_path / "results").rglob("*.jsonl") for line in file.open()]
    assert [row["scored_bands"] for row in rows if "scored_bands" in row] == [29]


def hyperglobal(root, bands=191, side=64, name="hyperglobal-450k"):
    grid = BandSet.of(np.linspace(427, 2395, bands).tolist())
    cube = smooth_cube(grid, side, side, 9)
    (root / name).mkdir()
    savemat(root / name / "sample.mat", {"data": np.rint(cube * 10000).astype(np.int16)})
    (root / "grid.csv").write_text("wavelength_nm\n" + "".join(f"{c}\n" for c in grid.centres_nm))
    return cube


def test_hyperglobal_is_a_folder_with_declared_bands(tmp_path):
    cube = hyperglobal(tmp_path)
    options = {"axes": "chw", "scale": "10000"}
    with pytest.raises(BandsError, match=r"must be declared.*docs/hyperglobal\.md"):
        open_dataset("hyperglobal-450k", tmp_path, **options)
    by_option = open_dataset("hyperglobal-450k", tmp_path, bands=str(tmp_path / "grid.csv"), **options)
    assert np.abs(by_option.load("valid", "sample").cube - cube).max() < 1e-4
    (tmp_path / "grid.csv").rename(tmp_path / "hyperglobal-450k/wavelengths.csv")
    by_file = open_dataset("hyperglobal-450k", tmp_path, **options)
    report = by_file.verify()
    assert by_file.bands == by_option.bands and report.problems == []
    assert not any("published" in note for note in report.notes)


def test_hyperglobal_of_other_shapes_is_noted(tmp_path):
    hyperglobal(tmp_path, bands=20, side=8)
    dataset = open_dataset(
        "hyperglobal-450k", tmp_path, bands=str(tmp_path / "grid.csv"), axes="chw", scale=10000
    )
    assert any("other than the published 191 x 64 x 64: 20 x 8 x 8" in n for n in dataset.verify().notes)


@pytest.mark.parametrize("name", ["icvl", "harvard", "kaist", "hyperglobal-450k"])
def test_an_absent_set_says_where_to_get_it_and_never_downloads(tmp_path, name):
    with pytest.raises(DatasetMissingError) as caught:
        open_dataset(name, tmp_path)
    assert DATASETS.get(name).where in str(caught.value) and str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("name", ["icvl", "harvard", "kaist"])
def test_verify_prints_the_facts_of_each(tmp_path, cube, name):
    file = tmp_path / name / "scene.mat"
    if name == "icvl":
        write_icvl(file, cube)
    elif name == "harvard":
        write_harvard(file, cube, np.ones((HEIGHT, WIDTH)))
    else:
        file.parent.mkdir()
        write_arad_mat(file, cube, None)
    done = CliRunner().invoke(command, ["verify", name, "--data-root", str(tmp_path), "--json"])
    facts = json.loads(done.stdout)
    assert done.exit_code == 0 and facts["shapes"] == {"31 x 6 x 8": 1} and facts["problems"] == []
    assert (
        facts["bands"] == f"31 bands, {400 if name == 'icvl' else 420}-{700 if name == 'icvl' else 720} nm"
    )


def test_a_response_that_sees_no_band_is_an_error_of_ours(tmp_path, cube):
    write_icvl(tmp_path / "icvl/scene.mat", cube)
    with pytest.raises(HsrzooError, match="response"):
        open_dataset("icvl", tmp_path, response="nikon")
