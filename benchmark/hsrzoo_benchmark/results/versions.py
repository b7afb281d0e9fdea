"""What of a stored row counts: the values of metrics in the versions that are installed.

A value of an earlier version counts where the metric declares that it cannot have changed
(:attr:`hsrzoo.spec.MetricSpec.same_since`); others are as if they had not been measured.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

from hsrzoo.errors import UnknownNameError
from hsrzoo.registry import METRICS
from hsrzoo.results import ScoreRow
from hsrzoo.spec import MetricSpec


def held(row: ScoreRow) -> list[str]:
    """Names of the metrics whose values in ``row`` count, in its order."""
    return [spec.name for spec, counts in _metrics(row) if counts]


def current(row: ScoreRow) -> dict[str, float]:
    """The columns of ``row`` that count, those that belong to no metric included."""
    outdated = {column for spec, counts in _metrics(row) if not counts for column in spec.columns}
    return {column: value for column, value in row.metrics.items() if column not in outdated}


def _metrics(row: ScoreRow) -> Iterator[tuple[MetricSpec, bool]]:
    """Each metric of the row's protocol, and whether its values count. Warns of one that is not installed:
    its values are left out."""
    for name, version, _ in row.protocol.get("metrics", ()):
        try:
            spec = METRICS.get(name)
        except UnknownNameError:
            warnings.warn(f"The metric {name!r} of stored rows is not installed and left out", stacklevel=2)
            continue
        unchanged = spec.same_since.get(version)
        yield spec, version == spec.version or (unchanged is not None and row.metrics.get(unchanged) == 0)
