"""Locks: an output is written by one process at a time; others are refused, or wait.

A lock is a hidden file, ``.NAME.lock`` beside a file or ``.lock`` inside a folder, which is removed when it
is released. The system releases it however the process ends: the file that a killed process leaves locks
nothing. It holds the pid and the host of its holder. File systems without locks (some network drives) give
a warning instead.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import lock_descriptor, unlock_descriptor

from hsrzoo.errors import LockedError
from hsrzoo.utils.files import unwritable

FOLDER_LOCK = ".lock"
"""Name of the lock of a folder, inside it."""
_POLL_SECONDS = 0.1
_UNSUPPORTED = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)
_TRIES = 50
"""How often the name of a holder is read that is not written yet, 10 ms apart."""
_held = threading.local()
"""Attributes: pid and path of a lock that this thread holds -> its descriptor."""


@contextmanager
def hold(path: Path, wait: Callable[[str], None] | None = None) -> Iterator[int | None]:
    """Be the only process that writes the file ``path`` (or a folder that appears under its name whole).

    The thread that holds a lock can take it again.

    Args:
        path: The output; its folder exists.
        wait: Called once with a message if another process holds the lock, which is then waited for. None:
            that is an error.

    Yields:
        The descriptor that holds the lock, for child processes that should keep it; None where the file
        system has no locks.

    Raises:
        LockedError: Another process, or another thread, holds the lock.
        StoreError: The lock's file cannot be made.
    """
    folder, name = os.path.split(os.path.abspath(path))
    with _hold(path, Path(folder, f".{name}.lock"), wait) as handle:
        yield handle


@contextmanager
def hold_folder(folder: Path, wait: Callable[[str], None] | None = None) -> Iterator[int | None]:
    """As :func:`hold`, for all files of a ``folder``, which exists."""
    with _hold(folder, folder / FOLDER_LOCK, wait) as handle:
        yield handle


def is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing but its lock."""
    return all(entry.name == FOLDER_LOCK for entry in folder.iterdir())


@contextmanager
def _hold(path: Path, lock: Path, wait: Callable[[str], None] | None) -> Iterator[int | None]:
    mine, key = vars(_held), f"{os.getpid()} {os.path.realpath(lock)}"
    if key in mine:
        yield mine[key]
        return
    handle = mine[key] = _acquire(path, lock, wait)
    try:
        yield handle
    finally:
        del mine[key]
        if handle is not None:
            _release(lock, handle)


def _acquire(path: Path, lock: Path, wait: Callable[[str], None] | None) -> int | None:
    while (handle := _open(path, lock)) is not None:
        try:
            locked = lock_descriptor(handle, blocking=False)
            if locked and _is_at(lock, handle):  # else its last holder has removed it in between
                _write_holder(handle)
                return handle
            holder = "" if locked else _holder(handle)
        except OSError as error:
            os.close(handle)
            if error.errno not in _UNSUPPORTED:
                raise unwritable(path, error) from None
            break
        os.close(handle)
        if locked:
            continue
        if wait is None:
            raise LockedError(
                f"{path} is in use by {holder}",
                expected="one process at a time to write it",
                fix="Wait until it has ended, or choose another output",
            )
        wait(f"Waiting for {holder}, which is using {path}")
        wait = _say_nothing
        time.sleep(_POLL_SECONDS)
    with suppress(OSError):
        lock.unlink()
    text = f"The file system of {path.parent} has no locks: do not write a file in several processes"
    warnings.warn(text, stacklevel=6)
    return None


def _say_nothing(_: str) -> None:
    """After the first message."""


def _open(path: Path, lock: Path) -> int | None:
    try:
        return os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return None
        raise unwritable(path, error) from None


def _is_at(lock: Path, handle: int) -> bool:
    """Whether the file ``lock`` is the open one."""
    with suppress(OSError):
        return os.path.samestat(os.stat(lock), os.fstat(handle))
    return False


def _write_holder(handle: int) -> None:
    # From the second byte on: Windows lets nobody read the first one, which is what it locks.
    with suppress(OSError):  # a full disk
        os.ftruncate(handle, 0)
        os.write(handle, f"\n{os.getpid()} {socket.gethostname()}\n".encode())


def _holder(handle: int) -> str:
    """Who holds the lock, in words."""
    for _ in range(_TRIES):
        os.lseek(handle, 1, os.SEEK_SET)
        pid, _, host = os.read(handle, 4096).decode(errors="replace").strip().partition(" ")
        if pid:
            return f"process {pid}" if host == socket.gethostname() else f"process {pid} on {host}"
        time.sleep(0.01)
    return "another process"


def _release(lock: Path, handle: int) -> None:
    """Remove the file before the lock on it ends: afterwards it may be another process's."""
    with suppress(OSError):  # Windows keeps open files
        if _is_at(lock, handle):
            lock.unlink()
    with suppress(OSError):
        unlock_descriptor(handle)  # also for children that were forked in between
    os.close(handle)
