"""Files: atomic writes, checksums, and the names that a folder of weights uses."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hsrzoo.errors import InputError, StoreError

CONFIG, TENSORS, CARD = "config.json", "model.safetensors", "README.md"
UNCERTAINTY = "uncertainty.safetensors"
"""Files in a folder of weights."""
PICKLE_SUFFIXES = (".pth", ".pt", ".bin", ".pkl", ".pickle", ".ckpt")


def sha256_of_file(path: Path) -> str:
    """Hex sha256 of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def cache_folder() -> Path:
    """The folder for what can be computed again: ``HSRZOO_CACHE``, else ``hsrzoo`` in the platform's folder
    for caches. It need not exist."""
    chosen = os.environ.get("HSRZOO_CACHE")
    if chosen:
        return Path(chosen).expanduser().resolve()
    if sys.platform == "win32":
        return (
            Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "hsrzoo" / "cache"
        )
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "hsrzoo"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hsrzoo"


def slug(text: str) -> str:
    """``text`` as a file name: everything but letters, digits, dot, hyphen and underscore is a hyphen."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "unnamed"


def git_blob_sha1(data: bytes) -> str:
    """Hex sha1 by which git, and so the Hub, names a small file of these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def make_folder(path: Path) -> None:
    """Create a folder and check that it is writable, before anything is computed for it.

    Raises StoreError.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise unwritable(path, error) from None


def unwritable(path: Path, error: OSError) -> StoreError:
    """The error for a path that cannot be written: no permission, no room."""
    return StoreError(
        f"{path} cannot be written",
        expected="a folder that is writable, with room for the files",
        got=error.strerror or str(error),
        fix="Give another place by --out, or make room",
    )


def write_atomically(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data`` completely or not at all, even if the power fails.

    Raises StoreError where it cannot be written.
    """
    try:
        with atomic_file(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise unwritable(path, error) from error


@contextmanager
def atomic_file(path: Path, *, locked: bool = False) -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it, durably, when the block ends without an error.

    A reader never sees half a file, and a failed write leaves the old one as it was. The file gets the
    permissions that a plain ``open`` would give it. ``locked``: the caller holds the lock of ``path``, so
    that the temporary name is always the same, and what a killed process left is replaced. Raises OSError.
    """
    if locked:
        temporary = path.with_name(f".{path.name}.part{path.suffix}")
        temporary.write_bytes(b"")
    else:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes private files
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(files: Iterable[Path]) -> None:
    """Remove the temporary files of :func:`atomic_file` for ``files`` that a killed process left. The
    caller holds the lock of their folder."""
    for file in files:
        for leftover in file.parent.glob(f".{glob.escape(file.name)}.*"):
            leftover.unlink(missing_ok=True)


def require_regular(path: Path) -> None:
    """InputError for a pipe, a socket or a device: opening one may wait for ever, and reading may not end.

    Nothing is said of a path that does not exist, or of a folder.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(
            f"{path} is a pipe, a socket or a device",
            expected="a file or folder on a disk",
            fix="Write its content into a file first",
        )


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write ``value`` as indented JSON, durably."""
    write_atomically(path, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())
