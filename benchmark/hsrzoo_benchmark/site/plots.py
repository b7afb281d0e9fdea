"""Accuracy against speed and against size, as SVG pictures: one point with its name for each model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsrzoo.bands import BandSet
from hsrzoo.errors import HsrzooError
from hsrzoo.registry import MODELS
from hsrzoo_benchmark.plan.models import plain_name
from hsrzoo_benchmark.results.figures import Group, figures
from hsrzoo_benchmark.results.groups import Current, SpeedPlace
from hsrzoo_benchmark.tables.markdown import bundled_config
from hsrzoo_benchmark.tables.numbers import threads_text
from hsrzoo_benchmark.tables.pictures import new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.transforms import Bbox

    from hsrzoo.models.complexity import Size

LEAST = 2
"""Points without which there is nothing to compare, and no picture."""
_BLUE, _GREY = "#0072B2", "#595959"  # of Okabe and Ito's palette, and a neutral
_STYLE: Any = {"font.size": 11, "svg.fonttype": "none", "svg.hashsalt": "hsrzoo", "text.parse_math": False}
"""Letters stay letters, the same values give the same file, and a $ in a name is a $."""
_PLACES = [(6, 0, "left", "center"), (-6, 0, "right", "center"), (0, 7, "center", "bottom"),
           (0, -7, "center", "top"), (8, 12, "left", "bottom"), (8, -12, "left", "top"),
           (-8, 12, "right", "bottom"), (-8, -12, "right", "top"), (14, 26, "left", "bottom"),
           (14, -26, "left", "top"), (-14, 26, "right", "bottom"), (-14, -26, "right", "top"),
           (20, 42, "left", "bottom"), (20, -42, "left", "top")]  # fmt: skip
"""Where a name may stand: offset in points, alignment; the first that is free is taken."""


@dataclass(frozen=True)
class Point:
    """A model: what it costs and what it scores."""

    label: str
    x: float
    mean: float
    low: float | None
    high: float | None
    leads: bool
    """In the first rank group of the models shown."""


def points(group: Group, costs: Mapping[str, float]) -> list[Point]:
    """RMSE of the entries whose cost is known, run as usual, and their ranks among each other."""
    shown = [
        entry
        for entry in group.entries
        if plain_name(entry.label) == entry.label and not entry.first.tta and costs.get(entry.label, 0) > 0
    ]
    found = figures([Group(tuple(shown))]) if shown else []
    return [
        Point(f["model"], costs[f["model"]], f["mean"], f["low"], f["high"], f["rank"] == 1)
        for f in found
        if f["metric"] == "rmse" and math.isfinite(f["mean"]) and f["mean"] > 0
    ]


def speeds(timed: Mapping[SpeedPlace, Sequence[Mapping[str, Any]]]) -> tuple[str, dict[str, float]] | None:
    """Images a second where most models were timed, at the largest such size, and what was measured there;
    None without any."""
    found = [
        ({f["model"]: f["mean"] for f in figures if f["metric"] == "images_s"}, place)
        for place, figures in timed.items()
    ]
    if not found:
        return None
    values, place = max(found, key=lambda one: (len(one[0]), one[1][3][0] * one[1][3][1]))
    device, threads, _, (height, width) = place
    label = f"images/s, {height} x {width} pixels ({device}, {threads_text(threads)})"
    return (label, values) if values else None


def sizes(current: Current) -> dict[str, Size]:
    """How many numbers a model holds, of bundled weights that are still those of its rows: others may be
    built differently."""
    found: dict[str, Size] = {}
    for name, row in {row.model: row for row in current.scores}.items():
        config = bundled_config(plain_name(name))
        if config is not None and config["weights_sha256"] == row.weights_sha256:
            counted = found.get(plain_name(name)) or _size(row.architecture, config)
            if counted is not None:
                found[name] = counted
    return found


def _size(architecture: str, config: Mapping[str, Any]) -> Size | None:
    from hsrzoo.models.complexity import size_of

    try:
        return size_of(
            MODELS.get(architecture), BandSet.from_json(config["bands"]), dict(config["arguments"])
        )
    except HsrzooError:  # of a plugin that is not there
        return None


def draw(found: Sequence[Point], xlabel: str, out: Path) -> Path:
    """One picture, both axes logarithmic: the mean with its interval over what the model costs."""
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        figure = new_figure(7.2, 4.8)
        axes = figure.subplots()
        for one in found:
            if one.low is not None and one.high is not None:
                axes.plot([one.x, one.x], [one.low, one.high], color=_GREY, lw=1, zorder=1)
            inside = _BLUE if one.leads else "white"
            axes.plot(one.x, one.mean, "o", ms=8, mec=_BLUE, mfc=inside, mew=1.6, zorder=2)
        axes.set(xscale="log", yscale="log", xlabel=xlabel, ylabel="RMSE, mean over scenes (↓ better)")
        _ticks(axes, found)
        axes.grid(True, which="major", color="#dddddd", lw=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.18, y=0.12)
        _labels(axes, found)
        return save(figure, out)


def _ticks(axes: Axes, found: Sequence[Point]) -> None:
    """Plain numbers at 1, 2 and 5 of each decade: powers of ten alone leave a short axis bare."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    def text(value: float, _: object) -> str:
        for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if value >= size:
                return f"{value / size:g} {letter}"
        return f"{value:g}"

    for axis, values in ((axes.xaxis, [p.x for p in found]), (axes.yaxis, [p.mean for p in found])):
        wide = max(values) / min(values) > 30
        axis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 3.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(text))
        axis.set_minor_formatter(NullFormatter())


def _labels(axes: Axes, found: Sequence[Point]) -> None:
    """Every name at the first place where it covers no point and no other name; a line leads to those
    that stand further away."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.transforms import Bbox

    canvas = FigureCanvasAgg(axes.get_figure(root=True))
    canvas.draw()  # the layout has to be settled before pixels mean anything
    marks = axes.transData.transform([(one.x, one.mean) for one in found])
    taken = [Bbox.from_extents(x - 9, y - 9, x + 9, y + 9) for x, y in marks]  # what the points cover
    frame = axes.get_window_extent()
    for one in sorted(found, key=lambda p: p.mean):
        best, cost = _PLACES[0], math.inf
        for place in _PLACES:
            box = _box(axes, canvas, one, place)
            overlaps = sum(box.overlaps(other) for other in taken)
            outside = box.x0 < frame.x0 or box.x1 > frame.x1 or box.y0 < frame.y0 or box.y1 > frame.y1
            if overlaps + 2 * outside < cost:
                best, cost = place, overlaps + 2 * outside
            if cost == 0:
                break
        taken.append(_box(axes, canvas, one, best))
        _annotate(axes, one, best, led=True)


def _annotate(axes: Axes, one: Point, place: tuple[int, int, str, str], led: bool) -> Any:
    dx, dy, ha, va = place
    line = {"arrowstyle": "-", "color": _GREY, "lw": 0.6} if led and abs(dy) > 10 else None
    return axes.annotate(
        one.label, (one.x, one.mean), (dx, dy), textcoords="offset points", ha=ha, va=va, fontsize=10,
        arrowprops=line, zorder=3,
        bbox={"boxstyle": "square,pad=0.05", "fc": "white", "ec": "none", "alpha": 0.8},
    )  # fmt: skip


def _box(axes: Axes, canvas: FigureCanvasAgg, one: Point, place: tuple[int, int, str, str]) -> Bbox:
    """What a name would cover there, pixels."""
    text = _annotate(axes, one, place, led=False)
    box = text.get_window_extent(canvas.get_renderer())
    text.remove()
    return box
