"""Every cube format: round trips, other programs' view of the file, foreign and damaged files."""

from __future__ import annotations

import gzip
import os

import h5py
import numpy as np
import pytest
import tifffile
from scipy.io import savemat

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.errors import BandsError, FormatError, InputError, UnknownNameError
from hsrzoo.io import load_cube, save_cube, tiff
from hsrzoo.io.values import Stated, bands_from

NAMES = ["a.hdr", "a.img", "a.tif", "a.tiff", "a.h5", "a.hdf5", "a.mat", "a.npz"]
WIDE = BandSet.of([418.24, 423.874, 902.5, 898.25], [7.0, 6.5, 10.0, 9.75])  # unsorted, as EnMAP is


def cube_of(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bands", [WIDE, BandSet.of([550.125])], ids=["unsorted", "one-band"])
def test_round_trip_keeps_every_bit_and_the_bands(tmp_path, name, bands):
    cube = cube_of(5, 7, len(bands))
    save_cube(tmp_path / name, cube, bands)
    back, back_bands = load_cube(tmp_path / name)
    assert back.dtype == np.float32 and np.array_equal(back, cube)
    assert back_bands == bands


@pytest.mark.parametrize("name", NAMES)
def test_one_pixel_and_three_bands_round_trip(tmp_path, name):
    """Shapes that formats like to mistake for grey or colour images."""
    bands = BandSet.of([450, 550, 650])
    for shape in ((1, 1, 3), (3, 3, 3), (4, 1, 3)):
        cube = cube_of(*shape)
        save_cube(tmp_path / name, cube, bands)
        assert np.array_equal(load_cube(tmp_path / name)[0], cube)


@pytest.mark.parametrize("name", NAMES)
def test_two_saves_are_the_same_bytes_and_leave_nothing_else(tmp_path, name):
    cube = cube_of(3, 4, 4)
    save_cube(tmp_path / name, cube, WIDE)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    save_cube(tmp_path / name, cube, WIDE)
    after = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert before.keys() == after.keys()
    assert len(after) == (2 if name in ("a.hdr", "a.img") else 1)
    if not name.endswith(".npz"):  # zip members carry the time
        assert before == after


def test_envi_opens_in_spy_with_wavelengths_and_units(tmp_path):
    import spectral

    cube = cube_of(5, 7, 4)
    save_cube(tmp_path / "a.hdr", cube, WIDE, metadata={"units": "reflectance", "description": "a field"})
    image = spectral.open_image(str(tmp_path / "a.hdr"))
    assert image.shape == (5, 7, 4) and np.array_equal(np.asarray(image.load()), cube)
    assert image.bands.centers == list(WIDE.centres_nm) and image.bands.bandwidths == list(WIDE.widths_nm)
    assert image.bands.band_unit == "Nanometers"
    assert image.metadata["data units"] == "reflectance"


def test_tiff_tells_gdal_its_wavelengths(tmp_path):
    cube = cube_of(5, 7, 4)
    save_cube(tmp_path / "a.tif", cube, WIDE)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        page = tiff.pages.first
        assert tiff.series[0].shape == (4, 5, 7) and page.samplesperpixel == 4
        xml = page.tags[42112].value
    assert '<Item name="wavelength" sample="1">423.874</Item>' in xml
    assert '<Item name="fwhm" sample="3">9.75</Item>' in xml
    assert '<Item name="wavelength_units" sample="0">Nanometers</Item>' in xml


def test_gdal_metadata_alone_is_enough(tmp_path, data_root):
    file = next((data_root / "enmap_potsdam").glob("*.tif"), None)
    if file is None:
        pytest.skip("needs an EnMAP tile")
    cube, bands = load_cube(file)
    assert cube.shape == (32, 32, 224) and bands.centres_nm[:2] == (418.24, 423.874)
    stored = tifffile.imread(file)
    assert cube[3, 5, 40] == pytest.approx(stored[40, 3, 5] * 1e-4)
    assert np.array_equal(np.isnan(cube), (stored == -32768).transpose(1, 2, 0))


def test_mat_has_matlab_header_and_matlab_order(tmp_path):
    cube = cube_of(5, 7, 4)
    save_cube(tmp_path / "a.mat", cube, WIDE)
    start = (tmp_path / "a.mat").read_bytes()[:520]
    assert start.startswith(b"MATLAB 7.3 MAT-file, Platform: ") and b"HDF5 schema 1.00 ." in start[:116]
    assert start[116:128] == b"\0" * 8 + b"\x00\x02IM" and start[512:] == b"\x89HDF\r\n\x1a\n"
    with h5py.File(tmp_path / "a.mat") as file:
        assert file["cube"].shape == (4, 7, 5)  # HDF5 holds MATLAB's H x W x C reversed
        assert file["cube"].attrs["MATLAB_class"] == b"single"
        assert file["bands"][()].ravel().tolist() == list(WIDE.centres_nm)
        assert file["wavelength_units"][()].astype(np.uint8).tobytes() == b"nm"


def test_h5_and_npz_name_units(tmp_path):
    cube = cube_of(2, 3, 4)
    save_cube(tmp_path / "a.h5", cube, WIDE, metadata={"units": "W"})
    save_cube(tmp_path / "a.npz", cube, WIDE, metadata={"units": "W"})
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["cube"].attrs["units"] == "W" and file["wavelengths_nm"].attrs["units"] == "nm"
    assert str(np.load(tmp_path / "a.npz")["units"]) == "W"


def test_mat_v5_by_key_and_axes(tmp_path):
    cube = cube_of(5, 7, 4)
    savemat(tmp_path / "a.mat", {"ref": cube.transpose(2, 0, 1), "wavlength": [[0.45, 0.55, 0.65, 0.75]]})
    back, bands = load_cube(tmp_path / "a.mat", key="ref", axes="chw")
    assert np.array_equal(back, cube) and bands.same_as(BandSet.of([450, 550, 650, 750]), 1e-9)
    with pytest.raises(FormatError, match=r"ref \(4, 5, 7\)"):
        load_cube(tmp_path / "a.mat", key="cube")


def test_several_candidates_need_a_key(tmp_path):
    np.savez(tmp_path / "a.npz", x=cube_of(2, 2, 2), y=cube_of(2, 2, 3))
    with pytest.raises(FormatError, match="key"):
        load_cube(tmp_path / "a.npz")
    assert load_cube(tmp_path / "a.npz", key="y")[0].shape == (2, 2, 3)


def test_bare_npy_has_no_bands(tmp_path):
    cube = cube_of(2, 3, 4)
    np.save(tmp_path / "a.npy", cube.transpose(2, 0, 1))
    back, bands = load_cube(tmp_path / "a.npy", axes="chw")
    assert np.array_equal(back, cube) and bands is None


def test_numbers_are_wavelengths_only_if_they_look_like_it():
    assert bands_from([400, 500], None, 2) == BandSet.of([400, 500])
    assert bands_from([0.4, 0.5], [0.01, 0.01], 2).same_as(BandSet.of([400, 500]), 1e-9)
    assert bands_from([1, 2, 3], None, 3) is None  # band numbers
    assert bands_from([400, 500], None, 3) is None
    assert bands_from([400, 500], [10, 0], 2).widths_nm is None


@pytest.mark.parametrize("name", ["a.tif", "a.h5", "a.mat", "a.npz", "a.hdr"])
@pytest.mark.parametrize("kept", [0.0, 0.2, 0.6])
def test_truncated_files_raise_and_are_named(tmp_path, name, kept):
    save_cube(tmp_path / name, cube_of(40, 40, 4), WIDE)
    victim = tmp_path / ("a.img" if name == "a.hdr" else name)
    content = victim.read_bytes()
    victim.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(FormatError, match=victim.name):
        load_cube(tmp_path / name)


@pytest.mark.parametrize("name", ["a.tif", "a.h5", "a.mat", "a.npz", "a.npy", "a.hdr"])
def test_a_file_of_another_format_raises(tmp_path, name):
    (tmp_path / name).write_bytes(b"this is not a cube at all, " * 60)
    with pytest.raises(FormatError, match=name):
        load_cube(tmp_path / name)


def test_a_damaged_deflate_stream_is_a_format_error(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, cube_of(8, 40, 40), photometric="minisblack", compression="zlib")
    with tifffile.TiffFile(path) as tiff:
        start, count = tiff.pages.first.dataoffsets[0], tiff.pages.first.databytecounts[0]
    content = bytearray(path.read_bytes())
    content[start : start + count] = b"\x55" * count
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"a\.tif cannot be read as TIFF"):
        load_cube(path)


def test_a_no_data_value_that_is_no_number_is_a_format_error(tmp_path):
    path = tmp_path / "a.tif"
    tags = [(42113, "s", 0, "x", True)]
    tifffile.imwrite(path, cube_of(4, 3, 5), photometric="minisblack", extratags=tags)
    with pytest.raises(FormatError, match=r"no-data value of .*a\.tif is not a number. Got 'x'"):
        load_cube(path)


def test_hdf5_without_values_is_a_format_error(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("cube", data=h5py.Empty("f4"))
    with pytest.raises(FormatError, match=r"a\.h5"):
        load_cube(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("cube", data=cube_of(2, 2, 2))
        file.create_dataset("wavelengths", data=h5py.Empty("f4"))
    with pytest.raises(FormatError, match=r"b\.h5"):
        load_cube(tmp_path / "b.h5")


def test_pickles_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(FormatError, match=r"a\.npy"):
        load_cube(tmp_path / "a.npy")


def test_compressed_envi_binary_says_so(tmp_path):
    save_cube(tmp_path / "a.hdr", np.zeros((30, 30, 4), np.float32), WIDE)
    (tmp_path / "a.img").write_bytes(gzip.compress((tmp_path / "a.img").read_bytes()))
    with pytest.raises(FormatError, match="decompress"):
        load_cube(tmp_path / "a.hdr")


def test_what_cannot_be_saved_is_refused_and_the_old_file_stays(tmp_path):
    target = tmp_path / "a.npz"
    save_cube(target, cube_of(2, 2, 4), WIDE)
    before = target.read_bytes()
    with pytest.raises(BandsError, match="31 channels"):
        save_cube(target, cube_of(2, 2, 4), VISIBLE_31)
    with pytest.raises(InputError, match=r"\(H, W, C\)"):
        save_cube(target, cube_of(2, 4), WIDE)
    with pytest.raises(FormatError, match="suffix"):
        save_cube(tmp_path / "a.png", cube_of(2, 2, 4), WIDE)
    with pytest.raises(UnknownNameError, match="npz"):
        save_cube(tmp_path / "a", cube_of(2, 2, 4), WIDE, format="npx")
    assert target.read_bytes() == before


@pytest.mark.parametrize("name", ["a.tif", "a.h5", "a.mat", "a.npz", "a.hdr"])
def test_a_missing_folder_is_an_input_error(tmp_path, name):
    with pytest.raises(InputError, match="writable"):
        save_cube(tmp_path / "absent" / name, cube_of(2, 2, 4), WIDE)


@pytest.mark.parametrize("module", ["npz", "h5", "tiff", "mat"])
def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, module):
    path = tmp_path / {"npz": "a.npz", "h5": "a.h5", "tiff": "a.tif", "mat": "a.mat"}[module]
    save_cube(path, cube_of(2, 2, 4), WIDE)
    before = path.read_bytes()

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(InputError, match="No space"):
        save_cube(path, cube_of(3, 3, 4), WIDE)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == [path.name]


def write_tiff(path, stored, xml="", no_data=None, **options):
    """``stored`` as it is, with GDAL's two tags; ``xml``: the items of its metadata."""
    tags = [(42112, "s", 0, f"<GDALMetadata>{xml}</GDALMetadata>", True)]
    tags += [] if no_data is None else [(42113, "s", 0, no_data, True)]
    tifffile.imwrite(path, stored, photometric="minisblack", metadata=None, extratags=tags, **options)


def items(name, values):
    return "".join(f'<Item name="{name}" sample="{i}">{v}</Item>' for i, v in values.items())


@pytest.mark.parametrize("layout", ["pages", "separate", "contig"])
def test_tiff_scale_offset_and_no_data_in_every_layout(tmp_path, layout):
    stored = np.random.default_rng(0).integers(0, 10000, (4, 5, 7), dtype=np.int16)
    stored[1, 2, 3] = -32768
    expected = stored.transpose(1, 2, 0) * np.array([1e-4, 2e-4, 1, 1e-4]) + np.array([0, 0.5, 0, -1])
    expected[2, 3, 1] = np.nan
    # GDAL leaves out scales of 1 and offsets of 0
    xml = items("SCALE", {0: 1e-4, 1: 2e-4, 3: 1e-4}) + items("OFFSET", {1: 0.5, 3: -1})
    xml += items("wavelength", {0: 0.45, 1: 0.55, 2: 0.65, 3: 2.2}) + items(
        "fwhm", dict.fromkeys(range(4), 0.01)
    )
    options = {} if layout == "pages" else {"planarconfig": layout}
    pixels = stored.transpose(1, 2, 0) if layout == "contig" else stored
    write_tiff(tmp_path / "a.tif", pixels, xml, "-32768", **options)
    cube, bands = load_cube(tmp_path / "a.tif")
    assert cube.shape == (5, 7, 4) and cube.dtype == np.float32
    assert np.allclose(cube, expected, rtol=1e-6, atol=1e-6, equal_nan=True)
    assert bands.same_as(BandSet.of([450, 550, 650, 2200]), 1e-6) and bands.widths_nm[0] == pytest.approx(
        10
    )
    assert tiff.read_bands(tmp_path / "a.tif") == bands


def test_tiff_defaults_hold_only_where_the_file_says_nothing(tmp_path):
    stored = np.array([[[5000, -32768]], [[7, -1]]], np.int16)
    write_tiff(tmp_path / "silent.tif", stored)
    usual = Stated(no_data=(-32768,), gain=np.float32([1e-4]))
    cube, bands = tiff.load(tmp_path / "silent.tif", usual=usual)
    assert np.allclose(cube, [[[0.5, 7e-4], [np.nan, -1e-4]]], equal_nan=True) and bands is None
    assert tiff.read_bands(tmp_path / "silent.tif") is None
    write_tiff(tmp_path / "telling.tif", stored, items("SCALE", {0: 2.0, 1: 2.0}), "-1")
    cube, _ = tiff.load(tmp_path / "telling.tif", usual=usual)
    assert np.array_equal(cube, [[[10000, 14], [-65536, np.nan]]], equal_nan=True)


def test_tiff_bands_that_are_marked_bad_have_no_data(tmp_path):
    write_tiff(tmp_path / "a.tif", cube_of(3, 4, 5), items("bbl", {0: 1, 1: 0, 2: 1}))
    cube, _ = load_cube(tmp_path / "a.tif")
    assert np.isnan(cube).all(axis=(0, 1)).tolist() == [False, True, False]
    assert np.isfinite(cube[..., [0, 2]]).all()


def test_a_tiff_scale_that_is_no_number_is_a_format_error(tmp_path):
    write_tiff(tmp_path / "a.tif", cube_of(2, 4, 5), items("SCALE", {0: "much", 1: 1}))
    with pytest.raises(FormatError, match=r"SCALE of .*a\.tif is not a number.*'much'"):
        load_cube(tmp_path / "a.tif")
