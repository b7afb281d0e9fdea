"""Figures as tables of a terminal: models down, metrics across, intervals and ranks in the cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hsrzoo.metrics import NODATA
from hsrzoo.registry import METRICS
from hsrzoo.results import POOLED, ScoreRow, SpeedRow
from hsrzoo_benchmark.results.figures import NOT_SIGNIFICANT, condition_text, learned_from
from hsrzoo_benchmark.results.speeds import PAPER_TIME
from hsrzoo_benchmark.run.metamer import HALF_WAY, STRONGEST
from hsrzoo_benchmark.run.uncertainty import WORST
from hsrzoo_benchmark.speed.timing import MIN_RUNS
from hsrzoo_benchmark.statistics.intervals import METHOD, MIN_SCENES, TOO_FEW
from hsrzoo_benchmark.tables.numbers import decimals, threads_text, trimmed

_SCORE_HEADINGS = {"condition": "condition, hash", "model": "model", "n": "n"}
_GAP = 3
"""Characters between two columns."""
COMMIT_LENGTH = 12
"""Characters of a commit's name that are shown."""
_LABELS = (*_SCORE_HEADINGS, "size", "runs")
"""Columns that every part of a split table has."""
_MEMORY_HEADINGS = {
    f"rmse_clean {STRONGEST}": "rmse, clean ↓",
    f"rmse {HALF_WAY}": "rmse, strength 0.5 ↓",
    f"rmse {STRONGEST}": "rmse, strength 1 ↓",
    f"unseen_clean {STRONGEST}": "unseen part explained, clean",
    f"unseen {STRONGEST}": "unseen part explained, strength 1",
    f"colour_memory {STRONGEST}": "colour memory",
}
_MEMORY_NOTE = (
    "Unseen part: what of the spectra lies in the camera's null space, so that RGB does not depend on it. "
    "Explained: 1 - squared error / squared deviation from the scene's mean spectrum. Clean: the same "
    "predictions, as metamers have the same picture, against the scene's own spectra. Colour memory: what "
    "is explained there, above 0, and no longer on metamers of strength 1. What remains is no skill, but "
    "the likeness of metamers to the spectra that they replace."
)
INTERVAL_HEADINGS = {
    "coverage": "covered by 90 %",
    WORST: "worst scene",
    "width": "mean width ↓",
    "interval_score": "interval score ↓",
    "calibration_error": "calibration error ↓",
    "ause": "AUSE ↓",
    "ause_brightness": "AUSE, brightness",
    "scale_correlation": "correlation ↑",
    "unlike": "unlike training",
}
_INTERVAL_NOTE = (
    "Intervals: share of the values within intervals of 90 %, mean of upper - lower, interval score "
    "(Gneiting and Raftery 2007). Calibration error: mean difference of coverage and level over all "
    "levels. AUSE: area between the sparsification curves by the scale and by the errors themselves; "
    "also with the brightness of a pixel as scale. Correlation: Spearman's, of scale and |error|. "
    "Unlike training: share of pixels whose colour is beyond the 99th percentile of training pixels "
    "held out."
)
_GPU_HEADINGS = {
    "device_megapixels_s": "MP/s of the network alone",
    "bound_megapixels_s": "MP/s that memory allows",
}


@dataclass
class Table:
    """One printable table."""

    title: str
    columns: dict[str, str]
    """Key -> heading."""
    rows: list[dict[str, Any]] = field(default_factory=list)


def score_tables(figures: Sequence[dict[str, Any]], metrics: Sequence[str]) -> list[Table]:
    """One table for each benchmark and protocol.

    A cell holds the mean and the rank, the 95 % interval, and on how many scenes the model beats
    the best one. A line below a model shows what the paper reports for it.
    """
    specs = [METRICS.get(metric) for metric in metrics]
    heads = {spec.columns[0]: f"{spec.name} {'↓' if spec.better == 'lower' else '↑'}" for spec in specs}
    tables = ("bench", "dataset", "split", "protocol")
    return _tabulate(figures, {**_SCORE_HEADINGS, **heads}, tables, ("bench", "hash", "model", "tta"))


def memory_tables(figures: Sequence[dict[str, Any]]) -> list[Table]:
    """One table of the metamer benchmark for each protocol: errors on the scenes as they are and on
    metamers, the explained share of what the camera does not see, and how much of it is lost."""
    apart = {"bench": "colour memory", "rank": None, "wins": None}
    found = [{**f, **apart, "metric": f"{f['metric']} {f['condition']}"} for f in figures]
    tables = ("bench", "dataset", "split", "protocol")
    columns = {"model": "model", "n": "n", **_MEMORY_HEADINGS}
    return _tabulate(found, columns, tables, (*tables, "model", "tta"))


def interval_tables(figures: Sequence[dict[str, Any]]) -> list[Table]:
    """One table of prediction intervals for each protocol: conditions and models down."""
    found = [{**f, "bench": "prediction intervals", "rank": None, "wins": None} for f in figures]
    columns = {**_SCORE_HEADINGS, **INTERVAL_HEADINGS}
    return _tabulate(found, columns, ("bench", "dataset", "split", "protocol"), ("hash", "model", "tta"))


def _tabulate(
    figures: Sequence[dict[str, Any]], columns: dict[str, str], tables: Sequence[str], rows: Sequence[str]
) -> list[Table]:
    """Figures of the metrics in ``columns``: a table for each set of values of the keys ``tables``, in it
    a row for each set of values of ``rows``."""
    found: dict[tuple[Any, ...], Table] = {}
    lines: dict[tuple[Any, ...], dict[str, Any]] = {}
    for figure in figures:
        if figure["metric"] not in columns:
            continue
        place, own = (tuple(figure[key] for key in keys) for keys in (tables, rows))
        table = found.setdefault(place, Table(_title(*place), columns))
        if own not in lines:
            lines[own] = _score_row(figure)
            table.rows.append(lines[own])
        lines[own][figure["metric"]] = _score_cell(figure)
        if figure["reported"] is not None:
            paper = (*own, "paper")
            if paper not in lines:
                label = f"{_label(figure)}:\nreported by the paper"
                lines[paper] = {"condition": figure["condition"], "model": label}
                table.rows.insert(table.rows.index(lines[own]) + 1, lines[paper])
            lines[paper][figure["metric"]] = decimals(figure["reported"])
    return list(found.values())


def split_to_width(table: Table, width: int) -> list[Table]:
    """``table`` as several with fewer metrics each, so that none is wider than a terminal."""
    metrics = [key for key in table.columns if key not in _LABELS]
    labels = {key: head for key, head in table.columns.items() if key in _LABELS}
    room = width - _GAP - sum(_column_width(table, key) for key in labels)
    parts: list[list[str]] = []
    left = 0
    for key in metrics:
        needed = _column_width(table, key)
        if not parts or needed > left:
            parts.append([])
            left = room
        parts[-1].append(key)
        left -= needed
    return [
        Table(table.title, {**labels, **{key: table.columns[key] for key in part}}, table.rows)
        for part in parts
    ]


def _column_width(table: Table, key: str) -> int:
    cells = [table.columns[key], *(str(row.get(key, "")) for row in table.rows)]
    return _GAP + max(len(line) for cell in cells for line in cell.split("\n"))


def _title(bench: str, dataset: str, split: str, protocol: str) -> str:
    return f"{bench}: {dataset}/{split}, protocol {protocol}"


def _score_row(figure: dict[str, Any]) -> dict[str, Any]:
    label = "\n".join([_label(figure), *learned_from(figure)])
    sample = [f"n = {figure['scenes']}"]
    if figure["seeds"] > 1:
        sample.append(f"{figure['seeds']} seeds")
    if figure["scenes"] < MIN_SCENES:
        sample.append(TOO_FEW)
    return {"condition": _condition_cell(figure), "model": label, "n": "\n".join(sample)}


def _condition_cell(figure: dict[str, Any]) -> str:
    """The condition with its parameter, the hash, and how much brighter the picture became."""
    lines = [condition_text(figure), figure["hash"]]
    if figure["bench"] == "brightness" and figure["rgb_mean_change"] is not None:
        lines.append(f"RGB mean {100 * figure['rgb_mean_change']:+.1f} %")
    return "\n".join(lines)


def _label(figure: dict[str, Any]) -> str:
    return figure["model"] + (" + TTA" if figure["tta"] else "")


def _score_cell(figure: dict[str, Any]) -> str:
    if figure["nan_scenes"]:
        return f"NaN\non {figure['nan_scenes']} of {figure['scenes']} scenes"
    rank = f"  #{figure['rank']}" if figure["rank"] else ""
    lines = [f"{decimals(figure['mean'])}{rank}"]
    if figure["low"] is not None:
        ends = (decimals(figure[end], like=figure["mean"]) for end in ("low", "high"))
        lines.append("..".join(ends))
    if figure["wins"] is not None:
        lines.append(f"{figure['wins']} of {figure['scenes']}")
    return "\n".join(lines)


def speed_table(figures: Sequence[dict[str, Any]], references: Sequence[str]) -> Table:
    """Sizes and models down, timings across; ratios to each of the references, memory's to the first."""
    table = Table(_speed_title(figures), _speed_columns(figures, references))
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for figure in figures:
        if figure["metric"] == PAPER_TIME:
            first = next(row for row in table.rows if row["model"] == figure["model"])
            first[PAPER_TIME] = trimmed(figure["reported"])
            continue
        key = (figure["condition"], figure["model"])
        if key not in rows:
            rows[key] = {"size": key[0], "model": key[1], "runs": _runs_cell(figure)}
            table.rows.append(rows[key])
        if figure["metric"] == "status":
            rows[key] |= {"p50_ms": figure["mean"], "peak_mib": figure["mean"]}
            continue
        rows[key][column_key(figure)] = trimmed(figure["mean"])
        if figure["reported"] is not None:
            paper = figure["reported"]
            rows[key][f"{column_key(figure)} paper"] = paper if isinstance(paper, str) else f"{paper:.3g}"
    return table


def _speed_title(figures: Sequence[dict[str, Any]]) -> str:
    """Where it was measured."""
    first = next(f for f in figures if f["metric"] != PAPER_TIME)
    device, threads, limit = (first[key] for key in ("device", "threads", "memory_limit_gib"))
    limited = f", at most {limit:g} GiB" if limit else ""
    return f"speed: batch 1, {device}, {threads_text(threads)}{limited}"


def _speed_columns(figures: Sequence[dict[str, Any]], references: Sequence[str]) -> dict[str, str]:
    """Key -> heading; columns of a GPU and of the paper only where there is something in them."""
    main = references[0]
    columns = {"size": "size", "model": "model", "runs": "runs"}
    columns |= {
        "p50_ms": "p50 ms",
        "p90_ms": "p90 ms",
        "cpu_ms": "CPU ms",
        "images_s": "images/s",
        "megapixels_s": "MP/s",
    }
    columns |= {f"time_ratio {name}": f"time /\n{name}'s" for name in references}
    columns |= {f"speedup {main}": f"times faster than\n{main}"}
    columns |= {"peak_mib": "peak MiB", f"memory_ratio {main}": f"peak /\n{main}'s"}
    columns |= {"growth_mib": "above loaded", f"growth_ratio {main}": f"above loaded /\n{main}'s"}
    columns |= {"gmacs": "GMAC"}
    present = {figure["metric"] for figure in figures}
    columns |= {key: head for key, head in _GPU_HEADINGS.items() if key in present}
    reported = {column_key(figure) for figure in figures if figure["reported"] is not None}
    of_the_paper = {"images_s": "images/s", f"speedup {main}": "times faster than MST++"}
    for key, head in of_the_paper.items():
        if key in reported:
            columns[f"{key} paper"] = f"{head},\nreported by the paper (Jetson Orin NX 16 GB)"
    if PAPER_TIME in reported:
        columns[PAPER_TIME] = "ms per megapixel,\nreported by the paper (V100)"
    return columns


def column_key(figure: Mapping[str, Any]) -> str:
    """Metric and, of a ratio, its reference."""
    reference = figure.get("reference")
    return f"{figure['metric']} {reference}" if reference else figure["metric"]


def _runs_cell(figure: dict[str, Any]) -> str:
    """How many runs the times are of; marked where time ran out before 10."""
    few = figure["metric"] != "status" and figure["scenes"] < MIN_RUNS
    return f"{figure['scenes']}{' (capped)' if few else ''}"


def compare_table(rows: Sequence[dict[str, Any]], a: str, b: str, title: str) -> Table:
    """Metrics down; values of A and B, their difference, its interval, wins and verdict across."""
    columns = {
        "condition": "condition", "metric": "metric", "a": "A", "b": "B", "difference": "A - B",
        "interval": "95 % interval", "wins": "scenes for A", "verdict": "verdict",
    }  # fmt: skip
    short = {f"{name} is better": f"{letter} is better" for letter, name in (("A", a), ("B", b))}
    short |= {NOT_SIGNIFICANT: "undecided"}
    cells = [
        {
            **row,
            "a": decimals(row["a"]),
            "b": decimals(row["b"]),
            "difference": _signed(row["difference"], row),
            "interval": _signed_interval(row),
            "wins": _won(row),
            "verdict": short.get(row["verdict"], row["verdict"]),
        }
        for row in rows
    ]
    return Table(title, columns, cells)


def _signed(value: float, row: Mapping[str, Any]) -> str:
    """A difference with its sign and the decimals of the larger of the two values."""
    return decimals(value, like=max(row["a"], row["b"], key=abs), sign="+")


def _signed_interval(row: Mapping[str, Any]) -> str:
    return "" if row["low"] is None else f"{_signed(row['low'], row)} to {_signed(row['high'], row)}"


def _won(row: Mapping[str, Any]) -> str:
    """Scenes won, with the interval of their share."""
    text = f"{row['wins']} of {row['scenes']}"
    if row["wins_low"] is None:
        return text
    return f"{text} ({100 * row['wins_low']:.0f} to {100 * row['wins_high']:.0f} %)"


def commits_note(rows: Sequence[SpeedRow], present: Mapping[str, Any]) -> list[str]:
    """Which code stored speed ``rows`` were measured with, where not all with the present one;
    ``present``: its provenance."""
    commits = list(dict.fromkeys(_commit(row.provenance) for row in rows))
    if set(commits) <= {_commit(present)}:
        return []
    return [f"Times were measured with the code of {', '.join(commits)}; it is now {_commit(present)}."]


def _commit(provenance: Mapping[str, Any]) -> str:
    commit = provenance.get("commit")
    if commit is None:
        return "no known commit"
    return f"commit {commit[:COMMIT_LENGTH]}" + (" with changes" if provenance.get("dirty") else "")


def nodata_note(rows: Iterable[ScoreRow]) -> list[str]:
    """How much of the scenes of stored score ``rows`` has no data and is in no figure."""
    found: dict[tuple[str, str, str], tuple[int, int]] = {}
    for row in rows:
        pixels, bands = (int(row.metrics.get(column, 0)) for column in NODATA)
        if pixels or bands:
            scene = row.dataset, row.split, row.scene
            before = found.get(scene, (0, 0))
            found[scene] = max(pixels, before[0]), max(bands, before[1])
    if not found:
        return []
    lost, most = sum(pixels for pixels, _ in found.values()), max(bands for _, bands in found.values())
    what = f"{lost} pixels and up to {most} bands of {len(found)} scenes"
    ssim = " SSIM is the mean over windows that have data throughout." if lost else ""
    return [f"Without data and in no figure: {what}.{ssim}"]


def notes(figures: Sequence[dict[str, Any]], metrics: Sequence[str]) -> list[str]:
    """What a reader must know besides the cells."""
    capped = [
        f"{f['model']}, {f['condition']}: {f['scenes']} runs (capped at {f['cap_seconds']:g} s)"
        for f in figures
        if f["metric"] == "p50_ms" and f["scenes"] < MIN_RUNS
    ]
    few = [f"Fewer than {MIN_RUNS} runs: {'; '.join(capped)}."] if capped else []
    if all(f["bench"] == "speed" for f in figures):
        return few
    found = list(few)
    if any(f["bench"] != "speed" and f["scenes"] >= MIN_SCENES for f in figures):
        found.append(
            f"Cells: mean  #rank, {METHOD} over scenes, scenes on which the model beats the best mean. "
            "Models whose difference from a group's best holds 0 share its rank."
        )
    if any(f["bench"] == "metamer" for f in figures):
        found.append(_MEMORY_NOTE)
    if any(f["metric"] == "coverage" for f in figures):
        found.append(_INTERVAL_NOTE)
    if any(f["bench"] != "speed" and f["scenes"] < MIN_SCENES for f in figures):
        found.append(f"Fewer than {MIN_SCENES} scenes: no interval and no rank.")
    groups = {(f["bench"], f["protocol"], f["condition"]) for f in figures}
    if len({(f["bench"], f["protocol"], f["condition"], f["hash"]) for f in figures}) > len(groups):
        found.append("Figures with different protocol hashes are not comparable and are ranked apart.")
    if any(f["split"] == POOLED for f in figures):
        found.append(
            "Cross-validation: a model has weights for each fold, which were trained without the scenes "
            "that they are scored on."
        )
    if any(f["reported"] is not None for f in figures):
        found.append(
            "Reported by the paper: printed there, not measured here. MCGA is a clean-room "
            "implementation, as its authors published neither code nor weights."
        )
    bands = {(f["model"], f["scored_bands"], f["data_bands"]) for f in figures if f["bench"] != "speed"}
    for model, scored, of in sorted(bands):
        if scored < of:
            found.append(f"{model}: resampled, scored on the {scored} of the data's {of} bands it reaches.")
    counters = [c for m in metrics for c in METRICS.get(m).columns if c.endswith("_zero")]
    for column in counters:
        counts = [f["mean"] * f["scenes"] for f in figures if f["metric"] == column]
        if any(count > 0 for count in counts):
            found.append(f"{column}: up to {max(counts):g} values were left out, counted over all scenes.")
    return found
