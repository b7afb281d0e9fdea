"""Photographs: depth, orientation, and everything that is not plain RGB."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import tifffile
from PIL import Image

from hsrzoo.errors import FormatError, InputError
from hsrzoo.io import read_image, read_photo
from hsrzoo.io.images import read_plane
from make_fixtures import write_png16

PIXELS = np.random.default_rng(0).integers(0, 256, (7, 13, 3), dtype=np.uint8)
DEEP = np.random.default_rng(1).integers(0, 65536, (7, 13, 3), dtype=np.uint16)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.ppm", "a.tif"])
def test_eight_bits_come_back_as_written(tmp_path, name):
    Image.fromarray(PIXELS).save(tmp_path / name)
    assert np.array_equal(read_image(tmp_path / name), PIXELS)


def test_sixteen_bit_png_keeps_its_low_bytes(tmp_path):
    write_png16(tmp_path / "a.png", DEEP)
    read = read_image(tmp_path / "a.png")
    assert read.dtype == np.uint16 and np.array_equal(read, DEEP)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_sixteen_bit_tiff(tmp_path, planar):
    stored = DEEP if planar == "contig" else DEEP.transpose(2, 0, 1)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar)
    assert np.array_equal(read_image(tmp_path / "a.tif"), DEEP)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_exif_orientation_is_applied_as_pillow_does(tmp_path, name, orientation):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(PIXELS)
    image.save(tmp_path / name, exif=exif)
    with Image.open(tmp_path / name) as stored:
        upright = np.asarray(ImageOps.exif_transpose(stored))
    assert np.array_equal(read_image(tmp_path / name), upright)
    assert upright.shape[:2] == ((13, 7) if orientation >= 5 else (7, 13))


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("L", "grey"),
        ("1", "black and white"),
        ("P", "palette"),
        ("RGBA", "alpha"),
        ("LA", "transparency"),
        ("I;16", "grey"),
    ],
)
def test_other_than_rgb_is_refused_with_a_hint(tmp_path, mode, words):
    image = Image.fromarray(DEEP[..., 0]) if mode == "I;16" else Image.fromarray(PIXELS).convert(mode)
    image.save(tmp_path / "a.png")
    with pytest.raises(InputError, match=words) as caught:
        read_image(tmp_path / "a.png")
    assert "a.png" in str(caught.value) and "plain RGB" in str(caught.value)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA"])
def test_tiff_other_than_rgb_is_refused(tmp_path, mode):
    Image.fromarray(PIXELS).convert(mode).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match="not an RGB photograph"):
        read_image(tmp_path / "a.tif")


def test_cmyk_is_refused_with_a_hint(tmp_path):
    Image.fromarray(PIXELS).convert("CMYK").save(tmp_path / "a.jpg")
    with pytest.raises(InputError, match=r"a\.jpg.*CMYK.*plain RGB"):
        read_image(tmp_path / "a.jpg")


def test_damaged_exif_harms_no_pixel(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=b"Exif\0\0damaged")
    assert np.array_equal(read_image(tmp_path / "a.png"), PIXELS)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif"])
@pytest.mark.parametrize("kept", [0.1, 0.7])
def test_truncated_images_raise(tmp_path, name, kept):
    noise = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(FormatError, match=name):
        read_image(tmp_path / name)


def test_truncated_sixteen_bit_png_raises(tmp_path):
    noise = np.random.default_rng(2).integers(0, 65536, (64, 64, 3), dtype=np.uint16)
    write_png16(tmp_path / "a.png", noise)
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:9000])
    with pytest.raises(FormatError, match=r"a\.png"):
        read_image(tmp_path / "a.png")


def test_empty_missing_and_foreign_files(tmp_path):
    for name in ("a.png", "a.tif"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(FormatError, match="0 bytes"):
            read_image(tmp_path / name)
        (tmp_path / name).write_bytes(b"not an image " * 50)
        with pytest.raises(FormatError, match=name):
            read_image(tmp_path / name)
        with pytest.raises(InputError, match="no such"):
            read_image(tmp_path / f"b{name}")


def test_a_plane_is_grey_or_equal_channels(tmp_path):
    grey = DEEP[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert np.array_equal(read_plane(tmp_path / "grey.png"), grey)
    eight = PIXELS[..., 0]
    Image.fromarray(np.dstack([eight, eight, eight, 255 - eight])).save(tmp_path / "rgba.png")
    assert np.array_equal(read_plane(tmp_path / "rgba.png"), eight)
    Image.fromarray(PIXELS).save(tmp_path / "colour.png")
    with pytest.raises(FormatError, match="one band"):
        read_plane(tmp_path / "colour.png")


def test_too_many_pixels_are_refused_and_many_are_not(tmp_path, monkeypatch):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")  # 91 pixels
    write_png16(tmp_path / "b.png", DEEP)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)  # Pillow warns above, and refuses twice as many
    for name in ("a.png", "b.png"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert read_photo(tmp_path / name).shape == (7, 13, 3)
    assert Image.MAX_IMAGE_PIXELS == 40
    monkeypatch.setattr("hsrzoo.io.images.MOST_PIXELS", 90)
    with pytest.raises(InputError, match=r"too many pixels.* at most 90\. Got 7 x 13\. Save it as an"):
        read_image(tmp_path / "a.png")


def test_a_tiff_of_another_name_keeps_its_16_bits(tmp_path):
    tifffile.imwrite(tmp_path / "a.jpg", DEEP, photometric="rgb")
    assert np.array_equal(read_image(tmp_path / "a.jpg"), DEEP)
