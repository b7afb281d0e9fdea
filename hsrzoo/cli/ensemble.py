"""``hsrzoo ensemble``: the weighted mean of trained models becomes a folder of weights."""

from __future__ import annotations

from pathlib import Path

import click

from hsrzoo.cli import options
from hsrzoo.cli.names import ARCHITECTURE, MODEL


@click.command("ensemble")
@click.argument("names", type=MODEL, nargs=-1, required=True)
@click.option("-o", "--out", type=options.PATH, required=True, help="Folder of the weights.")
@click.option(
    "--shares", "shares_text", metavar="A,B,...",
    help="Share of each member in the mean, sum 1 [equal shares].",
)  # fmt: skip
@click.option(
    "--arch", type=ARCHITECTURE, default="ensemble", help="Another ensemble of the zoo [ensemble]."
)
@click.option(
    "--refer", is_flag=True,
    help="Name bundled members in place of copying their weights: only this hsrzoo loads the folder.",
)  # fmt: skip
def command(
    names: tuple[str, ...], out: Path, shares_text: str | None, arch: str, refer: bool
) -> None:  # fmt: skip
    """Join trained models into one: its cube is the weighted mean of their cubes.

    NAMES are two or more models of the same bands, as --model takes them. The folder holds the weights of
    all members, so it is loaded, pushed and exported like any other: --model local-dir:OUT.
    """
    from hsrzoo.cli.output import say
    from hsrzoo.models.ensemble.members import make
    from hsrzoo.models.weights import save_folder
    from hsrzoo.registry import MODELS
    from hsrzoo.utils.files import make_folder
    from hsrzoo.utils.locks import hold_folder
    from hsrzoo.utils.provenance import collect, command_line

    shares = None if shares_text is None else options.numbers_of(shares_text)
    made = make(names, shares, MODELS.get(arch))
    training = {**made.training, "command": command_line(), "provenance": collect("cpu")}
    make_folder(out)
    with hold_folder(out):
        save_folder(
            out, made.module, made.spec, made.bands,
            arguments=made.arguments, training=training, codebook=made.codebook,
            parts=made.parts if refer else (),
        )  # fmt: skip
    say(f"Weights: {out} (--model local-dir:{out})")
