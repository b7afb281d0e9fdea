"""CAVE: the development copy, the original download's layout, and stacks that are damaged."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from hsrzoo.bands import VISIBLE_31
from hsrzoo.camera import Camera
from hsrzoo.datasets import cave, open_dataset
from hsrzoo.datasets.base import Scene
from hsrzoo.errors import BandsError, DatasetError, DatasetMissingError, FormatError, UnknownNameError
from make_fixtures import CAVE_VALID, make_cave_tree, smooth_cube, write_cave_stack


def test_a_tree_reads_back_what_was_written(tmp_path):
    cubes = make_cave_tree(tmp_path)
    dataset = open_dataset("cave", tmp_path)
    assert dataset.splits() == ("train", "valid") and dataset.bands == VISIBLE_31
    assert dataset.scenes("train") == ["balloons", "cd"]
    assert dataset.scenes("valid") == ["beads", "fake_and_real_food"]
    for split in dataset.splits():
        for name in dataset.scenes(split):
            scene = dataset.load(split, name)
            stored = np.rint(cubes[name].astype(np.float64) * 65535) / 65535
            assert scene.cube.dtype == scene.rgb.dtype == np.float32
            assert np.abs(scene.cube - stored).max() < 1e-7
            assert np.array_equal(scene.rgb, Camera.named("nikon-d5100").render(scene.cube, VISIBLE_31))


def test_watercolors_is_divided_by_its_own_depth(tmp_path):
    cubes = make_cave_tree(tmp_path, train=["watercolors", "cd"])
    scene = open_dataset("cave", tmp_path).load("train", "watercolors")
    assert np.abs(scene.cube - np.rint(cubes["watercolors"].astype(np.float64) * 255) / 255).max() < 1e-7


def test_the_original_download_is_split_and_has_no_portraits(tmp_path):
    make_cave_tree(
        tmp_path, train=["cd", "superballs", "hairs", "face", "photo_and_face"], valid=CAVE_VALID, flat=True
    )
    dataset = open_dataset("cave", tmp_path)
    assert dataset.scenes("valid") == list(CAVE_VALID)
    assert dataset.scenes("train") == ["cd", "hairs", "superballs"]
    assert dataset.load("train", "hairs").cube.shape == (31, 24, 32)


def test_the_response_is_an_option_and_changes_the_fingerprint(tmp_path):
    make_cave_tree(tmp_path)
    nikon, sigma = (open_dataset("cave", tmp_path, response=r) for r in ("nikon-d5100", "sigma-sdmerill"))
    assert not np.array_equal(nikon.load("valid", "beads").rgb, sigma.load("valid", "beads").rgb)
    assert nikon.fingerprint() != sigma.fingerprint()
    assert nikon.info == {"response": "nikon-d5100"}
    with pytest.raises(UnknownNameError, match="response"):
        open_dataset("cave", tmp_path, respons="cie-1931")


def test_the_fingerprint_follows_the_files(tmp_path):
    make_cave_tree(tmp_path)
    before = open_dataset("cave", tmp_path).fingerprint()
    assert before == open_dataset("cave", tmp_path).fingerprint()
    write_cave_stack(tmp_path / "cave" / "valid", "beads", smooth_cube(VISIBLE_31, 24, 30, 0))
    assert open_dataset("cave", tmp_path).fingerprint() != before


def test_a_missing_band_names_band_and_file(tmp_path):
    make_cave_tree(tmp_path)
    dataset = open_dataset("cave", tmp_path)
    file = tmp_path / "cave/valid/beads_ms/beads_ms/beads_ms_17.png"
    file.unlink()
    with pytest.raises(BandsError, match=r"Band 17 .*beads_ms_17\.png"):
        dataset.load("valid", "beads")
    report = dataset.verify()
    assert len(report.problems) == 1 and "beads_ms_17.png" in report.problems[0]
    assert report.shapes == {"31 x 24 x 32": 3}


def test_a_truncated_or_odd_band_names_the_file(tmp_path):
    make_cave_tree(tmp_path)
    dataset = open_dataset("cave", tmp_path)
    file = tmp_path / "cave/valid/beads_ms/beads_ms/beads_ms_05.png"
    content = file.read_bytes()
    for kept in (0, 200, len(content) // 2):
        file.write_bytes(content[:kept])
        with pytest.raises(FormatError, match=r"beads_ms_05\.png"):
            dataset.load("valid", "beads")
    Image.fromarray(np.zeros((24, 31), np.uint16)).save(file)
    with pytest.raises(FormatError, match=r"beads_ms_05\.png"):
        dataset.load("valid", "beads")


def test_absent_says_what_where_from_and_where_to(tmp_path):
    with pytest.raises(DatasetMissingError) as caught:
        open_dataset("cave", tmp_path)
    text = str(caught.value)
    assert "CAVE multispectral" in text and "columbia.edu" in text and str(tmp_path / "cave") in text
    assert caught.value.exit_code == 2


def test_unknown_splits_and_scenes(tmp_path):
    make_cave_tree(tmp_path)
    dataset = open_dataset("cave", tmp_path)
    with pytest.raises(UnknownNameError, match="valid"):
        dataset.scenes("val")
    with pytest.raises(UnknownNameError, match="beads"):
        dataset.load("valid", "bead")


def test_training_scenes_are_also_in_five_folds_the_last_by_name_first(tmp_path, monkeypatch):
    monkeypatch.setattr(cave, "_find_scenes", lambda _: {"train": dict.fromkeys("jbicdehgfa"), "valid": {}})
    black = np.zeros((31, 1, 1)), np.zeros((3, 1, 1))
    monkeypatch.setattr(cave.Cave, "read", lambda self, split, scene: Scene(f"{split}/{scene}", *black))
    dataset = cave.Cave(tmp_path)
    assert dataset.splits() == ("train", "valid")  # neither surveyed nor resampled twice
    folds = ["".join(dataset.scenes(f"fold-{k}")) for k in range(5)]
    assert folds == ["ij", "gh", "ef", "cd", "ab"]
    assert dataset.scenes("without-fold-1") == list("abcdefij")
    assert dataset.load("fold-0", "j").name == "train/j"
    with pytest.raises(UnknownNameError, match="scene of cave"):
        dataset.load("without-fold-0", "j")


def test_a_scene_in_both_splits_is_an_error(tmp_path):
    make_cave_tree(tmp_path, train=["beads", "cd"])
    with pytest.raises(DatasetError, match="1 in two: beads in train and valid"):
        open_dataset("cave", tmp_path)


def test_the_development_copy(data_root):
    if not (data_root / "cave").is_dir():
        pytest.skip("needs CAVE")
    dataset = open_dataset("cave", data_root)
    assert dataset.scenes("valid") == list(CAVE_VALID)
    assert not {"face", "photo_and_face", *CAVE_VALID} & set(dataset.scenes("train"))
    scene = dataset.load("valid", "feathers")
    assert scene.cube.shape == (31, 512, 512) and scene.rgb.shape == (3, 512, 512)
    folder = data_root / "cave/valid/feathers_ms/feathers_ms"
    plane = np.asarray(Image.open(folder / "feathers_ms_20.png")).astype(np.float64)
    assert np.abs(scene.cube[19] - plane / 65535).max() < 1e-7
    # The BMP beside the stack was rendered by the authors: the same picture in other colours.
    shown = np.asarray(Image.open(folder / "feathers_RGB.bmp").convert("RGB")).astype(float)
    for channel in range(3):
        assert np.corrcoef(scene.rgb[channel].ravel(), shown[..., channel].ravel())[0, 1] > 0.8
