"""Freed memory that the C library keeps, returned to the system."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache


def give_back_freed_memory() -> None:
    """Return to the system what the C library keeps for later use.

    glibc keeps freed blocks of up to 32 MiB, between smaller ones that live on: after some tiles of
    unlike sizes a process is several times as large as its tensors. Giving them back after every tile
    costs some percent of its time; not keeping them at all (``mallopt``) would cost more than half.
    Without glibc nothing happens.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # another C library
        return None
