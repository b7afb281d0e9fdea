"""Freed memory: what the C library keeps for later use, and its return to the system."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping
from functools import cache

KEPT = 256 << 20
"""Bytes that were freed and stay with the process. glibc keeps 64 MiB at most, so that a network gets most
tensors of a large image as new pages, each of which is a fault at its first access: a fifth of the time of
`mcga-s2` on 4 megapixels."""
SINGLE = 32 << 20
"""Bytes from which a tensor has pages of its own, returned when it is freed; glibc comes to no more."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of <malloc.h>
_SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Let glibc keep :data:`KEPT` bytes that were freed; whether it does.

    Nothing that the user has set by ``environment`` is changed, nor that of another C library.
    """
    library = _glibc()
    if library is None or any(name in environment for name in _SETTINGS):
        return False
    return bool(library.mallopt(_TRIM_THRESHOLD, KEPT) and library.mallopt(_MMAP_THRESHOLD, SINGLE))


def give_back_freed_memory() -> None:
    """Return to the system what the C library keeps for later use.

    glibc keeps freed blocks between smaller ones that live on: after some tiles of unlike sizes a process
    is several times as large as its tensors. Giving them back after every tile costs some percent of its
    time; not keeping them at all would cost more than half. Without glibc nothing happens.
    """
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


@cache
def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        library = ctypes.CDLL(None)
    except OSError:  # a static Python
        return None
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
