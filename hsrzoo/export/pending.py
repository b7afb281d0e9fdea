"""A file gets its final name after it has passed its check."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hsrzoo.errors import InputError, StoreError
from hsrzoo.export.graph import ExportError
from hsrzoo.utils.files import make_folder
from hsrzoo.utils.locks import hold


def failed_name(path: Path) -> Path:
    """Where a file is kept that failed its check: ``m.onnx`` -> ``m.failed.onnx``."""
    return path.with_suffix(f".failed{path.suffix}")


@contextmanager
def pending(path: Path) -> Iterator[Path]:
    """Another name to write, open and check a file under; it becomes ``path`` where the block ends well.

    An older file at ``path`` stays until then. On an ExportError the file is kept under
    :func:`failed_name`, and the error says so; on any other exception it is deleted. Raises InputError
    if ``path`` is a folder, LockedError if another process is making it, StoreError if it cannot be
    written.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder", expected="the name of a file")
    # the suffix stays: torch.export asks for .pt2
    temporary = path.with_name(f".{path.stem}.unchecked{path.suffix}")
    make_folder(path.parent)
    with hold(path):
        try:
            yield temporary
            _rename(temporary, path)
        except ExportError as error:
            if not temporary.exists():  # nothing was written yet
                raise
            _rename(temporary, failed_name(path))
            raise ExportError(str(error), fix=f"The file is kept as {failed_name(path)}") from error
        finally:
            with suppress(OSError):  # no file
                temporary.unlink()


def _rename(before: Path, after: Path) -> None:
    try:
        os.replace(before, after)
    except OSError as error:
        raise StoreError(f"{after} cannot be written", got=error.strerror or str(error)) from error
