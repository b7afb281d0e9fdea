"""Photographs: depth, orientation, and everything that is not plain RGB."""

from __future__ import annotations

import struct
import sys
import warnings
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, features

from hsrzoo.errors import FormatError, HsrzooError, InputError
from hsrzoo.io import load_cube, read_image, read_photo
from hsrzoo.io.photo import to_linear
from hsrzoo.io.photographs.images import read_plane
from hsrzoo.io.raster import open_raster
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
    monkeypatch.setattr("hsrzoo.io.photographs.images.MOST_PIXELS", 90)
    with pytest.raises(InputError, match=r"too many pixels.* at most 90\. Got 7 x 13\. Save it as an"):
        read_image(tmp_path / "a.png")


def test_a_tiff_of_another_name_keeps_its_16_bits(tmp_path):
    tifffile.imwrite(tmp_path / "a.jpg", DEEP, photometric="rgb")
    assert np.array_equal(read_image(tmp_path / "a.jpg"), DEEP)


def pnm(maximum: int, pixels: np.ndarray, kind: str = "P6") -> bytes:
    """``pixels`` as a PNM file; P3: as text, with a comment."""
    height, width, _ = pixels.shape
    if kind == "P3":
        lines = "\n".join(" ".join(map(str, row)) + " # a row" for row in pixels.reshape(-1, 3))
        return f"P3\n# a comment\n{width} {height}\n{maximum}\n{lines}\n".encode()
    head = f"P6\n{width} {height}\n{maximum}\n".encode()
    return head + pixels.astype(">u2" if maximum > 255 else np.uint8).tobytes()


@pytest.mark.parametrize("name", ["a.ppm", "a.pnm"])
@pytest.mark.parametrize("kind", ["P3", "P6"])
@pytest.mark.parametrize("maximum", [255, 1023, 4095, 65535])
def test_pnm_keeps_the_bits_that_it_states(tmp_path, name, kind, maximum):
    stored = (DEEP.astype(int) * maximum // 65535).astype(np.uint16)
    (tmp_path / name).write_bytes(pnm(maximum, stored, kind))
    read = read_image(tmp_path / name)
    assert read.dtype == (np.uint8 if maximum == 255 else np.uint16)
    assert np.array_equal(read, np.rint(stored / maximum * np.iinfo(read.dtype).max))
    (tmp_path / name).write_bytes(pnm(maximum, stored, kind)[:-200])
    with pytest.raises(FormatError, match="truncated"):
        read_image(tmp_path / name)


def test_values_above_the_maximum_that_a_pnm_states_are_an_error(tmp_path):
    (tmp_path / "a.ppm").write_bytes(pnm(4095, DEEP))
    with pytest.raises(FormatError, match="above the stated 4095"):
        read_image(tmp_path / "a.ppm")


def test_interlaced_png_keeps_16_bits(tmp_path):
    passes = (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    )
    rows = [row for y, x, dy, dx in passes for row in DEEP[y::dy, x::dx] if row.size]
    write_png16(tmp_path / "a.png", DEEP)
    plain = (tmp_path / "a.png").read_bytes()
    header = plain[12:28] + b"\x01"
    data = b"IDAT" + zlib.compress(b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows))
    parts = [len(body[4:]).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big") for body in
             (header, data, b"IEND")]  # fmt: skip
    (tmp_path / "a.png").write_bytes(plain[:8] + b"".join(parts))
    assert np.array_equal(read_image(tmp_path / "a.png"), DEEP)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_jpeg_2000_keeps_its_bits(tmp_path, bits):
    stored = (DEEP >> (16 - bits)).astype(np.uint8 if bits == 8 else np.uint16)
    encoded = imagecodecs.jpeg2k_encode(stored, bitspersample=bits, level=0, reversible=True)
    (tmp_path / "a.jp2").write_bytes(encoded)
    read = read_image(tmp_path / "a.jp2")
    assert read.dtype == stored.dtype
    assert np.array_equal(read, np.rint(stored / (2**bits - 1) * np.iinfo(read.dtype).max))


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_avif_keeps_its_bits(tmp_path, bits):
    if not features.check("avif"):
        pytest.skip("needs Pillow with AVIF")
    stored = (DEEP >> (16 - bits)).astype(np.uint8 if bits == 8 else np.uint16)
    encoded = imagecodecs.avif_encode(stored, bitspersample=bits, level=100, pixelformat="444")
    (tmp_path / "a.avif").write_bytes(encoded)
    read = read_image(tmp_path / "a.avif")
    assert read.dtype == stored.dtype
    same = imagecodecs.avif_decode(encoded)
    assert np.array_equal(read, np.rint(same / (2**bits - 1) * np.iinfo(read.dtype).max))


@pytest.mark.parametrize("bits", [8, 10])
def test_heic_keeps_its_bits_and_says_srgb(tmp_path, bits):
    heif = pytest.importorskip("pillow_heif")
    flat = np.tile(np.array([[[9000, 30000, 52000]]], np.uint16), (16, 24, 1))
    stored = flat if bits == 10 else (flat >> 8).astype(np.uint8)
    made = heif.from_bytes(mode="RGB;16" if bits == 10 else "RGB", size=(24, 16), data=stored.tobytes())
    made.save(tmp_path / "a.heic", quality=100, bit_depth=bits)
    read = read_image(tmp_path / "a.heic")
    assert read.shape == (16, 24, 3) and read.dtype == stored.dtype
    full = np.iinfo(read.dtype).max
    assert np.abs(read / full - flat / 65535).max() < 4 / 2**bits
    photo = to_linear(open_raster(tmp_path / "a.heic"), tmp_path / "a.heic")
    assert "sRGB by its nclx" in photo.note


@pytest.mark.parametrize("brand", [b"heic", b"avif"])
def test_without_what_reads_them_heic_and_avif_name_it(tmp_path, monkeypatch, brand):
    (tmp_path / "a.heic").write_bytes(
        (24).to_bytes(4, "big") + b"ftyp" + brand + bytes(4) + brand + b"mif1"
    )
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(features, "check", lambda name: False)
    with pytest.raises(InputError, match=r"a\.heic is (HEIC|AVIF).*pip install .hsrzoo\[heif\]"):
        read_image(tmp_path / "a.heic")


def test_sixteen_bits_that_cannot_be_read_are_refused(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.sgi")
    assert np.array_equal(read_image(tmp_path / "a.sgi"), PIXELS)
    head = struct.pack(">hBBHHHHii", 474, 0, 2, 3, 13, 7, 3, 0, 65535).ljust(512, b"\0")
    (tmp_path / "a.sgi").write_bytes(head + DEEP.transpose(2, 0, 1)[:, ::-1].astype(">u2").tobytes())
    with pytest.raises(InputError, match=r"a\.sgi has more bits.*16 bits.*as PNG or TIFF"):
        read_image(tmp_path / "a.sgi")
    Image.fromarray(PIXELS).save(tmp_path / "a.dds")
    with pytest.raises(InputError, match=r"DDS.*as PNG or TIFF"):
        read_image(tmp_path / "a.dds")


def test_a_tiff_of_packed_12_bits_is_scaled(tmp_path):
    twelve = DEEP >> 4
    tifffile.imwrite(tmp_path / "a.tif", twelve, photometric="rgb", bitspersample=12)
    assert np.array_equal(read_image(tmp_path / "a.tif"), np.rint(twelve / 4095 * 65535))


@pytest.mark.parametrize("predictor", [False, 3])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_float_tiff_is_read_compressed_or_not(tmp_path, compression, predictor):
    values = (DEEP / 65535).astype(np.float32)
    predictor = predictor if compression else False
    tifffile.imwrite(
        tmp_path / "a.tif", values, photometric="rgb", compression=compression, predictor=predictor
    )
    assert np.array_equal(read_photo(tmp_path / "a.tif"), values)
    assert np.array_equal(read_image(tmp_path / "a.tif"), values)


@pytest.mark.parametrize(
    ("compression", "predictor"),
    [("lzw", False), ("lzw", True), ("zstd", False), ("zlib", True), ("packbits", False), ("lzma", False)],
)
def test_intact_compressed_tiff_is_read(tmp_path, compression, predictor):
    for array in (PIXELS, DEEP):
        tifffile.imwrite(
            tmp_path / "a.tif", array, photometric="rgb", compression=compression, predictor=predictor
        )
        assert np.array_equal(read_image(tmp_path / "a.tif"), array)
    cube = np.random.default_rng(2).random((5, 7, 13), dtype=np.float32)
    tifffile.imwrite(
        tmp_path / "c.tif", cube, photometric="minisblack", compression=compression,
        predictor=3 if predictor else False,
    )  # fmt: skip
    assert np.array_equal(load_cube(tmp_path / "c.tif")[0], cube.transpose(1, 2, 0))


@pytest.mark.parametrize("photometric", ["RGB", "YCBCR"])
def test_jpeg_in_tiff_is_read(tmp_path, photometric):
    flat = np.full((16, 24, 3), (200, 90, 40), np.uint8)
    if photometric == "RGB":
        Image.fromarray(flat).save(tmp_path / "a.tif", compression="jpeg", quality=100)
    else:
        tifffile.imwrite(
            tmp_path / "a.tif", flat, photometric="rgb", compression="jpeg", compressionargs={"level": 100}
        )
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.pages.first.photometric.name == photometric
    assert np.abs(read_image(tmp_path / "a.tif").astype(int) - flat).max() <= 2


def test_what_decodes_a_tiff_is_named_where_it_is_missing(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, photometric="rgb", compression="zlib")
    for error, words in (
        (ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package"), "pip install.*imagecodecs"),
        (ModuleNotFoundError("No module named 'compression'"), "pip install.*imagecodecs"),
        (ValueError("<COMPRESSION.SGILOG: 34676> not supported"), "Save it uncompressed"),
    ):

        def fail(*_, error=error, **__):
            raise error

        monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", fail)
        with pytest.raises(FormatError, match=words) as caught:
            read_image(tmp_path / "a.tif")
        assert "damaged" not in str(caught.value)
        with pytest.raises(FormatError, match=words):
            load_cube(tmp_path / "a.tif")


@pytest.mark.parametrize("photometric", ["ycbcr", "cielab", "icclab", "miniswhite", "separated"])
def test_three_samples_that_are_not_rgb_are_refused(tmp_path, photometric):
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, photometric="rgb")
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tiff:
        tiff.pages.first.tags["PhotometricInterpretation"].overwrite(
            int(tifffile.PHOTOMETRIC[photometric.upper()])
        )
    with pytest.raises(
        InputError, match=f"not an RGB photograph.*PhotometricInterpretation {photometric.upper()}"
    ):
        read_image(tmp_path / "a.tif")
    with pytest.raises(InputError, match="not an RGB photograph"):
        read_photo(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("a.dng", b"II*\0"), ("a.NEF", b"MM\0*"), ("a.cr2", b"II*\0"), ("a.arw", b"II*\0"),
        ("a.rw2", b"IIU\0"),
        ("a.tif", b"II*\0\x10\0\0\0CR\2\0"), ("a.jpg", b"FUJIFILMCCD-RAW 0201"),
        ("a.jpg", b"\0\0\0\x18ftypcrx "), ("a.png", b"IIRO\x08\0\0\0"),
    ],
)  # fmt: skip
def test_raw_photographs_are_refused_by_name_and_content(tmp_path, name, start):
    (tmp_path / name).write_bytes(start.ljust(64, b"\0"))
    with pytest.raises(InputError, match=r"raw photograph.*Develop it first"):
        read_image(tmp_path / name)
    with pytest.raises(HsrzooError, match=r"raw photograph.*evelop it first"):  # by rawpy, if installed
        read_photo(tmp_path / name)


@pytest.mark.parametrize("mark", ["thumbnail", "dng", "cfa"])
def test_a_raw_photograph_under_the_name_of_a_tiff_is_refused(tmp_path, mark):
    tags = [(50706, "B", 4, b"\1\4\0\0", True)] if mark == "dng" else []
    tifffile.imwrite(
        tmp_path / "a.tif",
        PIXELS,
        photometric="rgb",
        subfiletype=1 if mark == "thumbnail" else 0,
        extratags=tags,
    )
    if mark == "cfa":
        with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tiff:
            tiff.pages.first.tags["PhotometricInterpretation"].overwrite(32803)
    for read in (read_image, read_photo, load_cube):
        with pytest.raises(InputError, match=r"raw photograph.*Develop it first"):
            read(tmp_path / "a.tif")
