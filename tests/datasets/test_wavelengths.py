"""Lists of wavelengths, of hsrzoo and of other programs."""

from __future__ import annotations

import pytest

from hsrzoo.bands import BandSet
from hsrzoo.datasets.wavelengths import read_wavelengths
from hsrzoo.errors import (
    BandsError,
)


def test_wavelength_lists(tmp_path):
    file = tmp_path / "wavelengths.csv"
    file.write_text("# from the sheet\n0.45\n0.55\n")
    assert read_wavelengths(file).same_as(BandSet.of([450, 550]), 1e-9)
    file.write_text("450,20\n550,25\n")
    assert read_wavelengths(file) == BandSet.of([450, 550], [20, 25])
    for bad in ("# nothing\n", "1\n2\n3\n", "wavelength_nm\nabc\n"):
        file.write_text(bad)
        with pytest.raises(BandsError, match=r"wavelengths\.csv"):
            read_wavelengths(file)


CENTRES, WIDTHS = [450.5, 550.25], [20.5, 25.25]


@pytest.mark.parametrize(
    "text",
    [
        "450.5,20.5\n550.25,25.25\n",
        "450,5;20,5\n550,25;25,25\n",
        "wavelength_nm;fwhm_nm\n450,5;20,5\n550,25;25,25\n",
        "band\tWavelength (nm)\tFWHM\n1\t450,5\t20,5\n2\t550,25\t25,25\n",
        'wavelength_nm,fwhm\n"450,5","20,5"\n"550,25","25,25"\n',
        "wavelength [\u00b5m];width\n0,4505;0,0205\n0,55025;0,02525\n",
        "Wavelength_Angstrom,fwhm\n4505,205\n5502.5,252.5\n",
        "wavelength_m,fwhm\n450.5e-9,20.5e-9\n550.25e-9,25.25e-9\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_wavelength_lists_of_other_programs(tmp_path, text, encoding):
    file = tmp_path / "wavelengths.csv"
    file.write_bytes(text.encode(encoding))
    bands = read_wavelengths(file)
    assert bands.centres_nm == pytest.approx(CENTRES) and bands.widths_nm == pytest.approx(WIDTHS)


def test_headings_of_wavelength_lists_decide(tmp_path):
    file = tmp_path / "wavelengths.csv"
    file.write_bytes("wavelength (\u00b5m)\n0,45\n0,55\n".encode("latin-1"))
    assert read_wavelengths(file).centres_nm == pytest.approx((450, 550))  # one column: decimal commas
    file.write_text("wavenumber;fwhm\n20000;400\n16000;256\n")
    assert read_wavelengths(file).same_as(BandSet.of([500, 625], [10, 10]), 1e-9)
    for bad in ("frequency\n500\n600\n", "index\n500\n600\n", "wavelength_nm\n0.5\n0.6\n"):
        file.write_text(bad)
        with pytest.raises(BandsError, match=r"wavelengths\.csv is not a list of wavelengths"):
            read_wavelengths(file)
