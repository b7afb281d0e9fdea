"""EnMAP on tiny tiles in its own formats, and on the real tiles of Potsdam where they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner

from hsrzoo.bands import VISIBLE_31
from hsrzoo.camera import Camera
from hsrzoo.datasets import open_dataset
from hsrzoo.datasets.enmap import native_bands
from hsrzoo.errors import BandsError, DatasetError, DatasetMissingError, FormatError, UnknownNameError

NATIVE = native_bands()
KEPT = [*range(126), *range(141, 160), *range(167, 224)]  # without bands 127-141 and 161-167, 1-based


def reflectance(seed: int = 0, bands: int = 224) -> np.ndarray:
    """int16 (C, 8, 9), x 10000."""
    return np.random.default_rng(seed).integers(200, 6000, (bands, 8, 9), dtype=np.int16)


def write_tile(
    file: Path,
    stored: np.ndarray,
    *,
    wavelengths: tuple[float, ...] | None = NATIVE.centres_nm,
    per_band: Mapping[str, Any] | None = None,
    **options: Any,
) -> None:
    """A GeoTIFF; ``per_band``: further items of GDAL's metadata, one value for all bands."""
    columns = {"wavelength": wavelengths} if wavelengths else {}
    columns |= {name: [value] * 224 for name, value in (per_band or {}).items()}
    xml = "".join(
        f'<Item name="{name}" sample="{i}">{value}</Item>'
        for name, values in columns.items()
        for i, value in enumerate(values)
    )
    tags = [(42112, "s", 0, f"<GDALMetadata>{xml}</GDALMetadata>", True)]
    file.parent.mkdir(parents=True, exist_ok=True)
    options = {"planarconfig": "separate", **options}
    tifffile.imwrite(file, stored, photometric="minisblack", metadata=None, extratags=tags, **options)


def one_tile(root: Path, stored: np.ndarray | None = None, **tile: Any) -> Path:
    file = root / "enmap/a.tif"
    write_tile(file, reflectance() if stored is None else stored, **tile)
    return file


def load(root: Path, scene: str = "a", **options: Any):
    return open_dataset("enmap", root, **options).load("test", scene)


def test_the_usual_bands_are_those_of_hyspecnet(tmp_path):
    one_tile(tmp_path)
    data = open_dataset("enmap", tmp_path)
    assert len(KEPT) == len(data.bands) == 202 and data.bands.same_as(NATIVE.select(KEPT), 0)
    scene = data.load("test", "a")
    assert scene.cube.dtype == np.float32
    assert np.allclose(scene.cube, reflectance()[KEPT] / 1e4, rtol=1e-6)
    expected = Camera.named("nikon-d5100").render(scene.cube, data.bands)
    assert np.array_equal(scene.rgb, expected) and data.rgb_bits == 8 and scene.rgb.max() > 0.2


def test_all_bands_and_the_visible_ones_can_be_chosen(tmp_path):
    one_tile(tmp_path)
    assert np.allclose(load(tmp_path, bands="all").cube, reflectance() / 1e4, rtol=1e-6)
    data = open_dataset("enmap", tmp_path, bands="visible")
    # EnMAP begins at 418 nm
    assert data.bands.centres_nm == VISIBLE_31.centres_nm[2:]
    pixel = np.interp(data.bands.centres_nm, NATIVE.centres_nm[:91], reflectance()[:91, 3, 4] / 1e4)
    assert np.allclose(data.load("test", "a").cube[:, 3, 4], pixel, atol=1e-6)
    with pytest.raises(UnknownNameError, match="visible"):
        open_dataset("enmap", tmp_path, bands="visble")


def test_no_data_is_nan_in_the_cube_and_black_in_the_image(tmp_path):
    stored = reflectance()
    stored[:, 0, :2], stored[200, 1, 1] = -32768, -32768  # the second, at 2.25 um, is in no colour
    one_tile(tmp_path, stored)
    scene = load(tmp_path)
    assert np.array_equal(np.isnan(scene.cube), stored[KEPT] == -32768)
    black = np.zeros((8, 9), bool)
    black[0, :2] = True
    assert np.array_equal(~scene.rgb.any(axis=0), black)


def test_a_tile_without_any_data_is_a_problem(tmp_path):
    one_tile(tmp_path)
    write_tile(tmp_path / "enmap/b.tif", np.full((224, 8, 9), -32768, np.int16))
    report = open_dataset("enmap", tmp_path).verify()
    assert report.problems == ["test/b: none of its 72 pixels has data"]
    assert any("14544 of 29088 values have no data, in 1 scenes" in note for note in report.notes)


def test_negative_reflectance_and_more_than_1_are_clipped(tmp_path):
    stored = reflectance()
    stored[0, 0, :2] = -5, 12000
    one_tile(tmp_path, stored)
    assert load(tmp_path).cube[0, 0, :2].tolist() == [0, 1]


@pytest.mark.parametrize("layout", ["separate", "contig"])
def test_scale_and_offset_of_the_file_replace_the_usual_ones(tmp_path, layout):
    stored = reflectance() + 1000
    pixels = stored.transpose(1, 2, 0) if layout == "contig" else stored
    one_tile(tmp_path, pixels, per_band={"SCALE": 5e-5, "OFFSET": -0.02}, planarconfig=layout)
    expected = stored[KEPT] * 5e-5 - 0.02
    assert np.allclose(load(tmp_path).cube, expected, atol=1e-6)


@pytest.mark.parametrize("factor", [1e-4, 1e4])
def test_values_that_are_no_reflectance_are_refused(tmp_path, factor):
    file = one_tile(tmp_path, (reflectance() * factor).astype(np.float32))
    with pytest.raises(FormatError, match=rf"{file.name} does not hold reflectance.*SCALE"):
        load(tmp_path)


def test_wavelengths_in_micrometres_are_recognised(tmp_path):
    one_tile(tmp_path, wavelengths=tuple(c / 1000 for c in NATIVE.centres_nm))
    assert open_dataset("enmap", tmp_path).bands.same_as(NATIVE.select(KEPT), 1e-6)


def test_missing_wavelengths_are_declared_beside_the_tiles_or_by_an_option(tmp_path):
    one_tile(tmp_path, wavelengths=None)
    with pytest.raises(BandsError, match=r"wavelengths\.csv.*wavelengths=nominal"):
        open_dataset("enmap", tmp_path)
    assert open_dataset("enmap", tmp_path, wavelengths="nominal").bands == NATIVE.select(KEPT)
    lines = [f"{c / 1000}\n" for c in NATIVE.centres_nm]
    (tmp_path / "mine.csv").write_text("".join(lines))
    given = open_dataset("enmap", tmp_path, wavelengths=str(tmp_path / "mine.csv"))
    (tmp_path / "enmap/wavelengths.csv").write_text("wavelength_um\n" + "".join(lines))
    found = open_dataset("enmap", tmp_path)
    assert given.bands == found.bands and found.bands.same_as(NATIVE.select(KEPT), 1e-6)


def test_tiles_of_other_bands_are_named(tmp_path):
    one_tile(tmp_path)
    write_tile(tmp_path / "enmap/b.tif", reflectance(), wavelengths=tuple(c + 3 for c in NATIVE.centres_nm))
    write_tile(tmp_path / "enmap/c.tif", reflectance(bands=5), wavelengths=None)
    data = open_dataset("enmap", tmp_path)
    for scene in ("b", "c"):
        with pytest.raises(BandsError, match=rf"{scene}\.tif"):
            data.load("test", scene)


def test_which_bands_are_water_is_known_of_whole_tiles_only(tmp_path):
    one_tile(tmp_path, reflectance(bands=30), wavelengths=NATIVE.centres_nm[:30])
    with pytest.raises(BandsError, match=r"30 bands.*bands=all"):
        open_dataset("enmap", tmp_path)
    assert len(open_dataset("enmap", tmp_path, bands="all").bands) == 30


def test_a_truncated_tile_is_a_format_error_and_a_problem(tmp_path):
    one_tile(tmp_path)
    broken = tmp_path / "enmap/b.tif"
    write_tile(broken, reflectance())
    broken.write_bytes(broken.read_bytes()[:-3000])
    data = open_dataset("enmap", tmp_path)
    with pytest.raises(FormatError, match=r"b\.tif cannot be read as TIFF"):
        data.load("test", "b")
    (problem,) = data.verify().problems
    assert problem.startswith("test/b:") and "truncated" in problem


def test_products_are_found_below_the_folder_without_their_quality_layers(tmp_path):
    product = "ENMAP01-____L2A-DT0000004950_20221103T162438Z_001_V010110_20221118T145147Z"
    write_tile(tmp_path / f"enmap/{product}/{product}-SPECTRAL_IMAGE.TIF", reflectance())
    tifffile.imwrite(
        tmp_path / f"enmap/{product}/{product}-QL_QUALITY_HAZE.TIF", np.zeros((8, 9), np.uint8)
    )
    data = open_dataset("enmap", tmp_path)
    assert data.splits() == ("test",) and data.scenes("test") == [product]
    assert data.verify().problems == []


def test_lists_decide_the_splits_and_absent_tiles_are_counted(tmp_path):
    for name in "abc":
        write_tile(tmp_path / f"enmap/{name}.tif", reflectance())
    lists = tmp_path / "enmap/splits"
    lists.mkdir()
    (lists / "train.csv").write_text("b.tif\n\nfolder/a\n")
    data = open_dataset("enmap", tmp_path)
    assert data.splits() == ("train",) and data.scenes("train") == ["a", "b"]
    assert "1 tiles are in no split" in data.verify().notes
    (lists / "test.csv").write_text("c\nx1\nx2\nx3\nx4\n")
    with pytest.raises(DatasetError, match=r"test\.csv.*all 5.*4 absent: x1, x2, x3, \.\.\."):
        open_dataset("enmap", tmp_path)


def test_a_tile_in_two_lists_is_an_error(tmp_path):
    for name in "ab":
        write_tile(tmp_path / f"enmap/{name}.tif", reflectance())
    lists = tmp_path / "enmap/splits"
    lists.mkdir()
    (lists / "train.csv").write_text("a\nb\n")
    (lists / "test.csv").write_text("folder/b.tif\n")
    with pytest.raises(DatasetError, match=r"Splits of enmap share scenes.*1 in two: b in train and test"):
        open_dataset("enmap", tmp_path)


def test_the_tiles_of_potsdam_hold_out_the_block_that_touches_no_other(tmp_path):
    for x, y in ((96, 0), (128, 32), (96, 96), (160, 64)):
        write_tile(tmp_path / f"enmap_potsdam/enmap_potsdam_tile_{x}_{y}.tif", reflectance())
    data = open_dataset("enmap", tmp_path)
    assert data.scenes("test") == ["enmap_potsdam_tile_128_32", "enmap_potsdam_tile_96_0"]
    assert data.scenes("train") == ["enmap_potsdam_tile_160_64", "enmap_potsdam_tile_96_96"]


def test_two_tiles_of_one_name_are_an_error(tmp_path):
    one_tile(tmp_path)
    write_tile(tmp_path / "enmap/deeper/a.tiff", reflectance())
    with pytest.raises(DatasetError, match="share a name"):
        open_dataset("enmap", tmp_path)


def test_absent_tiles_are_explained_and_another_folder_can_be_named(tmp_path):
    with pytest.raises(DatasetMissingError, match=r"enmap\.org"):
        open_dataset("enmap", tmp_path)
    write_tile(tmp_path / "mine/a.tif", reflectance())
    assert open_dataset("enmap", tmp_path, path="mine").scenes("test") == ["a"]


def test_the_fingerprint_tells_tiles_and_bands(tmp_path):
    one_tile(tmp_path)
    first = open_dataset("enmap", tmp_path).fingerprint()
    assert open_dataset("enmap", tmp_path).fingerprint() == first
    assert open_dataset("enmap", tmp_path, bands="all").fingerprint() != first
    write_tile(tmp_path / "enmap/b.tif", reflectance())
    assert open_dataset("enmap", tmp_path).fingerprint() != first


def test_the_fingerprint_of_resampled_bands_tells_the_wavelengths_that_they_come_from(tmp_path):
    one_tile(tmp_path, wavelengths=None)
    found = []
    for shift in (0, 2):
        lines = [f"{centre + shift}\n" for centre in NATIVE.centres_nm]
        (tmp_path / "enmap/wavelengths.csv").write_text("wavelength_nm\n" + "".join(lines))
        data = open_dataset("enmap", tmp_path, bands="visible")
        found.append((data.bands, data.load("test", "a").cube, data.fingerprint()))
    (bands, cube, fingerprint), (shifted_bands, shifted, other) = found
    assert bands == shifted_bands and not np.allclose(cube, shifted)
    assert fingerprint != other


def test_the_real_tiles_are_complete_in_202_bands(data_root):
    if not (data_root / "enmap_potsdam").is_dir():
        pytest.skip("needs the tiles of Potsdam")
    data = open_dataset("enmap", data_root)
    assert data.bands == NATIVE.select(KEPT)
    report = data.verify()
    assert report.problems == [] and report.scenes == {"train": 8, "test": 4}
    assert report.shapes == {"202 x 32 x 32": 12}
    assert not any("have no data" in note for note in report.notes)
    notes = open_dataset("enmap", data_root, bands="all").verify().notes
    assert any(note.startswith("6 of 224 bands have data in no scene") for note in notes)


def invoke(command: Any, *arguments: object) -> str:
    result = CliRunner().invoke(command, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_fit_and_its_score_run_on_tiles_with_gaps(tmp_path):
    """Bands and pixels without data: the figures are those of the rest."""
    from hsrzoo.cli.fit import command as fit
    from hsrzoo_benchmark.command import bench

    for x, y in ((96, 0), (96, 96)):
        stored = reflectance(y)
        stored[:, 0] = -32768
        write_tile(tmp_path / f"enmap_potsdam/enmap_potsdam_tile_{x}_{y}.tif", stored)
    shared = ("--dataset", "enmap", "--data-root", tmp_path)
    invoke(fit, "linear", *shared, "--out", tmp_path / "fitted")
    how = ("--model", f"local-dir:{tmp_path / 'fitted'}", *shared, "--store", tmp_path / "store")
    figures = json.loads(invoke(bench, *how, "--metrics", "rmse,sam", "--json"))
    (file,) = (tmp_path / "store").rglob("*.jsonl")
    (row,) = [json.loads(line) for line in file.read_text().splitlines()]
    assert (row["metrics"]["nodata_pixels"], row["metrics"]["nodata_bands"]) == (9, 0)
    data = open_dataset("enmap", tmp_path)
    train, test = (data.load(split, data.scenes(split)[0]) for split in ("train", "test"))
    x, y, xt, yt = (
        a[:, 1:].reshape(len(a), -1).astype(float) for a in (train.rgb, train.cube, test.rgb, test.cube)
    )
    solution, *_ = np.linalg.lstsq(x.T, y.T, rcond=None)
    (rmse,) = [f["mean"] for f in figures if f["metric"] == "rmse"]
    assert rmse == pytest.approx(np.sqrt(np.mean((solution.T @ xt - yt) ** 2)), rel=1e-4)
    told = CliRunner().invoke(bench, [*map(str, how), "--metrics", "rmse,sam"])
    assert "Without data and in no figure: 9 pixels and up to 0 bands of 1 scenes." in told.output
