"""The picture of prediction intervals: what share of a scene's values they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo_benchmark.results.figures import Group
from hsrzoo_benchmark.run.uncertainty import LEVEL, NAME, NAMES
from hsrzoo_benchmark.site.plots import STYLE
from hsrzoo_benchmark.tables.pictures import new_figure, save

COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#595959")
LEGEND_LINE = 0.19
"""Height of a line of a legend below a picture, inches."""
Coverages = Mapping[str, Mapping[str, Sequence[float]]]
"""Model -> where -> coverage of each scene."""
_TITLES = {"clean": "as they are", "gain-both-0.5": "exposure x 0.5", "gain-both-2": "exposure x 2",
           "metamer-1": "metamers"}  # fmt: skip


def condition_title(perturbation: str | None, severity: str | None) -> str:
    """What was done to the scenes, for people."""
    camera = f"camera {severity}" if perturbation != NAME else str(severity)
    return _TITLES.get(str(severity), camera)


def coverages(groups: Sequence[Group]) -> dict[tuple[str, str], Coverages]:
    """Data set and split -> what the rows of ``groups`` say, of the seven models with most conditions."""
    found: dict[tuple[str, str], dict[str, dict[str, list[float]]]] = {}
    for group in groups:
        condition = group.condition
        if condition.perturbation not in NAMES:
            continue
        for entry in group.having("coverage"):
            of_place = found.setdefault(group.place, {}).setdefault(entry.label, {})
            title = condition_title(condition.perturbation, condition.severity)
            of_place[title] = list(entry.scenes("coverage").values())
    most = {place: sorted(models, key=lambda m: -len(models[m])) for place, models in found.items()}
    return {place: {m: found[place][m] for m in names[: len(COLOURS)]} for place, names in most.items()}


def describe(found: Coverages) -> str:
    """The picture in words: the worst scene wherever it is."""
    places = dict.fromkeys(where for values in found.values() for where in values)
    worst = {
        where: min((min(values[where]), name) for name, values in found.items() if where in values)
        for where in places
    }
    items = (f"{where} {100 * least:.0f} % ({name})" for where, (least, name) in worst.items())
    return f"Worst scene: {'; '.join(items)}"


def draw(found: Coverages, out: Path, width: float = 7.2) -> Path:
    """A mark at the mean over scenes, a line from the worst to the best. ``width``: of all, in inches."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        places = list(dict.fromkeys(where for values in found.values() for where in values))
        below = 0.6 + LEGEND_LINE * -(-len(found) // 2)
        height = below + 0.15 + (0.06 + 0.05 * len(found)) * len(places)
        figure = new_figure(width, height, arrange=False)
        inside = {"left": 2.85 / width, "right": 0.97, "bottom": below / height, "top": 1 - 0.15 / height}
        axes: Any = figure.subplots(gridspec_kw=inside)
        axes.axvline(100 * LEVEL, color="#595959", lw=1)
        shifts = np.linspace(-0.3, 0.3, len(found)) if len(found) > 1 else [0.0]
        for shift, colour, (name, values) in zip(shifts, COLOURS, found.items(), strict=False):
            at = [places.index(where) + shift for where in values]
            low, high = ([100 * end(scenes) for scenes in values.values()] for end in (min, max))
            axes.hlines(at, low, high, color=colour, lw=1.5)
            means = [100 * float(np.mean(scenes)) for scenes in values.values()]
            axes.plot(means, at, "o", color=colour, ms=4, label=name)
        axes.set(xlabel=f"values within intervals of {100 * LEVEL:g} %, %", yticks=range(len(places)),
                 ylim=(len(places) - 0.5, -0.5))  # fmt: skip
        axes.set_yticklabels(places)
        axes.grid(True, axis="x", color="#dddddd", lw=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="lower center", ncols=2, frameon=False, fontsize=9)
        return save(figure, out)
