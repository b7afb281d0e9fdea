"""ENVI: a text header and a raw binary, read and written by SPy (package ``spectral``)."""

from __future__ import annotations

import gzip
import math
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.errors import FormatError, InputError
from hsrzoo.io.common import (
    CubeAndBands,
    display_bands,
    format_errors,
    require_file,
    require_parent,
    to_hwc,
)
from hsrzoo.io.stream import CubeShape, FlatStream, sync_folder
from hsrzoo.io.values import FULL_SCALE, UNITS, bands_from, to_values
from hsrzoo.utils.locks import hold

_AXES_OF = {"bip": "hwc", "bil": "hcw", "bsq": "chw"}
"""Interleave -> order of the axes in the binary."""
_IN_NAME = re.compile(
    r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>nm|nanomet(?:er|re)s?|um|µm|μm|micromet(?:er|re)s?|microns?)\b",
    re.IGNORECASE,
)


def save(path: Path, cube: np.ndarray, bands: BandSet, metadata: dict[str, Any]) -> None:
    """Write ``NAME.hdr`` and ``NAME.img`` (float32, band-interleaved by pixel), whichever was named.

    The binary gets its name first, so that no header describes data that is not there yet.
    """
    target, (height, width) = path.with_suffix(".hdr"), cube.shape[:2]
    require_parent(path)
    shape = CubeShape(height, width, bands)
    with hold(target), EnviStream(target, shape, (height, width), metadata) as stream:
        stream.write_whole(cube)


def _fields(bands: BandSet, metadata: dict[str, Any]) -> dict[str, Any]:
    """The fields of a header other than shape and layout."""
    shown = [index + 1 for index in display_bands(bands)]
    fields: dict[str, Any] = {
        "wavelength": [repr(c) for c in bands.centres_nm],
        "wavelength units": "Nanometers",
        "data units": metadata.get("units", UNITS),
        "description": str(metadata.get("description", "cube written by hsrzoo")),
        # counted from 1: what viewers show as red, green and blue
        "default bands": shown if len(set(shown)) == 3 else shown[:1],
    }
    if bands.widths_nm is not None:
        fields["fwhm"] = [repr(w) for w in bands.widths_nm]
    more = {key: value for key, value in metadata.items() if key not in ("units", "description")}
    return fields | {f"hsrzoo {key.replace('_', ' ')}": _one_line(value) for key, value in more.items()}


def _one_line(value: Any) -> str:
    """A value as a header's field can hold it: one line of ASCII without the braces of lists."""
    text = " ".join(str(value).split()).encode("ascii", "backslashreplace").decode()
    return text.replace("{", "(").replace("}", ")")


class EnviStream(FlatStream):
    """``NAME.img``, band-interleaved by pixel, and at the end ``NAME.hdr``."""

    def __init__(self, out: Path, cube: CubeShape, step: tuple[int, int], metadata: dict[str, Any]) -> None:
        super().__init__(out.with_suffix(".img"), cube, step, metadata)
        self.header = out
        self.new_header = out.with_name(f".{out.stem}-part.hdr")

    def create(self) -> None:
        self.new_header.unlink(missing_ok=True)
        super().create()

    def discard(self) -> None:
        super().discard()
        self.new_header.unlink(missing_ok=True)

    def nearly_finished(self) -> bool:
        """The binary has its name already, and only its header does not."""
        if self.part.exists() or self.header.exists() or not self.new_header.is_file():
            return False
        return self.out.is_file() and self.out.stat().st_size == self.cube.bytes

    def finish(self) -> None:
        """Whenever this is interrupted, no header exists next to data that it does not describe.

        The old binary is removed before the old header: a binary without a header, next to the new header
        under its temporary name, is then certainly the new one.
        """
        if not self.nearly_finished():
            self.sync()
            self.close()
            with self.convert_errors():
                self._write_header()
                self.out.unlink(missing_ok=True)
                self.header.unlink(missing_ok=True)
                sync_folder(self.out.parent)
                os.replace(self.part, self.out)
        with self.convert_errors():
            os.replace(self.new_header, self.header)
            sync_folder(self.header.parent)

    def _write_header(self) -> None:
        """Write the header under its temporary name, durably."""
        from spectral.io import envi

        cube = self.cube
        fields = {
            "samples": cube.width,
            "lines": cube.height,
            "bands": len(cube.bands),
            "header offset": 0,
            "file type": "ENVI Standard",
            "data type": envi.dtype_to_envi[np.dtype(cube.dtype).char],
            "interleave": "bip",
            "byte order": 0 if sys.byteorder == "little" else 1,
            **_fields(cube.bands, self.metadata),
        }
        if cube.dtype == "uint16":
            fields["reflectance scale factor"] = FULL_SCALE["uint16"]
        envi.write_envi_header(str(self.new_header), fields)
        with self.new_header.open("rb+") as written:
            os.fsync(written.fileno())


def load(path: Path, *, key: str | None = None, axes: str | None = None) -> CubeAndBands:
    """The cube as (H, W, C) float32, divided by the header's ``reflectance scale factor`` if any.

    NaN where the value is the header's ``data ignore value``, and in bands that its ``bbl`` marks as bad.
    Binaries of ``file compression = 1`` (gzip) are decompressed in memory.
    """
    if key is not None or axes not in (None, "hwc"):
        raise InputError("An ENVI header states the layout itself", expected="neither key nor axes")
    header = _header_of(path)
    require_file(header)
    with open_envi(header, _binary_of(path)) as image:
        stored, fields = _stored(image, header), image.metadata
    cube = to_hwc(stored, "hwc", header)
    ignored = fields.get("data ignore value")
    no_data = None if ignored is None else _number(ignored, "data ignore value", header)
    scale = scale_of(fields, header)
    good = [_number(flag, "bbl", header) for flag in fields.get("bbl", ())]
    bad = np.equal(good, 0) if len(good) == cube.shape[2] else None
    cube = to_values(cube, stored, no_data=no_data, divisor=scale if scale > 0 else None, bad=bad)
    return cube, bands_of(image, cube.shape[2])


def scale_of(fields: Mapping[str, Any], header: Path) -> float:
    """What 1.0 is stored as; 0 where the header's fields do not say."""
    return _number(fields.get("reflectance scale factor", 0), "reflectance scale factor", header)


def _stored(image: Any, header: Path) -> np.ndarray:
    """The binary's values as (H, W, C), a view of their order in the file."""
    count, dtype = math.prod(image.shape), np.dtype(image.dtype)
    if _is_compressed(image):
        flat = np.frombuffer(_unzip(image, count * dtype.itemsize, header), dtype)
    else:
        flat = np.fromfile(image.filename, dtype, count, offset=int(image.offset))
    lengths, axes = stored_axes(image)
    return flat.reshape(lengths).transpose([axes.index(a) for a in "hwc"])


def stored_axes(image: Any) -> tuple[tuple[int, ...], str]:
    """Lengths of the axes as they lie in the binary of SPy's ``image``, and their order."""
    axes = _AXES_OF[str(image.metadata["interleave"]).lower()]
    return tuple(image.shape["hwc".index(a)] for a in axes), axes


def _is_compressed(image: Any) -> bool:
    return str(image.metadata.get("file compression", "0")).strip() == "1"


def _unzip(image: Any, size: int, header: Path) -> bytes:
    """``size`` bytes of a gzipped binary: never more, even if the file would decompress to more."""
    offset = int(image.offset)
    with format_errors(Path(image.filename), "a gzipped ENVI binary"), gzip.open(image.filename) as stream:
        data = stream.read(offset + size)[offset:]
    _require_bytes(image, header, len(data), size, "after decompression", "Copy it again")
    return data


def _number(text: Any, field: str, header: Path) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        raise FormatError(f"The field {field!r} of {header} is not a number", got=repr(text)) from None


def bands_of(image: Any, count: int) -> BandSet | None:
    """From ``wavelength`` and ``fwhm``; else from ``band names`` that are wavelengths with a unit."""
    centres, widths = image.bands.centers, image.bands.bandwidths
    if centres is not None:
        return bands_from(centres, widths, count, image.bands.band_unit)
    found = [_IN_NAME.search(str(name)) for name in image.metadata.get("band names", ())]
    named = [f for f in found if f is not None]
    if len(named) != len(found) or len(found) != count:
        return None
    return BandSet.of([float(f["number"]) * (1 if f["unit"][0] in "nN" else 1000) for f in named])


def _header_of(path: Path) -> Path:
    """``NAME.hdr`` for ``NAME.hdr`` itself, ``NAME.img`` or ``NAME.img.hdr``."""
    if path.suffix.lower() == ".hdr":
        return path
    appended = path.with_name(path.name + ".hdr")
    return appended if appended.is_file() else path.with_suffix(".hdr")


def _binary_of(path: Path) -> str | None:
    """The file that was named, or the one next to its header; None leaves the search to SPy, which knows
    fewer endings than these but more of other makers."""
    if path.suffix.lower() != ".hdr":
        return str(path)
    beside = (path.with_suffix(s) for s in ("", ".img", ".dat", ".bsq", ".bil", ".bip"))
    return next((str(file) for file in beside if file.is_file()), None)


@contextmanager
def open_envi(header: Path, binary: str | None = None) -> Iterator[Any]:
    """SPy's image of a header whose binary has the length it states; SPy's errors become a FormatError."""
    from spectral.io import envi

    with format_errors(header, "ENVI"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SPy's, of upper case in headers
            image = envi.open(str(header), binary)
        if not _is_compressed(image):
            _require_size(image, header)
        yield image


def _require_size(image: Any, header: Path) -> None:
    """FormatError for a truncated binary, which SPy would map without an error until it is read."""
    rows, columns, bands = image.shape
    needed = int(image.offset) + math.prod(image.shape) * np.dtype(image.dtype).itemsize
    what = f"for {rows} x {columns} pixels in {bands} bands"
    fix = "Copy it again; if it is compressed, decompress it first"
    _require_bytes(image, header, os.path.getsize(image.filename), needed, what, fix)


def _require_bytes(image: Any, header: Path, size: int, needed: int, what: str, fix: str) -> None:
    if size < needed:
        problem = f"{image.filename} is shorter than {header.name} states"
        raise FormatError(problem, expected=f"{needed} bytes {what}", got=f"{size} bytes", fix=fix)
