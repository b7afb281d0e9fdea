"""RGB rasters that stay on the disk: every layout gives the same windows as the array itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from hsrzoo.errors import FormatError, InputError
from hsrzoo.io.raster import ArrayPixels, FilePixels, open_raster

RGB = np.random.default_rng(5).integers(0, 60000, (23, 31, 3), dtype=np.uint16)


def npy(path: Path, array: np.ndarray = RGB) -> Path:
    np.save(path, array)
    return path


def envi(path: Path, interleave: str, **fields: object) -> Path:
    from spectral.io import envi as spy

    metadata = {key.replace("_", " "): value for key, value in fields.items()}
    spy.save_image(str(path), RGB, dtype=np.uint16, interleave=interleave, ext=".img", metadata=metadata)
    return path


def tiff(path: Path, **options: object) -> Path:
    planar = options.get("planarconfig") == "separate"
    data = RGB.transpose(2, 0, 1) if planar else RGB
    tifffile.imwrite(path, data, photometric="rgb", **options)  # type: ignore[arg-type]
    return path


ON_DISK = {
    "npy": lambda root: npy(root / "a.npy"),
    "npy-planes": lambda root: npy(root / "a.npy", np.ascontiguousarray(RGB.transpose(2, 0, 1))),
    "npy-big-endian": lambda root: npy(root / "a.npy", RGB.astype(">u2")),
    "npy-floats": lambda root: npy(root / "a.npy", RGB.astype(np.float64)),
    "envi-bip": lambda root: envi(root / "a.hdr", "bip"),
    "envi-bil": lambda root: envi(root / "a.hdr", "bil"),
    "envi-bsq": lambda root: envi(root / "a.hdr", "bsq"),
    "tiff": lambda root: tiff(root / "a.tif"),
    "tiff-planes": lambda root: tiff(root / "a.tif", planarconfig="separate"),
    "tiff-strips": lambda root: tiff(root / "a.tif", rowsperstrip=4),
    "tiff-big-endian": lambda root: tiff(root / "a.tif", byteorder=">"),
}
IN_MEMORY = {
    "npy-columns": lambda root: npy(root / "a.npy", np.asfortranarray(RGB)),
    "tiff-compressed": lambda root: tiff(root / "a.tif", compression="zlib"),
}


@pytest.mark.parametrize("layout", [*ON_DISK, *IN_MEMORY])
def test_windows_of_every_layout_are_those_of_the_array(tmp_path, layout):
    raster = open_raster({**ON_DISK, **IN_MEMORY}[layout](tmp_path))
    assert isinstance(raster.pixels, FilePixels if layout in ON_DISK else ArrayPixels)
    assert bool(raster.notes) == (layout in IN_MEMORY)
    assert raster.shape == (23, 31)
    for top, left, height, width in ((0, 0, 23, 31), (3, 5, 7, 11), (22, 30, 1, 1)):
        expected = RGB[top : top + height, left : left + width]
        np.testing.assert_array_equal(raster.pixels.read(top, left, height, width), expected)


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
@pytest.mark.parametrize("planes", [False, True])
def test_arrays_stored_by_columns_are_read_right_whatever_their_size(tmp_path, rows, planes):
    """With three rows a pixel is as far from the next as if its channels lay together."""
    pixels = RGB[:rows]
    stored = pixels.transpose(2, 0, 1) if planes else pixels
    raster = open_raster(npy(tmp_path / "a.npy", np.asfortranarray(stored)))
    np.testing.assert_array_equal(raster.pixels.read(0, 0, rows, 31), pixels)
    np.testing.assert_array_equal(raster.pixels.read(rows - 1, 4, 1, 9), pixels[rows - 1 :, 4:13])


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_photographs_are_read_upright(tmp_path, name):
    pixels = (RGB >> 8).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(pixels).save(tmp_path / name, exif=exif)
    raster = open_raster(tmp_path / name)
    np.testing.assert_array_equal(raster.pixels.read(0, 0, 31, 23), np.rot90(pixels, -1))


def test_wavelengths_say_which_band_is_red(tmp_path):
    raster = open_raster(envi(tmp_path / "a.hdr", "bil", wavelength=["450", "550", "650"]))
    np.testing.assert_array_equal(raster.pixels.read(2, 3, 5, 6), RGB[2:7, 3:9, ::-1])
    assert raster.notes == ("by their wavelengths, red, green and blue are the bands at 650, 550, 450",)
    assert open_raster(envi(tmp_path / "b.hdr", "bil", wavelength=["650", "550", "450"])).notes == ()


def test_a_scale_in_the_header_is_the_range(tmp_path):
    assert open_raster(envi(tmp_path / "a.hdr", "bip", reflectance_scale_factor=60000)).value_range == (
        0,
        6e4,
    )
    assert open_raster(envi(tmp_path / "b.hdr", "bip")).value_range is None


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 4), (0, 5, 3), (2, 3, 4, 3)])
def test_arrays_that_are_no_images_are_refused(tmp_path, shape):
    with pytest.raises(InputError, match="does not hold an RGB image"):
        open_raster(npy(tmp_path / "a.npy", np.zeros(shape)))


def test_other_files_that_are_no_images_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        open_raster(tmp_path / "absent.npy")
    with pytest.raises(InputError, match="does not hold pixels"):
        open_raster(npy(tmp_path / "a.npy", np.zeros((2, 2, 3), bool)))
    with pytest.raises(FormatError, match="NPY"):
        open_raster(npy(tmp_path / "b.npy", np.array([{"a": 1}], dtype=object)))
    (tmp_path / "c.hdr").write_text("not a header")
    with pytest.raises(FormatError, match="ENVI"):
        open_raster(tmp_path / "c.hdr")
    from hsrzoo.bands import VISIBLE_31
    from hsrzoo.io import save_cube

    save_cube(tmp_path / "d.hdr", np.zeros((2, 2, 31)), VISIBLE_31)
    with pytest.raises(InputError, match="31 bands"):
        open_raster(tmp_path / "d.hdr")


def test_a_file_that_is_cut_while_it_is_read_is_named(tmp_path):
    path = npy(tmp_path / "a.npy")
    raster = open_raster(path)
    path.write_bytes(path.read_bytes()[:-40])
    raster.pixels.read(0, 0, 5, 31)
    with pytest.raises(FormatError, match=r"a\.npy ends too early"):
        raster.pixels.read(20, 0, 3, 31)
    with pytest.raises(FormatError, match="NPY"):
        open_raster(path)
    header = envi(tmp_path / "b.hdr", "bip")
    binary = header.with_suffix(".img")
    binary.write_bytes(binary.read_bytes()[:-1])
    with pytest.raises(FormatError, match="shorter"):
        open_raster(header)


def test_an_image_is_known_by_its_bytes(tmp_path, monkeypatch):
    path = npy(tmp_path / "a.npy")
    before = open_raster(path).identity()
    assert before == open_raster(path).identity()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    after = open_raster(path).identity()
    assert before["files"][0]["sha256"] != after["files"][0]["sha256"]
    # large files by samples, the end among them
    monkeypatch.setattr("hsrzoo.io.raster._WHOLE_FILE", 100)
    monkeypatch.setattr("hsrzoo.io.raster._SAMPLE", 64)
    sampled = open_raster(path).identity()
    content[-1] ^= 1
    path.write_bytes(content)
    assert open_raster(path).identity()["files"][0]["sha256"] != sampled["files"][0]["sha256"]
