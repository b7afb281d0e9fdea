"""Choosing the stream of a format for a cube that is written part by part."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from hsrzoo.errors import FormatError, InputError
from hsrzoo.io import format_of
from hsrzoo.io.stream import SUFFIXES, CubeShape, CubeStream, part_of, state_of

_STREAMS = {"envi": "EnviStream", "tiff": "TiffStream", "zarr": "ZarrStream"}
"""Format -> class in its module, imported when needed: the libraries of the formats are slow to import."""


def check_out(out: Path) -> None:
    """InputError or FormatError unless a cube could be written to ``out`` part by part."""
    if out.suffix.lower() not in SUFFIXES:
        raise FormatError(
            f"{out.suffix or out.name} files cannot be written part by part", expected=", ".join(SUFFIXES)
        )
    require_folder(out)
    if out.suffix.lower() == ".zarr":
        from hsrzoo.io.zarr import check_target

        check_target(out)


def require_folder(out: Path) -> None:
    """InputError unless a file could be created at ``out``."""
    if not out.parent.is_dir():
        raise InputError(f"The folder of {out} does not exist", fix=f"Make it: mkdir -p {out.parent}")
    if not os.access(out.parent, os.W_OK | os.X_OK):
        raise InputError(f"The folder {out.parent} is not writable", fix="Choose another one for --out")
    if out.is_dir() and out.suffix.lower() != ".zarr":
        raise InputError(f"{out} is a folder", fix="Choose another name")


def require_apart(out: Path, sources: Iterable[Path]) -> None:
    """InputError where writing the file ``out`` would destroy a file that it is made from."""
    part = part_of(out)
    written = (out, part.with_suffix(""), part, state_of(part))
    for source in sources:
        here = source.resolve()
        around = (here, *here.parents)
        if any(p.resolve() in around or (p.exists() and p.samefile(source)) for p in written):
            problem = f"{out.name} would take the place of {source}, from which it is made"
            raise InputError(problem, fix="Choose another name")


def open_stream(
    out: Path, cube: CubeShape, *, step: tuple[int, int], metadata: dict[str, Any]
) -> CubeStream:
    """The stream for ``out``, by its suffix (:data:`SUFFIXES`); nothing is written yet.

    ``step``: rows and columns of the tiles that will come. ``metadata``: as in
    :func:`hsrzoo.io.save_cube`.
    """
    check_out(out)
    name = format_of(out)
    make: type[CubeStream] = getattr(import_module(f"hsrzoo.io.{name}"), _STREAMS[name])
    return make(out, cube, step, metadata)
