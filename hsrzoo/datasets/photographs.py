"""Photographs of a data set: all of them read as the first one, by the rules of :mod:`hsrzoo.io.photo`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hsrzoo.errors import DatasetError, InputError, note
from hsrzoo.io.photo import Encoding, Photo, low_values, to_linear
from hsrzoo.io.raster import open_raster
from hsrzoo.io.values import over_full_scale

_SEARCHED = 8
"""Photographs that are searched for values above those of 12 bits, before they are pointed out."""


class Photographs:
    """How the photographs of a set are read. Linear values keep their bits, decoded ones are floats."""

    def __init__(
        self, files: Sequence[Path], encoding: Encoding = "auto", bit_depth: str | int | None = None
    ) -> None:
        """Decide by the first of ``files`` how all are read.

        Args:
            files: The photographs.
            encoding: As for :func:`hsrzoo.io.photo.to_linear`.
            bit_depth: Bits of the stored values, where they are fewer than those of the files.
        """
        self._asked = encoding
        self.bit_depth = _bits(bit_depth)
        photo = self._open(files[0])
        self.encoding = photo.encoding
        """``linear``, or ``srgb``: decoded to linear sRGB."""
        self.bits = self._bits_of(photo)
        """Bits that the values are rounded to; None for floats."""
        where = f"{files[0].name}, the first of {len(files)}"
        option = " (--data-option encoding=srgb decodes them)" if photo.option else ""
        note(f"Photographs are read as {where}: {photo.statement}{option}")
        if self.bit_depth is None:
            _point_out_low(files)

    def read(self, file: Path) -> np.ndarray:
        """(3, H, W) float32 in [0, 1]. Raises DatasetError where it differs from the first photograph."""
        photo = self._open(file)
        if photo.encoding != self.encoding:
            raise DatasetError(
                f"{file} is not encoded as the first image",
                expected=f"{self.encoding} values",
                got=photo.statement,
                fix="Say how all of them are encoded: --data-option encoding=linear or encoding=srgb",
            )
        bits = self._bits_of(photo)
        if bits != self.bits:
            problem = f"{file} differs in depth from the first image"
            raise DatasetError(problem, expected=_named(self.bits), got=_named(bits))
        if photo.encoding == "linear" and photo.value_range is None and bits is not None:
            values = photo.pixels.read(0, 0, *photo.pixels.shape)
            return over_full_scale(np.ascontiguousarray(values.transpose(2, 0, 1)))
        return np.ascontiguousarray(photo.unit().transpose(2, 0, 1))

    def _open(self, file: Path) -> Photo:
        return to_linear(open_raster(file), file, self._asked, bit_depth=self.bit_depth)

    def _bits_of(self, photo: Photo) -> int | None:
        dtype = photo.pixels.read(0, 0, 1, 1).dtype
        return (self.bit_depth or 8 * dtype.itemsize) if dtype.name in ("uint8", "uint16") else None


def _named(bits: int | None) -> str:
    return "floats" if bits is None else f"{bits} bits"


def _bits(given: str | int | None) -> int | None:
    if given is None:
        return None
    try:
        return int(given)
    except ValueError:
        problem = "The bit depth of photographs is a number of bits"
        raise InputError(problem, expected="such as 12", got=given) from None


def _point_out_low(files: Sequence[Path]) -> None:
    """Issue a note if the photographs use only the lowest of their 16 bits."""
    searched = files[:_SEARCHED]
    found = []
    for file in searched:
        low = low_values(open_raster(file), file)
        if low is None:
            return
        found.append(low)
    bits, text = max(found)
    note(f"Photographs: {text}; if they hold {bits} bits, give --data-option bit_depth={bits}")
