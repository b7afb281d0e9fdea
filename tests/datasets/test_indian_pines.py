"""Indian Pines: scaling, bands, and strips that share nothing."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hsrzoo.bands import VISIBLE_31
from hsrzoo.camera import Camera
from hsrzoo.datasets import open_dataset
from hsrzoo.datasets.indian_pines import STRIPS, native_bands
from hsrzoo.errors import DatasetMissingError, UnknownNameError

PACKAGE = Path(importlib.util.find_spec("tensorly").origin).parent
STORED = np.load(PACKAGE / "datasets/data/Indian_pines_corrected.npy")


def test_strips_leave_eight_columns_between_them_and_fill_the_scene():
    owner = [""] * 145
    for split, (first, end) in STRIPS.items():
        for column in range(first, end):
            assert owner[column] == ""
            owner[column] = split
    runs = "".join({"train": "t", "valid": "v", "test": "e", "": "-"}[o] for o in owner)
    assert runs == "t" * 81 + "-" * 8 + "v" * 24 + "-" * 8 + "e" * 24


def test_all_bands_hold_the_stored_numbers():
    dataset = open_dataset("indian-pines", bands="all")
    for split, (first, end) in STRIPS.items():
        (name,) = dataset.scenes(split)
        scene = dataset.load(split, name)
        assert scene.cube.shape == (200, 145, end - first)
        radiance = (STORED[:, first:end].astype(np.float64) - 1000) / 500
        expected = np.clip(radiance / 15, 0, 1).transpose(2, 0, 1)
        assert np.abs(scene.cube - expected).max() < 1e-6
        assert scene.cube.min() >= 0 and scene.cube.max() <= 1


def test_visible_bands_are_interpolated_and_the_overlap_is_averaged():
    dataset = open_dataset("indian-pines")
    assert dataset.bands == VISIBLE_31
    cube = dataset.load("train", "columns-0-80").cube
    spectrum = (STORED[10, 20].astype(np.float64) - 1000) / 7500

    def between(low: int, target: float) -> float:
        centres = native_bands().centres_nm
        share = (target - centres[low]) / (centres[low + 1] - centres[low])
        return (1 - share) * spectrum[low] + share * spectrum[low + 1]

    assert cube[15, 10, 20] == pytest.approx(between(15, 550), abs=1e-6)  # 547.60 and 557.49 nm
    both = (between(29, 690) + between(31, 690)) / 2  # two spectrometers see 690 nm
    assert cube[29, 10, 20] == pytest.approx(both, abs=1e-6)
    assert cube.min() >= 0 and cube.max() <= 1


def test_wavelengths_are_those_that_tensorly_states():
    tree = ast.parse((PACKAGE / "datasets" / "data_imports.py").read_text(encoding="utf-8"))
    function = next(
        n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "load_indian_pines"
    )
    stated = next(
        ast.literal_eval(n.value)
        for n in ast.walk(function)
        if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "wavelengths"
    )
    assert list(native_bands().centres_nm) == stated and len(stated) == 200


@pytest.mark.parametrize("bands", ["visible", "all"])
def test_rgb_is_the_nikon_rendering_of_the_given_bands(bands):
    dataset = open_dataset("indian-pines", bands=bands)
    scene = dataset.load("valid", "columns-89-112")
    expected = Camera.named("nikon-d5100").render(scene.cube, dataset.bands)
    assert np.array_equal(scene.rgb, expected) and dataset.rgb_bits == 8
    assert scene.rgb.min() > 0.1 and scene.rgb.max() < 1  # nothing saturates


def test_verify_reports_what_was_clipped():
    report = open_dataset("indian-pines", bands="all").verify()
    scaled = (STORED.astype(np.float64) - 1000) / 7500
    outside = np.count_nonzero((scaled < 0) | (scaled > 1))
    assert report.problems == [] and any(note.startswith(f"{outside} of") for note in report.notes)
    assert report.scenes == {"train": 1, "valid": 1, "test": 1}


def test_options_are_checked_and_part_of_the_fingerprint():
    with pytest.raises(UnknownNameError, match="visible"):
        open_dataset("indian-pines", bands="visibel")
    fingerprints = {
        open_dataset("indian-pines", bands=b, response=r).fingerprint()
        for b in ("visible", "all")
        for r in ("nikon-d5100", "cie-1931")
    }
    assert len(fingerprints) == 4


def test_without_tensorly_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DatasetMissingError, match="pip install 'tensorly"):
        open_dataset("indian-pines")


def test_neither_tensorly_nor_torch_is_imported():
    code = (
        "import sys; from hsrzoo.datasets import open_dataset; "
        "open_dataset('indian-pines').load('test', 'columns-121-144'); "
        "print([m for m in ('tensorly', 'torch', 'timm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
