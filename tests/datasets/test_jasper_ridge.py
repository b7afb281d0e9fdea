"""Jasper Ridge: a matrix of bands and pixels among other arrays, wavelengths from the bands' places."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.io import savemat

from hsrzoo.bands import VISIBLE_31
from hsrzoo.datasets import open_dataset


def test_the_variable_y_over_5000_on_wavelengths_marked_unverified(tmp_path):
    (tmp_path / "jasper_ridge").mkdir()
    stored = np.random.default_rng(0).integers(0, 5001, (198, 10000), dtype=np.uint16)
    others = {"A": np.zeros((4, 10000)), "M": np.zeros((198, 4)), "maxValue": 5000}
    savemat(
        tmp_path / "jasper_ridge/jasperRidge2_R198.mat", {"Y": stored, "nRow": 100, "nCol": 100, **others}
    )
    dataset = open_dataset("jasper-ridge", tmp_path, bands="all")
    centres = dataset.bands.centres_nm
    # Places 4, 107, 113 and 219 among the 224 bands of the sensor, counted from 1.
    for band, place in ((0, 4), (103, 107), (104, 113), (197, 219)):
        assert centres[band] == pytest.approx(380 + 9.46 * (place - 1))
    assert "unverified" in dataset.info["wavelengths"]
    scene = dataset.load("whole", "jasper-ridge")
    expected = stored.T.reshape(100, 100, 198, order="F").transpose(2, 0, 1) / 5000
    assert np.abs(scene.cube - expected).max() < 1e-6
    (name,) = dataset.scenes("valid")
    assert np.array_equal(dataset.load("valid", name).cube, scene.cube[:, 76:])
    visible = open_dataset("jasper-ridge", tmp_path)
    assert visible.bands == VISIBLE_31
    missing = np.isnan(visible.load("whole", "jasper-ridge").cube).all(axis=(1, 2))
    assert np.flatnonzero(missing).tolist() == [0]  # 408.4 nm is more than half a step from 400
