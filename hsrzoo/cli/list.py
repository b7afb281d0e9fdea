"""``hsrzoo list``: what is in the zoo, from metadata and the figures that the package carries. Only
networks that it does not know are built, and only ``--hub`` contacts the Hub."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import click

from hsrzoo import registry as registries
from hsrzoo.cli import options
from hsrzoo.cli.names import chosen
from hsrzoo.cli.output import print_table, say
from hsrzoo.errors import text_of, unknown_name

SIZE = ("parameters", "frozen", "buffers")
SCORES, SPEED = ("rank", "rmse", "sam"), ("gmac", "ms", "mib")
COLUMNS = {
    "name": "name", "weights": "weights", "rank": "rank", "rmse": "RMSE", "sam": "SAM °",
    "parameters": "parameters", "gmac": "GMAC", "ms": "ms", "mib": "MiB", "year": "year",
    "licence": "licence", "use": "use", "frozen": "frozen", "buffers": "buffers", "from": "from",
    "architecture": "architecture", "private": "private", "updated": "updated", "downloads": "downloads",
}  # fmt: skip
"""Key of ``--columns`` and ``--sort`` -> heading."""
SHOWN: tuple[str, ...] = ("name", "weights", *SCORES, "parameters", *SPEED, "year", "licence")
ON_HUB = ("architecture", "private", "updated", "downloads")
"""Columns of ``--hub`` alone."""
_NOT_ON_HUB = {"weights", "rank", "from", "use"}
SHOWN_OF_HUB: tuple[str, ...] = (
    "name",
    "rmse",
    "sam",
    "parameters",
    *SPEED,
    "year",
    "licence",
    "private",
    "updated",
)
_FIGURES = ("rmse", "sam", *SIZE, *SPEED, "year", "licence")
_TEXT = ("name", "weights", "licence", "from", "use", "architecture", "private", "updated")


def _parse_columns(_: click.Context, __: click.Parameter, text: str | None) -> tuple[str, ...] | None:
    names = None if text is None else tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names or ():
        if name not in COLUMNS:
            raise unknown_name("column", name, COLUMNS)
    return names


@click.command("list")
@click.argument("pattern", required=False)
@click.option("--pretrained", is_flag=True, help="Bundled weights (ARCH.TAG) instead of architectures.")
@click.option("--datasets", "kind", flag_value="datasets", help="Data sets instead of models.")
@click.option("--metrics", "kind", flag_value="metrics", help="Metrics instead of models.")
@click.option(
    "--perturbations", "kind", flag_value="perturbations", help="Perturbations instead of models."
)
@click.option("--hub", "org", metavar="ORG", help="Repositories of a user or organisation on the Hub.")
@click.option("--parameters", is_flag=True, help="Add the columns frozen and buffers.")
@click.option("--columns", metavar="A,B", callback=_parse_columns,
              help=f"Columns, separated by commas: {', '.join(COLUMNS)}.")  # fmt: skip
@click.option("--sort", type=click.Choice(list(COLUMNS)), metavar="COLUMN",
              help="Sort by this column, from small to large [rank, then rmse].")  # fmt: skip
@options.as_json
def command(
    pattern: str | None, pretrained: bool, kind: str | None, org: str | None, parameters: bool,
    columns: tuple[str, ...] | None, sort: str | None, as_json: bool,
) -> None:  # fmt: skip
    """List models, weights, data sets, metrics or perturbations, or repositories on the Hub.

    PATTERN is a part of a name, or a shell pattern such as 'mcga-*' (quoted, so that the shell does not
    expand it).

    Models come with the figures of their bundled weights that the package carries. A line on stderr says on
    which data and which processor they were measured.
    """
    options.forbid(pretrained and kind, "--pretrained goes with models only")
    options.forbid(org is not None and (pretrained or kind), "--hub goes with none of the other lists")
    options.forbid(parameters and (pretrained or kind or org is not None),
                   "--parameters goes with architectures only")  # fmt: skip
    options.forbid((columns or sort) and kind, "--columns and --sort go with models only")
    _forbid_absent({*(columns or ()), *([sort] if sort else [])}, org is not None)
    if kind:
        _others(kind, pattern, as_json)
        return
    first, shown = ["rank", "rmse"], SHOWN
    if org is not None:
        rows, first, shown = _on_hub(org, pattern), ["name"], SHOWN_OF_HUB
    elif pretrained:
        rows, shown = _weights(pattern), tuple(key for key in SHOWN if key != "weights")
    else:
        rows = _architectures(pattern)
    rows.sort(key=lambda row: [_last_if_none(row[key]) for key in ([sort] if sort else first)])
    shown = columns or (*shown, *(("frozen", "buffers") if parameters else ()))
    cells = rows if as_json else [{key: _cell(key, row[key]) for key in shown} for row in rows]
    headings = {key: COLUMNS[key] for key in shown}
    right = [key for key in shown if key not in _TEXT]
    print_table(cells, headings, as_json=as_json, right=right, compact=True)
    if not as_json:
        _explain(rows, shown)


def _forbid_absent(keys: set[str], on_hub: bool) -> None:
    """UsageError for columns that the list does not have."""
    absent = sorted(keys & (_NOT_ON_HUB if on_hub else set(ON_HUB)))
    if absent:
        where = "is no column of --hub" if on_hub else "is a column of --hub only"
        raise click.UsageError(f"{absent[0]} {where}")


def _others(kind: str, pattern: str | None, as_json: bool) -> None:
    """Everything but models."""
    registry = getattr(registries, kind.upper())
    rows = [{"name": name, "from": registry.origin(name)} for name in chosen(registry.names(), pattern)]
    print_table(rows, list(rows[0]) if rows else ["name"], as_json=as_json)


def _on_hub(org: str, pattern: str | None) -> list[dict[str, Any]]:
    """A row for each repository of a user or organisation, with the figures of its card."""
    from hsrzoo.hub.client import list_repos
    from hsrzoo.hub.listing import figures_of
    from hsrzoo.zoo import read_zoo

    repos = {repo["name"]: repo for repo in list_repos(org)}
    if not repos:
        say(f"No repository of hsrzoo by {org} on the Hub is visible to you")
        return []
    rows = []
    for repo in (repos[name] for name in chosen(repos, pattern)):
        figures = figures_of(repo.pop("card"), read_zoo())
        rows.append({**repo, **{key: figures.get(key) for key in (*_FIGURES, "architecture")}})
    return rows


def _architectures(pattern: str | None) -> list[dict[str, Any]]:
    """A row for each architecture, with the figures of the first weights that have some."""
    from hsrzoo.models.locate import tags_of
    from hsrzoo.zoo import read_zoo

    rows = []
    for name in chosen(registries.MODELS.names(), pattern):
        tags = tags_of(name)
        known = next((f"{name}.{tag}" for tag in tags if f"{name}.{tag}" in read_zoo().weights), None)
        rows.append({"name": name, "weights": ", ".join(tags), **_figures(name, known)})
    return rows


def _weights(pattern: str | None) -> list[dict[str, Any]]:
    """A row for each set of bundled weights."""
    from hsrzoo.models.locate import bundled

    return [
        {"name": name, "weights": name.partition(".")[2], **_figures(name.partition(".")[0], name)}
        for name in chosen(bundled(), pattern)
    ]


def _figures(architecture: str, weights: str | None) -> dict[str, Any]:
    """All columns but the names; None where nothing is known."""
    from hsrzoo.zoo import read_zoo

    facts = read_zoo().facts(weights or architecture) or _described(architecture)
    keys = (*SCORES, *SIZE, *SPEED, "year", "licence", "use")
    return {
        **{key: facts.get(key) for key in keys},
        "from": registries.MODELS.origin(architecture),
    }


def _described(name: str) -> Mapping[str, Any]:
    """What the package does not carry, from the network itself, with parameters for 400-700 nm at 10 nm; a
    warning if it cannot be built."""
    from hsrzoo.bands import VISIBLE_31
    from hsrzoo.models.complexity import size_of  # building imports torch
    from hsrzoo.zoo import year_of

    facts: dict[str, Any] = {}
    try:
        spec = registries.MODELS.get(name)
        facts = {"year": year_of(spec.source), "licence": spec.licence, "use": spec.use}
        return {**facts, **size_of(spec, VISIBLE_31)._asdict()}
    except Exception as error:
        warnings.warn(f"The parameters of {name} cannot be counted: {text_of(error)}", stacklevel=2)
        return facts


def _last_if_none(value: Any) -> tuple[bool, Any]:
    return value is None, value


def _cell(key: str, value: Any) -> Any:
    """A value as the table shows it: four digits of a score, three of a time."""
    if value is None:
        return ""
    if key == "weights":
        first, *more = str(value).split(", ")
        return f"{first} +{len(more)}" if more else first
    if key == "rmse":
        return f"{value:.4f}"
    if key == "sam":
        return f"{value:.2f}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key in SPEED:
        return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
    return f"{value:,}" if key in SIZE else value


def _explain(rows: Sequence[Mapping[str, Any]], shown: Sequence[str]) -> None:
    """What the figures of a table were measured on, and which model is recommended, on stderr."""
    from hsrzoo.zoo import PHOTOGRAPHS, read_zoo

    def has(keys: Sequence[str]) -> bool:
        return any(row.get(key) is not None for row in rows for key in keys if key in shown)

    zoo = read_zoo()
    if has(SCORES):
        place = "{scenes} scenes of {dataset}/{split}, protocol {protocol}".format_map(zoo.scores)
        ranks = " Of one rank: RMSE does not differ significantly." if "rank" in shown else ""
        say(f"RMSE, SAM: means over {place}.{ranks}", style="dim")
    if has(SPEED):
        measured = "{side} x {side} pixels; ms, MiB: {device}, {threads} threads".format_map(zoo.speed)
        say(f"GMAC, ms, MiB: {measured}. Empty: not measured.", style="dim")
    advice = zoo.recommended.get(PHOTOGRAPHS)
    names = {row["name"] for row in rows}
    if advice and names & {advice["model"], advice["model"].partition(".")[0]}:
        say(f"Recommended for photographs: {advice['model']} ({advice['why']}).", style="dim")
