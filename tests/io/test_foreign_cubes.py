"""Cubes as other programs write them: ENVI's headers, matrices of pixels, wavelengths under odd names."""

from __future__ import annotations

import gzip

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from hsrzoo.bands import BandSet
from hsrzoo.errors import FormatError, InputError, Note
from hsrzoo.io import load_cube

H, W, C = 3, 4, 5
CUBE = np.arange(H * W * C, dtype=np.int16).reshape(H, W, C)
GRID = BandSet.of([424, 429, 435, 902, 905])


def envi(folder, stored, fields="", interleave="bsq", order=0):
    """A cube (H, W, C) as ENVI writes it: int16, or float32 if it is."""
    kind, code = ("f4", 4) if stored.dtype == np.float32 else ("i2", 2)
    axes = {"bsq": (2, 0, 1), "bil": (0, 2, 1), "bip": (0, 1, 2)}[interleave]
    data = stored.transpose(axes).astype((">" if order else "<") + kind).tobytes()
    compressed = "file compression = 1" in fields
    (folder / "a.bsq").write_bytes(gzip.compress(data) if compressed else data)
    (folder / "a.hdr").write_text(
        f"ENVI\nsamples = {W}\nlines = {H}\nbands = {stored.shape[2]}\nheader offset = 0\n"
        f"file type = ENVI Standard\n"
        f"data type = {code}\ninterleave = {interleave}\nbyte order = {order}\n{fields}\n"
    )
    return folder / "a.hdr"


MICROMETRES = "wavelength units = Micrometers\nwavelength = {0.424, 0.429, 0.435, 0.902, 0.905}"


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("compression", ["", "file compression = 1\n"])
def test_envi_of_every_layout(tmp_path, interleave, order, compression):
    file = envi(tmp_path, CUBE, compression + MICROMETRES, interleave, order)
    for path in (file, tmp_path / "a.bsq"):
        cube, bands = load_cube(path)
        assert cube.dtype == np.float32 and np.array_equal(cube, CUBE)
        assert bands is not None and bands.same_as(GRID, 1e-6)


def test_gzipped_envi_that_is_short_or_torn(tmp_path):
    file = envi(tmp_path, CUBE, "file compression = 1")
    whole = (tmp_path / "a.bsq").read_bytes()
    (tmp_path / "a.bsq").write_bytes(gzip.compress(b"\0" * 10))
    with pytest.raises(FormatError, match=r"a\.bsq is shorter.*120 bytes after .*Got 10 bytes"):
        load_cube(file)
    for content in (whole[:40], b"not gzip at all"):
        (tmp_path / "a.bsq").write_bytes(content)
        with pytest.raises(FormatError, match=r"a\.bsq cannot be read as a gzipped ENVI binary"):
            load_cube(file)


def test_envi_values_to_ignore_bad_bands_and_scale(tmp_path):
    stored = CUBE.copy()
    stored[1, 2, 0] = -999
    fields = "data ignore value = -999\nreflectance scale factor = 10000\nbbl = {1, 1, 0, 1, 1}"
    cube, _ = load_cube(envi(tmp_path, stored, fields))
    expected = stored / np.float32(10000)
    expected[1, 2, 0] = np.nan
    expected[:, :, 2] = np.nan
    np.testing.assert_array_equal(cube, expected)
    with pytest.raises(FormatError, match=r"'data ignore value' of .* is not a number. Got 'none'"):
        load_cube(envi(tmp_path, stored, "data ignore value = none"))


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
@pytest.mark.parametrize("compression", ["", "file compression = 1\n"])
@pytest.mark.parametrize("bands", [1, C])
def test_float32_envi_values_to_ignore(tmp_path, interleave, compression, bands):
    stored = CUBE[:, :, :bands].astype(np.float32)
    stored[1, 2, 0] = -1e34
    fields = compression + "data ignore value = -1e34\nreflectance scale factor = 4"
    cube, _ = load_cube(envi(tmp_path, stored, fields, interleave))
    expected = np.where(stored < 0, np.nan, stored / 4)
    np.testing.assert_array_equal(cube, expected)
    cube[:] = 0  # readers with masks write into it


def test_envi_band_names_that_are_wavelengths(tmp_path):
    names = ", ".join(f"band {i} ({c / 1000:.4f} Micrometers)" for i, c in enumerate(GRID.centres_nm, 7))
    assert load_cube(envi(tmp_path, CUBE, f"band names = {{{names}}}"))[1].same_as(GRID, 1e-6)
    names = ", ".join(f"{c:g} nm" for c in GRID.centres_nm)
    assert load_cube(envi(tmp_path, CUBE, f"band names = {{{names}}}"))[1].same_as(GRID, 1e-6)
    assert load_cube(envi(tmp_path, CUBE, "band names = {a 400 nm, b, c, d, e}"))[1] is None
    assert load_cube(envi(tmp_path, CUBE, "band names = {band 1, band 2, b 3, b 4, b 5}"))[1] is None


@pytest.mark.parametrize(
    ("numbers", "said"),
    [("400, 500", "2 band centres is not used: there are 5"), ("a, b", "no list of numbers")],
)
def test_envi_wavelengths_that_cannot_be_used_are_pointed_out(tmp_path, numbers: str, said: str):
    with pytest.warns(Note, match=said):
        assert load_cube(envi(tmp_path, CUBE, f"wavelength = {{{numbers}}}"))[1] is None


def test_envi_wavenumbers_become_wavelengths_and_an_index_none(tmp_path):
    fields = "wavelength units = Wavenumber\nwavelength = {25000, 20000, 16000, 12500, 10000}"
    assert load_cube(envi(tmp_path, CUBE, fields))[1].centres_nm == (400, 500, 625, 800, 1000)
    for unit, numbers in (("Index", "400, 500, 600, 700, 800"), ("Nanometers", "0.4, 0.5, 0.6, 0.7, 0.8")):
        fields = f"wavelength units = {unit}\nwavelength = {{{numbers}}}"
        with pytest.warns(Note, match="are not used"):
            assert load_cube(envi(tmp_path, CUBE, fields))[1] is None


def matlab_matrix():
    """Bands x pixels, pixels down the columns: what ``reshape(cube, H * W, C)'`` gives in MATLAB."""
    return CUBE.reshape(H * W, C, order="F").T.astype(np.float64)


def test_matrices_with_rows_and_columns_in_the_file(tmp_path):
    stored = {"V": matlab_matrix(), "nRow": H, "nCol": W, "nBand": C, "SlectBands": np.ones((C, 1))}
    savemat(tmp_path / "a.mat", stored)
    assert np.array_equal(load_cube(tmp_path / "a.mat", axes="c(wh)")[0], CUBE)
    savemat(tmp_path / "a.mat", stored | {"V": matlab_matrix().T})
    assert np.array_equal(load_cube(tmp_path / "a.mat", key="V", axes="(wh)c")[0], CUBE)
    savemat(tmp_path / "a.mat", stored | {"V": CUBE.reshape(H * W, C).T})
    assert np.array_equal(load_cube(tmp_path / "a.mat", key="V", axes="c(hw)")[0], CUBE)


def test_matrices_of_v73_and_numpy(tmp_path):
    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
        file["V"] = matlab_matrix().T  # MATLAB's view is the reverse
        file["nRow"], file["nCol"] = np.array([[H]]), np.array([[W]])
        file["wavelengths"] = np.asarray(GRID.centres_nm)[:, None]
    cube, bands = load_cube(tmp_path / "a.mat", axes="c(wh)")
    assert np.array_equal(cube, CUBE) and bands == GRID
    np.save(tmp_path / "a.npy", CUBE.reshape(H * W, C))
    assert np.array_equal(load_cube(tmp_path / "a.npy", axes="(hw4)c")[0], CUBE)
    np.savez(tmp_path / "a.npz", V=matlab_matrix())
    assert np.array_equal(load_cube(tmp_path / "a.npz", axes="c(wh3)")[0], CUBE)


def test_matrices_that_do_not_fit(tmp_path):
    savemat(tmp_path / "a.mat", {"V": matlab_matrix()})
    with pytest.raises(FormatError, match=r"V \(5, 12\).*give axes=c\(wh\)"):
        load_cube(tmp_path / "a.mat")
    with pytest.raises(FormatError, match=r"a number named nRow.*axes=c\(wh95\)"):
        load_cube(tmp_path / "a.mat", axes="c(wh)")
    with pytest.raises(FormatError, match=r"a multiple of 7, the length of h. Got 12 pixels"):
        load_cube(tmp_path / "a.mat", axes="c(wh7)")
    for axes in ("c(hh)", "(wh)", "c(wh)c", "c(wh", "w(ch)"):
        with pytest.raises(InputError, match="Unknown order"):
            load_cube(tmp_path / "a.mat", key="V", axes=axes)
    savemat(tmp_path / "a.mat", {"V": CUBE})
    with pytest.raises(FormatError, match="does not hold a matrix"):
        load_cube(tmp_path / "a.mat", key="V", axes="c(wh)")


@pytest.mark.parametrize("name", ["wavlength", "Wavelengths_nm", "wave", "meta/wavelength"])
def test_wavelengths_under_odd_names(tmp_path, name):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["cube"] = CUBE
        file[name] = np.asarray(GRID.centres_nm) / 1000
    assert load_cube(tmp_path / "a.h5")[1].same_as(GRID, 1e-6)
