"""Scores when the light itself is darker or brighter, with the brightness taken out of them."""

from __future__ import annotations

from collections.abc import Sequence

from hsrzoo_benchmark.plan.conditions import conditions_of
from hsrzoo_benchmark.protocol import CLEAN
from hsrzoo_benchmark.reproduce import text
from hsrzoo_benchmark.reproduce.evidence import Evidence, Place, same_runs
from hsrzoo_benchmark.statistics.seeds import summarise

_NOTE = """\
RGB and cube times *k* (`gain-both`): RMSE / *k* against the RMSE of the clean image, means over scenes. A
network that knows no exposure has 0 % until pixels saturate (*k* = 2)."""


def sections(evidence: Evidence, names: Sequence[str], places: Sequence[Place]) -> list[str]:
    """A table for each place where one of ``names`` has rows of all conditions of ``gain-both``."""
    found = []
    for place in places:
        rows = {name: row for name in names if (row := _row(evidence, name, place))}
        if rows:
            ordered = sorted(rows.items(), key=lambda item: item[1][0])
            lines = ({"model": name, **_cells(growth), **signed} for name, (growth, signed) in ordered)
            found += [f"{place.dataset}/{place.split}:", text.markdown(lines)]
    return [_NOTE, *found] if found else []


def _row(evidence: Evidence, name: str, place: Place) -> tuple[list[float], text.TableRow] | None:
    """How much RMSE / k is above the clean one, a share for each of :func:`_factors`, and the signature."""
    conditions = (CLEAN, *conditions_of("gain-both"))
    groups = [evidence.group(name, place, condition) for condition in conditions]
    runs = same_runs([group for group in groups if group is not None])
    if runs is None or len(runs) != len(groups):
        return None
    found = [summarise(group.runs("rmse")) for group in runs]
    if len({one.scenes for one in found}) > 1:
        return None
    clean, *means = (one.mean for one in found)
    growth = [mean / float(k) / clean - 1 for mean, k in zip(means, _factors(), strict=True)]
    return growth, text.signature(runs[1], *runs[2:])


def _factors() -> list[str]:
    return [str(condition.severity) for condition in conditions_of("gain-both")]


def _cells(growth: Sequence[float]) -> text.TableRow:
    return {f"k = {k}": f"{100 * share:+.1f} %" for k, share in zip(_factors(), growth, strict=True)}
