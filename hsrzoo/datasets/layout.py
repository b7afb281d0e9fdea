"""Folders as people keep them: unpacked archives, upper case, and files that operating systems leave."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from hsrzoo.errors import DatasetError

_LEFTOVERS = frozenset(("thumbs.db", "desktop.ini", "__macosx"))
_DEPTH = 2
"""Levels of folders that unpacking an archive puts above a data set, at most."""


def entries(folder: Path) -> list[Path]:
    """What ``folder`` holds, sorted; nothing if it is no folder.

    Hidden files (``.DS_Store``, ``._a.mat`` beside ``a.mat``) and other leftovers of operating systems do
    not count.
    """
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [f for f in found if not f.name.startswith(".") and f.name.lower() not in _LEFTOVERS]


def subfolders(folder: Path) -> list[Path]:
    """The folders among :func:`entries`."""
    return [entry for entry in entries(folder) if entry.is_dir()]


def child(folder: Path, name: str) -> Path:
    """``folder / name``, or the entry that has this name in other case."""
    wanted = folder / name
    if wanted.exists():
        return wanted
    return next((entry for entry in entries(folder) if entry.name.lower() == name.lower()), wanted)


def unpacked(folder: Path, holds: Callable[[Path], bool], *, several: bool = False) -> Path:
    """The folder of a data set: ``folder``, or the one below it into which its archive was unpacked.

    Args:
        folder: Where the set should be.
        holds: Whether a folder is that of the set.
        several: Whether more than one of a level may be (then ``folder`` is returned) or not.

    Returns:
        The first that ``holds``, at most two levels below ``folder``; ``folder`` if there is none.

    Raises:
        DatasetError: More than one of a level do, and ``several`` is false.
    """
    level = [folder]
    for _ in range(_DEPTH + 1):
        found = [one for one in level if holds(one)]
        if len(found) == 1:
            return found[0]
        if found and several:
            return folder
        if found:
            raise DatasetError(
                f"Several folders below {folder} hold data",
                expected="one",
                got=", ".join(one.relative_to(folder).as_posix() for one in found),
                fix="Name one of them, or take the others away",
            )
        level = [below for one in level for below in subfolders(one)]
    return folder


def name_in(entry: str) -> str:
    """The file's name at the end of a path of any operating system."""
    return PurePosixPath(entry.replace("\\", "/")).name
