"""``hsrzoo check``: the contract test on one model."""

from __future__ import annotations

import click

FAILED = 1


@click.command("check")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
@click.pass_context
def command(ctx: click.Context, name: str, as_json: bool) -> None:
    """Check that a model does what every model of the zoo must do.

    NAME is an architecture; its weights are random, or fitted to synthetic scenes. A model of your
    own: `hsrzoo --plugin FILE check NAME`. Exit code 1 if a check fails.
    """
    import traceback

    from hsrzoo.cli.errors import one_paragraph
    from hsrzoo.cli.output import print_table
    from hsrzoo.contract import run_all
    from hsrzoo.registries import MODELS

    results = list(run_all(MODELS.get(name)))
    rows = [
        {"check": r.check, "result": "ok" if r.passed else "FAILED", "what": one_paragraph(r.text)}
        for r in results
    ]
    print_table(rows, {"check": "check", "result": "result", "what": name}, as_json=as_json)
    failed = [r for r in results if not r.passed]
    if ctx.find_root().params.get("debug"):
        for result in failed:
            traceback.print_exception(result.error)
    if failed:
        ctx.exit(FAILED)
