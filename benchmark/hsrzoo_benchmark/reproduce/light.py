"""Scores when the light itself is darker or brighter, with the brightness taken out of them."""

from __future__ import annotations

from collections.abc import Sequence

from hsrzoo_benchmark.protocol import Condition
from hsrzoo_benchmark.reproduce import text
from hsrzoo_benchmark.reproduce.evidence import Evidence, Place, same_runs
from hsrzoo_benchmark.statistics.seeds import summarise

GAINS = ("0.5", "0.9", "1.1", "2")
_NOTE = """\
RGB and cube times *k* (`gain-both`): RMSE / *k* against the RMSE of the clean image, means over scenes. A
network that knows no exposure has 0 % until pixels saturate (*k* = 2)."""


def sections(evidence: Evidence, names: Sequence[str], places: Sequence[Place]) -> list[str]:
    """A table for each place where one of ``names`` has rows of all :data:`GAINS`."""
    found = []
    for place in places:
        rows = [row for name in names if (row := _row(evidence, name, place))]
        if rows:
            ordered = sorted(rows, key=lambda row: float(row["k = 0.5"].rstrip(" %")))
            found += [f"{place.dataset}/{place.split}:", text.markdown(ordered)]
    return [_NOTE, *found] if found else []


def _row(evidence: Evidence, name: str, place: Place) -> text.TableRow | None:
    clean = evidence.group(name, place)
    groups = [evidence.group(name, place, Condition("gain-both", gain)) for gain in GAINS]
    runs = same_runs([group for group in (clean, *groups) if group is not None])
    if runs is None or len(runs) != 1 + len(GAINS):
        return None
    found = [summarise(group.runs("rmse")) for group in runs]
    if len({one.scenes for one in found}) > 1:
        return None
    first, *means = (one.mean for one in found)
    cells = {
        f"k = {gain}": f"{100 * (mean / float(gain) / first - 1):+.1f} %"
        for gain, mean in zip(GAINS, means, strict=True)
    }
    return {"model": name, **cells, **text.signature(runs[1], *runs[2:])}
