"""``hsrzoo data resample``: what is written, what is left out, and what an interruption leaves."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.cli.data import command
from hsrzoo.datasets import open_dataset, resample
from hsrzoo.datasets.wavelengths import read_wavelengths, wavelengths_text
from hsrzoo.errors import BandsError, InputError, StoreError, UnknownNameError
from hsrzoo.io import save_cube
from make_fixtures import make_cave_tree, smooth_cube, write_png16

TARGET = BandSet.of([380, 405, 455, 512.5, 700, 720])
COVERED = TARGET.select([1, 2, 3, 4])


def run(*arguments):
    return CliRunner().invoke(command, list(map(str, arguments)))


@pytest.fixture
def cave(tmp_path):
    make_cave_tree(tmp_path, height=6, width=8)
    return open_dataset("cave", tmp_path)


def test_the_new_set_equals_resampling_by_the_bands(tmp_path, cave):
    out = tmp_path / "new"
    grid = "380,405,455,512.5,700,720"
    done = run("resample", "cave", "--to", grid, "--out", out, "--data-root", tmp_path, "--json")
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert facts["left out (nm)"] == [380, 720] and facts["scenes"] == {"train": 2, "valid": 2}
    new = open_dataset("folder", "/nowhere", path=out)
    assert new.bands == COVERED and new.splits() == cave.splits() and new.rgb_bits == 8
    for split in cave.splits():
        assert new.scenes(split) == cave.scenes(split)
        for name in cave.scenes(split):
            old, scene = cave.load(split, name), new.load(split, name)
            assert np.array_equal(scene.cube, cave.bands.resample(old.cube, COVERED)[0])
            assert np.array_equal(scene.rgb, old.rgb)
    assert run("verify", "folder", "--data-option", f"path={out}").exit_code == 0


def test_the_record_says_where_it_is_from(tmp_path, cave):
    out = tmp_path / "new"
    options = ["--data-option", "response=cie-1931", "--split", "valid", "--data-root", tmp_path]
    assert run("resample", "cave", "--to", "400:700:100", "--out", out, *options).exit_code == 0
    record = json.loads((out / resample.RECORD).read_text())
    source = record["source"]
    rendered = open_dataset("cave", tmp_path, response="cie-1931")
    assert source["fingerprint"] == rendered.fingerprint() and source["options"] == {"response": "cie-1931"}
    assert record["scenes"] == {"valid": ["beads", "fake_and_real_food"]} and record["left_out_nm"] == []
    assert BandSet.from_json(record["bands"]) == BandSet.regular(400, 700, 100)
    assert "Columbia" in (out / "README.md").read_text()
    assert not (out / "train").exists() and sorted(f.name for f in tmp_path.iterdir()) == ["cave", "new"]


def test_missing_values_stay_missing(tmp_path):
    bands = BandSet.regular(450, 650, 50)
    cube = smooth_cube(bands, 4, 5, 2)
    cube[:, 1, 1] = np.nan
    cube[4] = np.nan
    (tmp_path / "mine").mkdir()
    save_cube(tmp_path / "mine/a.h5", cube.transpose(1, 2, 0), bands)
    source = open_dataset("folder", tmp_path, path="mine", response="nikon-d5100")
    target = BandSet.of([475, 500, 625])
    resample.write(source, resample.plan(source, target), tmp_path / "new")
    new = open_dataset("folder", tmp_path, path="new").load("valid", "a").cube
    expected = np.stack([(cube[0] + cube[1]) / 2, cube[1], np.full((4, 5), np.nan)])
    np.testing.assert_allclose(new, expected, atol=1e-6)


def test_sixteen_bit_images_stay_so(tmp_path):
    bands = BandSet.regular(450, 650, 50)
    (tmp_path / "folder/cube").mkdir(parents=True)
    (tmp_path / "folder/rgb").mkdir()
    save_cube(tmp_path / "folder/cube/a.h5", smooth_cube(bands, 4, 5, 2).transpose(1, 2, 0), bands)
    pixels = np.random.default_rng(0).integers(0, 65536, (4, 5, 3), dtype=np.uint16)
    write_png16(tmp_path / "folder/rgb/a.png", pixels)
    source = open_dataset("folder", tmp_path)
    resample.write(source, resample.plan(source, bands), tmp_path / "new")
    new = open_dataset("folder", tmp_path, path="new")
    assert new.rgb_bits == 16
    assert np.array_equal(new.load("valid", "a").rgb, source.load("valid", "a").rgb)


def test_an_interrupted_run_is_completed(tmp_path, cave, monkeypatch):
    planned, out = resample.plan(cave, VISIBLE_31.select([0, 9, 30])), tmp_path / "new"
    load, read = cave.load, []

    def dies(split, name):
        if len(read) == 3:
            raise KeyboardInterrupt
        read.append(name)
        return load(split, name)

    monkeypatch.setattr(cave, "load", dies)
    with pytest.raises(KeyboardInterrupt):
        resample.write(cave, planned, out)
    assert not out.exists()
    (tmp_path / ".new-part/train/cube/.a-torn.h5").write_bytes(b"left by a kill")
    with pytest.raises(StoreError, match="the beginning of another set"):
        resample.write(cave, resample.plan(cave, VISIBLE_31), out)
    monkeypatch.undo()
    assert resample.write(cave, planned, out) == 1
    whole = tmp_path / "whole"
    assert resample.write(cave, planned, whole) == 4
    files = {f.relative_to(out): f.read_bytes() for f in out.rglob("*") if f.is_file()}
    assert files == {f.relative_to(whole): f.read_bytes() for f in whole.rglob("*") if f.is_file()}
    assert not (tmp_path / ".new-part").exists()


def test_what_cannot_be_written_leaves_nothing(tmp_path, cave):
    with pytest.raises(BandsError, match="covers none"):
        resample.plan(cave, BandSet.regular(1000, 1100, 10))
    with pytest.raises(UnknownNameError, match="test"):
        resample.plan(cave, VISIBLE_31, splits=["test"])
    planned = resample.plan(cave, VISIBLE_31)
    (tmp_path / "old").mkdir()
    with pytest.raises(InputError, match="exists already"):
        resample.write(cave, planned, tmp_path / "old")
    with pytest.raises(StoreError, match="No such file"):
        resample.write(cave, planned, tmp_path / "absent/new")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["cave", "old"]


def test_the_grid_of_another_set_or_of_a_csv_file(tmp_path, cave):
    grid = tmp_path / "grid.csv"
    grid.write_text(wavelengths_text(BandSet.of([450.125, 550.5], [9.75, 11])))
    assert read_wavelengths(grid) == BandSet.of([450.125, 550.5], [9.75, 11])
    common = ["resample", "cave", "--data-root", tmp_path, "--split", "valid"]
    assert run(*common, "--to", grid, "--out", tmp_path / "csv").exit_code == 0
    assert open_dataset("folder", tmp_path, path="csv").bands == read_wavelengths(grid)
    assert run(*common, "--to", "indian-pines", "--out", tmp_path / "pines").exit_code == 0
    assert open_dataset("folder", tmp_path, path="pines").bands.same_as(VISIBLE_31)
    unknown = run(*common, "--to", "indian-pine", "--out", tmp_path / "x")
    assert isinstance(unknown.exception, UnknownNameError) and "indian-pines" in str(unknown.exception)
