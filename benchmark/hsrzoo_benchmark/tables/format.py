"""Figures as cells for people: four significant digits, intervals in brackets."""

from __future__ import annotations

import math
from typing import Any

from hsrzoo.registry import METRICS

ABSENT = "-"
_NOISE = 1e-12
"""Below this a difference is rounding."""
_UNITS = {"psnr": " dB", "sam": " °"}


def significant(value: Any, digits: int = 4) -> str:
    """A number with ``digits`` significant digits and no exponent; words stay, None is :data:`ABSENT`."""
    if value is None:
        return ABSENT
    if isinstance(value, str):
        return value
    if abs(value) < _NOISE:
        return "0"
    if not math.isfinite(value):
        return f"{value:g}"
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"


def interval(mean: float | None, low: float | None, high: float | None, sign: bool = False) -> str:
    """``0.0311 (0.0218 to 0.0426)``; ``sign``: with a plus before what is above 0."""
    if mean is None:
        return ABSENT

    def text(value: float) -> str:
        return ("+" if sign and value > _NOISE else "") + significant(value)

    return text(mean) + (f" ({text(low)} to {text(high)})" if low is not None and high is not None else "")


def metric_heading(metric: str) -> str:
    """``PSNR dB ↑``."""
    arrow = "↓" if METRICS.get(metric).better == "lower" else "↑"
    name = "dE2000" if metric == "de2000" else metric.upper()
    return f"{name}{_UNITS.get(metric, '')} {arrow}"
