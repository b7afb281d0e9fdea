"""Spectra of lights: a standard illuminant, or a table in a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.bands import VISIBLE_31
from hsrzoo.colour.srgb import illuminant
from hsrzoo.errors import FormatError, InputError
from hsrzoo.utils.tables import decode, is_number, number, rows_of


@dataclass(frozen=True, eq=False)
class Light:
    """A light at 400-700 nm."""

    name: str
    power: np.ndarray
    """(31,) float64 at 400-700 nm in steps of 10, relative to the largest."""

    @staticmethod
    def named(name: str) -> Light:
        """``D65`` or ``A``, or the light in a CSV file: rows of wavelength in nm and power.

        Raises:
            UnknownNameError: There is no such illuminant.
            InputError: The file is missing, has gaps or negative values, or does not cover 400-700 nm.
            FormatError: The file is no table of numbers.
        """
        if Path(name).suffix.lower() != ".csv":
            return Light._sampled(name, *illuminant(name))
        path = Path(name)
        if not path.is_file():
            raise InputError("There is no such file", expected="the spectrum of a light (.csv)", got=path)
        expected = "rows of wavelength in nm and power, 400-700 nm, at most 20 nm apart"
        try:
            rows = [row for row in rows_of(decode(path.read_bytes())) if is_number(row[0])]
            table = np.array([[number(value) for value in row[:2]] for row in rows])
            wavelengths, power = table[np.argsort(table[:, 0])].T
        except (ValueError, IndexError, OSError) as error:
            raise FormatError(f"{path} is not the spectrum of a light", expected=expected) from error
        usable = (
            wavelengths[0] <= 400 and wavelengths[-1] >= 700 and np.isfinite(power).all()
            and np.diff(wavelengths).min() > 0 and np.diff(wavelengths).max() <= 20
            and power.min() >= 0 and power.max() > 0
        )  # fmt: skip
        if not usable:
            got = f"{wavelengths[0]:g}-{wavelengths[-1]:g} nm, values {power.min():g} to {power.max():g}"
            raise InputError(f"{path} is not the spectrum of a light", expected=expected, got=got)
        return Light._sampled(path.stem, wavelengths, power)

    @staticmethod
    def _sampled(name: str, wavelengths: np.ndarray, power: np.ndarray) -> Light:
        found = np.interp(VISIBLE_31.centres_nm, wavelengths, power)
        return Light(name, found / found.max())

    def to_json(self) -> dict[str, Any]:
        """Name and table."""
        return {
            "name": self.name,
            "wavelengths_nm": list(VISIBLE_31.centres_nm),
            "power": [round(float(value), 6) for value in self.power],
        }
