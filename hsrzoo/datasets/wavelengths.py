"""Bands that people declare: lists in CSV files and on the command line."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.errors import BandsError
from hsrzoo.io.common import require_file
from hsrzoo.io.values import bands_from

FILE_NAME = "wavelengths.csv"
_UNITS = "nanometres, or micrometres with decimals"
_MOST_BANDS = 10_000
"""Far above any sensor, and far below what a typing error in STEP asks for."""


def read_wavelengths(file: Path) -> BandSet:
    """Bands from a CSV file.

    Args:
        file: Columns ``wavelength_nm`` and, if known, ``fwhm_nm``, or numbers alone; nanometres or
            micrometres, distinguished by their magnitude.

    Raises:
        BandsError: The file is not a list of wavelengths.
        InputError: There is no such file.
    """
    require_file(file)
    with file.open(newline="", encoding="utf-8-sig") as stream:
        rows = [row for row in csv.reader(stream) if row and not row[0].lstrip().startswith("#")]
    try:
        names = [cell.strip().lower() for cell in rows[0]] if rows else []
        column = next((i for i, name in enumerate(names) if name.startswith("wavelength")), None)
        if column is None:
            column, width = 0, (1 if len(names) > 1 else None)
        else:
            rows = rows[1:]
            width = next((i for i, name in enumerate(names) if name.startswith(("fwhm", "width"))), None)
        centres = [float(row[column]) for row in rows]
        widths = None if width is None else [float(row[width]) for row in rows]
        bands = bands_from(centres, widths, len(centres)) if centres else None
    except (ValueError, IndexError) as error:
        raise BandsError(f"{file} is not a list of wavelengths", got=str(error)) from error
    if bands is None:
        raise BandsError(f"{file} is not a list of wavelengths", expected=_UNITS, got=rows[:2])
    return bands


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
