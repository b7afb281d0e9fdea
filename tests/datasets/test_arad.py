"""ARAD-1K in the challenge's own layout, written by the fixtures."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from PIL import Image

from hsrzoo.bands import VISIBLE_31
from hsrzoo.datasets import open_dataset
from hsrzoo.datasets.arad import SPEC
from hsrzoo.errors import BandsError, DatasetError, DatasetMissingError, FormatError
from make_fixtures import make_arad_tree, smooth_cube, write_arad_mat

SIZE = {"height": 20, "width": 28}


def test_full_size_scenes_read_back_what_was_written(tmp_path):
    cubes = make_arad_tree(tmp_path, train=1, valid=1)
    with h5py.File(tmp_path / "arad/Train_Spec/ARAD_1K_0901.mat") as file:
        assert file["cube"].shape == (31, 512, 482)  # as the challenge's files are
    dataset = open_dataset("arad", tmp_path)
    assert dataset.scenes("train") == ["ARAD_1K_0001"] and dataset.scenes("valid") == ["ARAD_1K_0901"]
    scene = dataset.load("valid", "ARAD_1K_0901")
    assert scene.cube.shape == (31, 482, 512) and scene.cube.dtype == np.float32
    assert np.array_equal(scene.cube, cubes["ARAD_1K_0901"])
    pixels = np.asarray(Image.open(tmp_path / "arad/Train_RGB/ARAD_1K_0901.jpg"))
    assert np.array_equal(np.rint(scene.rgb * 255), pixels.transpose(2, 0, 1))


def test_its_protocols_are_the_challenge_and_full_frame_without_epsilon():
    assert SPEC.protocols == ("ntire2022", "full-frame") and SPEC.mrae_epsilon == 0


def test_the_root_itself_may_be_the_challenge_folder(tmp_path):
    make_arad_tree(tmp_path, **SIZE)
    below, itself = open_dataset("arad", tmp_path), open_dataset("arad", tmp_path / "arad")
    assert below.fingerprint() == itself.fingerprint()
    assert itself.scenes("valid") == ["ARAD_1K_0901", "ARAD_1K_0902"]


def test_verify_counts_and_says_that_the_lists_are_short(tmp_path):
    make_arad_tree(tmp_path, train=3, valid=2, **SIZE)
    report = open_dataset("arad", tmp_path).verify()
    assert report.scenes == {"train": 3, "valid": 2} and report.shapes == {"31 x 20 x 28": 5}
    assert report.problems == []
    assert any("3 of the challenge's 897" in note for note in report.notes)
    assert report.cube_range == pytest.approx((0.02, 0.95), abs=1e-3)


def test_a_scene_in_both_lists_is_an_error(tmp_path):
    make_arad_tree(tmp_path, **SIZE)
    with (tmp_path / "arad/split_txt/train_list.txt").open("a") as stream:
        stream.write("ARAD_1K_0901\n")
    with pytest.raises(DatasetError, match="1 in two: ARAD_1K_0901 in train and valid"):
        open_dataset("arad", tmp_path)


def test_a_listed_file_that_is_missing_is_named(tmp_path):
    make_arad_tree(tmp_path, **SIZE)
    (tmp_path / "arad/Train_Spec/ARAD_1K_0902.mat").unlink()
    (tmp_path / "arad/Train_RGB/ARAD_1K_0001.jpg").unlink()
    dataset = open_dataset("arad", tmp_path)
    with pytest.raises(DatasetError, match=r"ARAD_1K_0902\.mat"):
        dataset.load("valid", "ARAD_1K_0902")
    assert len(dataset.verify().problems) == 2


@pytest.mark.parametrize("kept", [0, 100, 700, 9000])
def test_a_truncated_cube_is_named(tmp_path, kept):
    make_arad_tree(tmp_path, train=0, valid=1, **SIZE)
    file = tmp_path / "arad/Train_Spec/ARAD_1K_0901.mat"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(FormatError, match=r"ARAD_1K_0901\.mat"):
        open_dataset("arad", tmp_path).load("valid", "ARAD_1K_0901")


def test_other_bands_and_too_few_bands_are_refused(tmp_path):
    make_arad_tree(tmp_path, train=0, valid=2, **SIZE)
    folder = tmp_path / "arad/Train_Spec"
    cube = smooth_cube(VISIBLE_31, 20, 28, 0)
    write_arad_mat(folder / "ARAD_1K_0901.mat", cube, [c + 20 for c in VISIBLE_31.centres_nm])
    write_arad_mat(folder / "ARAD_1K_0902.mat", cube[:30], None)
    dataset = open_dataset("arad", tmp_path)
    for name in ("ARAD_1K_0901", "ARAD_1K_0902"):
        with pytest.raises(BandsError, match=name):
            dataset.load("valid", name)


def test_a_cube_without_wavelengths_is_taken_as_it_is(tmp_path):
    make_arad_tree(tmp_path, train=0, valid=1, **SIZE)
    cube = smooth_cube(VISIBLE_31, 20, 28, 5)
    write_arad_mat(tmp_path / "arad/Train_Spec/ARAD_1K_0901.mat", cube, None)
    assert np.array_equal(open_dataset("arad", tmp_path).load("valid", "ARAD_1K_0901").cube, cube)


def test_sizes_must_agree(tmp_path):
    make_arad_tree(tmp_path, train=0, valid=1, **SIZE)
    Image.new("RGB", (28, 21)).save(tmp_path / "arad/Train_RGB/ARAD_1K_0901.jpg")
    with pytest.raises(DatasetError, match="differ in size"):
        open_dataset("arad", tmp_path).load("valid", "ARAD_1K_0901")


def test_absent_and_incomplete(tmp_path):
    with pytest.raises(DatasetMissingError) as caught:
        open_dataset("arad", tmp_path)
    text = str(caught.value)
    assert "NTIRE 2022" in text and "Register" in text and str(tmp_path / "arad") in text
    make_arad_tree(tmp_path, **SIZE)
    (tmp_path / "arad/split_txt/valid_list.txt").unlink()
    with pytest.raises(DatasetError, match=r"valid_list\.txt"):
        open_dataset("arad", tmp_path)
