"""Intact files of other programs are read, and what cannot be read is told from what is damaged."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from scipy.io import savemat

from hsrzoo.bands import BandSet
from hsrzoo.errors import FormatError, Note
from hsrzoo.io import load_cube, save_cube, tiff
from hsrzoo.io.metadata import metadata_of

H, W, C = 4, 5, 3
CUBE = np.random.default_rng(4).uniform(0, 1, (H, W, C)).astype(np.float32)
NM = [450.0, 550.0, 650.0]
FIELDS = {
    "samples": W, "lines": H, "bands": C, "header offset": 0, "file type": "ENVI Standard",
    "data type": 4, "interleave": "bil", "byte order": 0, "wavelength": "{0.45, 0.55, 0.65}",
    "wavelength units": "\u00b5m", "description": "{at 21 \u00b0C\n= warm}",
}  # fmt: skip


def header(**changes):
    """The text of a header; fields that are None are left out."""
    fields = FIELDS | {name.replace("_", " "): value for name, value in changes.items()}
    return "ENVI\n" + "".join(f"{name} = {value}\n" for name, value in fields.items() if value is not None)


def envi(folder, text=None, name="a.hdr", binary="a.img", encoding="utf-8", values=CUBE):
    values.transpose(0, 2, 1).tofile(folder / binary)
    (folder / name).write_bytes((text or header()).encode(encoding))
    return folder / name


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
def test_envi_headers_in_any_encoding(tmp_path, encoding):
    cube, bands = load_cube(envi(tmp_path, header(data_units="W/m\u00b2"), encoding=encoding))
    assert np.array_equal(cube, CUBE) and bands.same_as(BandSet.of(NM), 1e-6)
    assert metadata_of(tmp_path / "a.hdr").units == "W/m\u00b2"


@pytest.mark.parametrize(
    ("names", "binary"),
    [(("a.hdr",), "a"), (("a.bil.hdr",), "a.bil"), (("A.HDR",), "A.BIL"), (("a.hdr",), "a.RAW")],
)
def test_envi_binaries_are_found_beside_their_headers_and_headers_beside_them(tmp_path, names, binary):
    path = envi(tmp_path, name=names[0], binary=binary)
    for either in (path, tmp_path / binary):
        assert np.array_equal(load_cube(either, format="envi")[0], CUBE)


def test_envi_headers_without_optional_fields_and_the_note(tmp_path):
    text = header(byte_order=None, file_type=None, header_offset=None)
    with pytest.warns(
        Note, match=r"lacks fields, assumed: header offset = 0, file type = .*, byte order = 0"
    ):
        cube, _ = load_cube(envi(tmp_path, text))
    assert np.array_equal(cube, CUBE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (header(samples=None, data_type=None), "lacks fields.*Got no samples, data type"),
        (header(data_type=7), "cannot be read as ENVI. Got 7 among its fields"),
        (header(lines=0), "describes no image"),
        (header(file_type="ENVI Spectral Library"), "is a spectral library"),
        (header(major_frame_offsets="{0, 8}"), "has major frame offsets"),
        (header(wavelength="{0.45, 0.55", description=None), "The field 'wavelength' of .* has no end"),
        ("GIF89a", r"is not an ENVI header. Expected ENVI first. Got 'GIF89a'"),
    ],
)
def test_what_is_wrong_in_envi_headers_is_named(tmp_path, text, message):
    with pytest.raises(FormatError, match=message):
        load_cube(envi(tmp_path, text))


def test_an_envi_header_alone_lacks_its_binary(tmp_path):
    envi(tmp_path, binary="other.img")
    with pytest.raises(FormatError, match=r"There is no binary beside .*a\.hdr"):
        load_cube(tmp_path / "a.hdr")


def h5(path, arrays, **attributes):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
        file[next(iter(arrays))].attrs.update(attributes)
    return path


@pytest.mark.parametrize("axes", ["chw", "hcw", "hwc"])
@pytest.mark.parametrize("suffix", [".h5", ".npz", ".mat"])
def test_the_list_of_wavelengths_tells_the_axis_of_the_bands(tmp_path, axes, suffix):
    arrays = {"data": CUBE.transpose(["hwc".index(a) for a in axes]), "wavelength": NM}
    path = tmp_path / f"a{suffix}"
    {".h5": h5, ".npz": lambda p, a: np.savez(p, **a), ".mat": savemat}[suffix](path, arrays)
    cube, bands = load_cube(path)
    assert np.array_equal(cube, CUBE) and bands == BandSet.of(NM)


def test_two_axes_as_long_as_the_wavelengths_are_ambiguous_unless_they_are_named(tmp_path):
    square = CUBE[:C]
    arrays = {"data": square.transpose(2, 0, 1), "wavelength": NM}
    with pytest.raises(
        FormatError, match=r"ambiguous which axis.*its 3 wavelengths.*\(3, 3, 5\).*axes=chw"
    ):
        load_cube(h5(tmp_path / "a.h5", arrays))
    assert np.array_equal(load_cube(tmp_path / "a.h5", axes="chw")[0], square)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["wavelength"].make_scale("wavelength")
        file["data"].dims[0].attach_scale(file["wavelength"])
        file["data"].dims[1].label, file["data"].dims[2].label = "y", "x"
    assert np.array_equal(load_cube(tmp_path / "a.h5")[0], square)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["data"].dims[1].label, file["data"].dims[2].label = "x", "y"
    assert np.array_equal(load_cube(tmp_path / "a.h5")[0], square.transpose(1, 0, 2))
    for name in ("own.npz", "own.mat", "own.h5"):  # written here: the bands are last
        save_cube(tmp_path / name, CUBE[:C, :C], BandSet.of(NM))
        assert np.array_equal(load_cube(tmp_path / name)[0], CUBE[:C, :C])


def test_units_of_wavelengths_are_attributes_names_or_variables(tmp_path):
    path = h5(tmp_path / "a.h5", {"data": CUBE, "wavelength": [25000.0, 20000.0, 16000.0]})
    with h5py.File(path, "r+") as file:
        file["wavelength"].attrs["Units"] = np.bytes_("cm-1")
    assert load_cube(path)[1].centres_nm == (400, 500, 625)
    path = h5(tmp_path / "b.h5", {"data": CUBE, "wavenumber": [25000.0, 20000.0, 16000.0]})
    assert load_cube(path)[1].centres_nm == (400, 500, 625)
    savemat(
        tmp_path / "c.mat", {"x": CUBE, "wavelength": np.array(NM) * 10, "wavelength_units": "Angstrom"}
    )
    assert load_cube(tmp_path / "c.mat")[1].centres_nm == pytest.approx(NM)
    path = h5(tmp_path / "e.h5", {"data": CUBE, "frequency": [700.0, 600.0, 500.0]})
    with pytest.warns(Note, match="Band centres in 'frequency' are not used"):
        assert load_cube(path)[1] is None
    with h5py.File(path, "r+") as file:
        file["frequency"].attrs["units"] = "THz"
    assert load_cube(path)[1].centres_nm == pytest.approx((428.2749, 499.6541, 599.5849))
    assert load_cube(h5(tmp_path / "f.h5", {"data": CUBE, "band_centers": NM}))[1] == BandSet.of(NM)
    deep = {"a/Reflectance": CUBE, "a/Spectral/Wavelength": NM, "a/Spectral/FWHM": [9.0, 8.0, 7.0]}
    assert load_cube(h5(tmp_path / "d.h5", deep))[1] == BandSet.of(NM, [9, 8, 7])


def test_structs_and_cells_of_matlab_version_5(tmp_path):
    savemat(tmp_path / "a.mat", {"scene": {"name": "x", "info": {"cube": CUBE, "wavelength": NM}, "n": 3}})
    cube, bands = load_cube(tmp_path / "a.mat")
    assert np.array_equal(cube, CUBE) and bands == BandSet.of(NM)
    cell = np.empty((1, 2), dtype=object)
    cell[0, 0], cell[0, 1] = CUBE, CUBE * 2
    savemat(tmp_path / "b.mat", {"c": cell, "wavelengths": NM})
    with pytest.raises(FormatError, match=r"ambiguous.*c\{1\} \(4, 5, 3\), c\{2\} \(4, 5, 3\)"):
        load_cube(tmp_path / "b.mat")
    assert np.array_equal(load_cube(tmp_path / "b.mat", key="c{2}")[0], CUBE * 2)


def test_structs_and_cells_of_matlab_version_73(tmp_path):
    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
        file["scene/cube"], file["scene/wavelength"] = CUBE.transpose(2, 1, 0), np.array(NM)[:, None]
        file["#refs#/a"], file["#refs#/b"] = CUBE.transpose(2, 1, 0), np.zeros((2, 2))
        references = [[file["#refs#/b"].ref], [file["#refs#/a"].ref]]
        file.create_dataset("c", data=np.array(references, dtype=h5py.ref_dtype), dtype=h5py.ref_dtype)
    for key in (None, "scene.cube", "scene/cube", "c{2}"):
        cube, bands = load_cube(tmp_path / "a.mat", key=key)
        assert np.array_equal(cube, CUBE) and bands == BandSet.of(NM)


@pytest.mark.parametrize("suffix", [".h5", ".mat", ".nc"])
@pytest.mark.parametrize("how", ["external", "virtual", "link"])
def test_hdf5_that_refers_to_other_files_is_refused(tmp_path, suffix, how):
    CUBE.tofile(tmp_path / "secret.bin")
    h5(tmp_path / "secret.h5", {"cube": CUBE}, units="secret")
    with h5py.File(tmp_path / f"a{suffix}", "w") as file:
        if how == "external":
            place = [(str(tmp_path / "secret.bin"), 0, h5py.h5f.UNLIMITED)]
            file.create_dataset("cube", CUBE.shape, np.float32, external=place)
        elif how == "virtual":
            layout = h5py.VirtualLayout(CUBE.shape, np.float32)
            layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "cube", CUBE.shape)
            file.create_virtual_dataset("cube", layout)
        else:
            file["cube"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "cube")
            file["alias"] = h5py.SoftLink("/cube")
    for key in (None, "cube"):
        with pytest.raises(
            FormatError, match=r"refers to other files.*cube (lies in|is a link to) .*secret"
        ):
            load_cube(tmp_path / f"a{suffix}", key=key)
    assert metadata_of(tmp_path / f"a{suffix}").units is None


def test_links_within_the_file_are_no_reference_to_others(tmp_path):
    path = h5(tmp_path / "a.h5", {"cube": CUBE, "wavelength": NM})
    with h5py.File(path, "r+") as file:
        file["again"] = h5py.SoftLink("/cube")
        file["nowhere"] = h5py.SoftLink("/absent")
    assert np.array_equal(load_cube(path)[0], CUBE)


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".hdr", ".mat", ".tif"])
@pytest.mark.parametrize("order", [[2, 1, 0], [1, 2, 0]])
def test_bands_that_are_not_sorted_are_sorted_with_the_cube(tmp_path, suffix, order):
    path, bands = tmp_path / f"a{suffix}", BandSet.of(NM, [3, 2, 1])
    turned, listed = CUBE[..., order], bands.select(order)
    arrays = {"cube": turned, "wavelength": listed.centres_nm, "fwhm": listed.widths_nm}
    if suffix == ".hdr":
        names = ", ".join(f"{nm} nm" for nm in listed.centres_nm)
        envi(tmp_path, header(wavelength=None, band_names=f"{{{names}}}"), values=turned)
    elif suffix == ".tif":
        names = "".join(
            f'<Item name="{name}" sample="{i}">{value}</Item>'
            for name, values in (("wavelength", listed.centres_nm), ("fwhm", listed.widths_nm))
            for i, value in enumerate(values)
        )
        tags = [(42112, "s", 0, f"<GDALMetadata>{names}</GDALMetadata>", True)]
        options = {"photometric": "minisblack", "planarconfig": "contig", "metadata": None}
        tifffile.imwrite(path, turned, extratags=tags, **options)
        assert tiff.read_bands(path) == bands
    else:
        {".npz": lambda p, a: np.savez(p, **a), ".h5": h5, ".mat": savemat}[suffix](path, arrays)
    with pytest.warns(Note, match=r"The bands are stored as .* nm: they are sorted by wavelength"):
        cube, found = load_cube(path)
    assert np.array_equal(cube, CUBE) and found.centres_nm == bands.centres_nm
    assert suffix == ".hdr" or found == bands


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".hdr", ".mat", ".tif"])
def test_bands_that_were_written_here_keep_the_order_that_was_asked_for(tmp_path, suffix):
    bands = BandSet.of(NM[::-1])
    save_cube(tmp_path / f"a{suffix}", CUBE, bands)
    cube, found = load_cube(tmp_path / f"a{suffix}")
    assert np.array_equal(cube, CUBE) and found == bands


def test_bands_of_several_detectors_stay_in_the_order_of_the_file(tmp_path):
    bands = BandSet.of([*range(400, 900, 20), *range(800, 1300, 20)])
    cube = np.random.default_rng(0).uniform(0, 1, (2, 3, len(bands))).astype(np.float32)
    save_cube(tmp_path / "a.tif", cube, bands)
    back, found = load_cube(tmp_path / "a.tif")
    assert np.array_equal(back, cube) and found == bands


def test_a_page_a_band_is_one_cube(tmp_path: Path) -> None:
    """Also where every page is a series of its own, and a reduced copy follows."""
    planes = np.random.default_rng(0).random((5, 8, 9)).astype(np.float32)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for plane in planes:
            writer.write(plane, photometric="minisblack")
        writer.write(planes[0][::2, ::2], subfiletype=1, photometric="minisblack")
    np.testing.assert_array_equal(load_cube(tmp_path / "a.tif")[0], planes.transpose(1, 2, 0))
