"""Photographs become proportional to light by what their files say, or by what their owners say."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, TiffImagePlugin
from PIL.PngImagePlugin import PngInfo

from hsrzoo.colour.spaces import ADOBE_RGB
from hsrzoo.errors import InputError
from hsrzoo.io import read_photo
from hsrzoo.io.photo import Photo, low_values, to_linear
from hsrzoo.io.photographs.evidence import find_evidence
from hsrzoo.io.raster import open_raster
from make_fixtures import write_png16
from make_profile import P3_TO_XYZ_D50, icc_profile

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
P3 = icc_profile("Test P3", P3_TO_XYZ_D50, 2.2)
XYZ_D50_TO_SRGB = np.array(
    [[3.1341, -1.6174, -0.4907], [-0.9788, 1.9163, 0.0334], [0.0719, -0.2290, 1.4052]]
)


def opened(path: Path, encoding="auto", value_range=None) -> Photo:
    return to_linear(open_raster(path), path, encoding, value_range)


def pixels(photo: Photo) -> np.ndarray:
    return photo.pixels.read(0, 0, *photo.pixels.shape)


def by_the_standard(stored: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1, one value after the other."""
    flat = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in stored.ravel().tolist()]
    return np.array(flat).reshape(stored.shape)


def exif(**tags) -> Image.Exif:
    found = Image.Exif()
    found[0x0131] = "a test"  # Pillow leaves out an EXIF block of nothing but sub-blocks
    if "space" in tags:
        found.get_ifd(0x8769)[0xA001] = tags["space"]
    for code, name in ((0x010F, "make"), (0x0110, "model")):
        if name in tags:
            found[code] = tags[name]
    return found


def exif_of_tiff(tags: dict[int, int]) -> TiffImagePlugin.ImageFileDirectory_v2:
    found = TiffImagePlugin.ImageFileDirectory_v2()
    found[0x8769] = tags
    found.tagtype[0x8769] = 4  # LONG: where they stand
    return found


def chunk(name: bytes, data: bytes) -> PngInfo:
    info = PngInfo()
    info.add(name, data)
    return info


SAYING = {
    "profile.jpg": ({"icc_profile": SRGB, "quality": 100}, r"by its ICC profile \(sRGB"),
    "profile.png": ({"icc_profile": SRGB}, r"by its ICC profile \(sRGB"),
    "profile.tif": ({"icc_profile": SRGB}, r"by its ICC profile \(sRGB"),
    "profile.webp": ({"icc_profile": SRGB, "lossless": True}, r"by its ICC profile \(sRGB"),
    "tag.jpg": ({"exif": exif(space=1), "quality": 100}, "by its EXIF ColorSpace"),
    "tag.png": ({"exif": exif(space=1)}, "by its EXIF ColorSpace"),
    "tag.tif": ({"tiffinfo": exif_of_tiff({0xA001: 1})}, "by its EXIF ColorSpace"),
    "chunk.png": ({"pnginfo": chunk(b"sRGB", b"\0")}, "by its PNG chunk sRGB"),
    "gamma.png": ({"pnginfo": chunk(b"gAMA", (45455).to_bytes(4, "big"))}, "by its PNG gamma"),
}


@pytest.mark.parametrize("name", SAYING)
def test_what_says_srgb_is_decoded_and_named(tmp_path, name):
    options, words = SAYING[name]
    Image.fromarray(PIXELS).save(tmp_path / name, **options)
    with Image.open(tmp_path / name) as image:
        stored = np.asarray(image)
    photo = opened(tmp_path / name)
    assert re.search(words, photo.note) and "decoded by IEC 61966-2-1" in photo.note
    assert photo.about["input_values"].startswith("sRGB") and len(photo.note.splitlines()) == 1
    found = pixels(photo)
    assert found.dtype == np.float32 and photo.value_range is None
    np.testing.assert_allclose(found, by_the_standard(stored / 255), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}), ("a.jpg", {}), ("a.tif", {}), ("a.bmp", {}),
        ("b.jpg", {"exif": exif(space=0xFFFF)}),
        ("_DSC1.jpg", {"quality": 90}), ("b.png", {"exif": exif(make="Maker", model="Phone 3")}),
        ("c.png", {"exif": b"Exif\0\0damaged"}),
    ],
)  # fmt: skip
def test_without_evidence_values_stay_and_a_hint_is_given(tmp_path, name, options):
    Image.fromarray(PIXELS).save(tmp_path / name, **options)
    photo = opened(tmp_path / name)
    assert "proportional to light" in photo.note and "--srgb for pictures of phones" in photo.note
    assert photo.about["input_values"] == "linear" and photo.about["input_profile"] == "none"
    with Image.open(tmp_path / name) as image:
        assert np.array_equal(pixels(photo), np.asarray(image))


def test_the_owner_decides(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "plain.png")
    Image.fromarray(PIXELS).save(tmp_path / "wide.png", icc_profile=P3)
    for name, ignored in (("plain.png", False), ("wide.png", True)):
        taken = opened(tmp_path / name, "linear")
        assert np.array_equal(pixels(taken), PIXELS) and "as asked" in taken.note
        assert ("its ICC profile (Test P3) is ignored" in taken.note) == ignored
        decoded = opened(tmp_path / name, "srgb")
        np.testing.assert_allclose(pixels(decoded), by_the_standard(PIXELS / 255), atol=1e-6)
        assert decoded.about["input_profile"] == ("Test P3" if ignored else "none")


@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_sixteen_bits_are_decoded_to_the_last(tmp_path, name):
    deep = np.random.default_rng(1).integers(0, 65536, (5, 6, 3), dtype=np.uint16)
    if name == "deep.png":
        write_png16(tmp_path / name, deep)
    else:
        tifffile.imwrite(tmp_path / name, deep, photometric="rgb")
    np.testing.assert_allclose(
        pixels(opened(tmp_path / name, "srgb")), by_the_standard(deep / 65535), atol=1e-7
    )


def test_rasters_are_linear_and_options_apply(tmp_path):
    values = np.random.default_rng(2).uniform(0, 4000, (6, 7, 3)).astype(np.float32)
    np.save(tmp_path / "a.npy", values)
    plain = opened(tmp_path / "a.npy", value_range=(0, 4000))
    assert np.array_equal(pixels(plain), values) and plain.value_range == (0, 4000)
    assert "proportional to light" in plain.note and "phones" not in plain.note
    decoded = opened(tmp_path / "a.npy", "srgb", (0, 4000))
    assert decoded.value_range is None
    np.testing.assert_allclose(pixels(decoded), by_the_standard(values / 4000), atol=1e-6)
    with pytest.raises(InputError, match="leaves its range"):
        pixels(opened(tmp_path / "a.npy", "srgb", (0, 1000)))


def test_windows_are_parts_of_the_whole(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, photometric="rgb", iccprofile=P3)
    photo = opened(tmp_path / "a.tif")
    whole = pixels(photo)
    assert np.array_equal(photo.pixels.read(2, 3, 4, 5), whole[2:6, 3:8])


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_another_profile_is_converted_by_its_primaries(tmp_path, name):
    """Against matrices: gamma 2.2, primaries to XYZ, XYZ to linear sRGB."""
    Image.fromarray(PIXELS).save(tmp_path / name, icc_profile=P3)
    photo = opened(tmp_path / name)
    assert "its ICC profile is Test P3: converted to linear sRGB" in photo.note
    assert photo.about["input_evidence"] == "converted from Test P3"
    linear = (PIXELS / 255) ** 2.2 @ P3_TO_XYZ_D50.T @ XYZ_D50_TO_SRGB.T
    np.testing.assert_allclose(pixels(photo), linear.clip(0, 1), atol=0.001)
    assert np.abs(by_the_standard(PIXELS / 255) - linear).max() > 0.05  # without conversion


def test_profiles_that_cannot_be_used_say_what_to_do(tmp_path):
    deep = np.random.default_rng(1).integers(0, 65536, (5, 6, 3), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="rgb", iccprofile=P3)
    converted = ((deep / 65535) ** 2.2 @ P3_TO_XYZ_D50.T @ XYZ_D50_TO_SRGB.T).clip(0, 1)
    np.testing.assert_allclose(pixels(opened(tmp_path / "deep.tif")), converted, atol=0.001)
    assert np.array_equal(pixels(opened(tmp_path / "deep.tif", "linear")), deep)
    tifffile.imwrite(tmp_path / "srgb.tif", deep, photometric="rgb", iccprofile=SRGB)
    np.testing.assert_allclose(
        pixels(opened(tmp_path / "srgb.tif")), by_the_standard(deep / 65535), atol=1e-6
    )
    for profile in (b"no profile at all", P3[:200]):
        Image.fromarray(PIXELS).save(tmp_path / "broken.png", icc_profile=profile)
        with pytest.raises(InputError, match=r"colour profile of .*broken\.png cannot be used.*--linear"):
            opened(tmp_path / "broken.png")
        assert "cannot be read" in opened(tmp_path / "broken.png", "srgb").note


def test_a_profile_named_otherwise_that_is_srgb_counts_as_it(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.png", icc_profile=SRGB.replace(b"s\0R\0G\0B", b"m\0i\0n\0e"))
    photo = opened(tmp_path / "a.png")
    assert "mine" in photo.note and "sRGB by its ICC profile" in photo.note


ADOBE_TO_SRGB = np.array([[1.39836, -0.39836, 0], [0, 1, 0], [0, -0.04293, 1.04293]])
P3_TO_SRGB = np.array([[1.22494, -0.22494, 0], [-0.04206, 1.04206, 0], [-0.01964, -0.07864, 1.09828]])


def dcf(space: int | None, index: str | None) -> dict:
    """EXIF as cameras write it by DCF: R98 for sRGB, R03 for Adobe RGB."""
    found = exif(make="Maker", model="Camera 1")
    about = found.get_ifd(0x8769)
    about[0x829A] = 0.01
    if space is not None:
        about[0xA001] = space
    if index is not None:
        about[0xA005] = {1: index}
    return {"exif": found, "quality": 100}


@pytest.mark.parametrize(
    ("name", "options", "words", "gamma", "matrix"),
    [
        ("a.jpg", dcf(0xFFFF, "R03"), "Adobe RGB .* R03", 563 / 256, ADOBE_TO_SRGB),
        ("a.jpg", dcf(None, "R03"), "Adobe RGB .* R03", 563 / 256, ADOBE_TO_SRGB),
        ("a.jpg", dcf(2, None), "Adobe RGB .* ColorSpace of 2", 563 / 256, ADOBE_TO_SRGB),
        ("a.png", {"exif": exif(space=2)}, "Adobe RGB", 563 / 256, ADOBE_TO_SRGB),
        ("a.tif", {"tiffinfo": exif_of_tiff({0xA001: 2})}, "Adobe RGB", 563 / 256, ADOBE_TO_SRGB),
        ("a.jpg", dcf(1, "R03"), "sRGB by its EXIF ColorSpace,", None, None),
        ("a.jpg", dcf(None, "R98"), "sRGB by its EXIF InteroperabilityIndex R98", None, None),
        ("a.jpg", dcf(None, None), r"sRGB by .*a camera \(Maker Camera 1\)", None, None),
        ("a.png", {"pnginfo": chunk(b"gAMA", (55556).to_bytes(4, "big"))}, "gamma 1.8", 1.8, None),
        ("a.png", {"pnginfo": chunk(b"cICP", bytes([12, 13, 0, 1]))}, "P3 by its PNG", None, P3_TO_SRGB),
    ],
)  # fmt: skip
def test_other_spaces_that_a_file_states_are_converted(tmp_path, name, options, words, gamma, matrix):
    Image.fromarray(PIXELS).save(tmp_path / name, **options)
    with Image.open(tmp_path / name) as image:
        stored = np.asarray(image) / 255
    expected = by_the_standard(stored) if gamma is None else stored**gamma
    expected = expected if matrix is None else (expected @ matrix.T).clip(0, 1)
    photo = opened(tmp_path / name)
    assert re.search(words, photo.note) and photo.encoding == "srgb" and photo.option == ""
    np.testing.assert_allclose(pixels(photo), expected, atol=1e-4)


def test_tiff_of_cameras_states_adobe_rgb_in_a_block_within_exif(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PIXELS, photometric="rgb", extratags=[(65000, "I", 1, 0, True)])
    data = path.read_bytes()
    exif = struct.pack("<HHHIIHHIII", 2, 0xA001, 3, 1, 0xFFFF, 0xA005, 4, 1, len(data) + 30, 0)
    dcf = struct.pack("<HHHI4sI", 1, 1, 2, 4, b"R03", 0)
    tag, pointer = struct.pack("<HHII", 65000, 4, 1, 0), struct.pack("<HHII", 34665, 4, 1, len(data))
    path.write_bytes(data.replace(tag, pointer) + exif + dcf)
    found = find_evidence(path)
    assert found.space == ADOBE_RGB and found.by == "EXIF InteroperabilityIndex R03"


def test_profile_and_camera_of_a_bigtiff(tmp_path):
    tags = [(0x010F, "s", 0, "Maker", True)]
    tifffile.imwrite(
        tmp_path / "a.tif", PIXELS, photometric="rgb", bigtiff=True, iccprofile=P3, extratags=tags
    )
    found = find_evidence(tmp_path / "a.tif")
    assert found.profile == P3 and found.camera == "Maker"


@pytest.mark.parametrize("kind", ["gAMA", "cICP"])
def test_values_that_a_file_states_as_linear_stay(tmp_path, kind):
    data = {"gAMA": (100000).to_bytes(4, "big"), "cICP": bytes([1, 8, 0, 1])}[kind]
    Image.fromarray(PIXELS).save(tmp_path / "a.png", pnginfo=chunk(kind.encode(), data))
    photo = opened(tmp_path / "a.png")
    assert re.search(
        f"proportional to light by its PNG .*{'gamma of 1' if kind == 'gAMA' else kind}", photo.note
    )
    assert photo.encoding == "linear" and np.array_equal(pixels(photo), PIXELS)


def test_high_dynamic_range_is_refused(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.png", pnginfo=chunk(b"cICP", bytes([9, 16, 0, 1])))
    with pytest.raises(InputError, match=r"high dynamic range \(PQ\).*--linear or --srgb"):
        opened(tmp_path / "a.png")
    assert np.array_equal(pixels(opened(tmp_path / "a.png", "linear")), PIXELS)


def test_a_declared_bit_depth_is_the_full_scale(tmp_path):
    twelve = np.random.default_rng(3).integers(0, 4096, (5, 6, 3), dtype=np.uint16)
    write_png16(tmp_path / "a.png", twelve)
    photo = to_linear(open_raster(tmp_path / "a.png"), tmp_path / "a.png", bit_depth=12)
    np.testing.assert_allclose(photo.unit(), twelve / 4095, atol=1e-7)
    assert photo.about["input_bit_depth"] == "12"
    np.testing.assert_allclose(read_photo(tmp_path / "a.png", bit_depth=12), twelve / 4095, atol=1e-7)
    decoded = read_photo(tmp_path / "a.png", encoding="srgb", bit_depth=12)
    np.testing.assert_allclose(decoded, by_the_standard(twelve / 4095), atol=1e-6)
    with pytest.raises(InputError, match="leaves its range"):
        read_photo(tmp_path / "a.png", bit_depth=10)
    Image.fromarray(PIXELS).save(tmp_path / "b.png")
    with pytest.raises(InputError, match=r"b\.png cannot hold values of 12 bits.*1 to 8.*uint8"):
        read_photo(tmp_path / "b.png", bit_depth=12)


@pytest.mark.parametrize(
    ("largest", "stated", "bits"),
    [
        (4095, None, 12), (1000, None, 10), (255, None, 8), (4096, None, None), (65535, None, None),
        (0, None, None), (16383, 14, 14), (16384, 14, None), (900, 12, 12), (65535, 12, None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_values_that_use_few_of_16_bits_are_pointed_out(tmp_path, suffix, largest, stated, bits):
    deep = np.zeros((5, 6, 3), np.uint16)
    deep[4, 5, 1] = largest
    path = tmp_path / f"a{suffix}"
    if suffix == ".png":
        write_png16(path, deep)
        if stated:
            whole = path.read_bytes()
            sbit = b"sBIT" + bytes([stated] * 3)
            sbit = (3).to_bytes(4, "big") + sbit + zlib.crc32(sbit).to_bytes(4, "big")
            path.write_bytes(whole[:33] + sbit + whole[33:])
    else:
        tags = [(0x0119, "H", 3, [2**stated - 1] * 3, True)] if stated else []
        tifffile.imwrite(path, deep, photometric="rgb", extratags=tags)
    found = low_values(open_raster(path), path)
    assert (found and found[0]) == bits
    if found:
        assert f"no value of a{suffix} exceeds {largest} of 65535" in found[1]
        assert ("says" in found[1]) == (stated is not None)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("Maker", "Phone 3", "Maker Phone 3"),
        ("NIKON", "Nikon D1", "Nikon D1"),
        ("A{b}\nc", "d", "A b c d"),
        (None, "Phone 3", "Phone 3"),
    ],
)
def test_the_camera_is_named(tmp_path, name, make, model, camera):
    tags = {"model": model} | ({"make": make} if make else {})
    Image.fromarray(PIXELS).save(tmp_path / name, exif=exif(**tags))
    assert find_evidence(tmp_path / name).camera == camera
    Image.fromarray(PIXELS).save(tmp_path / name)
    assert find_evidence(tmp_path / name).camera is None


def test_orientation_is_applied_to_decoded_pixels(tmp_path):
    turned = exif(space=1)
    turned[0x0112] = 6
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=turned)
    expected = by_the_standard(np.rot90(PIXELS, -1) / 255)
    np.testing.assert_allclose(pixels(opened(tmp_path / "a.png")), expected, atol=1e-6)


def test_a_photograph_for_python_is_what_networks_expect(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.png", icc_profile=SRGB)
    np.testing.assert_allclose(read_photo(tmp_path / "a.png"), by_the_standard(PIXELS / 255), atol=1e-6)
    assert np.array_equal(read_photo(tmp_path / "a.png", encoding="linear"), PIXELS)
    np.save(tmp_path / "a.npy", PIXELS)
    assert np.array_equal(read_photo(tmp_path / "a.npy"), PIXELS)
