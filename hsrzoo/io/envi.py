"""ENVI: a text header and a raw binary. SPy (package ``spectral``) writes the header."""

from __future__ import annotations

import gzip
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.errors import InputError
from hsrzoo.io.common import (
    CubeAndBands,
    by_wavelength,
    display_bands,
    format_errors,
    in_hwc,
    require_parent,
)
from hsrzoo.io.envi_header import EnviImage, open_envi, require_bytes
from hsrzoo.io.stream import CubeShape, FlatStream, sync_folder
from hsrzoo.io.values import FULL_SCALE, UNITS
from hsrzoo.utils.locks import hold


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


def load(
    path: Path, *, key: str | None = None, axes: str | None = None, scale: float | None = None,
    no_data: float | None = None,
) -> CubeAndBands:  # fmt: skip
    """The cube as (H, W, C) float32, and its bands; what the header states is applied
    (:meth:`hsrzoo.io.envi_header.EnviImage.stated`).

    Binaries of ``file compression = 1`` (gzip) are decompressed in memory.
    """
    if key is not None or axes not in (None, "hwc"):
        raise InputError("An ENVI header states the layout itself", expected="neither key nor axes")
    image = open_envi(path)
    stated = image.stated().declared(scale, no_data, image.header).tell()
    cube, bands = stated.apply(in_hwc(_stored(image), image.axes, image.header)), image.bands()
    return (cube, bands) if _written_here(image) else by_wavelength(cube, bands)


def _written_here(image: EnviImage) -> bool:
    """Whether its bands have the order that was asked for."""
    description = image.fields.get("description", "")
    return "written by hsrzoo" in description or any(name.startswith("hsrzoo ") for name in image.fields)


def _stored(image: EnviImage) -> np.ndarray:
    """The binary's numbers, axes as they lie in it."""
    count = math.prod(image.lengths)
    if image.compressed:
        flat = np.frombuffer(_unzip(image), image.dtype)
    else:
        with format_errors(image.binary, "an ENVI binary", OSError):
            flat = np.fromfile(image.binary, image.dtype, count, offset=image.offset)
    return flat.reshape(image.lengths)


def _unzip(image: EnviImage) -> bytes:
    """The bytes of a gzipped binary: never more than its header states, even if there were more."""
    with format_errors(image.binary, "a gzipped ENVI binary"), gzip.open(image.binary) as stream:
        data = stream.read(image.offset + image.bytes)[image.offset :]
    require_bytes(image, len(data), image.bytes, "after decompression", "Copy it again")
    return data
