"""The values of a prediction: what is asked for, where it stands, what was done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hsrzoo.io.photo import Encoding

if TYPE_CHECKING:
    from hsrzoo.models.tiling.approximate import Difference

SHARE = 0.5
"""Of the memory that is free, what a prediction takes at most when nothing else is said."""


@dataclass(frozen=True)
class PredictOptions:
    """How a cube is written. How the network runs (tiles, memory, precision) is the model's own
    :class:`hsrzoo.spec.Execution`."""

    dtype: Literal["float32", "uint16"] = "float32"
    """``uint16``: round(65535 x), x cut to [0, 1]; the factor stands in the file."""
    value_range: tuple[float, float] | None = None
    """What the image's values lie between, where its dtype does not say."""
    tta: bool = False
    """Adapt the network to the image first; needs the image in one tile."""
    encoding: Encoding = "auto"
    """What the image's values are; ``auto``: sRGB where its file says so, else proportional to light."""
    bands: tuple[float, ...] | None = None
    """Wavelengths in nm of the bands to keep, in this order; see :meth:`hsrzoo.bands.BandSet.nearest`."""
    quicklook: bool = False
    """Write a picture beside the cube, too: ``NAME.png``."""
    share: float = SHARE
    """Of the memory that is free, what the prediction takes at most where its model names no limit;
    processes that run side by side have less each."""
    save_seconds: float = 10.0
    """Between two notes of how far the run has come: what an interruption costs at most."""


@dataclass(frozen=True)
class PredictReport:
    """What :func:`predict_file` did."""

    out: Path
    size: tuple[int, int]
    """H, W."""
    bands: int
    passes: int
    """Over the image, of this run and those that it went on from."""
    tiles: int
    tile: tuple[int, int]
    """Rows and columns of a tile."""
    halo: int
    bytes: int
    """Of the cube as it is stored."""
    seconds: float
    """Of this run alone."""
    resumed: bool
    difference: Difference | None
    """Of approximate tiles from whole-image statistics, on a sample; None where tiles are exact."""
    camera: str | None = None
    """Maker and model of the image's camera, where its EXIF names them."""
    picture: Path | None = None
    """The quick look, where one was asked for."""


@dataclass(frozen=True)
class Step:
    """Where a prediction stands: ``done`` of ``total`` tiles of pass ``current`` of ``passes`` (as far
    as a small image tells)."""

    current: int
    passes: int
    done: int
    total: int


Progress = Callable[[Step], None]
Say = Callable[[str], None]
