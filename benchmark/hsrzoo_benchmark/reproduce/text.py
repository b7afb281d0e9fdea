"""Rows of the paper's tables, and groups of runs, as text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hsrzoo.utils.markdown import markdown_table
from hsrzoo_benchmark.reproduce.evidence import METRICS, SeedGroup, commits_of
from hsrzoo_benchmark.reproduce.ranking import ranking
from hsrzoo_benchmark.reproduce.tables import STANDS_FOR, default_dataset
from hsrzoo_benchmark.results.figures import better
from hsrzoo_benchmark.statistics.intervals import METHOD, Interval
from hsrzoo_benchmark.statistics.seeds import combination, paired, summarise
from hsrzoo_benchmark.tables.numbers import (
    ABSENT,
    metric_heading,
    rank_text,
    significant,
    with_interval,
    with_wins,
)

TableRow = dict[str, str]
"""One row of a table: heading -> text."""
SIGNATURE = ("hash", "commit")
"""Columns that say where a row comes from."""
_BAR = re.compile(r"(?<!\\)\|")


def table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Rows of a table of the paper as heading -> text; columns without any text are left out."""
    found = [_speed_cells(row) if "size" in row else _cells(row) for row in rows]
    filled = {head for row in found for head, text in row.items() if text != ABSENT}
    return [{head: text for head, text in row.items() if head in filled} for row in found]


def _cells(row: Mapping[str, Any]) -> dict[str, str]:
    found = {
        "condition": f"{row['split']}, {row['condition']}",
        "model": row["model"],
        "n": "no rows" if row["missing"] else counted(row["scenes"], row["seeds"]),
    }
    for key in row:
        metric = key.removesuffix("_paper")
        if metric != key:
            found[metric_heading(metric)] = figure(row, metric)
            found[f"{metric.upper()}, reported by the paper"] = _printed(row[key])
    gap = f"{figure(row, 'gap', sign=True)}, {row['wins']}/{row['scenes']}" if "gap" in row else ABSENT
    signature = {"hash": row.get("hash", ABSENT), "commit": row.get("commits", ABSENT)}
    return {**found, "difference (wins)": gap, **cost(row), **signature}


def _speed_cells(row: Mapping[str, Any]) -> dict[str, str]:
    return {
        "size": row["size"],
        "model": row["model"],
        "images/s": significant(row.get("images_s")),
        "images/s, reported by the paper": _printed(row["images_s_paper"]),
        "times faster than MST++ as published": significant(row.get("faster")),
        "over MST++, reported by the paper": significant(row["faster_paper"], 3),
        "runs": str(row.get("runs", "no times")),
        "commit": row.get("commits", ABSENT),
    }


def _printed(value: float | str | None) -> str:
    """A figure of the paper as it prints it."""
    return f"{value:g}" if isinstance(value, float) else str(value or ABSENT)


def figure(row: Mapping[str, Any], key: str, sign: bool = False) -> str:
    """A mean of a row with its interval."""
    low, high = row.get(f"{key}_low"), row.get(f"{key}_high")
    interval = None if low is None or high is None else Interval(low, high)
    return with_interval(row.get(key), interval, sign)


def counted(scenes: int, seeds: int) -> str:
    """Number of scenes and, where there are several, of seeds."""
    return f"{scenes}, {seeds} seeds" if seeds > 1 else str(scenes)


def cost(row: Mapping[str, Any]) -> dict[str, str]:
    """Training: steps, seconds of CPU and of wall-clock."""
    keys = {"steps": "steps", "cpu_seconds": "CPU s", "wall_seconds": "wall s"}
    return {head: ABSENT if row.get(key) is None else f"{row[key]:.0f}" for key, head in keys.items()}


def markdown(rows: Iterable[TableRow]) -> str:
    """Rows as a table with all headings that one of them has; "" without rows."""
    rows = list(rows)
    heads = list(dict.fromkeys(key for row in rows for key in row))
    lines = [[row.get(head, ABSENT) for head in heads] for row in rows]
    return markdown_table(heads, lines) if lines else ""


def without_signature(block: str) -> tuple[str, list[TableRow]]:
    """A table without the columns ``hash`` and ``commit``, and what they say of each row; other text as it
    is."""
    if not block.startswith("| "):
        return block, []
    heads, rule, *lines = ([cell.strip() for cell in _BAR.split(line)[1:-1]] for line in block.splitlines())
    own = [i for i, head in enumerate(heads) if head not in SIGNATURE]
    signed = [
        {"row": _label(heads, line), **{key: line[heads.index(key)] for key in SIGNATURE if key in heads}}
        for line in lines
    ]
    if len(own) == len(heads):
        return block, []
    shown = ("| " + " | ".join(line[i] for i in own) + " |" for line in (heads, rule, *lines))
    return "\n".join(shown), [row for row in signed if set(row.values()) - {row["row"], ABSENT}]


def _label(heads: Sequence[str], line: Sequence[str]) -> str:
    """What tells a row of a table from the others: its first cell, and the model where that is another."""
    return " ".join(dict.fromkeys(line[i] for i, head in enumerate(heads) if i == 0 or head == "model"))


def joined(rows: Iterable[TableRow]) -> list[TableRow]:
    """Rows that differ in ``row`` alone as one, with all of their names."""
    names: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for row in rows:
        rest = tuple((key, value) for key, value in row.items() if key != "row")
        names.setdefault(rest, []).append(row["row"])
    return [
        {"table": dict(rest)["table"], "rows": "; ".join(filter(None, dict.fromkeys(own))), **dict(rest)}
        for rest, own in names.items()
    ]


def scores(
    groups: Mapping[str, SeedGroup],
    metrics: Sequence[str] = METRICS,
    intervals: bool = True,
    more: Mapping[str, TableRow] | None = None,
) -> list[TableRow]:
    """A row for each model in the order of the first metric, ranks in the cells; ``more``: further cells
    of each model."""
    ranks = {
        metric: {one.name: rank_text(one.rank, one.scenes) for one in ranking(groups, metric)}
        for metric in metrics
    }
    found = []
    for name in ranks[metrics[0]] or groups:
        row = {"model": name}
        for metric in metrics:
            cell, rank = mean(groups[name], metric, intervals), ranks[metric].get(name, "")
            row[metric_heading(metric)] = f"{cell} {rank}".rstrip()
        found.append({**row, **(more[name] if more else {}), **signature(groups[name])})
    return found


def mean(group: SeedGroup, metric: str, interval: bool = True) -> str:
    """A group's mean with its interval."""
    found = summarise(group.runs(metric))
    return with_interval(found.mean, found.interval if interval else None)


def signature(group: SeedGroup, *others: SeedGroup) -> TableRow:
    """Number of scenes and seeds of a group, protocol, and commits of all."""
    scenes = summarise(group.runs(METRICS[0])).scenes
    return {
        "n": counted(scenes, len(group.entries)),
        "hash": group.hash,
        "commit": commits_of([group, *others]),
    }


def against(groups: Mapping[str, SeedGroup], a: str, b: str, metrics: Sequence[str] = METRICS) -> str:
    """A table of paired differences a - b with the seeds' own means; "" unless both have rows."""
    if a not in groups or b not in groups:
        return ""
    left, right = groups[a], groups[b]
    found = []
    for metric in metrics:
        gap = paired(left.runs(metric), right.runs(metric), better(metric))
        change, wins = with_wins(gap)
        cells = {
            f"{a} less {b}": metric_heading(metric),
            "difference": change,
            f"scenes for {a}": wins,
            f"seeds of {a}": ", ".join(map(significant, gap.a_per_seed)),
            f"seeds of {b}": ", ".join(map(significant, gap.b_per_seed)),
        }
        found.append({**cells, "hash": left.hash, "commit": commits_of((left, right))})
    return markdown(found)


def less(groups: Mapping[str, SeedGroup], reference: str, metrics: Sequence[str]) -> str:
    """A table of the paired differences of all other models from ``reference``, with the scenes on which
    they are better, in the order of the first metric; "" without rows of it and others."""
    found = []
    for one in ranking(groups, metrics[0]) if reference in groups else ():
        if one.name != reference:
            pair = [one.group, groups[reference]]
            gaps = {metric_heading(metric): ", ".join(difference(pair, metric)) for metric in metrics}
            found.append({f"less {reference}": one.name, **gaps, **signature(*pair)})
    return markdown(found)


def difference(pair: Sequence[SeedGroup], metric: str) -> tuple[str, str]:
    """First less second with its interval, and the scenes on which the first is better."""
    first, second = (group.runs(metric) for group in pair)
    return with_wins(combination([(1, first), (-1, second)], better(metric)))


def notes(what: str, rows: Sequence[Mapping[str, Any]], dataset: str | None) -> list[str]:
    """What a reader must know besides the cells."""
    if what == "table-6":
        devices = sorted({f"{r['device']}, {r['threads']} threads" for r in rows if "device" in r})
        return [f"Ours: {'; '.join(devices) or 'no times'}. Reported by the paper: Jetson Orin NX 16 GB."]
    dataset = dataset or default_dataset(what)
    found = [
        f"Mean over scenes, {METHOD}; seeds are averaged first. CPU and wall seconds are of "
        "training, the codebooks' included. MCGA is a clean-room implementation: its authors published "
        "neither code nor weights."
    ]
    reference = next((row for row in rows if row.get("reference")), None)
    if reference:
        found.append(
            f"Difference: {reference['gap_metric']} less that of {reference['reference']}, scene by scene."
        )
    if dataset in STANDS_FOR:
        found.append(
            f"{dataset} stands in for {STANDS_FOR[dataset]}, of which the paper's figures are: values are "
            "of different scenes, only their order compares."
        )
    return found
