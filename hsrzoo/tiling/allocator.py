"""Freed memory that stays with the process, and how to be rid of it."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

_M_MMAP_THRESHOLD = -3  # of malloc.h
_AT_LEAST = 1 << 20
"""Bytes of a block from which on it is the system's own affair."""


@cache
def give_back_freed_memory() -> bool:
    """Let large blocks go back to the system as soon as they are freed; for the rest of the process.

    By itself glibc keeps blocks of up to 32 MiB for later use, between smaller ones that live on: the
    features of a network leave a process several times as large as they are. Without glibc nothing
    changes (False).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        return ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _AT_LEAST) == 1
    except (OSError, AttributeError):  # another C library
        return False
