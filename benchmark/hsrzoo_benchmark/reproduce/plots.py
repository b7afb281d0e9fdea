"""The plots of the summary: accuracy against time, other sensors, disturbed images, intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hsrzoo_benchmark.protocol import CLEAN, Condition
from hsrzoo_benchmark.reproduce import intervals
from hsrzoo_benchmark.reproduce.evidence import Evidence, same_runs
from hsrzoo_benchmark.reproduce.ranking import comparable, headline_names, ranking
from hsrzoo_benchmark.reproduce.sensors import GENERAL, relative
from hsrzoo_benchmark.reproduce.tables import HOME
from hsrzoo_benchmark.results.speeds import main_machine
from hsrzoo_benchmark.site import coverage
from hsrzoo_benchmark.site.plots import STYLE, Point
from hsrzoo_benchmark.site.plots import draw as draw_points
from hsrzoo_benchmark.speed import timing
from hsrzoo_benchmark.statistics.seeds import summarise
from hsrzoo_benchmark.tables.numbers import significant, threads_text
from hsrzoo_benchmark.tables.pictures import new_figure, save

_SIDE = 512
_WIDTH = 5.6
"""Of a picture, inches: two fit side by side."""
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#595959")
_MARKS = "osD^vPX"
_SHOWN = (
    "mst-plus-plus.cave",
    "mcga-plus.cave",
    "r3st.cave",
    "mcga-s2.cave",
    "pixel-mlp.cave",
    "poly.cave",
)
"""Models of the plots with a line for each."""
_CONDITIONS = {
    "mixed patches of 16": Condition("mixed-patch", "16"),
    "mixed patches of 8": Condition("mixed-patch", "8"),
    "darker (e = 1/0.9)": Condition("gamma", "paper-minus10"),
    "brighter (e = 1/1.1)": Condition("gamma", "paper-plus10"),
    "image x 0.5": Condition("gain", "0.5"),
    "camera CIE 1964": Condition("camera", "cie-1964"),
    "camera SDMerill": Condition("camera", "sigma-sdmerill"),
    "metamers": Condition("metamer", "1"),
}

Lines = Mapping[str, Mapping[str, float]]
"""Model -> where -> value."""


@dataclass(frozen=True)
class Plot:
    """One picture of the summary."""

    file: str
    title: str
    alt: str
    caption: str
    draw: Callable[[Path], Path]


def plots(evidence: Evidence) -> list[Plot]:
    """All for which there are rows."""
    return [plot for make in (_time, _sensors, _robustness, _intervals) for plot in make(evidence)]


def draw(evidence: Evidence, folder: Path) -> None:
    """Write all pictures into ``folder``. PluginError where matplotlib is absent."""
    for plot in plots(evidence):
        plot.draw(folder / plot.file)


_OUTSIDE = "mean-spectrum.cave"
"""Not drawn: with its error the others would lie on one line."""


def _time(evidence: Evidence) -> Iterator[Plot]:
    rows = [
        row
        for row in evidence.speed
        if row.method == timing.METHOD and row.size == (_SIDE, _SIDE) and row.p50
    ]
    machine = main_machine(rows)
    if machine is None:
        return
    times = {row.model: 1e3 * row.p50 for row in rows if row.machine == machine and row.p50}
    groups = comparable(evidence, headline_names("cave"), HOME)
    found = []
    for one in ranking(groups, "rmse"):
        interval = summarise(one.group.runs("rmse")).interval
        low, high = (interval.low, interval.high) if interval else (None, None)
        if one.name in times and one.name != _OUTSIDE:
            name = one.name.removesuffix(".cave")
            found.append(Point(name, times[one.name], one.mean, low, high, one.rank == 1))
    if len(found) < 2:
        return
    label = f"ms for {_SIDE} x {_SIDE} pixels ({machine[0]}, {threads_text(machine[1])})"
    scenes = ranking(groups, "rmse")[0].scenes
    yield Plot(
        "time.svg", "Accuracy against time",
        "; ".join(f"{p.label}: {significant(p.x, 3)} ms, RMSE {significant(p.mean)}" for p in found),
        f"Mean over {scenes} scenes of {HOME.dataset}/{HOME.split} and seeds, with 95 % intervals; filled: "
        "not significantly different from the best ([table](results/networks.md#networks-at-full-budget), "
        "with `mean-spectrum`).",
        lambda out: draw_points(found, label, out, _WIDTH, 3.1),
    )  # fmt: skip


def _sensors(evidence: Evidence) -> Iterator[Plot]:
    found = relative(evidence)
    shown = {name: found[name] for name in found if name in _SHOWN or name.endswith(GENERAL)}
    shown = {
        name: shown[name] for name in sorted(shown, key=lambda n: sum(shown[n].values()))[: len(_COLOURS)]
    }
    if not shown:
        return
    yield Plot(
        "sensors.svg", "Sensors not seen in training", _alt(shown),
        f"RMSE divided by that of linear regression; `{GENERAL}`: trained on several sensors, scored on "
        "those left out ([table](results/generalisation.md#sensors-not-seen-in-training)).",
        lambda out: _dots(shown, "RMSE / RMSE of linear regression (↓ better)", out),
    )  # fmt: skip


def _robustness(evidence: Evidence) -> Iterator[Plot]:
    found: dict[str, dict[str, float]] = {}
    for name, clean in comparable(evidence, _SHOWN, HOME, CLEAN).items():
        for title, condition in _CONDITIONS.items():
            other = evidence.group(name, HOME, condition)
            pair = same_runs([other, clean]) if other else None
            if pair:
                disturbed, plain = (summarise(group.runs("rmse")).mean for group in pair)
                found.setdefault(name, {})[title] = disturbed / plain
    if not found:
        return
    yield Plot(
        "disturbances.svg", "Disturbed images", _alt(found),
        "RMSE on disturbed images divided by that on undisturbed ones of the same training "
        "([tables](results/disturbances.md)); metamers: the same image of other spectra.",
        lambda out: _dots(found, "RMSE / RMSE of undisturbed images (↓ better)", out),
    )  # fmt: skip


def _intervals(evidence: Evidence) -> Iterator[Plot]:
    found = intervals.coverages(evidence)
    if not found:
        return
    yield Plot(
        "intervals.svg", "Prediction intervals",
        coverage.describe(found),
        "Share of the values that intervals of 90 % hold: mean over scenes, lines from the worst to the "
        "best scene ([table](results/intervals.md#coverage-width-and-order-of-errors)).",
        lambda out: coverage.draw(found, out, _WIDTH),
    )  # fmt: skip


def _alt(lines: Lines) -> str:
    best = {
        where: min((values[where], name) for name, values in lines.items() if where in values)
        for where in dict.fromkeys(where for values in lines.values() for where in values)
    }
    return "Smallest: " + "; ".join(f"{where} {name} {value:.2f}" for where, (value, name) in best.items())


def _dots(lines: Lines, label: str, out: Path) -> Path:
    """A row for each place, a mark for each model."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        places = list(dict.fromkeys(where for values in lines.values() for where in values))
        below = 0.6 + coverage.LEGEND_LINE * -(-len(lines) // 3)
        height = below + 0.1 + 0.32 * len(places)
        figure = new_figure(_WIDTH, height, arrange=False)
        inside = {"left": 1.8 / _WIDTH, "right": 0.97, "bottom": below / height, "top": 1 - 0.1 / height}
        axes: Any = figure.subplots(gridspec_kw=inside)
        axes.axvline(1, color="#595959", lw=1)
        for (name, values), colour, mark in zip(lines.items(), _COLOURS, _MARKS, strict=False):
            places_at = [places.index(where) for where in values]
            axes.plot(list(values.values()), places_at, mark, color=colour, ms=7, label=name, alpha=0.85)
        top = max(value for values in lines.values() for value in values.values())
        if top > 2:
            ticks = [tick for tick in (1, 1.2, 1.5, 2, 3, 5, 10) if tick < 1.1 * top]
            axes.set_xscale("log")
            axes.set_xticks(ticks, labels=[f"{tick:g}" for tick in ticks], minor=False)
            axes.set_xticks([], minor=True)
        axes.set(xlabel=label, yticks=range(len(places)), ylim=(len(places) - 0.5, -0.5))
        axes.set_yticklabels(places)
        axes.grid(True, color="#dddddd", lw=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="lower center", ncols=3, frameon=False, fontsize=9)
        return save(figure, out)
