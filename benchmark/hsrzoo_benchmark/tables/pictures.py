"""Pictures drawn with matplotlib, which is an extra: the same values give the same file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsrzoo.errors import PluginError
from hsrzoo.io.common import output_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 150
_METADATA = {".png": {"Software": None}, ".svg": {"Date": None, "Creator": None}}
"""Left out, as they change from day to day."""


def new_figure(width: float, height: float, arrange: bool = True) -> Figure:
    """An empty picture, inches; PluginError where matplotlib is absent.

    ``arrange``: make room for all text, for which everything is drawn three times.
    """
    try:
        from matplotlib.figure import Figure  # drawn without a screen
    except ImportError as error:
        raise PluginError(
            "matplotlib is not installed", got=str(error), fix='pip install "hsrzoo[report]"'
        ) from None
    return Figure(figsize=(width, height), dpi=_DPI, layout="constrained" if arrange else None)


def save(figure: Figure, out: Path, **encoder: Any) -> Path:
    """Write a picture, whole or not at all. ``encoder``: options of Pillow, such as a JPEG's quality."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with output_file(out) as temporary:
        more: Any = {"pil_kwargs": encoder} if encoder else {}
        figure.savefig(temporary, metadata=_METADATA.get(out.suffix), **more)
    return out
