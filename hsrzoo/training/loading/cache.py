"""Scenes that do not have to be in memory: written once into the folder for caches, then mapped.

A scene is one ``.npy`` file, an array of :func:`hsrzoo.training.loading.stored.encode`, and a second one of
its pixels without data where there are some. All scenes of a data set lie in one folder, whose name is a
digest of everything that decides their values: files that have changed are written to another one.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from hsrzoo import __version__
from hsrzoo.bands import BandSet
from hsrzoo.datasets.base import Dataset
from hsrzoo.datasets.common import IndexedDataset
from hsrzoo.errors import StoreError
from hsrzoo.training.loading.stored import StoredScene, gaps_of
from hsrzoo.utils.files import atomic_file, cache_folder, make_folder, slug, unwritable
from hsrzoo.utils.locks import hold

VERSION = 1
"""Of the files: those of another one are not read."""
MOST_IN_MEMORY = 2 << 30
"""Bytes of a data set's scenes that are held in memory unless the user decides."""


class SceneCache:
    """The scenes of one data set: mapped from the cache, or in memory where they are few or small."""

    def __init__(self, data: Dataset, bands: BandSet, use: bool | None = None) -> None:
        """``bands``: those of the stored cubes. ``use``: whether the cache is used; None: where it has the
        scenes, or they would take more than :data:`MOST_IN_MEMORY`. The scenes of a data set that does not
        name its files are always held in memory."""
        key = None if use is False else key_of(data, bands)
        self._use = use if key else False
        self._channels = 3 + len(bands)
        self._folder = cache_folder() / "scenes" / f"{slug(data.name)}-{key}"
        self._known: dict[tuple[str, str], StoredScene] = {}

    def scenes(
        self, split: str, names: Sequence[str], read: Callable[[str], np.ndarray]
    ) -> list[StoredScene]:
        """The scenes of these names, none of which is read twice; ``read`` gives the array of
        :func:`~hsrzoo.training.loading.stored.encode` of one of them."""
        for number, name in enumerate(names):
            if (split, name) not in self._known:
                left = len(names) - number
                self._known[split, name] = self._open(self._file(split, name), left, partial(read, name))
        return [self._known[split, name] for name in names]

    def _file(self, split: str, name: str) -> Path:
        return self._folder / f"{slug(f'{split}-{name}')[:60]}-{_digest(f'{split}/{name}')[:8]}.npy"

    def _open(self, path: Path, left: int, read: Callable[[], np.ndarray]) -> StoredScene:
        """``left``: how many scenes, with this one, are not open yet."""
        found, values = None if self._use is False else _mapped(path, self._channels), None
        if found is None and self._use is None:
            values = read()
            self._use = values.nbytes * left > MOST_IN_MEMORY
        if found is None and self._use:
            try:
                found, values = self._written(path, left, values, read)
            except StoreError as error:
                self._use = False
                fix = "They are held in memory; HSRZOO_CACHE names another folder."
                warnings.warn(f"Scenes cannot be cached. {error} {fix}", stacklevel=2)
        if found is None:
            values = read() if values is None else values
            found = StoredScene.of(values, gaps_of(values))
        return found

    def _written(
        self, path: Path, left: int, values: np.ndarray | None, read: Callable[[], np.ndarray]
    ) -> tuple[StoredScene | None, np.ndarray | None]:
        """The scene, mapped from the file that this process writes or another one has written meanwhile,
        and its array where this process has read it. StoreError where it cannot be written."""
        make_folder(path.parent)
        with hold(path, lambda _: None):
            found = _mapped(path, self._channels)
            if found is None:
                values = read() if values is None else values
                if shutil.disk_usage(path.parent).free < values.nbytes * left:
                    size = f"room for {values.nbytes * left >> 20} MB"
                    raise StoreError(f"{path.parent} is on a disk that is full", expected=size)
                _save(_gaps_file(path), gaps_of(values))
                _save(path, values)  # last: with it the scene is there
                found = _mapped(path, self._channels)
        return found, values


def _mapped(path: Path, channels: int) -> StoredScene | None:
    """The scene in a file; None where there is none, or it is damaged."""
    try:
        values, gaps = _load(path), None
        if _gaps_file(path).exists():
            gaps = _load(_gaps_file(path))
    except (OSError, ValueError, EOFError):
        return None
    fits = values.ndim == 3 and len(values) == channels and values.dtype in (np.uint16, np.float32)
    if not fits or (gaps is not None and (gaps.dtype != bool or gaps.shape != values.shape[1:])):
        return None
    return StoredScene.of(values, gaps)


def key_of(data: Dataset, bands: BandSet) -> str | None:
    """A digest of all that decides the scenes: reader, options and the files' names, sizes and times of
    change. None: ``data`` does not name its files."""
    if not isinstance(data, IndexedDataset):
        return None
    files = list(data.files())
    if not files:
        return None
    stated = [(str(file.absolute()), *_identity(file)) for file in sorted(files)]
    about = {
        "version": [VERSION, __version__, np.__version__],
        "reader": [type(data).__module__, type(data).__qualname__, data.layout, _source(type(data))],
        "options": [data.options(), data.record(), data.rgb_bits],
        "bands": [data.bands.to_json(), bands.to_json()],
    }
    return _digest(json.dumps([about, stated], sort_keys=True, default=str))[:16]


def _identity(file: Path) -> tuple[int, int]:
    with suppress(OSError):
        found = file.stat()
        return found.st_size, found.st_mtime_ns
    return -1, -1


def _source(reader: type) -> str:
    """A digest of the file that defines the class: readers of plugins change without a version."""
    with suppress(OSError, TypeError):
        return _digest(Path(inspect.getfile(reader)).read_text(errors="replace"))
    return ""


def _gaps_file(path: Path) -> Path:
    return path.with_suffix(".gaps.npy")


def _save(path: Path, values: np.ndarray | None) -> None:
    """Write an array; without one, remove what is there. StoreError where that is impossible."""
    try:
        if values is None:
            path.unlink(missing_ok=True)
            return
        with atomic_file(path) as temporary:
            np.save(temporary, values, allow_pickle=False)
    except OSError as error:
        raise unwritable(path.parent, error) from None


def _load(path: Path) -> np.ndarray:
    # Mode c: pages are read when they are needed, and torch gets no array that it must not write to.
    mapped: np.ndarray = np.load(path, mmap_mode="c", allow_pickle=False)
    return np.asarray(mapped)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
