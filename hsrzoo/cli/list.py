"""``hsrzoo list``: what is in the zoo, from metadata alone."""

from __future__ import annotations

from fnmatch import fnmatchcase

import click

from hsrzoo import registries
from hsrzoo.cli.output import print_table


@click.command("list")
@click.argument("pattern", required=False)
@click.option("--pretrained", is_flag=True, help="Bundled weights (ARCH.TAG) instead of architectures.")
@click.option("--datasets", "kind", flag_value="datasets", help="Data sets instead of models.")
@click.option("--metrics", "kind", flag_value="metrics", help="Metrics instead of models.")
@click.option(
    "--perturbations", "kind", flag_value="perturbations", help="Perturbations instead of models."
)
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def command(pattern: str | None, pretrained: bool, kind: str | None, as_json: bool) -> None:
    """List models, weights, data sets, metrics or perturbations.

    PATTERN is a shell pattern such as 'mcga-*' (quoted, so that the shell leaves it alone).
    """
    from hsrzoo.weights import bundled, tags_of

    if pretrained and kind:
        raise click.UsageError("--pretrained goes with models only")
    if pretrained:
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
    print_table(rows, list(rows[0]) if rows else ["name"], as_json=as_json)
