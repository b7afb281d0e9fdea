"""GatorSense: two groups of images, a mask, bands that hold nothing and negative values that are kept."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from hsrzoo.bands import VISIBLE_31
from hsrzoo.datasets.gatorsense import EMPTY, GROUPS, open_gatorsense
from hsrzoo.errors import BandsError, FormatError, UnknownNameError

SUB, CLASS, TARGET = GROUPS["72"]
(LARGE,) = GROUPS["224"]
KEYS = {
    SUB: ("hsi_img_sub", "wavelengths"),
    CLASS: ("hsi_sub", "wavlength"),
    TARGET: ("hsi_sub", "wavelengths"),
}


@pytest.fixture
def root(tmp_path):
    (tmp_path / "gatorsense").mkdir()
    return tmp_path


def write_small(root, shift_nm=0.0):
    """The three images of 72 bands; name -> (C, H, W). Those below 440 nm are negative."""
    cubes = {}
    for number, (name, source) in enumerate(GROUPS["72"].items()):
        bands, height, width = source.shape
        cube = np.random.default_rng(number).uniform(0.1, 0.8, (bands, height, width)).astype(np.float32)
        cube[:8] -= 0.9
        key, lengths = KEYS[name]
        content = {key: cube.transpose(1, 2, 0), lengths: np.linspace(367.7, 1043.4, 72)[:, None]}
        if name == SUB:
            mask = np.ones((height, width), np.uint8)
            mask[30:40, 50:60] = 0
            content["mask_sub"] = mask
        if name == TARGET:
            content["wavelengths"] = content["wavelengths"] + shift_nm
        savemat(root / "gatorsense" / source.file, content)
        cubes[name] = cube
    return cubes


def test_scenes_are_divided_and_their_values_kept(root):
    cubes = write_small(root)
    dataset = open_gatorsense(root, bands="all")
    assert dataset.scenes("whole") == sorted([SUB, CLASS, TARGET])
    assert dataset.scenes("train") == [f"{SUB}-rows-0-50", f"{CLASS}-rows-0-30"]
    assert dataset.scenes("valid") == [f"{TARGET}-rows-0-35"]
    for split, name, of in (
        ("valid", f"{TARGET}-rows-0-35", TARGET),
        ("train", f"{CLASS}-rows-0-30", CLASS),
        ("whole", CLASS, CLASS),
    ):
        scene = dataset.load(split, name)
        assert np.array_equal(scene.cube, cubes[of]) and scene.cube.min() < 0 <= scene.rgb.min()


def test_masked_pixels_have_no_data_and_are_black(root):
    cubes = write_small(root)
    for bands in ("all", "visible"):
        scene = open_gatorsense(root, bands=bands).load("whole", SUB)
        gaps = np.zeros(scene.cube.shape[1:], bool)
        gaps[30:40, 50:60] = True
        assert np.array_equal(np.isnan(scene.cube), np.broadcast_to(gaps, scene.cube.shape))
        assert not scene.rgb[:, gaps].any() and scene.rgb[:, ~gaps].any(axis=0).all()
        if bands == "all":
            assert np.array_equal(scene.cube[:, ~gaps], cubes[SUB][:, ~gaps])


def test_without_its_mask_or_on_other_bands(root):
    write_small(root, shift_nm=3)
    report = open_gatorsense(root).verify()
    assert len(report.problems) == 2 and all(TARGET in p and "differ" in p for p in report.problems)
    with pytest.raises(BandsError, match="72 bands"):
        open_gatorsense(root).load("whole", TARGET)
    content = loadmat(root / "gatorsense" / f"{SUB}.mat")
    savemat(root / "gatorsense" / f"{SUB}.mat", {k: content[k] for k in KEYS[SUB]})
    with pytest.raises(FormatError, match=r"mask_sub \(51, 88\)"):
        open_gatorsense(root).load("whole", SUB)


def test_bands_that_hold_nothing_are_left_out(root):
    source = GROUPS["224"][LARGE]
    stored = np.random.default_rng(0).integers(1, 8000, source.shape).astype(np.int16)
    stored[list(EMPTY)] = 0
    lengths = np.linspace(366, 2496, 224)
    savemat(
        root / "gatorsense" / source.file, {"hsi_img": stored.transpose(1, 2, 0), "wavelengths": lengths}
    )
    dataset = open_gatorsense(root, group=224, bands="all")
    kept = np.setdiff1d(np.arange(224), EMPTY)
    assert len(kept) == 181 and dataset.bands.centres_nm == pytest.approx(lengths[kept])
    scene = dataset.load("whole", LARGE)
    assert np.abs(scene.cube - stored[kept] / 1e4).max() < 1e-6
    visible = open_gatorsense(root, group=224).load("whole", LARGE)
    assert np.array_equal(visible.rgb, scene.rgb) and not np.isnan(visible.cube).any()
    spectrum = [np.interp(c, lengths, stored[:, 3, 4] / 1e4) for c in VISIBLE_31.centres_nm]
    assert visible.cube[:, 3, 4] == pytest.approx(spectrum, abs=1e-5)


def test_groups_are_checked_and_tell_themselves_apart(root):
    with pytest.raises(UnknownNameError, match="224"):
        open_gatorsense(root, group="73")
    write_small(root)
    assert open_gatorsense(root, group=72).info["sensor"] == "72 bands"


@pytest.mark.parametrize("group", ["72", "224"])
def test_the_real_images_are_complete(data_root, group):
    if not (data_root / "gatorsense").is_dir():
        pytest.skip("needs gatorsense in the data root")
    assert open_gatorsense(data_root, group=group).verify().problems == []
    if group == "224":
        stored = loadmat(data_root / "gatorsense" / f"{LARGE}.mat")["hsi_img"]
        assert tuple(np.flatnonzero(~stored.any(axis=(0, 1)))) == EMPTY
        return
    found = {name: loadmat(data_root / "gatorsense" / f"{name}.mat") for name in GROUPS["72"]}
    masked = found[SUB][KEYS[SUB][0]][found[SUB]["mask_sub"] == 0]
    assert len(masked) == 604 and (masked == masked[0]).all()  # one spectrum, repeated: nothing measured
    pixels = [{p.tobytes() for p in found[n][KEYS[n][0]].reshape(-1, 72)} for n in found]
    assert len(set.union(*pixels)) == sum(map(len, pixels))
