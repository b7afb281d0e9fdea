"""Accuracy against speed and against size, as SVG pictures: one point with its name for each model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsrzoo.models.locate import folder_of
from hsrzoo.models.names import parse_name
from hsrzoo.models.parts import size_of
from hsrzoo_benchmark.plan.models import plain_name
from hsrzoo_benchmark.results.figures import Group, figures
from hsrzoo_benchmark.results.groups import Current, SpeedPlace
from hsrzoo_benchmark.tables.markdown import bundled_config
from hsrzoo_benchmark.tables.numbers import threads_text
from hsrzoo_benchmark.tables.pictures import new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

LEAST = 2
"""Points without which there is nothing to compare, and no picture."""
_BLUE, _GREY = "#0072B2", "#595959"  # of Okabe and Ito's palette, and a neutral
STYLE: Any = {"font.size": 11, "svg.fonttype": "none", "svg.hashsalt": "hsrzoo", "text.parse_math": False}
"""Letters stay letters, the same values give the same file, and a $ in a name is a $."""
_NAME_SIZE = 10
"""Of the names beside points, in points."""
_Place = tuple[int, int, str, str]
_PLACES: list[_Place] = [(6, 0, "left", "center"), (-6, 0, "right", "center"), (0, 7, "center", "bottom"),
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
    found = figures([Group(tuple(shown), wanted=("rmse",))]) if shown else []
    return [
        Point(f["model"], costs[f["model"]], f["mean"], f["low"], f["high"], f["rank"] == 1)
        for f in found
        if math.isfinite(f["mean"]) and f["mean"] > 0
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


def sizes(current: Current) -> dict[str, int]:
    """How many numbers the weights of a model hold, of bundled ones that are still those of its rows."""
    found: dict[str, int] = {}
    for name, row in {row.model: row for row in current.scores}.items():
        config = bundled_config(plain_name(name))
        if config is not None and config["weights_sha256"] == row.weights_sha256:
            found[name] = size_of(folder_of(parse_name(plain_name(name))), config).numbers
    return found


def draw(found: Sequence[Point], xlabel: str, out: Path, width: float = 7.2, height: float = 4.8) -> Path:
    """One picture: the mean with its interval over what the model costs, on a logarithmic axis; that of the
    means is logarithmic where they span more than a factor of 3. Its size is in inches."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        figure = new_figure(width, height, arrange=False)
        frame = {"left": 0.86 / width, "right": 0.98, "bottom": 0.62 / height, "top": 0.97}
        axes = figure.subplots(gridspec_kw=frame)
        for one in found:
            if one.low is not None and one.high is not None:
                axes.plot([one.x, one.x], [one.low, one.high], color=_GREY, lw=1, zorder=1)
            inside = _BLUE if one.leads else "white"
            axes.plot(one.x, one.mean, "o", ms=8, mec=_BLUE, mfc=inside, mew=1.6, zorder=2)
        means = [one.mean for one in found]
        scale = "log" if max(means) > 3 * min(means) else "linear"
        axes.set(xscale="log", yscale=scale, xlabel=xlabel, ylabel="mean RMSE (↓ better)")
        _ticks(axes, found)
        axes.grid(True, which="major", color="#dddddd", lw=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.18, y=0.12)
        _labels(axes, found)
        return save(figure, out)


def _ticks(axes: Axes, found: Sequence[Point]) -> None:
    """Plain numbers at 1, 2, 3 and 5 of each decade: powers of ten alone leave a short axis bare."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    def text(value: float, _: object) -> str:
        for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if value >= size:
                return f"{value / size:g} {letter}"
        return f"{value:g}"

    for axis, values in ((axes.xaxis, [p.x for p in found]), (axes.yaxis, [p.mean for p in found])):
        if axis.get_scale() != "log":
            continue
        wide = max(values) / min(values) > 30
        axis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 3.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(text))
        axis.set_minor_locator(NullLocator())  # making them takes longer than all that is drawn


def _labels(axes: Axes, found: Sequence[Point]) -> None:
    """Every name at the first place where it covers no point and no other name; a line leads to those
    that stand further away."""
    from matplotlib.transforms import Bbox

    axes.autoscale_view()  # limits have to be settled before pixels mean anything
    marks = axes.transData.transform([(one.x, one.mean) for one in found])
    taken = [Bbox.from_extents(x - 9, y - 9, x + 9, y + 9) for x, y in marks]  # what the points cover
    frame = axes.get_window_extent()
    for one, (x, y) in sorted(zip(found, marks, strict=True), key=lambda pair: pair[0].mean):
        best, cost = None, math.inf
        for place, box in _boxes(axes, one, x, y):
            overlaps = sum(box.overlaps(other) for other in taken)
            outside = box.x0 < frame.x0 or box.x1 > frame.x1 or box.y0 < frame.y0 or box.y1 > frame.y1
            if overlaps + 2 * outside < cost:
                best, cost = (place, box), overlaps + 2 * outside
            if cost == 0:
                break
        if best is not None:
            taken.append(best[1])
            _annotate(axes, one, best[0])


def _annotate(axes: Axes, one: Point, place: _Place) -> None:
    dx, dy, ha, va = place
    line = {"arrowstyle": "-", "color": _GREY, "lw": 0.6} if abs(dy) > 10 else None
    axes.annotate(
        one.label, (one.x, one.mean), (dx, dy), textcoords="offset points", ha=ha, va=va,
        fontsize=_NAME_SIZE, arrowprops=line, zorder=3,
        bbox={"boxstyle": "square,pad=0.05", "fc": "white", "ec": "none", "alpha": 0.8},
    )  # fmt: skip


def _boxes(axes: Axes, one: Point, x: float, y: float) -> Iterator[tuple[_Place, Bbox]]:
    """What the name of a point at (x, y) would cover at each place, pixels."""
    from matplotlib.transforms import Bbox

    text = axes.text(0, 0, one.label, fontsize=_NAME_SIZE)
    extent = text.get_window_extent()
    text.remove()
    width, height = extent.width, extent.height
    shift = {"left": 0.0, "center": 0.5, "right": 1.0, "bottom": 0.0, "top": 1.0}
    points = axes.figure.dpi / 72
    for dx, dy, ha, va in _PLACES:
        left, bottom = x + dx * points - shift[ha] * width, y + dy * points - shift[va] * height
        yield (dx, dy, ha, va), Bbox.from_bounds(left, bottom, width, height)
