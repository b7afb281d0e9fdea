"""Strips of another size than the library's, for tests that compare strips with whole features."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from hsrzoo.layers import whole_image


@contextmanager
def strips_of(pixels: int, rows: int) -> Iterator[None]:
    """Strips of at least ``pixels`` pixels and ``rows`` rows (a multiple of 8) in the block, on every
    device, for the whole process. No image has as many as 2^62: none is then cut."""
    at_once = dict.fromkeys(whole_image.PIXELS_AT_ONCE, pixels)
    with (
        mock.patch.dict(whole_image.PIXELS_AT_ONCE, at_once),
        mock.patch.object(whole_image, "LEAST_ROWS", rows),
    ):
        yield
