"""Cubes opened by other programs' libraries: SPy, GDAL (rasterio), tifffile, h5py as MATLAB reads it."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
import spectral
import tifffile

from hsrzoo.bands import BandSet
from hsrzoo.io import load_cube, save_cube
from hsrzoo.prediction.predict import PredictOptions, predict_file
from tiled_networks import BANDS, Local, model

CENTRES = [400.0, 475.0, 550.0, 625.0, 700.0]
WIDE = BandSet.of([450.5, 549.25, 652.0], [9.5, 10.0, 11.0])
CUBE = np.random.default_rng(3).uniform(0, 1, (6, 9, 3)).astype(np.float32)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    np.save(tmp_path / "image.npy", np.random.default_rng(0).integers(0, 255, (24, 20, 3), np.uint8))
    return tmp_path / "image.npy"


@pytest.fixture
def rasterio():
    found = pytest.importorskip("rasterio")
    warnings.filterwarnings("ignore", category=found.errors.NotGeoreferencedWarning)
    return found


@pytest.mark.parametrize("dtype", ["float32", "uint16"])
@pytest.mark.parametrize("kept", [None, (626.0, 549.0, 470.0)])
def test_gdal_names_the_bands_of_a_streamed_tiff(image, rasterio, dtype, kept):
    out = image.with_name("a.tif")
    predict_file(image, model(Local, tile=16), out, PredictOptions(dtype=dtype, bands=kept))
    expected = CENTRES if kept is None else [625.0, 550.0, 475.0]
    cube, bands = load_cube(out)
    assert list(bands.centres_nm) == expected
    with rasterio.open(out) as file:
        assert file.descriptions == tuple(f"{nm:g} nm" for nm in expected)
        for i, nm in enumerate(expected, start=1):
            tags = file.tags(i)
            assert float(tags["wavelength"]) == nm and tags["wavelength_units"] == "Nanometers"
            assert float(file.tags(i, ns="IMAGERY")["CENTRAL_WAVELENGTH_UM"]) == nm / 1000
            values = file.read(i) * file.scales[i - 1] + file.offsets[i - 1]
            np.testing.assert_allclose(values, cube[..., i - 1], atol=1e-6)


def test_gdal_names_the_bands_of_a_saved_tiff_with_widths(tmp_path, rasterio):
    save_cube(tmp_path / "a.tif", CUBE, WIDE)
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.descriptions == ("450.5 nm", "549.25 nm", "652 nm")
        assert file.tags(2, ns="IMAGERY") == {"CENTRAL_WAVELENGTH_UM": "0.54925", "FWHM_UM": "0.01"}
        assert file.tags(3)["fwhm"] == "11.0"
        assert np.array_equal(file.read().transpose(1, 2, 0), CUBE)


def test_gdal_reads_envi_with_wavelengths_names_and_default_bands(image, rasterio):
    predict_file(image, model(Local, tile=16), image.with_name("a.hdr"))
    cube, _ = load_cube(image.with_name("a.hdr"))
    with rasterio.open(image.with_name("a.img")) as file:
        assert file.driver == "ENVI"
        assert [float(file.tags(i)["wavelength"]) for i in range(1, 6)] == CENTRES
        assert file.tags(1)["wavelength_units"] == "Nanometers"
        assert file.descriptions[1] == "475.0 Nanometers"
        shown = [file.colorinterp.index(c) for c in rasterio.enums.ColorInterp if c.name in ("red", "blue")]
        assert [CENTRES[i] for i in shown] == [625.0, 475.0]
        assert np.array_equal(file.read().transpose(1, 2, 0), cube)


def test_spy_opens_what_was_predicted(image):
    predict_file(image, model(Local, tile=16), image.with_name("a.hdr"), PredictOptions("uint16"))
    opened = spectral.open_image(str(image.with_name("a.hdr")))
    assert opened.bands.centers == CENTRES and opened.bands.band_unit == "Nanometers"
    assert opened.metadata["default bands"] == ["4", "3", "2"]
    assert opened.metadata["hsrzoo model"] == "toy"
    assert opened.metadata["hsrzoo input values"] == "linear"
    scaled = np.asarray(opened.load())  # SPy knows the scale factor
    np.testing.assert_allclose(scaled, load_cube(image.with_name("a.hdr"))[0], atol=1e-4)


def test_header_fields_are_one_line_of_ascii(tmp_path):
    about = {"model": "local-dir:/tmp/m\u00f6del {x}\nsamples = 1"}
    save_cube(tmp_path / "a.hdr", CUBE, WIDE, metadata=about)
    opened = spectral.open_image(str(tmp_path / "a.hdr"))
    assert opened.shape == CUBE.shape
    assert opened.metadata["hsrzoo model"] == "local-dir:/tmp/m\\xf6del (x) samples = 1"


@pytest.mark.parametrize(("centres", "shown"), [([900.0], ["1"]), ([900.0, 1000.0], ["2"])])
def test_few_bands_are_shown_as_one(tmp_path, centres, shown):
    save_cube(tmp_path / "a.hdr", CUBE[..., : len(centres)], BandSet.of(centres))
    assert spectral.open_image(str(tmp_path / "a.hdr")).metadata["default bands"] == shown


def test_tifffile_shows_what_was_assumed(image):
    predict_file(image, model(Local, tile=16), image.with_name("a.tif"), PredictOptions(encoding="srgb"))
    with tifffile.TiffFile(image.with_name("a.tif")) as file:
        told = json.loads(file.pages.first.description)
    assert told["wavelengths_nm"] == CENTRES and told["metadata"]["model"] == "toy"
    assert told["metadata"]["input_values"] == "sRGB, decoded by IEC 61966-2-1"
    assert told["metadata"]["input_evidence"] == "asked for"


def test_matlab_sees_height_width_bands(image):
    """What MATLAB looks at: its header of 512 bytes, classes, and axes in reverse of HDF5's."""
    predict_file(image, model(Local), image.with_name("a.mat"), PredictOptions(bands=(475, 550)))
    start = image.with_name("a.mat").read_bytes()[:520]
    assert start.startswith(b"MATLAB 7.3 MAT-file") and start[124:128] == b"\x00\x02IM"
    assert start[512:] == b"\x89HDF\r\n\x1a\n"
    with h5py.File(image.with_name("a.mat")) as file:
        classes = {name: item.attrs["MATLAB_class"] for name, item in file.items()}
        assert classes["cube"] == b"single" and classes["bands"] == b"double"
        assert file["cube"].shape == (2, 20, 24)
        assert file["bands"][()].ravel().tolist() == [475, 550]
        told = file["metadata"][()].astype("<u2").tobytes().decode("utf-16-le")
        assert classes["metadata"] == b"char" and json.loads(told)["input_values"] == "linear"
    expected = model(Local)(np.load(image)).cube[..., 1:3]
    np.testing.assert_allclose(load_cube(image.with_name("a.mat"))[0], expected, atol=1e-6)


def test_hdf5_axes_have_names_and_wavelengths(image):
    predict_file(image, model(Local), image.with_name("a.h5"))
    with h5py.File(image.with_name("a.h5")) as file:
        dims = file["cube"].dims
        assert [axis.label for axis in dims] == ["y", "x", "wavelength"]
        assert dims[2]["wavelength"][()].tolist() == CENTRES
        assert file["wavelengths_nm"].attrs["units"] == "nm"
        assert json.loads(file.attrs["metadata"])["input_profile"] == "none"


@pytest.mark.parametrize("suffix", [".hdr", ".tif", ".h5", ".mat", ".npz"])
def test_a_reconstruction_in_memory_saves_in_every_format(tmp_path, suffix):
    made = model(Local)(np.full((12, 16, 3), 99, np.uint8))
    made.save(tmp_path / f"a{suffix}")
    cube, bands = load_cube(tmp_path / f"a{suffix}")
    assert np.array_equal(cube, made.cube) and bands == BANDS
