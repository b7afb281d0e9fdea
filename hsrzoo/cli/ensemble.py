"""``hsrzoo ensemble``: the weighted mean of trained models becomes a folder of weights."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from hsrzoo.cli import options
from hsrzoo.cli.names import ARCHITECTURE, DATASET, MODEL


@click.command("ensemble")
@click.argument("names", type=MODEL, nargs=-1, required=True)
@click.option("-o", "--out", type=options.PATH, required=True, help="Folder of the weights.")
@click.option(
    "--shares", "shares_text", metavar="A,B,...",
    help="Share of each member in the mean, sum 1 [equal shares].",
)  # fmt: skip
@click.option(
    "--fit", "fit_to", type=DATASET, help="Fit the shares to scenes that no member was trained on."
)
@click.option("--split", default="valid", show_default=True, help="Split of the data set of --fit.")
@click.option("--per-band", is_flag=True, help="Fit shares for every band.")
@click.option(
    "--shares-of", "ensembles", type=MODEL, multiple=True,
    help="Take the mean of the shares of these ensembles, such as one for each fold; repeatable.",
)  # fmt: skip
@options.data_options
@options.data_root
@click.option(
    "--average-weights", is_flag=True,
    help="Average the weights in place of the cubes: for networks trained on from the same weights.",
)  # fmt: skip
@click.option(
    "--arch", type=ARCHITECTURE, default="ensemble", help="Another ensemble of the zoo [ensemble]."
)
@click.option(
    "--refer", is_flag=True,
    help="Name bundled members in place of copying their weights: only this hsrzoo loads the folder.",
)  # fmt: skip
def command(
    names: tuple[str, ...], out: Path, shares_text: str | None, fit_to: str | None, split: str,
    per_band: bool, ensembles: tuple[str, ...], data_options: dict[str, str], data_root: Path | None,
    average_weights: bool, arch: str, refer: bool,
) -> None:  # fmt: skip
    """Join trained models into one: its cube is the weighted mean of their cubes.

    NAMES are two or more models of the same bands, as --model takes them. The folder holds the weights of
    all members, so it is loaded, pushed and exported like any other: --model local-dir:OUT.
    """
    if (shares_text is not None) + (fit_to is not None) + bool(ensembles) > 1:
        raise click.UsageError("--shares, --fit and --shares-of exclude each other")
    wrong = shares_text is not None and not options.numbers_of(shares_text)
    options.forbid(wrong, f"--shares {shares_text!r} are not numbers: write 0.25,0.75")
    fitted = fit_to is not None or ensembles or refer or arch != "ensemble"
    options.forbid(average_weights and bool(fitted), "--average-weights goes with --shares alone")
    if fit_to is None:
        options.forbid_without("--fit", ("split", "per_band", "data_options", "data_root"))
    _require_other_folder(out, (*names, *ensembles))
    import numpy as np

    from hsrzoo.cli.output import say, say_weights
    from hsrzoo.datasets import open_dataset
    from hsrzoo.models.ensemble.average import average_weights as average
    from hsrzoo.models.ensemble.members import load_members, make
    from hsrzoo.models.ensemble.shares import fit_shares, mean_shares
    from hsrzoo.models.loading import load
    from hsrzoo.models.weights import save_folder
    from hsrzoo.registry import MODELS
    from hsrzoo.utils.files import make_folder
    from hsrzoo.utils.locks import hold_folder
    from hsrzoo.utils.provenance import collect, command_line

    models, how, shares = load_members(names), None, None
    if shares_text is not None:
        shares = np.array(options.numbers_of(shares_text))
    elif ensembles:
        shares, how = mean_shares([load(name, device="cpu") for name in ensembles], len(models))
    elif fit_to is not None:
        shares, how = fit_shares(models, open_dataset(fit_to, data_root, **data_options), split, per_band)
        alone = ", ".join(f"{rmse:.5f}" for rmse in how["rmse_of_members"])
        say(f"RMSE of the mean {how['rmse']:.5f}, of the members {alone}")
    made = average(models, shares) if average_weights else make(models, shares, MODELS.get(arch), how)
    options.forbid(refer and not made.parts, "--refer has no effect: no member is bundled")
    training = {**made.training, "command": command_line(), "provenance": collect("cpu")}
    make_folder(out)
    with hold_folder(out):
        save_folder(
            out, made.module, made.spec, made.bands,
            arguments=made.arguments, training=training, codebook=made.codebook,
            parts=made.parts if refer else (),
        )  # fmt: skip
    if not average_weights:
        used = made.module.get_buffer("shares").mean(1).tolist()
        say(f"Mean shares: {', '.join(f'{share:.3f}' for share in used)}")
    say_weights(out)


def _require_other_folder(out: Path, names: Iterable[str]) -> None:
    """UsageError if ``out`` is the folder of one of these models, whose weights would be lost."""
    from hsrzoo.models.names import parse_name

    for name in names:
        path = parse_name(name).path
        same = path is not None and path.resolve() == out.resolve()
        options.forbid(same, f"--out would replace the weights of {name}")
