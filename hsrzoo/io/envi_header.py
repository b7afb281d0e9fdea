"""ENVI headers as programs write them, and where the binary of each lies.

SPy's reader refuses headers without fields that ENVI itself takes as optional, and text other than ASCII.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.errors import FormatError, note
from hsrzoo.io.common import require_file
from hsrzoo.io.values import Stated, bands_from, bands_in_names, ignored, per_band, scaling
from hsrzoo.utils.tables import decode

AXES_OF = {"bip": "hwc", "bil": "hcw", "bsq": "chw"}
"""Interleave -> order of the axes in the binary."""
_DTYPES = {
    1: "u1", 2: "i2", 3: "i4", 4: "f4", 5: "f8", 6: "c8", 9: "c16", 12: "u2", 13: "u4", 14: "i8", 15: "u8",
}  # fmt: skip
_OPTIONAL = {"header offset": "0", "file type": "ENVI Standard", "byte order": "0"}
BINARIES = ("", ".img", ".dat", ".bsq", ".bil", ".bip", ".raw", ".bin", ".hyspex", ".envi")
"""Endings of binaries beside NAME.hdr, in this order; also in capitals."""


@dataclass(frozen=True)
class EnviImage:
    """A header and its binary."""

    header: Path
    binary: Path
    fields: Mapping[str, str]
    """Names in lower case -> text, that of lists without braces."""
    dtype: np.dtype
    lengths: tuple[int, ...]
    """Of the axes in the binary, in the order ``axes``."""
    axes: str
    offset: int

    @property
    def count(self) -> int:
        """C."""
        return self.lengths[self.axes.index("c")]

    @property
    def compressed(self) -> bool:
        """Whether the binary is gzipped."""
        return self.fields.get("file compression", "0") == "1"

    @property
    def bytes(self) -> int:
        """Of all values."""
        return math.prod(self.lengths) * self.dtype.itemsize

    def bands(self) -> BandSet | None:
        """From ``wavelength`` and ``fwhm``; else from ``band names`` that are wavelengths with a unit."""
        centres = self.numbers("wavelength", strict=False)
        if centres is not None:
            widths = self.numbers("fwhm", strict=False)
            return bands_from(centres, widths, self.count, self.fields.get("wavelength units"))
        if self.fields.get("wavelength", "").strip():
            note("The field wavelength of the ENVI header is not used: it is no list of numbers")
        names = _list(self.fields.get("band names", ""))
        return bands_in_names(names) if len(names) == self.count else None

    def stated(self) -> Stated:
        """``data ignore value``, ``reflectance scale factor``, gains, offsets and ``bbl``."""
        phrases = []
        no_data = self.numbers("data ignore value")
        if no_data is not None and not np.isnan(no_data).all():
            phrases.append(ignored(no_data, "data ignore value"))
        divisor = self.scale()
        if divisor is not None:
            phrases.append(scaling("divided by", divisor, "reflectance scale factor"))
        gain, offset = self._factor("gain"), self._factor("offset")
        phrases += [] if gain is None else [scaling("multiplied by", gain, "data gain values")]
        phrases += [] if offset is None else [scaling("increased by", offset, "data offset values")]
        bad = self.numbers("bbl")
        if bad is not None and len(bad) != self.count:
            note(f"The list bbl of the ENVI header is not used: it has {len(bad)} of {self.count} bands")
            bad = None
        elif bad is not None and not bad.all():
            phrases.append(f"{np.count_nonzero(bad == 0)} of {self.count} bands hold no data (bbl)")
        return Stated(
            no_data=() if no_data is None else tuple(no_data.tolist()),
            divisor=divisor,
            gain=gain,
            offset=offset,
            bad=None if bad is None else bad == 0,
            fields=tuple(filter(None, phrases)),
        ).once(self.header)

    def scale(self) -> float | None:
        """What 1.0 is stored as."""
        found = self.numbers("reflectance scale factor")
        return float(found[0]) if found is not None and found[0] > 0 else None

    def _factor(self, kind: str) -> np.ndarray | None:
        """Gains or offsets: those for reflectance, where the header has them beside those for radiance."""
        for name in (f"data reflectance {kind} values", f"data {kind} values"):
            found = self.numbers(name)
            if found is not None:
                return per_band(found, self.count, name, self.header)
        return None

    def numbers(self, name: str, strict: bool = True) -> np.ndarray | None:
        """A field as float64 numbers (N,); None without it or, if not ``strict``, where it holds others."""
        text = self.fields.get(name)
        if text is None or not text.strip():
            return None
        try:
            return np.array([float(part) for part in _list(text)])
        except ValueError:
            if not strict:
                return None
            problem = f"The field {name!r} of {self.header} is not a number"
            raise FormatError(problem, got=repr(text)) from None


def read_fields(header: Path) -> dict[str, str]:
    """The fields of a header in any encoding: name in lower case -> text, that of lists without braces.

    Raises FormatError where it is not an ENVI header.
    """
    require_file(header)
    lines = iter(decode(header.read_bytes()).splitlines())
    first = next(lines, "").strip()
    if not first.upper().startswith("ENVI"):
        raise FormatError(f"{header} is not an ENVI header", expected="ENVI first", got=repr(first[:40]))
    fields = {}
    for line in lines:
        name, equals, text = line.partition("=")
        if not equals or line.startswith(";"):
            continue
        text = text.strip()
        if text.startswith("{"):
            while "}" not in text:
                more = next(lines, None)
                if more is None:
                    raise FormatError(f"The field {name.strip()!r} of {header} has no end", expected="}")
                text += "" if more.startswith(";") else f"\n{more}"
            text = text[1 : text.rindex("}")].strip()
        fields[" ".join(name.lower().replace("_", " ").split())] = text
    return fields


def open_envi(path: Path) -> EnviImage:
    """The header and the binary of which ``path`` is either; FormatError where they do not fit."""
    header = header_of(path)
    fields = read_fields(header)
    absent = [
        name for name in ("samples", "lines", "bands", "data type", "interleave") if name not in fields
    ]
    if absent == ["interleave"] and fields["bands"] == "1":
        absent, fields["interleave"] = [], "bsq"
    if absent:
        raise FormatError(
            f"{header} lacks fields", expected="shape and layout", got=f"no {', '.join(absent)}"
        )
    assumed = {name: value for name, value in _OPTIONAL.items() if name not in fields}
    if assumed:
        note(
            f"The ENVI header lacks fields, assumed: {', '.join(f'{k} = {v}' for k, v in assumed.items())}"
        )
    fields = {**_OPTIONAL, **fields}
    if "library" in fields["file type"].lower():
        raise FormatError(f"{header} is a spectral library", expected="an image", got=fields["file type"])
    try:
        lengths = {"h": int(fields["lines"]), "w": int(fields["samples"]), "c": int(fields["bands"])}
        axes = AXES_OF[fields["interleave"].lower()]
        dtype = np.dtype(("<", ">")[int(fields["byte order"])] + _DTYPES[int(fields["data type"])])
        offset = int(fields["header offset"])
    except (ValueError, LookupError) as error:
        raise FormatError(f"{header} cannot be read as ENVI", got=f"{error} among its fields") from None
    if min(lengths.values()) < 1 or offset < 0:
        raise FormatError(f"{header} describes no image", got=f"{lengths}, header offset {offset}")
    for name in ("major frame offsets", "minor frame offsets"):
        if re.search("[1-9]", fields.get(name, "")):
            raise FormatError(f"{header} has {name}", expected="a binary without gaps", got=fields[name])
    binary = path if path != header else _binary_of(header)
    image = EnviImage(header, binary, fields, dtype, tuple(lengths[a] for a in axes), axes, offset)
    if not image.compressed:
        what = f"for {lengths['h']} x {lengths['w']} pixels in {lengths['c']} bands"
        fix = "Copy it again; if it is compressed, decompress it first"
        require_bytes(image, os.path.getsize(binary), offset + image.bytes, what, fix)
    return image


def require_bytes(image: EnviImage, size: int, needed: int, what: str, fix: str) -> None:
    """FormatError for a binary that is shorter than its header states."""
    if size < needed:
        problem = f"{image.binary} is shorter than {image.header.name} states"
        raise FormatError(problem, expected=f"{needed} bytes {what}", got=f"{size} bytes", fix=fix)


def header_of(path: Path) -> Path:
    """``NAME.hdr`` for ``NAME.hdr`` itself, ``NAME.img`` or ``NAME.img.hdr``."""
    if path.suffix.lower() == ".hdr":
        return path
    beside = [
        made
        for end in (".hdr", ".HDR")
        for made in (path.with_name(path.name + end), path.with_suffix(end))
    ]
    beside.sort(key=lambda file: len(file.name), reverse=True)  # NAME.img.hdr belongs to no other binary
    return next((file for file in beside if file.is_file()), path.with_suffix(".hdr"))


def _binary_of(header: Path) -> Path:
    beside = [header.with_suffix(end) for suffix in BINARIES for end in (suffix, suffix.upper())]
    found = next((file for file in beside if file.is_file()), None)
    if found is None:
        endings = ", ".join(BINARIES[1:])
        raise FormatError(
            f"There is no binary beside {header}", expected=f"its name without .hdr, or {endings}"
        )
    return found


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
