"""Codes as spectra in a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.colour.srgb import encode_srgb
from hsrzoo.errors import StoreError
from hsrzoo.prediction.quicklook import rendering
from hsrzoo_mcga.stage1.report import SourceReport

_GAP = 4
"""Bands further apart than this many median spacings have a gap of the sensor between them."""
_GREY = (0.45, 0.45, 0.45)


def colours(spectra: np.ndarray, bands: BandSet) -> np.ndarray:
    """Colours of reflectance spectra (N, C) in daylight: sRGB (N, 3) in [0, 1]; one grey where the bands
    do not cover the visible range."""
    look = rendering(bands)
    if not look.as_seen:
        return np.tile(_GREY, (len(spectra), 1))
    return encode_srgb(np.clip(spectra @ look.matrix.T, 0, 1))


def break_at_gaps(bands: BandSet, spectra: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wavelengths (C',) and spectra (N, C') with NaN where the sensor has a gap or another detector
    begins, where no line is to be drawn."""
    nm = np.asarray(bands.centres_nm)
    steps = np.diff(nm)
    if len(steps) and np.median(steps) < 0:  # in descending order
        nm, spectra, steps = nm[::-1], spectra[:, ::-1], -steps[::-1]
    far = _GAP * np.median(steps) if len(steps) else np.inf
    breaks = np.flatnonzero((steps > far) | (steps < 0)) + 1
    return np.insert(nm, breaks, nm[breaks]), np.insert(spectra, breaks, np.nan, axis=1)


def _new_figure(width: float, height: float) -> Any:
    try:
        import matplotlib.figure
    except ImportError:
        raise StoreError(
            "Pictures need the package matplotlib", fix='pip install "hsrzoo[report]", or omit --picture'
        ) from None
    return matplotlib.figure.Figure(figsize=(width, height), layout="constrained")  # needs no screen


def draw(path: Path, reports: Sequence[SourceReport]) -> None:
    """Draw one panel for each source (row) and scale (column): every code's spectrum, in its own colour in
    daylight. Codes known to be dead are dashed. The suffix of ``path`` sets the format."""
    scales = max(len(r.spectra) for r in reports)
    figure = _new_figure(5.2 * scales, 3.2 * len(reports) + 0.4)
    axes = figure.subplots(len(reports), scales, squeeze=False)
    for row, report in zip(axes, reports, strict=True):
        for scale, (axis, spectra) in enumerate(zip(row, report.spectra, strict=False), 1):
            _panel(axis, report, scale, spectra)
    try:
        figure.savefig(path, dpi=130)
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path} cannot be drawn", got=str(error), fix="Name a .png, .svg or .pdf"
        ) from None


def _panel(axis: Any, report: SourceReport, scale: int, spectra: np.ndarray) -> None:
    nm, values = break_at_gaps(report.source.bands, spectra)
    alive = np.ones(len(spectra), bool) if report.used is None else report.used[scale - 1]
    lines = zip(values, colours(spectra, report.source.bands), alive, strict=True)
    for value, colour, is_alive in lines:
        axis.plot(nm, value, color=colour, lw=0.8, alpha=0.8, ls="-" if is_alive else (0, (1, 3)))
    side = f"1/{2**scale} resolution"
    dead = f", {report.dead[scale - 1]} dead (dashed)" if report.used is not None else ""
    axis.set_title(f"{report.source.name}, {side}: {len(spectra)} codes{dead}", fontsize=9)
    axis.set(xlabel="wavelength (nm)", ylabel="decoded value")
    axis.set_facecolor("0.82")  # both white and black spectra are visible on it
    axis.tick_params(labelsize=8)
