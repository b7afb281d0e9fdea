"""Data sets by name and options, in one word of the command line (``enmap:bands=visible``) or opened."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hsrzoo.datasets import open_dataset
from hsrzoo.datasets.base import Dataset
from hsrzoo.errors import InputError

_NEXT_OPTION = re.compile(r",(?=[A-Za-z_-]+=)")
"""A comma in front of a key: values may hold commas."""


def parse_named(text: str, what: str) -> tuple[str, dict[str, str]]:
    """The name of the data set and its options, whose keys have underscores.

    Args:
        text: ``NAME`` or ``NAME:KEY=VALUE,KEY=VALUE``.
        what: What it describes, for messages: "source".

    Raises:
        InputError: The text has another form, or a key is given twice.
    """
    dataset, colon, rest = text.partition(":")
    options: dict[str, str] = {}
    for pair in _NEXT_OPTION.split(rest) if colon else ():
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not (dataset and key and equals and value):
            raise InputError(
                f"A {what} cannot be read", expected="NAME or NAME:KEY=VALUE,KEY=VALUE", got=repr(text)
            )
        key = key.replace("-", "_")
        if key in options:
            raise InputError(f"The key {key} of a {what} is given twice", got=repr(text))
        options[key] = value
    return dataset, options


class Opener:
    """Opens data sets, each once for the same options, so that scenes of two pools are read once."""

    def __init__(self, root: Path | None) -> None:
        self._root = root
        self._opened: dict[tuple[Any, ...], Dataset] = {}

    def __call__(self, name: str, options: Mapping[str, str]) -> Dataset:
        """As :func:`hsrzoo.datasets.open_dataset`."""
        key = (name, *sorted(options.items()))
        if key not in self._opened:
            self._opened[key] = open_dataset(name, self._root, **options)
        return self._opened[key]
