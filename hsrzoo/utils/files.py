"""Files: atomic writes, checksums, and the names that a folder of weights uses."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from hsrzoo.errors import StoreError

PICKLE_SUFFIXES = (".pth", ".pt", ".bin", ".pkl", ".pickle", ".ckpt")


def sha256_of_file(path: Path) -> str:
    """Hex sha256 of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def make_folder(path: Path) -> None:
    """Make a folder and prove that it can be written to, before anything is computed for it.

    Raises StoreError.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"{path} cannot be written",
        expected="a folder that is writable, with room for the files",
        got=error.strerror or str(error),
        fix="Give another folder by --out, or make room",
    )


def write_atomically(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``: whole or not at all, also across a power cut.

    Raises StoreError where it cannot be written.
    """
    try:
        _replace(path, data)
    except OSError as error:
        raise _unwritable(path, error) from error


def _replace(path: Path, data: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp makes private files
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


CONFIG, TENSORS, CARD = "config.json", "model.safetensors", "README.md"
