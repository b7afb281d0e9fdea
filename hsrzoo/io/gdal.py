"""GDAL's metadata of a TIFF file: in its tags, and in ``NAME.aux.xml``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.errors import FormatError
from hsrzoo.io.common import format_errors
from hsrzoo.io.values import Stated, bands_from, bands_in_names, ignored, scaling

if TYPE_CHECKING:
    import tifffile

METADATA, NO_DATA = 42112, 42113
"""Tags of TIFF."""
GdalItems = dict[str, dict[int, str]]
"""Name -> sample -> text; -1 stands for all samples."""


def _text_of(tiff: tifffile.TiffFile, code: int) -> str | None:
    """A tag of the first page, if it has it."""
    tag = tiff.pages.first.tags.get(code)
    return None if tag is None else str(tag.value)


def sidecars(path: Path) -> list[Path]:
    """The files beside an image at ``path`` from which GDAL takes a mask and metadata."""
    beside = (path.with_name(path.name + ending) for ending in (".aux.xml", ".msk"))
    return [file for file in beside if file.is_file()]


def read_items(tiff: tifffile.TiffFile, path: Path) -> GdalItems:
    """What GDAL's metadata states, in the tags of the file (nothing if they are no XML), and where these
    are silent in ``NAME.aux.xml``: also NODATA, and without a sample under -1."""
    found: GdalItems = {}
    with suppress(ElementTree.ParseError):
        root = ElementTree.fromstring((_text_of(tiff, METADATA) or "").strip("\0 \n"))
        for item in root.iter("Item"):
            name, sample = item.get("name"), item.get("sample", "-1")
            if name and sample.lstrip("-").isdigit():
                found.setdefault(name, {})[int(sample)] = item.text or ""
    no_data = _text_of(tiff, NO_DATA)
    if no_data is not None:
        found["NODATA"] = {-1: no_data.strip("\0 ")}
    beside = path.with_name(path.name + ".aux.xml")
    if beside.is_file():
        with format_errors(beside, "GDAL's auxiliary XML", (OSError, ElementTree.ParseError, ValueError)):
            _add_auxiliary(ElementTree.parse(beside).getroot(), found)
    return found


def _add_auxiliary(root: ElementTree.Element, found: GdalItems) -> None:
    for band in root.iter("PAMRasterBand"):
        sample = int(band.get("band", "0")) - 1
        items = [(element.tag.upper(), element.text) for element in band]
        items += [(item.get("key", ""), item.text) for item in band.iter("MDI")]
        for name, text in items:
            name = {"NODATAVALUE": "NODATA"}.get(name, name)
            known = found.setdefault(name, {})
            if text and not (name == "NODATA" and -1 in known):
                known.setdefault(sample, text.strip())


def stated_by(gdal: GdalItems, samples: Sequence[int], path: Path) -> Stated:
    """What GDAL's metadata states about these samples, in float32."""
    phrases, gain, offset = [], None, None
    if "SCALE" in gdal or "OFFSET" in gdal:
        gain = _numbers(gdal, "SCALE", samples, default=1.0, path=path)
        offset = _numbers(gdal, "OFFSET", samples, default=0.0, path=path)
        phrases = [scaling("multiplied by", gain, "SCALE"), scaling("increased by", offset, "OFFSET")]
    no_data = np.unique(_numbers(gdal, "NODATA", samples, default=np.nan, path=path, dtype=np.float64))
    no_data = no_data[~np.isnan(no_data)]
    phrases += [ignored(no_data, "NODATA")] if len(no_data) else []
    bad = _numbers(gdal, "bbl", samples, default=1.0, path=path) == 0
    phrases += [f"{np.count_nonzero(bad)} of {len(samples)} bands hold no data (bbl)"] if bad.any() else []
    return Stated(
        tuple(no_data.tolist()), gain=gain, offset=offset, bad=bad, fields=tuple(filter(None, phrases))
    )


def _numbers(
    gdal: GdalItems,
    name: str,
    samples: Sequence[int],
    *,
    default: float,
    path: Path,
    dtype: Any = np.float32,
) -> np.ndarray:
    """One number per band (C,), ``default`` for bands without, as GDAL has it."""
    items = gdal.get(name, {})
    try:
        return np.array([float(items.get(i, items.get(-1, default))) for i in samples], dtype=dtype)
    except ValueError as error:
        what = "The no-data value" if name == "NODATA" else name
        fix = "Correct it in the file's GDAL metadata, or remove it"
        got = repr(str(error).partition(": ")[2].strip("'\""))
        raise FormatError(f"{what} of {path} is not a number", got=got, fix=fix) from None


def _all_numbers(gdal: GdalItems, name: str, samples: Sequence[int]) -> list[float] | None:
    """One number per band, or None unless every band has one."""
    items = gdal.get(name, {})
    try:
        return [float(items[i]) for i in samples]
    except (KeyError, ValueError):
        return None


def bands_by(gdal: GdalItems, samples: Sequence[int]) -> BandSet | None:
    """From the wavelengths of these samples, else from their descriptions where these have a unit."""
    count = len(samples)
    units = gdal.get("wavelength_units", {})
    for centre, width, unit in (
        ("wavelength", "fwhm", next(iter(units.values()), None)),
        ("CENTRAL_WAVELENGTH_UM", "FWHM_UM", "um"),
    ):
        centres, widths = (_all_numbers(gdal, name, samples) for name in (centre, width))
        if centres is not None:
            return bands_from(centres, widths, count, unit)
    names = gdal.get("DESCRIPTION", {})
    return bands_in_names([names.get(i, "") for i in samples])
