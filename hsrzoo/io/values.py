"""What stored numbers mean: depth, no data, scale, offset, masks, units of wavelengths.

What a cube's file states about its numbers is applied in one place, :meth:`Stated.apply`. Scales have two
directions: ENVI's ``reflectance scale factor`` and NEON's ``Scale_Factor`` divide; gains and offsets of
ENVI, ``SCALE`` and ``OFFSET`` of GDAL, and ``scale_factor`` and ``add_offset`` of the CF conventions
multiply and add. The encoding of photographs is decided in :mod:`hsrzoo.io.photo`.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.bands import BandSet, unit_named
from hsrzoo.errors import FormatError, InputError, note

UNITS = "1 (reflectance or radiance scaled to [0, 1])"
"""Units of the cube's values that are written unless ``metadata["units"]`` says otherwise."""
FULL_SCALE = {"uint8": 255, "uint16": 65535}
"""dtype -> what the value 1.0 is stored as."""
_IN_NAME = re.compile(
    r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>nm|nanomet(?:er|re)s?|um|µm|μm|micromet(?:er|re)s?|microns?)\b",
    re.IGNORECASE,
)
_SHORTEST_NM, _LONGEST_NM = 100.0, 1e6
"""No band of an image lies outside: X-rays, radio."""
_NO_UNIT = ("", "unknown", "none", "n/a", "1", "-")
_NONE = ("", "none", "null", "n/a")
_SAME = 1e-5
"""Relative difference below which two scales are one: the rounding to float32 and of decimals in text."""
_NO_DATA = ("fillvalue", "missingvalue", "dataignorevalue", "nodata", "nodatavalue")
"""Attributes such as ``_FillValue`` and NEON's ``Data_Ignore_Value``, by :func:`_letters`."""
_DIVISORS = ("Scale_Factor", "Scale Factor")
"""Attributes. NEON's name of the divisor differs from the factor of the CF conventions by its capitals."""


def over_full_scale(stored: np.ndarray) -> np.ndarray:
    """uint8 or uint16 values over 255 or 65535: float32 in [0, 1]."""
    return stored.astype(np.float32) / np.float32(FULL_SCALE[stored.dtype.name])


def to_uint16(values: np.ndarray) -> np.ndarray:
    """Finite float32 values as uint16: round(65535 x), x clipped to [0, 1]."""
    return np.rint(np.clip(values, 0, 1) * np.float32(FULL_SCALE["uint16"])).astype(np.uint16)


def bands_from(centres: Any, widths: Any, count: int, unit: object = None) -> BandSet | None:
    """Bands from numbers found in a file; None if they are no wavelengths.

    Args:
        centres: Numbers; a list of band numbers (1, 2, 3, ...) or of another length than ``count`` is not
            taken for wavelengths.
        widths: Full widths at half maximum in the same unit; left out where they do not fit.
        count: C, the number of bands.
        unit: The unit that the file states, text or bytes. Without one, or where it is "unknown": nm or
            micrometres by the size of the numbers.
    """
    found = np.asarray(centres, dtype=np.float64).ravel()
    if found.size not in (0, count):
        note(f"A list of {found.size} band centres is not used: there are {count} bands")
    if found.size != count or not np.all(np.isfinite(found)):
        return None
    stated = text_of(unit)
    name = unit_named(stated)
    if stated.lower() in _NO_UNIT:
        name = _unit_by_size(found)
    elif name is None:
        note(f"Band centres in {stated!r} are not used: that is no unit of wavelength or wavenumber")
    if name is None or found.min() <= 0:
        return None
    fwhm = None if widths is None else np.asarray(widths, dtype=np.float64).ravel()
    if fwhm is not None and (fwhm.size != count or not np.all(np.isfinite(fwhm) & (fwhm > 0))):
        fwhm = None
    bands = BandSet.of(found.tolist(), None if fwhm is None else fwhm.tolist(), name)
    low, high = min(bands.centres_nm), max(bands.centres_nm)
    if low < _SHORTEST_NM or high > _LONGEST_NM:
        note(f"Band centres of {found.min():g} to {found.max():g} {stated} are not used: too short or long")
        return None
    return bands


def bands_in_names(names: Sequence[str]) -> BandSet | None:
    """The bands whose names are wavelengths with a unit, such as "band 7 (0.55 Micrometers)"; None if any
    is not."""
    found = [_IN_NAME.search(name) for name in names]
    named = [f for f in found if f is not None]
    if not named or len(named) != len(found):
        return None
    return BandSet.of([float(f["number"]) * (1 if f["unit"][0] in "nN" else 1000) for f in named])


def _unit_by_size(centres: np.ndarray) -> str | None:
    if centres.min() >= _SHORTEST_NM:
        return "nm"
    whole = np.all(centres == np.rint(centres))  # numbers of bands
    return "um" if centres.min() > 0.1 and centres.max() < 20 and not whole else None


def text_of(value: object) -> str:
    """Text of an attribute or a cell: bytes, an array of one, or None, as stripped str."""
    if isinstance(value, np.ndarray):
        value = value.ravel()[0] if value.size else None
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return "" if value is None else str(value).strip()


@dataclass(frozen=True, eq=False)
class Stated:
    """What is known about the stored numbers of a cube (H, W, C); None and (): nothing."""

    no_data: tuple[float, ...] = ()
    """Stored numbers that stand for no data."""
    valid: np.ndarray | None = None
    """(2, 1) or (2, C): least and largest stored number; there is no data outside."""
    divisor: float | None = None
    """What 1.0 is stored as."""
    gain: np.ndarray | None = None
    """What stored numbers are multiplied by, one number or one a band (C,); the computation has its
    precision."""
    offset: np.ndarray | None = None
    """What is added after that, as ``gain``."""
    bad: np.ndarray | None = None
    """(C,) bool: bands without data."""
    mask: np.ndarray | None = None
    """(H, W) or (H, W, C) bool: True where there is no data."""
    fields: tuple[str, ...] = ()
    """For the user: what was stated, and under which name."""

    @property
    def scaled(self) -> bool:
        """Whether values differ from stored numbers."""
        return not (self.divisor is None and self.gain is None and self.offset is None)

    def apply(self, stored: np.ndarray) -> np.ndarray:
        """The values of ``stored`` numbers (H, W, C): a new array, float32, NaN where there is no data."""
        factors = [factor for factor in (self.gain, self.offset) if factor is not None]
        values = np.array(stored, np.result_type(np.float32, *factors), order="C")
        for number in self.no_data:
            # as a file of floats holds it: -3.4e38 in a header is not the float32 of that name
            values[stored == (stored.dtype.type(number) if stored.dtype.kind == "f" else number)] = np.nan
        if self.valid is not None:
            values[(stored < self.valid[0]) | (stored > self.valid[1])] = np.nan
        if self.divisor is not None:
            values /= values.dtype.type(self.divisor)
        if self.gain is not None:
            values *= self.gain
        if self.offset is not None:
            values += self.offset
        for missing in (self.bad, self.mask):
            if missing is not None:
                values[(..., missing) if missing.ndim == 1 else missing] = np.nan
        return values.astype(np.float32, copy=False)

    def declared(self, scale: float | None, no_data: float | None, path: Path) -> Stated:
        """Also with what a user declares: ``scale`` divides stored numbers, ``no_data`` is one of them.

        Raises InputError where the file states another scale; a note tells that it states the same.
        """
        found = self if no_data is None else replace(self, no_data=(*self.no_data, no_data))
        if scale is None:
            return found
        if not self.scaled:
            return replace(found, divisor=scale)
        own = self._one_divisor()
        if own == 1:  # as programs write where they know of no scale
            return replace(found, divisor=scale, gain=None, offset=None)
        if own is None or abs(own - scale) > _SAME * scale:
            raise InputError(
                f"{path} states another scale itself",
                expected="; ".join(self.fields),
                got=f"scale={scale:g}",
                fix="Omit scale: what the file states is applied",
            )
        note(f"scale={scale:g} is what the cube's file states itself: it is applied once")
        return found

    def select(self, bands: Sequence[int]) -> Stated:
        """Of the bands at these places, in this order; without a mask, which knows places of pixels."""

        def chosen(numbers: np.ndarray | None) -> np.ndarray | None:
            return numbers if numbers is None or numbers.shape[-1] == 1 else numbers[..., list(bands)]

        bad = None if self.bad is None else self.bad[list(bands)]
        gain, offset, valid = (chosen(numbers) for numbers in (self.gain, self.offset, self.valid))
        return replace(self, gain=gain, offset=offset, valid=valid, bad=bad, mask=None)

    def or_else(self, usual: Stated) -> Stated:
        """With the no-data value and the scale that are ``usual`` where the file states none."""
        found = self if self.no_data else replace(self, no_data=usual.no_data)
        if found.scaled:
            return found
        return replace(found, divisor=usual.divisor, gain=usual.gain, offset=usual.offset)

    def within(self, low: float | None, high: float | None, *, of_values: bool) -> Stated:
        """With a valid range of the stored numbers, or ``of_values``, which are scaled."""
        limits = np.array([-np.inf if low is None else low, np.inf if high is None else high])[:, None]
        if of_values:
            limits = limits - (0 if self.offset is None else self.offset)
            limits = limits * (self.divisor or 1) if self.gain is None else limits / self.gain
            limits = np.rint(np.sort(limits, axis=0))
        what = "values" if of_values else "stored numbers"
        phrase = f"{what} below {low:g}" if low is not None else what
        phrase += "" if high is None else f"{'' if low is None else ' or'} above {high:g}"
        return replace(self, valid=limits, fields=(*self.fields, f"{phrase} are no data"))

    def once(self, path: Path) -> Stated:
        """Without the gain where it says the same as the divisor, or nothing; FormatError where it says
        something else, for it is not known which of them holds."""
        if self.divisor is None or (self.gain is None and self.offset is None):
            return self
        gain = 1.0 if self.gain is None else self.gain
        plain = self.offset is None or not self.offset.any()
        if plain and any(np.all(np.abs(gain * same - 1) < _SAME) for same in (1.0, self.divisor)):
            return replace(self, gain=None, offset=None)
        raise FormatError(
            f"{path} states two scales that differ",
            expected="one",
            got="; ".join(self.fields),
            fix="Remove the one that does not hold from the file",
        )

    def tell(self) -> Stated:
        """Issue a note that names what was stated, if anything; returns itself."""
        if self.fields:
            note(f"As the cube's file states: {'; '.join(self.fields)}")
        return self

    def _one_divisor(self) -> float | None:
        """The scale as one number that divides; None where it is not that simple."""
        if self.offset is not None and self.offset.any():
            return None
        if self.gain is None:
            return self.divisor or 1.0
        first = float(self.gain.flat[0])
        return 1 / first if np.all(np.abs(self.gain - first) <= _SAME * abs(first)) else None


def ignored(numbers: Any, name: str) -> str:
    """The phrase for numbers that are no data."""
    return f"{', '.join(f'{n:g}' for n in dict.fromkeys(numbers))} is no data ({name})"


def scaling(what: str, factor: np.ndarray | float, name: str) -> str:
    """The phrase for a factor: ``what`` is "multiplied by", "divided by" or "increased by"; "" where it
    changes nothing."""
    numbers = np.unique(np.asarray(factor))
    if np.all(numbers == (what != "increased by")):
        return ""
    amount = f"{numbers[0]:g}"
    if len(numbers) > 1:
        amount = f"a number for each band, {amount} to {numbers[-1]:g},"
    return f"values are {what} {amount} ({name})"


def by_attributes(about: Mapping[str, Any], dtype: np.dtype, count: int, path: Path) -> Stated:
    """What attributes of HDF5, NetCDF and Zarr state about an array of ``dtype`` with ``count`` bands: by
    the CF conventions, and as NEON's files have it."""
    absent = [n for n, v in about.items() if _letters(n) in _NO_DATA and text_of(v).lower() not in _NONE]
    known = (*absent, *_DIVISORS, "scale_factor", "add_offset", "valid_range", "valid_min", "valid_max")
    found = {
        name: _numbers(about[name], f"The attribute {name!r}", path) for name in known if name in about
    }
    no_data = {name: found[name][~np.isnan(found[name])] for name in absent}
    phrases = [ignored(numbers, name) for name, numbers in no_data.items() if len(numbers)]
    divisor = next((found[name] for name in _DIVISORS if name in found), None)
    gain, offset = (per_band(found.get(name), count, name, path) for name in ("scale_factor", "add_offset"))
    for what, factor, name in (
        ("divided by", divisor, _DIVISORS[0]),
        ("multiplied by", gain, "scale_factor"),
        ("increased by", offset, "add_offset"),
    ):
        phrases += [] if factor is None else [scaling(what, factor, name)]
    stated = Stated(
        no_data=tuple(np.concatenate([*no_data.values(), []]).tolist()),
        divisor=None if divisor is None else float(divisor[0]),
        gain=gain,
        offset=offset,
        fields=tuple(filter(None, phrases)),
    ).once(path)
    low, high = _limits(found)
    if low is None and high is None:
        return stated
    # floats beside stored integers are limits of values
    kinds = {np.asarray(about[name]).dtype.kind for name in known[-3:] if name in about}
    return stated.within(low, high, of_values=dtype.kind in "iu" and kinds == {"f"})


def _letters(name: str) -> str:
    """The name of an attribute in lower case, without blanks and underscores: programs differ in both."""
    return "".join(filter(str.isalnum, name)).lower()


def _limits(found: Mapping[str, np.ndarray]) -> tuple[float | None, float | None]:
    low, high = found.get("valid_min"), found.get("valid_max")
    both = found.get("valid_range")
    if both is not None and both.size == 2:
        low, high = both[:1], both[1:]
    return tuple(None if limit is None else float(limit[0]) for limit in (low, high))  # type: ignore[return-value]


def per_band(numbers: np.ndarray | None, count: int, name: str, path: Path) -> np.ndarray | None:
    """``numbers`` if they are one, or one a band, all finite; FormatError otherwise."""
    if numbers is not None and (numbers.size not in (1, count) or not np.isfinite(numbers).all()):
        raise FormatError(
            f"{name!r} of {path} does not fit its bands",
            expected=f"one finite number, or {count}",
            got=f"{numbers.size}, from {numbers.min(initial=np.inf):g} to {numbers.max(initial=-np.inf):g}",
        )
    return numbers


def _numbers(value: Any, what: str, path: Path) -> np.ndarray:
    """An attribute as float64 numbers (N,)."""
    text = text_of(value) if np.asarray(value).dtype.kind in "OSU" else None
    try:
        if text is None:
            return np.asarray(value, dtype=np.float64).ravel()
        with suppress(ValueError):
            return np.array([float(text)])
        packed = base64.b64decode(text, validate=True)  # as xarray has fill values of floats in Zarr
        return np.array(struct.unpack("<d", packed))
    except (ValueError, TypeError, struct.error):
        raise FormatError(f"{what} of {path} is not a number", got=repr(text or value)) from None
