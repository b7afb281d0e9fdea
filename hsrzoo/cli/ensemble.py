"""``hsrzoo ensemble``: the weighted mean of trained models becomes a folder of weights."""

from __future__ import annotations

from pathlib import Path

import click

from hsrzoo.cli import options
from hsrzoo.cli.names import MODEL


@click.command("ensemble")
@click.argument("names", type=MODEL, nargs=-1, required=True)
@click.option("-o", "--out", type=options.PATH, required=True, help="Folder of the weights.")
@click.option(
    "--shares", "shares_text", metavar="A,B,...",
    help="Share of each member in the mean, sum 1 [equal shares].",
)  # fmt: skip
def command(names: tuple[str, ...], out: Path, shares_text: str | None) -> None:
    """Join trained models into one: its cube is the weighted mean of their cubes.

    NAMES are two or more models of the same bands, as --model takes them. The folder holds the weights of
    all members, so it is loaded, pushed and exported like any other: --model local-dir:OUT.
    """
    from hsrzoo.cli.output import say
    from hsrzoo.models.ensemble.members import make
    from hsrzoo.models.weights import save_folder
    from hsrzoo.utils.files import make_folder
    from hsrzoo.utils.locks import hold_folder
    from hsrzoo.utils.provenance import collect, command_line

    shares = None if shares_text is None else options.numbers_of(shares_text)
    made = make(names, shares)
    training = {**made.training, "command": command_line(), "provenance": collect("cpu")}
    make_folder(out)
    with hold_folder(out):
        save_folder(
            out, made.module, made.spec, made.bands,
            arguments=made.arguments, training=training, codebook=made.codebook,
        )  # fmt: skip
    say(f"Weights: {out} (--model local-dir:{out})")
