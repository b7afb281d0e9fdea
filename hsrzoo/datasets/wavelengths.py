"""Bands that people declare: lists in CSV files and on the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hsrzoo.bands import VISIBLE_31, BandSet, unit_named
from hsrzoo.errors import BandsError
from hsrzoo.io.common import require_file
from hsrzoo.io.values import bands_from
from hsrzoo.utils.tables import decode, is_number, number, rows_of

FILE_NAME = "wavelengths.csv"
_UNITS = "nanometres, or micrometres with decimals"
_CENTRES = ("wavelength", "wavenumber", "frequency", "centre", "center", "lambda", "wl")
_WIDTHS = ("fwhm", "width", "bandwidth")
"""Beginnings of the headings of centres and widths."""
_MOST_BANDS = 10_000
"""Far above any sensor, and far below what a typing error in STEP asks for."""


def read_wavelengths(file: Path) -> BandSet:
    """Bands from a text file of columns.

    Args:
        file: A column ``wavelength_nm`` and, if known, ``fwhm_nm``, or numbers alone. Columns are separated
            by commas, semicolons or tabs; numbers with a decimal comma are read unless commas separate.
            The heading may name the unit (``wavelength_um``, ``Wavelength [cm-1]``); without one, nm or
            micrometres by their size. UTF-8, UTF-16 or Latin-1.

    Returns:
        The bands, in the order of the file.

    Raises:
        BandsError: The file is not a list of wavelengths.
        InputError: There is no such file.
    """
    require_file(file)
    rows = rows_of(decode(file.read_bytes()))
    try:
        heading, rows = (rows[0], rows[1:]) if rows and not is_number(rows[0][0]) else ([], rows)
        names = [cell.strip().lower() for cell in heading]
        column = next((i for i, name in enumerate(names) if name.startswith(_CENTRES)), 0)
        width = next((i for i, name in enumerate(names) if name.startswith(_WIDTHS)), None)
        if not names:
            width = 1 if rows and len(rows[0]) > 1 else None
        elif not names[column].startswith(_CENTRES):
            raise ValueError(f"no column {' or '.join(_CENTRES[:2])} among {', '.join(heading)}")
        centres = [number(row[column]) for row in rows]
        widths = None if width is None else [number(row[width]) for row in rows]
        unit = _unit_in(names[column]) if names else None
        bands = bands_from(centres, widths, len(centres), unit) if centres else None
    except (ValueError, IndexError) as error:
        raise BandsError(f"{file} is not a list of wavelengths", got=str(error)) from error
    if bands is None:
        raise BandsError(f"{file} is not a list of wavelengths", expected=_UNITS, got=rows[:2])
    return bands


def _unit_in(heading: str) -> str | None:
    """The unit that a heading names, after "_" or in brackets; without one cm-1 for wavenumbers."""
    units = [word for word in re.split(r"[\s_()\[\]{},:]+", heading) if unit_named(word)]
    if not units and heading.startswith("frequency"):
        raise ValueError(f"no unit in the heading {heading!r}")
    return units[-1] if units else None


def wavelengths_text(bands: BandSet) -> str:
    """What :func:`read_wavelengths` reads back to the very same bands."""
    columns = {"wavelength_nm": bands.centres_nm}
    if bands.widths_nm is not None:
        columns["fwhm_nm"] = bands.widths_nm
    rows = zip(*columns.values(), strict=True)
    return "\n".join([",".join(columns), *(",".join(map(repr, row)) for row in rows), ""])


def parse_bands(text: str) -> BandSet:
    """Bands from a text.

    Args:
        text: ``visible`` (400-700 nm at 10 nm), ``START:STOP:STEP``, ``400,410,...`` or the path of a CSV
            file (see :func:`read_wavelengths`); nanometres or micrometres, by their magnitude.

    Raises:
        BandsError: The text cannot be read as bands.
    """
    if text == "visible":
        return VISIBLE_31
    if text.lower().endswith(".csv"):
        return read_wavelengths(Path(text).expanduser())
    try:
        if ":" in text:
            start, stop, step = (float(part) for part in text.split(":"))
            _require_few((stop - start) / step if step > 0 else 0, text)
            centres: Sequence[float] = BandSet.regular(start, stop, step).centres_nm
        else:
            centres = [float(part) for part in text.split(",")]
            _require_few(len(centres), text)
        bands = bands_from(np.round(centres, 9), None, len(centres))
    except (ValueError, OverflowError) as error:
        raise BandsError(
            "Cannot read the bands",
            expected="visible, START:STOP:STEP, numbers with commas, or a .csv file",
            got=repr(text),
        ) from error
    if bands is None:
        raise BandsError("These are not wavelengths", expected=_UNITS, got=repr(text))
    return bands


def _require_few(count: float, text: str) -> None:
    if count > _MOST_BANDS:
        raise BandsError("Too many bands", expected=f"at most {_MOST_BANDS}", got=repr(text[:60]))
