"""Numbers as text in tables: significant digits, intervals in brackets, headings of metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from hsrzoo.registry import METRICS
from hsrzoo_benchmark.statistics.intervals import MIN_SCENES, TOO_FEW, Difference, Interval

ABSENT = "-"
MAIN_METRICS = ("rmse", "psnr", "sam", "mrae", "de2000")
"""In the order of tables for readers; others follow."""
_NOISE = 1e-12
"""Below this a difference is rounding."""
_NAMES = {"de2000": "dE2000", "sam-lit": "SAM, lit pixels,", "mrae-lit": "MRAE, lit pixels"}
_UNITS = {"psnr": " dB", "sam": " °", "sam-lit": " °"}


def significant(value: Any, digits: int = 4) -> str:
    """A number with ``digits`` significant digits, all of those before the point, and no exponent; text
    stays, None is :data:`ABSENT`."""
    if value is None:
        return ABSENT
    if isinstance(value, str):
        return value
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{value:g}"
    if abs(value) < _NOISE:
        return "0"
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])
    return f"{value:.{max(0, digits - 1 - exponent)}f}"


def measured(value: float | str) -> str:
    """As :func:`significant`, of a mean or a time, of which 0 shows its digits too: 0.000."""
    return "0.000" if value == 0 else significant(value)


def trimmed(value: float | str | None) -> str:
    """As :func:`significant`, without zeros at the end."""
    text = significant(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def decimals(value: float | str, like: float | None = None, sign: Literal["", "+"] = "") -> str:
    """Two decimals from 1 on and four below, as many as ``like`` has; text stays. ``sign``: "+" writes that
    of positive numbers too."""
    if isinstance(value, str):
        return value
    return f"{value:{sign}.{2 if abs(value if like is None else like) >= 1 else 4}f}"


def with_interval(mean: float | None, interval: Interval | None, sign: bool = False) -> str:
    """``0.0311 (0.0218 to 0.0426)``; ``sign``: with a plus before what is above 0."""
    if mean is None:
        return ABSENT

    def text(value: float) -> str:
        return ("+" if sign and value > _NOISE else "") + significant(value)

    return text(mean) + (f" ({text(interval.low)} to {text(interval.high)})" if interval else "")


def rank_text(rank: int | None, scenes: int) -> str:
    """``#1``; that there are too few scenes for a rank; "" where a figure has none for another reason."""
    if rank is None:
        return TOO_FEW if scenes < MIN_SCENES else ""
    return f"#{rank}"


def with_wins(gap: Difference) -> tuple[str, str]:
    """A paired difference with its interval, and on how many scenes the first is better."""
    return with_interval(gap.mean, gap.interval, sign=True), f"{gap.wins}/{gap.scenes}"


def metric_heading(metric: str) -> str:
    """``PSNR dB ↑``."""
    arrow = "↓" if METRICS.get(metric).better == "lower" else "↑"
    return f"{metric_name(metric)} {arrow}"


def metric_name(metric: str) -> str:
    """``PSNR dB``."""
    return _NAMES.get(metric, metric.upper()) + _UNITS.get(metric, "")


def in_main_order(metrics: Sequence[str]) -> list[str]:
    """:data:`MAIN_METRICS` first."""
    known = list(MAIN_METRICS)
    return sorted(metrics, key=lambda m: known.index(m) if m in known else len(known))


def threads_text(threads: int | None) -> str:
    """``1 thread``, ``2 threads``."""
    return f"{threads} thread{'' if threads == 1 else 's'}"
