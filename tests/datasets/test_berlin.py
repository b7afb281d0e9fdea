"""Berlin from the air and from orbit: gaps where the sensor does not reach, RGB from the bands as measured,
strips that share no pixel."""

from __future__ import annotations

import gzip
import shutil

import numpy as np
import pytest

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.camera import Camera
from hsrzoo.datasets.berlin import SOURCES, open_berlin
from hsrzoo.errors import DatasetMissingError, FormatError, UnknownNameError

FOLDER = "berlin_urban_gradient"
CENTRES = {"hymap": np.linspace(0.4554, 2.4465, 111), "enmap": np.linspace(0.424, 2.446, 244)}


def write_hymap(root, seed=0):
    """Float32 BSQ whose header tells its wavelengths in the names of its bands; returns (C, H, W)."""
    source = SOURCES["hymap"]
    stored = np.random.default_rng(seed).uniform(0, 0.5, source.shape).astype("<f4")
    names = ",\n".join(f"band {i} ({c:.6f} Micrometers)" for i, c in enumerate(CENTRES["hymap"], 1))
    _write(root, source, stored.tobytes(), 4, f"band names = {{\n{names}}}\n")
    return stored


def write_enmap(root):
    """Gzipped int16 BSQ with micrometres; returns (C, H, W)."""
    source = SOURCES["enmap"]
    stored = np.random.default_rng(1).integers(-20, 5000, source.shape).astype("<i2")
    list_um = ", ".join(f"{c:.6f}" for c in CENTRES["enmap"])
    told = f"wavelength units = Micrometers\nfile compression = 1\nwavelength = {{{list_um}}}\n"
    _write(root, source, gzip.compress(stored.tobytes()), 2, told)
    return stored


def _write(root, source, data, data_type, told):
    file = root / FOLDER / source.file
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    bands, lines, samples = source.shape
    file.with_suffix(".hdr").write_text(
        f"ENVI\nsamples = {samples}\nlines = {lines}\nbands = {bands}\nheader offset = 0\n"
        f"file type = ENVI Standard\ndata type = {data_type}\ninterleave = bsq\nbyte order = 0\n{told}"
    )


def test_visible_has_no_data_where_hymap_does_not_reach(tmp_path):
    stored = write_hymap(tmp_path)
    dataset = open_berlin(tmp_path)
    cube = dataset.load("whole", "hymap").cube
    assert dataset.bands == VISIBLE_31 and cube.shape == (31, 100, 67) and cube.dtype == np.float32
    gaps = np.isnan(cube)
    # the first centre is 455.4 nm, the spacing of these made-up bands 18.1 nm: 446.35 nm is the edge
    assert gaps[:5].all() and not gaps[5:].any()
    centres = CENTRES["hymap"] * 1000
    for target in (460, 555 + 5, 700):
        expected = [np.interp(target, centres, stored[:, y, x]) for y, x in ((0, 0), (99, 66))]
        got = cube[VISIBLE_31.centres_nm.index(target)]
        assert [got[0, 0], got[99, 66]] == pytest.approx(expected, abs=1e-5)


def test_rgb_is_rendered_from_the_bands_as_measured(tmp_path):
    stored = write_hymap(tmp_path)
    bands = BandSet.of((CENTRES["hymap"].round(6) * 1000).tolist())
    expected = Camera.named("nikon-d5100").render(stored, bands)
    for choice in ("visible", "all"):
        assert np.array_equal(open_berlin(tmp_path, bands=choice).load("whole", "hymap").rgb, expected)
    other = open_berlin(tmp_path, response="cie-1931").load("whole", "hymap").rgb
    assert np.array_equal(other, Camera.named("cie-1931").render(stored, bands))


@pytest.mark.parametrize("sensor", ["hymap", "enmap"])
def test_all_holds_the_stored_values_and_strips_share_no_row(tmp_path, sensor):
    stored = write_hymap(tmp_path) if sensor == "hymap" else write_enmap(tmp_path) / 1e4
    dataset = open_berlin(tmp_path, sensor=sensor, bands="all")
    assert dataset.splits() == ("train", "valid", "whole")
    assert np.abs(dataset.load("whole", sensor).cube - stored).max() < 1e-6  # negative values too
    used = np.zeros(stored.shape[1], int)
    for split in ("train", "valid"):
        (name,) = dataset.scenes(split)
        first, last = map(int, name.removeprefix(f"{sensor}-rows-").split("-"))
        assert np.abs(dataset.load(split, name).cube - stored[:, first : last + 1]).max() < 1e-6
        used[first : last + 1] += 1
    assert used.max() == 1 and used[0] == used[-1] == 1
    assert np.flatnonzero(used == 0).tolist() == list(range(used.argmin(), used.argmin() + 8))


def test_info_and_fingerprint_tell_options_and_contents(tmp_path):
    write_hymap(tmp_path)
    write_enmap(tmp_path)
    options = [{}, {"bands": "all"}, {"sensor": "enmap"}, {"response": "cie-1931"}]
    opened = [open_berlin(tmp_path, **option) for option in options]
    prints = [dataset.fingerprint() for dataset in opened]
    assert len(set(prints)) == 4
    assert opened[2].info == {
        "sensor": "enmap", "bands": "visible", "response": "nikon-d5100", "scale": {"enmap": 10000.0}
    }  # fmt: skip
    shutil.copytree(tmp_path / FOLDER, tmp_path / "elsewhere" / FOLDER)
    assert open_berlin(tmp_path / "elsewhere").fingerprint() == prints[0]
    write_hymap(tmp_path, seed=5)  # of the same size
    assert open_berlin(tmp_path).fingerprint() != prints[0]


def test_absent_cut_otherwise_or_unknown(tmp_path):
    with pytest.raises(DatasetMissingError, match=r"HyMap02.*no folder.*CC BY-SA 4\.0"):
        open_berlin(tmp_path)
    write_enmap(tmp_path)
    with pytest.raises(DatasetMissingError, match=r"Got no HyMap02_Berlin_Urban_Gradient_2009\.bsq"):
        open_berlin(tmp_path)
    with pytest.raises(UnknownNameError, match="hymap"):
        open_berlin(tmp_path, sensor="himap")
    with pytest.raises(UnknownNameError, match="visible"):
        open_berlin(tmp_path, sensor="enmap", bands="202")
    header = (tmp_path / FOLDER / SOURCES["enmap"].file).with_suffix(".hdr")
    header.write_text(header.read_text().replace("lines = 80", "lines = 79"))
    with pytest.raises(FormatError, match=r"\(80, 60, 244\).*\(79, 60, 244\)"):
        open_berlin(tmp_path, sensor="enmap")


@pytest.mark.parametrize(("sensor", "first_nm"), [("hymap", 450), ("enmap", 430)])
def test_the_real_scenes_are_complete(data_root, sensor, first_nm):
    if not (data_root / FOLDER / SOURCES[sensor].file).is_file():
        pytest.skip(f"needs {FOLDER} in the data root")
    dataset = open_berlin(data_root, sensor=sensor)
    report = dataset.verify()
    assert report.problems == [] and report.scenes == {"train": 1, "valid": 1, "whole": 1}
    scene = dataset.load("whole", sensor)
    known = ~np.isnan(scene.cube).all(axis=(1, 2))
    assert np.array_equal(known, np.asarray(VISIBLE_31.centres_nm) >= first_nm)
    assert scene.rgb.min() > 0 and scene.rgb.max() < 1  # nothing clipped
    assert np.abs(scene.rgb.mean() - np.nanmean(scene.cube)) < 0.02
