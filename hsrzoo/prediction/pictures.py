"""Pictures that are written beside another output, under a name that follows from that output's."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hsrzoo.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

_MAKER = ("Software", "hsrzoo")
"""Keyword and text of a PNG that marks a picture as made here."""


def png(image: Image, facts: Mapping[str, str] | None = None) -> bytes:
    """``image`` as PNG, with ``facts`` and its maker as text chunks."""
    from PIL.PngImagePlugin import PngInfo

    chunks = PngInfo()
    chunks.add_text(*_MAKER)
    for name, text in (facts or {}).items():
        if re.fullmatch(r"[a-z0-9_]{1,79}", name):  # PNG allows few characters more
            chunks.add_text(name, text)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=chunks)
    return buffer.getvalue()


def require_replaceable(picture: Path, sources: Iterable[Path]) -> None:
    """InputError if ``picture`` is one of the ``sources``, or another file that :func:`png` did not make:
    nobody asked for that name, and photographs often have it."""
    if not picture.exists():
        return
    if any(picture.samefile(source) for source in sources) or not _is_ours(picture):
        raise InputError(
            f"The picture {picture.name} would overwrite the image of that name",
            expected="no file, or a picture that hsrzoo made",
            got=picture,
            fix="Give --out another folder or name",
        )


def _is_ours(picture: Path) -> bool:
    from PIL import Image

    keyword, maker = _MAKER
    try:
        with Image.open(picture) as found:
            return found.info.get(keyword) == maker
    except Exception:  # Pillow raises errors of many kinds for what is no picture
        return False


__all__ = ["png", "require_replaceable"]
