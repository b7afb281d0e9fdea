"""``docs/results/reported.md``: what others report on ARAD-1K, a table for each RGB and crop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hsrzoo.utils.markdown import markdown_table
from hsrzoo_benchmark.results.reported import published, scores_of_tables
from hsrzoo_benchmark.tables.numbers import ABSENT

REPORTED = "reported"
"""Name of the page."""
_METRICS = {"mrae": "MRAE ↓", "rmse": "RMSE ↓", "psnr": "PSNR dB ↑"}
_FAMILIAR = "mst-plus-plus"
_ABOUT = """\
Figures of the authors of the networks and of others, as printed. **None was measured here**: weights
trained on ARAD-1K do not come with hsrzoo. The same network has different figures where RGB, scenes or
crop differ: {example}.
Compare figures of one table only, and scores of `hsrzoo bench` only with those of the same
[protocol](../protocols.md#protocols) and RGB."""
_NOT_FOUND = "No figure on ARAD-1K by the authors of these networks was found. What was looked at:"


def render() -> str:
    """The page, from ``arad.toml`` and the paper's figures."""
    found = published()
    parts = ["# Reported figures on ARAD-1K", _ABOUT.format(example=_example(found["group"]))]
    for group in found["group"]:
        parts += [f"## {group['title']}", *_protocol_and_table(group, found["sources"])]
    rows = [(f"`{name}`", text) for name, text in sorted(found["not-found"].items())]
    parts += ["## Not found", _NOT_FOUND, markdown_table(("network", "read"), rows)]
    return "\n\n".join(parts) + "\n"


def figures_of(group: Mapping[str, Any]) -> list[dict[str, str]]:
    """A group's figures, the lowest MRAE first: ``network``, metrics, ``source``, ``note``."""
    figures = group["figures"] if "figures" in group else scores_of_tables(group["tables"])
    return sorted(figures, key=lambda figure: float(figure["mrae"]))


def _protocol_and_table(group: Mapping[str, Any], sources: Mapping[str, str]) -> tuple[str, str]:
    """How the figures were made, and the figures; a source of all of them is named once."""
    figures = figures_of(group)
    facts = {"RGB": group["rgb"], "Scenes": group["split"], "Scored": group["crop"]}
    shared = len({figure["source"] for figure in figures}) == 1
    if shared:
        facts["Source"] = sources[figures[0]["source"]]
    rows = []
    for figure in figures:
        source = "" if shared else sources[figure["source"]]
        values = [figure.get(metric, ABSENT) for metric in _METRICS]
        note = "; ".join(filter(None, [source, figure.get("note")]))
        rows.append((f"`{figure['network']}`", *values, note))
    headings = ["network", *_METRICS.values(), "note" if shared else "source"]
    if not any(row[-1] for row in rows):
        headings, rows = headings[:-1], [row[:-1] for row in rows]
    return "\n".join(f"- {name}: {text}." for name, text in facts.items()), markdown_table(headings, rows)


def _example(groups: list[Mapping[str, Any]]) -> str:
    """The PSNR of one network in the tables whose RGB is known."""
    found = (
        f"{figure['psnr']} dB ({group['title']})"
        for group in groups
        for figure in figures_of(group)
        if figure["network"] == _FAMILIAR and "figures" in group
    )
    return f"`{_FAMILIAR}` " + " and ".join(found)
