"""The figure of a model's card: its error at every wavelength, from stored rows, as SVG.

It needs no library, and equal rows give equal bytes: nothing is pushed if nothing has
changed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from statistics import fmean

from hsrzoo.results import ScoreRow, by_protocol

FILE = "figure.svg"
"""Path in a repository."""
_WIDTH, _HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 40, 50
_TICKS = 4


def error_figure(rows: Iterable[ScoreRow], centres_nm: Sequence[float]) -> bytes | None:
    """RMSE of every band: the mean over the scenes as a line, its range over them as an area.

    Args:
        rows: Rows of one model. Those of unchanged input, on scenes that it was not trained on, with errors
            of as many bands as the model has, count; of several data sets the one with most scenes.
        centres_nm: Centres of the model's bands.

    Returns:
        The SVG; None without such rows.
    """
    wanted = [
        row
        for row in rows
        if row.perturbation is None
        and not (row.tta or row.seen_in_training)
        and len(row.per_band.get("rmse", ())) == len(centres_nm)
    ]
    groups = sorted(
        by_protocol(wanted), key=lambda rows: (-len(rows), rows[0].dataset, rows[0].protocol_hash)
    )
    bands = [band for band, _ in sorted(enumerate(centres_nm), key=lambda item: item[1])]
    for group in groups:
        points = []
        for band in bands:
            errors = [row.per_band["rmse"][band] for row in group]
            if all(map(math.isfinite, errors)):
                points.append((centres_nm[band], min(errors), fmean(errors), max(errors)))
        if len(points) > 1:
            first = group[0]
            title = f"RMSE by wavelength, {first.dataset}/{first.split}, {first.protocol_name}"
            return _svg(f"{title}: mean and range of {len(group)} scenes", points).encode()
    return None


def _svg(title: str, points: Sequence[tuple[float, float, float, float]]) -> str:
    """``points``: wavelength, least, mean and largest error, by wavelength."""
    first, last = points[0][0], points[-1][0]
    top = max(point[3] for point in points) or 1.0

    def x(nm: float) -> float:
        return _LEFT + (nm - first) / (last - first) * (_WIDTH - _LEFT - _RIGHT)

    def y(error: float) -> float:
        return _HEIGHT - _BOTTOM - error / top * (_HEIGHT - _TOP - _BOTTOM)

    def path(values: Iterable[tuple[float, float]]) -> str:
        return " ".join(f"{x(nm):.1f},{y(error):.1f}" for nm, error in values)

    low, mean, high = ([(point[0], point[i]) for point in points] for i in (1, 2, 3))
    shares = [i / _TICKS for i in range(_TICKS + 1)]
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_WIDTH / 2:g}" y="22" text-anchor="middle">{escape(title)}</text>',
        *(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(top * s):.1f}" y2="{y(top * s):.1f}" '
            f'stroke="#ddd"/><text x="{_LEFT - 8}" y="{y(top * s) + 4:.1f}" text-anchor="end">'
            f"{top * s:.3g}</text>"
            for s in shares
        ),
        *(
            f'<text x="{x(nm):.1f}" y="{_HEIGHT - _BOTTOM + 20}" text-anchor="middle">{nm:.0f}</text>'
            for nm in (first + s * (last - first) for s in shares)
        ),
        f'<text x="{_WIDTH / 2:g}" y="{_HEIGHT - 10}" text-anchor="middle">wavelength, nm</text>',
        f'<polygon points="{path([*low, *reversed(high)])}" fill="#4477aa" fill-opacity="0.2"/>',
        f'<polyline points="{path(mean)}" fill="none" stroke="#4477aa" stroke-width="2"/>',
        "</svg>",
    ]
    return "\n".join(lines) + "\n"
