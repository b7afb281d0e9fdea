"""Multi-band TIFF: band-sequential float32, wavelengths in ImageDescription (JSON) and as GDAL metadata.

GDAL, QGIS and the EnMAP-Box read the second; the first survives programs that drop private tags.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile

from hsrzoo.bands import BandSet
from hsrzoo.errors import FormatError, InputError
from hsrzoo.io.common import (
    CubeAndBands,
    format_errors,
    missing_codec,
    output_file,
    raw_error,
    require_developed,
    require_file,
    to_hwc,
)
from hsrzoo.io.stream import FlatStream
from hsrzoo.io.values import FULL_SCALE, UNITS, bands_from, to_values

_CLASSIC = (1 << 32) - (1 << 25)
"""Bytes of pixels that a TIFF with 32-bit offsets can hold, with room for its tags."""
_STRIP = 1 << 20
"""Bytes of a strip: readers fetch these whole."""
_DNG_VERSION = 50706
_SENSOR = (32803, 34892)
"""PhotometricInterpretation of raw photographs: CFA, LinearRaw."""
_GDAL_METADATA = 42112
_GDAL_NODATA = 42113
_BROKEN = (
    tifffile.TiffFileError, OSError, ValueError, TypeError, LookupError, RuntimeError, EOFError,
    struct.error, zlib.error,
)  # fmt: skip
"""What tifffile and its decoders raise for damaged files."""
GdalItems = dict[str, dict[int, str]]
"""GDAL's metadata: name -> sample -> text."""


def save(path: Path, cube: np.ndarray, bands: BandSet, metadata: dict[str, Any]) -> None:
    """Write C planes of H x W float32."""
    with output_file(path) as temporary:
        tifffile.imwrite(
            temporary,
            np.ascontiguousarray(cube.transpose(2, 0, 1)),
            photometric="minisblack",
            planarconfig="separate" if cube.shape[2] > 1 else None,
            description=_description(bands, "chw", metadata),
            metadata=None,
            software=False,
            extratags=[(_GDAL_METADATA, "s", 0, _gdal_xml(bands), True)],
        )


class TiffStream(FlatStream):
    """One page of H x W pixels of C samples, BigTIFF where it must be."""

    def _header(self) -> int:
        cube, count = self.cube, len(self.cube.bands)
        scale = 1 / FULL_SCALE["uint16"] if cube.dtype == "uint16" else None
        row_bytes = cube.width * count * np.dtype(cube.dtype).itemsize
        with tifffile.TiffWriter(self.part, bigtiff=cube.bytes > _CLASSIC) as writer:
            # no data: the pixels are written later, at the offset that the tags state
            writer.write(
                shape=(cube.height, cube.width, count) if count > 1 else (cube.height, cube.width),
                dtype=cube.dtype,
                photometric="minisblack",
                planarconfig="contig" if count > 1 else None,
                rowsperstrip=max(1, min(cube.height, _STRIP // row_bytes)),
                description=_description(cube.bands, "hwc", self.metadata),
                metadata=None,
                software=False,
                extratags=[(_GDAL_METADATA, "s", 0, _gdal_xml(cube.bands, scale), True)],
            )
        return self._offset()

    def _offset(self) -> int:
        with open_tiff(self.part) as tiff:
            page = tiff.pages.first
            expected = (self.cube.height, self.cube.width, len(self.cube.bands))
            same = page.shape in (expected, expected[:2]) and page.dtype == self.cube.dtype
            if same and page.is_contiguous:
                return int(page.dataoffsets[0])
        raise FormatError(f"{self.part} is not the beginning of this cube", expected=expected)


def _description(bands: BandSet, axes: str, metadata: dict[str, Any]) -> str:
    """The content of ImageDescription, as JSON."""
    description = {
        "axes": axes,
        "units": metadata.get("units", UNITS),
        "wavelengths_nm": list(bands.centres_nm),
        "widths_nm": None if bands.widths_nm is None else list(bands.widths_nm),
        "metadata": metadata,
    }
    return json.dumps(description, sort_keys=True, default=str)


def _gdal_xml(bands: BandSet, scale: float | None = None) -> str:
    """GDAL's metadata of every band: its description, wavelength and width, the last two also as GDAL's
    IMAGERY domain has them, in micrometres. ``scale``: what stored values are multiplied by."""
    root = ElementTree.Element("GDALMetadata")

    def item(name: str, index: int, text: str, **more: str) -> None:
        ElementTree.SubElement(root, "Item", {"name": name, "sample": str(index), **more}).text = text

    for index, centre in enumerate(bands.centres_nm):
        item("DESCRIPTION", index, f"{centre:g} nm", role="description")
        item("wavelength", index, f"{centre!r}")
        item("wavelength_units", index, "Nanometers")
        item("CENTRAL_WAVELENGTH_UM", index, f"{centre / 1000:.7g}", domain="IMAGERY")
        if bands.widths_nm is not None:
            item("fwhm", index, f"{bands.widths_nm[index]!r}")
            item("FWHM_UM", index, f"{bands.widths_nm[index] / 1000:.7g}", domain="IMAGERY")
        if scale is not None:
            item("OFFSET", index, "0.0", role="offset")
            item("SCALE", index, f"{scale!r}", role="scale")
    return ElementTree.tostring(root, encoding="unicode")


@contextmanager
def open_tiff(path: Path) -> Iterator[tifffile.TiffFile]:
    """A TIFF file for reading; errors of tifffile while it is open become a FormatError.

    Raises InputError for raw photographs, whose first page is a thumbnail.
    """
    require_file(path)
    require_developed(path)
    with format_errors(path, "TIFF", _BROKEN), _codec_errors(path), tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        if page.is_reduced or _DNG_VERSION in page.tags or page.photometric in _SENSOR:
            raise raw_error(path)
        yield tiff


@contextmanager
def _codec_errors(path: Path) -> Iterator[None]:
    """What tifffile raises for compressions that it cannot read: the file may be intact."""
    try:
        yield
    except ImportError as error:
        raise missing_codec(path, error) from error
    except ValueError as error:
        if "requires the 'imagecodecs' package" in str(error):
            raise missing_codec(path, error) from error
        if "not supported" in str(error) or "not a known COMPRESSION" in str(error):
            fix = "Save it uncompressed, or with LZW or DEFLATE"
            problem = f"{path} is compressed in a way that cannot be read"
            raise FormatError(problem, got=str(error), fix=fix) from error
        raise


def load(
    path: Path,
    *,
    key: str | None = None,
    axes: str | None = None,
    scale: float = 1.0,
    no_data: float | None = None,
) -> CubeAndBands:
    """The cube as (H, W, C) float32: stored values times GDAL's SCALE plus OFFSET. NaN where GDAL's
    no-data value is stored, and in bands that the file marks as bad (``bbl`` 0).

    ``axes``: stored order as tifffile shows it; if not given, by the file (samples per pixel, or
    pages first). ``scale`` and ``no_data`` hold where the file states neither SCALE nor OFFSET, and no
    value for no data.
    """
    if key is not None:
        raise InputError("A TIFF file has no keys", expected="no key", got=repr(key))
    with open_tiff(path) as tiff:
        series = tiff.series[0]
        array, last_is_band = series.asarray(), series.axes.endswith("S")
        if array.ndim == 2:
            array, last_is_band = array[None], False
        cube = to_hwc(array, axes or ("hwc" if last_is_band else "chw"), path)
        count = cube.shape[2]
        gdal, stated, bands = _gdal_items(tiff), _text_of(tiff, _GDAL_NODATA), _bands(tiff, count)
    factors = offsets = None
    if "SCALE" in gdal or "OFFSET" in gdal:
        factors = _numbers(gdal, "SCALE", count, default=1.0, path=path)
        offsets = _numbers(gdal, "OFFSET", count, default=0.0, path=path)
    elif scale != 1:
        factors = np.float32(scale)
    ignored = no_data if stated is None else _no_data(stated, path)
    bad = _numbers(gdal, "bbl", count, default=1.0, path=path) == 0
    return to_values(cube, cube, no_data=ignored, scale=factors, offset=offsets, bad=bad), bands


def read_bands(path: Path) -> BandSet | None:
    """The bands that a TIFF file states; its pixels are not read."""
    with open_tiff(path) as tiff:
        series = tiff.series[0]
        count = 1 if len(series.shape) < 3 else series.shape[-1 if series.axes.endswith("S") else 0]
        return _bands(tiff, count)


def _text_of(tiff: tifffile.TiffFile, code: int) -> str | None:
    """A tag of the first page, if it has it."""
    tag = tiff.pages.first.tags.get(code)
    return None if tag is None else str(tag.value)


def _no_data(text: str, path: Path) -> np.float32:
    try:
        return np.float32(text.strip("\0 "))
    except ValueError:
        fix = "Correct the tag GDAL_NODATA, or remove it"
        problem = f"The no-data value of {path} is not a number"
        raise FormatError(problem, got=repr(text), fix=fix) from None


def _gdal_items(tiff: tifffile.TiffFile) -> GdalItems:
    """GDAL's metadata; empty without the tag and if it is not XML."""
    found: GdalItems = {}
    try:
        root = ElementTree.fromstring((_text_of(tiff, _GDAL_METADATA) or "").strip("\0 \n"))
    except ElementTree.ParseError:
        return found
    for item in root.iter("Item"):
        name, sample = item.get("name"), item.get("sample")
        if name and sample and sample.isdigit():
            found.setdefault(name, {})[int(sample)] = item.text or ""
    return found


def _numbers(gdal: GdalItems, name: str, count: int, *, default: float, path: Path) -> np.ndarray:
    """One number per band (C,) float32, ``default`` for bands without, as GDAL has it."""
    items = gdal.get(name, {})
    try:
        return np.array([float(items.get(i, default)) for i in range(count)], dtype=np.float32)
    except ValueError as error:
        raise FormatError(f"{name} of {path} is not a number for each band", got=str(error)) from None


def _all_numbers(gdal: GdalItems, name: str, count: int) -> list[float] | None:
    """One number per band, or None unless every band has one."""
    items = gdal.get(name, {})
    try:
        return [float(items[i]) for i in range(count)]
    except (KeyError, ValueError):
        return None


def _bands(tiff: tifffile.TiffFile, count: int) -> BandSet | None:
    try:
        ours = json.loads(tiff.pages.first.description or "")
    except ValueError:
        ours = None
    if isinstance(ours, dict) and "wavelengths_nm" in ours:
        return bands_from(ours["wavelengths_nm"], ours.get("widths_nm"), count)
    gdal = _gdal_items(tiff)
    centres, widths = (_all_numbers(gdal, name, count) for name in ("wavelength", "fwhm"))
    return None if centres is None else bands_from(centres, widths, count)
