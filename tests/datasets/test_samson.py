"""Samson: a matrix of bands and pixels, read column by column, with wavelengths from the literature."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from hsrzoo.bands import VISIBLE_31
from hsrzoo.camera import Camera
from hsrzoo.datasets.samson import BANDS, open_samson
from hsrzoo.errors import FormatError


def write_samson(root, pixels=9025):
    """V (156, H W) as MATLAB unfolds it, column by column; returns the cube (C, H, W)."""
    stored = np.random.default_rng(0).uniform(0, 1, (156, pixels))
    (root / "samson").mkdir(exist_ok=True)
    savemat(root / "samson/samson_1.mat", {"V": stored, "nRow": 95, "nCol": pixels // 95, "nBand": 156})
    return stored.reshape(156, pixels // 95, 95).transpose(0, 2, 1)


def test_bands_are_even_from_401_to_889_nm():
    steps = np.diff(BANDS.centres_nm)
    assert len(BANDS) == 156 and (BANDS.centres_nm[0], BANDS.centres_nm[-1]) == (401, 889)
    assert np.ptp(steps) < 1e-9 and steps[0] == pytest.approx(488 / 155)


def test_pixels_are_unfolded_column_by_column_and_rendered_from_all_bands(tmp_path):
    stored = write_samson(tmp_path)
    dataset = open_samson(tmp_path, bands="all")
    scene = dataset.load("whole", "samson")
    assert np.abs(scene.cube - stored).max() < 1e-6 and dataset.bands == BANDS
    assert np.array_equal(scene.rgb, Camera.named("nikon-d5100").render(scene.cube, BANDS))
    for split, rows in (("train", slice(0, 64)), ("valid", slice(72, 95))):
        (name,) = dataset.scenes(split)
        strip = dataset.load(split, name)
        assert np.array_equal(strip.cube, scene.cube[:, rows])
        assert np.array_equal(strip.rgb, scene.rgb[:, rows])


def test_visible_covers_all_31_bands(tmp_path):
    stored = write_samson(tmp_path)
    dataset = open_samson(tmp_path)
    cube = dataset.load("whole", "samson").cube
    assert dataset.bands == VISIBLE_31 and not np.isnan(cube).any()
    for band, target in enumerate(VISIBLE_31.centres_nm):
        expected = np.interp(target, BANDS.centres_nm, stored[:, 10, 70])  # 400 nm: the first band's value
        assert cube[band, 10, 70] == pytest.approx(expected, abs=1e-5)


def test_another_cutting_is_refused(tmp_path):
    write_samson(tmp_path, pixels=95 * 90)
    with pytest.raises(FormatError, match=r"not the file that samson expects.*\(95, 90, 156\)"):
        open_samson(tmp_path)


def test_the_real_scene_is_complete(data_root):
    file = data_root / "samson/samson_1.mat"
    if not file.is_file():
        pytest.skip("needs samson in the data root")
    dataset = open_samson(data_root, bands="all")
    assert dataset.verify().problems == []
    stored = loadmat(file)["V"].T.reshape(95, 95, 156, order="F").transpose(2, 0, 1)
    assert np.abs(dataset.load("whole", "samson").cube - stored).max() < 1e-6
