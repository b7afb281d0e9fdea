"""Multi-band TIFF: band-sequential float32, wavelengths in ImageDescription (JSON) and as GDAL metadata.

GDAL, QGIS and the EnMAP-Box read the second; the first survives programs that drop private tags.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile

from hsrzoo.bands import BandSet
from hsrzoo.errors import FormatError, InputError
from hsrzoo.io import gdal
from hsrzoo.io.common import (
    CubeAndBands,
    by_wavelength,
    format_errors,
    in_hwc,
    missing_codec,
    output_file,
    raw_error,
    require_developed,
    require_file,
)
from hsrzoo.io.stream import FlatStream
from hsrzoo.io.values import FULL_SCALE, UNITS, Stated, bands_from

_CLASSIC = (1 << 32) - (1 << 25)
"""Bytes of pixels that a TIFF with 32-bit offsets can hold, with room for its tags."""
_STRIP = 1 << 20
"""Bytes of a strip: readers fetch these whole."""
_DNG_VERSION = 50706
_SENSOR = (32803, 34892)
"""PhotometricInterpretation of raw photographs: CFA, LinearRaw."""
_ALPHA = (1, 2)
"""ExtraSamples of alpha, associated or not."""
_BROKEN = (
    tifffile.TiffFileError, OSError, ValueError, TypeError, LookupError, RuntimeError, EOFError,
    struct.error, zlib.error,
)  # fmt: skip
"""What tifffile and its decoders raise for damaged files."""


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
            extratags=[(gdal.METADATA, "s", 0, _gdal_xml(bands), True)],
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
                extratags=[(gdal.METADATA, "s", 0, _gdal_xml(cube.bands, scale), True)],
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
    item = partial(_item, root)
    for index, centre in enumerate(bands.centres_nm):
        item("DESCRIPTION", index, f"{centre:g} nm", role="description")
        item("wavelength", index, f"{centre!r}")
        item("wavelength_units", index, "Nanometers")
        item("CENTRAL_WAVELENGTH_UM", index, f"{centre / 1000:.7g}", domain="IMAGERY")
        if bands.widths_nm is not None:
            item("fwhm", index, f"{bands.widths_nm[index]!r}")
            item("FWHM_UM", index, f"{bands.widths_nm[index] / 1000:.7g}", domain="IMAGERY")
        if scale is not None:
            _scale(root, index, scale)
    return ElementTree.tostring(root, encoding="unicode")


def map_tags(description: str) -> list[tuple[int, str, int, str, bool]]:
    """For tifffile: tags that say what the one band of a TIFF of uint16 is, and that its values stand for
    those in [0, 1]."""
    root = ElementTree.Element("GDALMetadata")
    _item(root, "DESCRIPTION", 0, description, role="description")
    _scale(root, 0, 1 / FULL_SCALE["uint16"])
    return [(gdal.METADATA, "s", 0, ElementTree.tostring(root, encoding="unicode"), True)]


def _scale(root: ElementTree.Element, index: int, scale: float) -> None:
    _item(root, "OFFSET", index, "0.0", role="offset")
    _item(root, "SCALE", index, f"{scale!r}", role="scale")


def _item(root: ElementTree.Element, name: str, index: int, text: str, **more: str) -> None:
    ElementTree.SubElement(root, "Item", {"name": name, "sample": str(index), **more}).text = text


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
    path: Path, *, key: str | None = None, axes: str | None = None, scale: float | None = None,
    no_data: float | None = None, usual: Stated | None = None,
) -> CubeAndBands:  # fmt: skip
    """The cube as (H, W, C) float32, and its bands; what the file states is applied.

    That is GDAL's no-data value, SCALE, OFFSET and ``bbl``, in the file or in ``NAME.aux.xml``, and masks:
    a page of the file, ``NAME.msk``, or a sample that is alpha, which is no band.

    ``axes``: stored order as tifffile shows it; if not given, by the file (samples per pixel, or
    pages first). ``usual``: what holds where the file states no scale, and no value for no data.
    """
    if key is not None:
        raise InputError("A TIFF file has no keys", expected="no key", got=repr(key))
    with open_tiff(path) as tiff:
        array, order = _pixels(tiff)
        stored = in_hwc(array, axes or order, path)
        alpha = _alpha(tiff, stored, path)
        samples = [sample for sample in range(stored.shape[2]) if sample != alpha]
        masks = _masks(tiff, samples, path)
        items = gdal.read_items(tiff, path)
        stated, (bands, ours) = gdal.stated_by(items, samples, path), _bands(tiff, items, samples)
    if alpha is not None:
        masks["its alpha sample"] = stored[..., alpha, None] == 0
        stored = stored[..., samples]
    if masks:
        missing = np.logical_or.reduce(np.broadcast_arrays(*masks.values()))
        phrase = f"pixels that {' and '.join(masks)} leaves out hold no data"
        stated = replace(
            stated, mask=np.broadcast_to(missing, stored.shape), fields=(*stated.fields, phrase)
        )
    stated = stated.or_else(usual or Stated()).declared(scale, no_data, path).tell()
    cube = stated.apply(stored)
    return (cube, bands) if ours else by_wavelength(cube, bands)


def read_bands(path: Path) -> BandSet | None:
    """The bands that :func:`load` gives, read without the pixels."""
    with open_tiff(path) as tiff:
        series, planes = tiff.series[0], len(_planes(tiff))
        count = planes if len(series.shape) < 3 else series.shape[-1 if series.axes.endswith("S") else 0]
        bands, ours = _bands(tiff, gdal.read_items(tiff, path), range(count))
        order = bands.sorting() if bands is not None and not ours else None
        return bands if bands is None or order is None else bands.select(order)


def stated_without_masks(tiff: tifffile.TiffFile, path: Path, count: int) -> Stated | None:
    """What a file with ``count`` samples a pixel states; None where it has masks or alpha."""
    alpha = any(int(kind) in _ALPHA for kind in tiff.pages.first.extrasamples)
    if alpha or _mask_file(path).is_file() or any(page.is_mask for page in _pages(tiff)):
        return None
    return gdal.stated_by(gdal.read_items(tiff, path), range(count), path)


def image_stated_by(path: Path) -> Stated:
    """What the file of an RGB image states; InputError where a mask leaves out some of its pixels."""
    with open_tiff(path) as tiff:
        samples = range(3)
        for name, missing in _masks(tiff, samples, path).items():
            if missing.any():
                problem = f"{path} has pixels that {name} leaves out"
                raise InputError(
                    problem, expected="an image without gaps", fix="Cut them off, or remove the mask"
                )
        return gdal.stated_by(gdal.read_items(tiff, path), samples, path)


def _pixels(tiff: tifffile.TiffFile) -> tuple[np.ndarray, str]:
    """The stored numbers with three axes, and their order."""
    series = tiff.series[0]
    if len(series.shape) == 2:
        return np.stack([plane.asarray() for plane in _planes(tiff)]), "chw"
    array = series.asarray()
    return array, "hwc" if series.axes.endswith("S") else "chw"


def _planes(tiff: tifffile.TiffFile) -> list[tifffile.TiffPageSeries]:
    """Where the first page is one plane: all of its size and dtype, as some programs write a page a band;
    masks and reduced copies are none of them."""
    first = tiff.series[0]
    alike = [s for s in tiff.series if s.shape == first.shape and s.dtype == first.dtype]
    return [s for s in alike if not (s.keyframe.is_reduced or s.keyframe.is_mask)]


def _pages(tiff: tifffile.TiffFile) -> Iterator[tifffile.TiffPage]:
    """All pages whole: those of one series share the tags of its first."""
    tiff.pages.useframes = False
    for page in tiff.pages:
        if isinstance(page, tifffile.TiffPage):
            yield page


def _alpha(tiff: tifffile.TiffFile, stored: np.ndarray, path: Path) -> int | None:
    """Which sample of ``stored`` (H, W, samples) is alpha, if the first page says that one is.

    GDAL may leave the mark on the first sample beyond grey or RGB where another one holds the mask.
    """
    page = tiff.pages.first
    first = {2: 3, 5: 4, 6: 3, 8: 3}.get(int(page.photometric), 1)
    marked = [first + place for place, kind in enumerate(page.extrasamples) if int(kind) in _ALPHA]
    last = stored.shape[2] - 1
    if not marked or page.samplesperpixel != last + 1 or marked[0] > last:
        return None
    for sample in (marked[0], last):
        levels = np.unique(stored[..., sample])
        if sample == last == marked[0] or len(levels) == 1 or (len(levels) == 2 and levels[0] == 0):
            return sample
    raise FormatError(
        f"{path} marks sample {marked[0] + 1} as alpha, which it is not",
        expected="0 and one other value in it or in the last sample",
        got=f"{len(np.unique(stored[..., marked[0]]))} values",
        fix="Set its tag ExtraSamples to 0",
    )


def _mask_file(path: Path) -> Path:
    return path.with_name(path.name + ".msk")


def _masks(tiff: tifffile.TiffFile, samples: Sequence[int], path: Path) -> dict[str, np.ndarray]:
    """Name -> (H, W, 1) or (H, W, C) bool, True where there is no data: of mask pages and ``NAME.msk``;
    C bands at the places ``samples`` of the file."""
    first = tiff.pages.first
    size = (first.imagelength, first.imagewidth)
    found = {}
    for page in _pages(tiff):
        if page.is_mask and not page.is_reduced and page.shape[:2] == size:
            found["its mask"] = page.asarray().reshape(*size, -1)[..., :1] == 0
    beside = _mask_file(path)
    if beside.is_file():
        with open_tiff(beside) as mask:
            array, order = _pixels(mask)
            missing = in_hwc(array, order, beside) == 0
        if missing.shape[:2] != size:
            problem = f"The mask {beside} does not fit its image"
            raise FormatError(problem, expected=size, got=missing.shape[:2])
        each = missing.shape[2] == first.samplesperpixel > 1  # or one mask for all bands
        found["its .msk file"] = missing[..., list(samples)] if each else missing[..., :1]
    return found


def _bands(
    tiff: tifffile.TiffFile, items: gdal.GdalItems, samples: Sequence[int]
) -> tuple[BandSet | None, bool]:
    """From our own description, else GDAL's metadata, else descriptions of bands with a unit; and whether
    it is the first."""
    try:
        ours = json.loads(tiff.pages.first.description or "")
    except ValueError:
        ours = None
    count = len(samples)
    if isinstance(ours, dict) and "wavelengths_nm" in ours:
        return bands_from(ours["wavelengths_nm"], ours.get("widths_nm"), count), True
    return gdal.bands_by(items, samples), False
