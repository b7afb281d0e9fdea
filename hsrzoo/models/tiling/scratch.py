"""A scratch file for features that are kept between passes and do not fit into memory."""

from __future__ import annotations

import math
import mmap
import os
import shutil
import tempfile
import weakref
from collections import defaultdict
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

CHUNK = 1 << 30
"""Bytes that are mapped at once: a mapping takes one of the process's file descriptors."""
RESERVE = 256 << 20
"""Bytes of the disk that are left free: the state of the run is saved there, and parts of its cube."""


class ScratchFull(BaseException):
    """Leaves a network where the disk has no room for its features, as StatisticReached does."""


class Scratch:
    """Tensors in the memory map of a file in ``folder``.

    The file has no name where the system allows that (else it is deleted when it is closed), so nothing is
    left of it however the process ends.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._chunks: list[mmap.mmap] = []
        self._used = self._size = 0
        self._free: dict[int, list[tuple[mmap.mmap, int]]] = defaultdict(list)

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A tensor on the CPU, contiguous; its place in the file is used again when it is dropped. Raises
        ScratchFull."""
        count = math.prod(shape)
        size = -(-max(count * dtype.itemsize, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
        free = self._free[size]
        place = free.pop() if free else self._new_place(size)
        array = np.frombuffer(place[0], np.uint8, count * dtype.itemsize, place[1])
        weakref.finalize(array, free.append, place).atexit = False
        return torch.from_numpy(array).view(dtype).view(shape)

    def let_go(self) -> None:
        """Take what was used from the process's memory; the system writes it to the disk when it has to."""
        for chunk in self._chunks:
            if hasattr(mmap, "MADV_DONTNEED"):
                chunk.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        """Remove the file; tensors that are in use keep theirs of it until they are dropped."""
        self._chunks.clear()
        self._free.clear()  # places hold their maps
        if self._file is not None:
            self._file.close()

    def _new_place(self, size: int) -> tuple[mmap.mmap, int]:
        if shutil.disk_usage(self._folder).free < size + RESERVE:
            raise ScratchFull
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  (closed with the maps)
            if not self._chunks or self._used + size > len(self._chunks[-1]):
                length = -(-max(size, CHUNK) // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
                os.ftruncate(self._file.fileno(), self._size + length)  # has no blocks on the disk yet
                self._chunks.append(mmap.mmap(self._file.fileno(), length, offset=self._size))
                self._size, self._used = self._size + length, 0
            chunk, offset = self._chunks[-1], self._used
            if hasattr(os, "posix_fallocate"):  # else a write to the map of a full disk ends the process
                start = self._size - len(chunk)
                os.posix_fallocate(self._file.fileno(), start + offset, size)
        except OSError as error:
            raise ScratchFull from error
        self._used += size
        return chunk, offset
