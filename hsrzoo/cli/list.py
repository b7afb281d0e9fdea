"""``hsrzoo list``: what is in the zoo, from metadata alone. Only counting parameters builds networks, and
only ``--hub`` contacts the Hub."""

from __future__ import annotations

import warnings
from fnmatch import fnmatchcase
from typing import Any

import click

from hsrzoo import registry as registries
from hsrzoo.cli import options
from hsrzoo.cli.output import print_table, say
from hsrzoo.errors import text_of


@click.command("list")
@click.argument("pattern", required=False)
@click.option("--pretrained", is_flag=True, help="Bundled weights (ARCH.TAG) instead of architectures.")
@click.option("--datasets", "kind", flag_value="datasets", help="Data sets instead of models.")
@click.option("--metrics", "kind", flag_value="metrics", help="Metrics instead of models.")
@click.option(
    "--perturbations", "kind", flag_value="perturbations", help="Perturbations instead of models."
)
@click.option("--hub", "org", metavar="ORG", help="Repositories of a user or organisation on the Hub.")
@click.option("--parameters", is_flag=True, help="Add numbers of parameters at 31 bands (--json: always).")
@options.as_json
def command(
    pattern: str | None, pretrained: bool, kind: str | None, org: str | None, parameters: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """List models, weights, data sets, metrics or perturbations, or repositories on the Hub.

    PATTERN is a shell pattern such as 'mcga-*' (quoted, so that the shell does not expand it).
    """
    from hsrzoo.models.locate import bundled, tags_of

    options.forbid(pretrained and kind, "--pretrained goes with models only")
    options.forbid(org is not None and (pretrained or kind), "--hub goes with none of the other lists")
    other = pretrained or kind or org is not None
    options.forbid(parameters and other, "--parameters goes with architectures only")
    if org is not None:
        from hsrzoo.hub.client import list_repos

        rows = list_repos(org)
    elif pretrained:
        rows = [{"name": name} for name in bundled()]
    elif kind:
        registry = getattr(registries, kind.upper())
        rows = [{"name": name, "from": registry.origin(name)} for name in registry.names()]
    else:
        rows = [
            {"name": name, "weights": ", ".join(tags_of(name)), "from": registries.MODELS.origin(name)}
            for name in registries.MODELS.names()
        ]
    rows = [row for row in rows if pattern is None or fnmatchcase(row["name"], pattern)]
    if org is not None and not rows:
        say(f"No repository of hsrzoo by {org} on the Hub is visible to you")
    if org is not None and not as_json:
        rows = [{**row, "tags": ", ".join(row["tags"])} for row in rows]
    if (parameters or as_json) and not other:
        rows = [{**row, **_size(row["name"])} for row in rows]
    print_table(rows, list(rows[0]) if rows else ["name"], as_json=as_json)


def _size(name: str) -> dict[str, Any]:
    """Parameters of a network for 400-700 nm at 10 nm (:class:`.Size`); None and a warning if it cannot be
    built."""
    from hsrzoo.bands import VISIBLE_31
    from hsrzoo.models.complexity import Size, size_of  # building imports torch

    try:
        return size_of(registries.MODELS.get(name), VISIBLE_31)._asdict()
    except Exception as error:
        warnings.warn(f"The parameters of {name} cannot be counted: {text_of(error)}", stacklevel=2)
        return dict.fromkeys(Size._fields)
