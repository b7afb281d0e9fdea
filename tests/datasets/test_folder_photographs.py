"""Photographs beside cubes: depth, range and encoding, as their files state or as is declared."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from folder_pairs import pair
from hsrzoo.colour.srgb import decode_srgb
from hsrzoo.datasets import open_dataset
from hsrzoo.errors import (
    DatasetError,
    InputError,
    Note,
)
from hsrzoo.io import read_photo
from hsrzoo.io.values import over_full_scale
from make_fixtures import write_png16


def test_sixteen_bit_photographs(tmp_path):
    pair(tmp_path / "folder", "x")
    pixels = np.random.default_rng(0).integers(0, 65536, (6, 9, 3), dtype=np.uint16)
    write_png16(tmp_path / "folder/rgb/x.png", pixels)
    dataset = open_dataset("folder", tmp_path)
    assert dataset.rgb_bits == 16
    assert np.abs(dataset.load("valid", "x").rgb - pixels.transpose(2, 0, 1) / 65535).max() < 1e-7
    pair(tmp_path / "folder", "y")
    with pytest.raises(DatasetError, match=r"y\.png differs in depth"):
        open_dataset("folder", tmp_path).load("valid", "y")


def tagged(path, space: int = 1) -> np.ndarray:
    """Rewrite a photograph with EXIF's ColorSpace; returns what it decodes to by sRGB, (3, H, W)."""
    exif = Image.Exif()
    exif[0x0131] = "a test"  # Pillow leaves out an EXIF block of nothing but sub-blocks
    exif.get_ifd(0x8769)[0xA001] = space
    with Image.open(path) as image:
        image.load()
        image.save(path, exif=exif, **({"quality": 100} if path.suffix == ".jpg" else {}))
    with Image.open(path) as image:
        return decode_srgb(np.asarray(image).transpose(2, 0, 1) / 255)


def test_photographs_are_decoded_by_what_their_files_state(tmp_path):
    base = tmp_path / "folder"
    pixels = pair(base, "a").transpose(2, 0, 1)
    plain = open_dataset("folder", tmp_path)
    assert plain.encoding == "linear" and plain.rgb_bits == 8 and "encoding" not in plain.info
    assert plain.record()["encoding"] == "linear"
    light = tagged(base / "rgb/a.png")
    with pytest.warns(Note, match=r"as a\.png, the first of 1: sRGB by its EXIF ColorSpace"):
        dataset = open_dataset("folder", tmp_path)
    assert dataset.encoding == dataset.info["encoding"] == "srgb" and dataset.rgb_bits is None
    np.testing.assert_allclose(dataset.load("valid", "a").rgb, light, atol=1e-6)
    np.testing.assert_allclose(read_photo(base / "rgb/a.png").transpose(2, 0, 1), light, atol=1e-6)
    linear = open_dataset("folder", tmp_path, encoding="linear")
    assert np.array_equal(linear.load("valid", "a").rgb, over_full_scale(pixels))
    assert linear.info == plain.info and linear.fingerprint() != dataset.fingerprint()
    assert np.array_equal(
        open_dataset("folder", tmp_path, encoding="srgb").load("valid", "a").rgb,
        dataset.load("valid", "a").rgb,
    )


def test_photographs_of_two_encodings_are_refused(tmp_path):
    for stem in ("a", "b"):
        pair(tmp_path / "folder", stem)
    light = tagged(tmp_path / "folder/rgb/b.png")
    dataset = open_dataset("folder", tmp_path)
    with pytest.raises(
        DatasetError, match=r"b\.png is not encoded as the first.*encoding=linear or encoding=srgb"
    ):
        dataset.load("valid", "b")
    scene = open_dataset("folder", tmp_path, encoding="srgb").load("valid", "b")
    np.testing.assert_allclose(scene.rgb, light, atol=1e-6)


def test_photographs_of_12_bits_are_pointed_out_and_declared(tmp_path):
    pair(tmp_path / "folder", "a")
    pixels = np.random.default_rng(0).integers(0, 4096, (6, 9, 3), dtype=np.uint16)
    write_png16(tmp_path / "folder/rgb/a.png", pixels)
    with pytest.warns(
        Note, match=r"no value of a\.png exceeds \d+ of 65535.*give --data-option bit_depth=12"
    ):
        plain = open_dataset("folder", tmp_path)
    dataset = open_dataset("folder", tmp_path, bit_depth="12")
    np.testing.assert_allclose(dataset.load("valid", "a").rgb, pixels.transpose(2, 0, 1) / 4095, atol=1e-7)
    assert dataset.rgb_bits == dataset.info["bit_depth"] == 12
    assert dataset.fingerprint() != plain.fingerprint()
    for wrong, words in (("x", "number of bits"), ("20", "cannot hold values of 20 bits")):
        with pytest.raises(InputError, match=words):
            open_dataset("folder", tmp_path, bit_depth=wrong)


def test_float_photographs_are_read_in_their_range(tmp_path):
    pair(tmp_path / "folder", "a")
    (tmp_path / "folder/rgb/a.png").unlink()
    values = np.random.default_rng(0).random((6, 9, 3), dtype=np.float32)
    tifffile.imwrite(
        tmp_path / "folder/rgb/a.tif", values, photometric="rgb", compression="zlib", predictor=3
    )
    dataset = open_dataset("folder", tmp_path)
    assert dataset.rgb_bits is None and np.array_equal(
        dataset.load("valid", "a").rgb, values.transpose(2, 0, 1)
    )
    tifffile.imwrite(tmp_path / "folder/rgb/a.tif", values * 2, photometric="rgb")
    with pytest.raises(InputError, match="leaves its range"):
        dataset.load("valid", "a")


@pytest.mark.parametrize("options", [{"encoding": "srgb"}, {"bit_depth": 12}])
def test_options_of_photographs_are_refused_where_rgb_is_rendered(tmp_path, options):
    pair(tmp_path / "folder", "a")
    with pytest.raises(InputError, match="no photograph is decoded"):
        open_dataset("folder", tmp_path, response="cie-1931", **options)
