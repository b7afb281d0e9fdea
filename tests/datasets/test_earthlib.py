"""Mosaics of single spectra: which spectra are taken, how a scene is made of them, what splits share."""

from __future__ import annotations

import importlib.util
from importlib.machinery import ModuleSpec

import numpy as np
import pytest

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.camera import Camera
from hsrzoo.datasets.earthlib import Earthlib
from hsrzoo.errors import DatasetMissingError, FormatError, UnknownNameError

COUNT, BANDS = 700, BandSet.regular(400, 1000, 10)


def write_library(folder, count=COUNT):
    """As the package has it; the last 100 are simulated, 55 repeats 54, 66 is 0 in the visible.
    The spectra are noise, so that no two have one shape and blocks can be traced to them."""
    data = folder / "data"
    data.mkdir(parents=True)
    spectra = np.random.default_rng(0).uniform(0.1, 0.8, (COUNT, len(BANDS))).astype("<f4")
    spectra[55], spectra[66, :31] = spectra[54], 0
    spectra.tofile(data / "spectra.sli")
    names = " , ".join(f"s{i}" for i in range(COUNT))
    um = " , ".join(f"{c / 1000:g}" for c in BANDS.centres_nm)
    (data / "spectra.sli.hdr").write_text(
        f"ENVI\nsamples = {len(BANDS)}\nlines = {COUNT}\nbands = 1\nheader offset = 0\n"
        "file type = ENVI Spectral Library\ndata type = 4\ninterleave = bsq\nbyte order = 0\n"
        f"spectra names = {{ {names} }}\nwavelength units = Micrometers\nwavelength = {{ {um} }}\n"
    )
    rows = [f"s{i},{'measured' if i < 600 else 'simulated'}\n" for i in range(count)]
    (data / "spectra.csv").write_text("NAME,LEVEL_4\n" + "".join(rows))
    return spectra


def offer(monkeypatch, folder):
    """Let ``folder`` be the installed package; its code does not exist and cannot be imported."""
    spec = ModuleSpec("earthlib", None, origin=str(folder / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec if name == "earthlib" else None)


@pytest.fixture
def spectra(tmp_path, monkeypatch):
    offer(monkeypatch, tmp_path / "earthlib")
    return write_library(tmp_path / "earthlib")


def blocks_of(dataset, split):
    """One pixel of each 4 x 4 block of all scenes, (N, C); all 16 are equal."""
    found = []
    for name in dataset.scenes(split):
        cube = dataset.load(split, name).cube
        assert cube.shape[1:] == (64, 64)
        tiles = cube.reshape(len(cube), 16, 4, 16, 4)
        assert (tiles == tiles[:, :, :1, :, :1]).all()
        found.append(tiles[:, :, 0, :, 0].reshape(len(cube), -1).T)
    return np.concatenate(found)


def origins(blocks, spectra):
    """The spectrum (place) and brightness of each block."""
    unit = spectra / np.linalg.norm(spectra, axis=1, keepdims=True)
    places = (blocks / np.linalg.norm(blocks, axis=1, keepdims=True) @ unit.T).argmax(axis=1)
    return places, np.linalg.norm(blocks, axis=1) / np.linalg.norm(spectra[places], axis=1)


def test_every_measured_spectrum_is_in_one_split(spectra):
    dataset = Earthlib(None, bands="all")
    assert dataset.bands == BANDS
    assert [len(dataset.scenes(s)) for s in dataset.splits()] == [3, 1]  # 538 and 60 by 256
    used = {}
    for split in dataset.splits():
        places, brightness = origins(blocks_of(dataset, split), spectra)
        used[split] = set(places.tolist())
        assert 0.3 <= brightness.min() < 0.35 and 0.95 < brightness.max() <= 1 + 1e-6
    assert used["valid"] == set(range(0, 600, 10))
    assert used["train"] == set(range(600)) - used["valid"] - {55, 66}


def test_simulated_spectra_are_added_and_move_no_other(spectra):
    dataset = Earthlib(None, bands="all", spectra="all")
    used = set(origins(blocks_of(dataset, "valid"), spectra)[0].tolist())
    assert used == set(range(0, 700, 10))


def test_visible_is_part_of_all_and_rgb_the_same(spectra):
    visible, whole = Earthlib(None), Earthlib(None, bands="all")
    assert visible.bands == VISIBLE_31
    one, other = visible.load("train", "train-01"), whole.load("train", "train-01")
    assert np.abs(one.cube - other.cube[:31]).max() < 1e-7
    assert np.array_equal(one.rgb, other.rgb)
    assert np.array_equal(other.rgb, Camera.named("nikon-d5100").render(other.cube, BANDS))
    again = Earthlib(None).load("train", "train-01")
    assert np.array_equal(again.cube, one.cube)


def test_verify_counts_and_fingerprints_differ(spectra):
    report = Earthlib(None).verify()
    assert report.problems == [] and report.notes[0].startswith("spectra: train 538, valid 60;")
    options = [{}, {"bands": "all"}, {"spectra": "all"}, {"response": "cie-1931"}]
    assert len({Earthlib(None, **option).fingerprint() for option in options}) == 4


def test_absent_damaged_or_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DatasetMissingError, match="pip install --no-deps 'earthlib"):
        Earthlib(None)
    offer(monkeypatch, tmp_path / "earthlib")
    write_library(tmp_path / "earthlib", count=500)
    with pytest.raises(FormatError, match=r"each of 700.*500 rows"):
        Earthlib(None)
    with pytest.raises(UnknownNameError, match="measured"):
        Earthlib(None, spectra="mesured")
    (tmp_path / "earthlib/data/spectra.sli").write_bytes(b"short")
    with pytest.raises(FormatError, match="spectral library"):
        Earthlib(None)
    (tmp_path / "earthlib/data/spectra.csv").unlink()
    with pytest.raises(DatasetMissingError, match=r"no spectra\.csv in"):
        Earthlib(None)


def test_the_real_library_is_complete():
    if importlib.util.find_spec("earthlib") is None:
        pytest.skip("needs the package earthlib: pip install --no-deps earthlib")
    report = Earthlib(None).verify()
    assert report.problems == [] and report.notes[0].startswith("spectra: train 4733, valid 526;")
