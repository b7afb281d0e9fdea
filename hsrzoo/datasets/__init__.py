"""Data sets by name: their location and how to open them."""

from __future__ import annotations

import inspect
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsrzoo.errors import require_known
from hsrzoo.registry import DATASETS
from hsrzoo.spec import resolve

if TYPE_CHECKING:
    from hsrzoo.datasets.base import Dataset


def data_root(option: Path | str | None = None) -> Path:
    """The folder that holds all data sets, absolute; it need not exist.

    Args:
        option: What the user chose. Default: ``HSRZOO_DATA``, else ``hsrzoo`` in the platform's folder for
            user data.
    """
    chosen = option or os.environ.get("HSRZOO_DATA") or _platform_folder() / "hsrzoo"
    return Path(chosen).expanduser().resolve()


def open_dataset(name: str, data_root: Path | str | None = None, **options: Any) -> Dataset:
    """Open a registered data set.

    Args:
        name: Its name.
        data_root: See :func:`data_root`.
        **options: Those of the data set (see its module).

    Raises:
        UnknownNameError: There is no such data set or option.
        DatasetMissingError: It is not on this machine.
    """
    opener = resolve(DATASETS.get(name).open)
    known = list(inspect.signature(opener).parameters)[1:]
    for option in options:
        require_known(f"option of {name}", option, known)
    return opener(_root_of(data_root), **options)


_root_of = data_root  # open_dataset's parameter hides the function's name


def _platform_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


__all__ = ["data_root", "open_dataset"]
