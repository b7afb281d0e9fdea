"""What cube files state about their numbers: no data, scale, offset, masks; applied once."""

from __future__ import annotations

import base64
import struct

import h5py
import numpy as np
import pytest
import tifffile
from scipy.io import netcdf_file

from hsrzoo.bands import BandSet
from hsrzoo.errors import FormatError, InputError, Note
from hsrzoo.io import load_cube
from hsrzoo.io.raster import open_raster

H, W, C = 4, 5, 3
VALUES = np.random.default_rng(2).integers(1000, 9000, (H, W, C)) / 1e4
VALUES[0, 1, 2] = np.nan
NM = [450.0, 550.0, 650.0]
PACKED = np.where(np.isnan(VALUES), -9999, np.rint(VALUES * 1e4)).astype(np.int16)


def h5(path, stored, attributes=None, wavelengths=NM, name="reflectance"):
    with h5py.File(path, "w") as file:
        file[name] = stored
        file[name].attrs.update(attributes or {})
        if wavelengths is not None:
            file["wavelength"] = wavelengths
    return path


def close(path, expected=VALUES, **options):
    """The cube of a file is as expected, NaN at the same places; returns its bands."""
    cube, bands = load_cube(path, **options)
    assert cube.dtype == np.float32 and cube.flags.c_contiguous
    np.testing.assert_allclose(cube, expected, rtol=1e-6, atol=1e-7)
    return bands


ATTRIBUTES = {
    "NEON": {"Scale_Factor": 1e4, "Data_Ignore_Value": -9999.0},
    "NEON before 2018": {"Scale Factor": 1e4, "Data Ignore Value": -9999.0},
    "CF": {"scale_factor": 1e-4, "add_offset": 0.0, "_FillValue": np.int16(-9999)},
    "missing values": {"scale_factor": [1e-4], "missing_value": np.int16([-9999, -1])},
    **{name: {"scale_factor": 1e-4, name: -9999} for name in ("FillValue", "data_ignore_value", "NoData")},
    "text": {"scale_factor": "0.0001", "missing_value": np.bytes_("-9999")},
    "range of stored numbers": {"scale_factor": 1e-4, "valid_range": np.int16([0, 10000])},
    "least stored number": {"scale_factor": 1e-4, "valid_min": np.int16(0)},
    "range of values": {"scale_factor": 1e-4, "valid_min": 0.0, "valid_max": 1.0},
    "one scale twice": {"scale_factor": 1e-4, "Scale_Factor": 1e4, "_FillValue": np.int16(-9999)},
    "a number for each band": {"scale_factor": [1e-4] * C, "add_offset": [0.0] * C, "valid_min": 0},
}


@pytest.mark.parametrize("attributes", ATTRIBUTES.values(), ids=ATTRIBUTES)
@pytest.mark.parametrize("suffix", [".h5", ".he5", ".nc"])
def test_attributes_of_hdf5_are_applied_once_and_named(tmp_path, attributes, suffix):
    path = h5(tmp_path / f"a{suffix}", PACKED, attributes)
    with pytest.warns(Note, match="As the cube's file states: "):
        assert close(path) == BandSet.of(NM)


def test_scale_and_offset_multiply_and_add(tmp_path):
    path = h5(tmp_path / "a.h5", PACKED, {"scale_factor": 2e-4, "add_offset": -0.5, "_FillValue": -9999})
    close(path, 2 * VALUES - 0.5)
    path = h5(
        tmp_path / "b.h5", PACKED, {"scale_factor": [1e-4, 2e-4, 3e-4], "valid_max": 8e3, "valid_min": 0}
    )
    close(path, np.where(PACKED > 8000, np.nan, VALUES) * [1, 2, 3])


def test_large_integers_are_scaled_before_they_are_rounded(tmp_path):
    stored = np.int32(2**30) + np.arange(H * W * C, dtype=np.int32).reshape(H, W, C)
    path = h5(tmp_path / "a.h5", stored, {"scale_factor": 1.0, "add_offset": -(2.0**30)})
    close(path, stored - 2.0**30)


@pytest.mark.parametrize("text", ["", "None"])
def test_an_attribute_for_no_data_may_be_empty(tmp_path, text):
    close(h5(tmp_path / "a.h5", PACKED, {"nodata": text, **ATTRIBUTES["CF"]}))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"scale_factor": 1e-4, "Scale_Factor": 255.0}, "states two scales that differ"),
        ({"_FillValue": "nothing"}, "'_FillValue' of .* is not a number. Got 'nothing'"),
        (
            {"scale_factor": [1.0, 2.0]},
            "'scale_factor' of .* does not fit its bands. Expected one .*, or 3",
        ),
        ({"scale_factor": np.nan}, "does not fit its bands"),
    ],
)
def test_attributes_that_cannot_be_applied_are_named(tmp_path, attributes, message):
    with pytest.raises(FormatError, match=message):
        load_cube(h5(tmp_path / "a.h5", PACKED, attributes))


def test_a_scale_of_the_user_is_the_stated_one_or_an_error(tmp_path):
    stated = h5(tmp_path / "a.h5", PACKED, ATTRIBUTES["NEON"])
    for path in (stated, h5(tmp_path / "b.h5", PACKED, ATTRIBUTES["CF"])):
        with pytest.warns(Note, match="scale=10000 is what the cube's file states itself"):
            close(path, scale=10000)
        for other in (1, 255):
            with pytest.raises(
                InputError, match=rf"another scale itself.*10000|0\.0001.*Got scale={other}"
            ):
                load_cube(path, scale=other)
    silent = h5(tmp_path / "c.h5", PACKED)
    close(silent, scale=10000, nodata=-9999)
    identity = h5(tmp_path / "d.h5", PACKED, {"scale_factor": 1.0, "add_offset": 0.0})
    close(identity, scale=10000, nodata=-9999)  # what programs write where they know of no scale
    offset = h5(tmp_path / "e.h5", PACKED, {"scale_factor": 1e-4, "add_offset": 0.1})
    with pytest.raises(InputError, match="another scale"):
        load_cube(offset, scale=10000)


def test_zarr_has_the_attributes_of_netcdf(tmp_path):
    zarr = pytest.importorskip("zarr", minversion="3")
    packed_nan = base64.b64encode(struct.pack("<d", np.nan)).decode()  # as xarray writes it
    for version in (2, 3):
        root = zarr.open_group(str(tmp_path / f"{version}.zarr"), mode="w", zarr_format=version)
        array = root.create_array("reflectance", data=PACKED.transpose(2, 0, 1))
        array.attrs.update(ATTRIBUTES["CF"] | {"_FillValue": -9999})
        wavelength = root.create_array("wavelength", data=np.array(NM) / 1e3)
        wavelength.attrs["units"] = "um"
        assert close(tmp_path / f"{version}.zarr").same_as(BandSet.of(NM), 1e-6)
    root = zarr.open_group(str(tmp_path / "floats.zarr"), mode="w")
    root.create_array("r", data=VALUES).attrs["_FillValue"] = packed_nan
    close(tmp_path / "floats.zarr")


def test_classic_netcdf(tmp_path):
    with netcdf_file(tmp_path / "a.nc", "w") as file:
        for name, length in {"wavelength": C, "y": H, "x": W}.items():
            file.createDimension(name, length)
        stored = file.createVariable("reflectance", "h", ("wavelength", "y", "x"))
        stored[:] = PACKED.transpose(2, 0, 1)
        stored.scale_factor, stored._FillValue = 1e-4, np.int16(-9999)
        file.createVariable("wavelength", "d", ("wavelength",))[:] = NM
    assert close(tmp_path / "a.nc") == BandSet.of(NM)


def envi(path, stored, fields, bands=C):
    stored.transpose(2, 0, 1).tofile(path.with_suffix(".img"))
    code = {"i2": 2, "f4": 4, "u2": 12}[stored.dtype.str[1:]]
    path.write_text(
        f"ENVI\nsamples = {W}\nlines = {H}\nbands = {bands}\nheader offset = 0\nfile type = ENVI Standard\n"
        f"data type = {code}\ninterleave = bsq\nbyte order = 0\n{fields}\n"
    )
    return path


HEADERS = {
    "gains": ("data gain values = {1e-4, 2e-4, 3e-4}", VALUES * [1, 2, 3]),
    "gains and offsets": (
        "data gain values = {1e-4, 1e-4, 1e-4}\ndata offset values = {0, -0.1, 0}",
        VALUES + np.array([0, -0.1, 0]),
    ),
    "offsets": ("data offset values = {0, 1, 2}", VALUES * 1e4 + np.arange(3)),
    "gains to reflectance": (
        "data gain values = {7, 7, 7}\ndata reflectance gain values = {1e-4, 1e-4, 1e-4}", VALUES,
    ),
    "scale": ("reflectance scale factor = 10000.0", VALUES),
    "scale and gains of 1": ("reflectance scale factor = 10000\ndata gain values = {1, 1, 1}", VALUES),
    "one scale twice": ("reflectance scale factor = 1e4\ndata gain values = {.0001, .0001, .0001}", VALUES),
    "underscores": ("Data_Gain_Values = {1e-4, 1e-4, 1e-4,}", VALUES),
    "bad bands": (
        "reflectance scale factor = 10000\nbbl = {1.0, 0, 1}", np.where([1, 0, 1], VALUES, np.nan),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("fields", "expected"), HEADERS.values(), ids=HEADERS)
def test_fields_of_envi_headers_are_applied_once_and_named(tmp_path, fields, expected):
    path = envi(tmp_path / "a.hdr", PACKED, f"{fields}\ndata ignore value = -9999")
    with pytest.warns(Note, match=r"-9999 is no data \(data ignore value\); .*\(\w"):
        close(path, expected)


def test_envi_scales_that_contradict_each_other_or_the_bands_are_named(tmp_path):
    both = "reflectance scale factor = 10000\ndata gain values = {7, 7, 7}"
    with pytest.raises(FormatError, match="two scales that differ"):
        load_cube(envi(tmp_path / "a.hdr", PACKED, both))
    with pytest.raises(FormatError, match=r"'data gain values' of .* does not fit its bands"):
        load_cube(envi(tmp_path / "a.hdr", PACKED, "data gain values = {7, 7}"))
    with pytest.warns(Note, match="bbl of the ENVI header is not used: it has 2 of 3 bands"):
        load_cube(envi(tmp_path / "a.hdr", PACKED, "bbl = {1, 0}"))


MISSING = np.isnan(VALUES).any(axis=2)
FILLED = np.where(np.isnan(VALUES), 0.7, VALUES).astype(np.float32)
MASKED = np.where(MISSING[..., None], np.nan, FILLED)


def tiff(path, stored, **options):
    tifffile.imwrite(path, stored, photometric="minisblack", metadata=None, **options)
    return path


def add_mask(path, mask=~MISSING, kind=4):
    """A page of single bits; ``kind`` 4: of the image, 5: of an overview."""
    tifffile.imwrite(path, mask, append=True, photometric="mask", metadata=None, subfiletype=kind)


@pytest.mark.parametrize("planes", [False, True])
def test_tiff_pixels_that_a_mask_page_leaves_out(tmp_path, planes):
    pixels = FILLED.transpose(2, 0, 1) if planes else FILLED
    path = tiff(tmp_path / "a.tif", pixels, planarconfig="separate" if planes else "contig")
    add_mask(path)
    add_mask(path, np.zeros((H, W), bool), kind=5)
    with pytest.warns(Note, match="pixels that its mask leaves out hold no data"):
        close(path, MASKED)


@pytest.mark.parametrize("bands", [1, C])
def test_tiff_pixels_that_a_mask_beside_it_leaves_out(tmp_path, bands):
    tiff(tmp_path / "a.tif", FILLED, planarconfig="contig")
    each = ~np.isnan(VALUES) if bands == C else ~MISSING[..., None]
    tiff(tmp_path / "a.tif.msk", np.uint8(255) * each.transpose(2, 0, 1))
    close(tmp_path / "a.tif", VALUES if bands == C else MASKED)
    tiff(tmp_path / "a.tif.msk", np.zeros((2, 2), np.uint8))
    with pytest.raises(FormatError, match=r"a\.tif\.msk does not fit its image"):
        load_cube(tmp_path / "a.tif")


@pytest.mark.parametrize("marked", [C - 1, 0])
def test_tiff_alpha_is_no_band_but_a_mask(tmp_path, marked):
    """GDAL may mark the first extra sample as alpha where the last one is."""
    alpha = np.where(MISSING, 0, 65535)[..., None]
    pixels = np.concatenate([np.rint(FILLED * 1e4), alpha], axis=2).astype(np.uint16)
    extra = [0] * C
    extra[marked] = 2
    path = tiff(tmp_path / "a.tif", pixels, planarconfig="contig", extrasamples=extra)
    close(path, MASKED, scale=10000)
    if marked == 0:
        pixels[..., -1] = pixels[..., 0]
        tiff(path, pixels, planarconfig="contig", extrasamples=extra)
        with pytest.raises(FormatError, match="marks sample 2 as alpha, which it is not"):
            load_cube(path)


def test_gdal_auxiliary_files_say_what_the_tags_do_not(tmp_path):
    path = tiff(tmp_path / "a.tif", PACKED, planarconfig="contig")
    band = (
        '<PAMRasterBand band="{0}"><NoDataValue>-9.999E+03</NoDataValue><Offset>{2}</Offset>'
        '<Scale>1e-4</Scale><Metadata><MDI key="wavelength">{1}</MDI>'
        '<MDI key="wavelength_units">nm</MDI></Metadata></PAMRasterBand>'
    )
    bands = "".join(band.format(i + 1, nm, i) for i, nm in enumerate(NM))
    (tmp_path / "a.tif.aux.xml").write_text(f"<PAMDataset>{bands}</PAMDataset>")
    assert close(path, VALUES + np.arange(3)) == BandSet.of(NM)
    (tmp_path / "a.tif.aux.xml").write_text("<PAMDataset>")
    with pytest.raises(FormatError, match=r"a\.tif\.aux\.xml cannot be read as GDAL's auxiliary XML"):
        load_cube(path)


@pytest.mark.parametrize("unit", ["nm", "Micrometers", "cm-1"])
def test_gdal_wavelengths_are_in_their_stated_unit(tmp_path, unit):
    numbers = {"nm": NM, "Micrometers": [nm / 1e3 for nm in NM], "cm-1": [1e7 / nm for nm in NM]}[unit]
    xml = "".join(
        f'<Item name="{name}" sample="{i}">{text}</Item>'
        for i, n in enumerate(numbers)
        for name, text in (("wavelength", repr(n)), ("wavelength_units", unit))
    )
    tags = [(42112, "s", 0, f"<GDALMetadata>{xml}</GDALMetadata>", True)]
    path = tiff(tmp_path / "a.tif", FILLED, planarconfig="contig", extratags=tags)
    assert close(path, FILLED).same_as(BandSet.of(NM), 1e-6)


RGB = np.rint(FILLED * 1e4).astype(np.uint16)


def test_images_for_prediction_follow_the_same_rules(tmp_path):
    """Per-band gains are applied window by window, in the order red, green, blue."""
    fields = "data gain values = {1e-4, 2e-4, 1e-4}\nwavelength = {450, 550, 650}\nwavelength units = nm"
    raster = open_raster(envi(tmp_path / "a.hdr", RGB, fields))
    expected = (RGB * [1e-4, 2e-4, 1e-4])[..., ::-1]
    np.testing.assert_allclose(raster.pixels.read(1, 2, 3, 2), expected[1:4, 2:4], rtol=1e-6)
    assert raster.value_range == (0, 1) and "data gain values" in raster.notes[-1]
    one = f"data ignore value = {RGB[2, 3, 1]}"  # in one channel alone it is a colour
    np.testing.assert_array_equal(
        open_raster(envi(tmp_path / "b.hdr", RGB, one)).pixels.read(0, 0, H, W), RGB
    )


@pytest.mark.parametrize("how", ["envi", "tag", "mask", "msk"])
def test_images_for_prediction_with_gaps_are_refused(tmp_path, how):
    gap = RGB.copy()
    gap[2, 3] = 0
    if how == "envi":
        path = envi(tmp_path / "a.hdr", gap, "data ignore value = 0")
    else:
        path = tmp_path / "a.tif"
        tags = [(42113, "s", 0, "0", True)] if how == "tag" else []
        tifffile.imwrite(path, gap, photometric="rgb", metadata=None, extratags=tags)
        if how != "tag":
            known = (gap > 0).all(axis=2)
            add_mask(path, known) if how == "mask" else tiff(tmp_path / "a.tif.msk", np.uint8(255) * known)
    with pytest.raises(InputError, match=r"pixels (without data|that .* leaves out)"):
        open_raster(path).pixels.read(0, 0, H, W)
