"""``hsrzoo codebook train``: stage 1 on one source or on several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hsrzoo.cli import options
from hsrzoo.cli.names import DATASET


@click.command("train")
@click.option("--dataset", type=DATASET, help="Data set to train on.")
@options.data_options
@click.option(
    "--source", "sources", type=DATASET, multiple=True, metavar="NAME[:KEY=VALUE,...]",
    help="Instead of --dataset, repeatable: sources that share one codebook. Keys: options of the set, and "
    "name, split, figures, holdout.",
)  # fmt: skip
@click.option("--split", default="train", show_default=True)
@click.option("--figures-split", metavar="SPLIT", help="Split for the final figures [held-out scenes].")
@click.option("--out", type=options.PATH, help="Folder of the run [runs/codebook-NAMES].")
@click.option(
    "--init", "init_path", type=options.PATH,
    help="Start from stage 1 of this folder of codebooks, or hf-hub:ORG/NAME[@REVISION].",
)  # fmt: skip
@click.option("--scales", default=2, show_default=True, type=click.IntRange(1, 4))
@click.option(
    "--latent", default=32, show_default=True, type=click.IntRange(2, 1 << 16),
    help="Common latent width; D_i = latent / 2^i.",
)  # fmt: skip
@click.option("--codes", type=click.IntRange(1, 1 << 24), help="Codes per scale [512 for each source].")
@click.option(
    "--mask", default="by-band", show_default=True, type=click.Choice(["by-band", "drop-ordered"])
)
@click.option("--name", help="Name of the source in mixtures [the data set's].")
@click.option("--steps", type=click.IntRange(1), help="Number of steps [3000].")
@click.option("--minutes", type=float, help="Time 50 steps and take as many as fit into these minutes.")
@click.option("--batch", type=click.IntRange(1))
@click.option("--patch", type=click.IntRange(4))
@click.option("--lr", type=float)
@click.option("--seed", type=int)
@click.option("--holdout", type=click.IntRange(0), help="Number of held-out scenes, the last by name.")
@options.pairs("--set", "sets", "Any other field of the recipe, repeatable.", "FIELD=VALUE")
@click.option("--resume", is_flag=True, help="Continue the run in --out.")
@options.threads
@options.data_root
def train_codebook(
    dataset: str | None, data_options: dict[str, str], sources: tuple[str, ...], split: str,
    figures_split: str | None, out: Path | None, init_path: Path | None, scales: int, latent: int,
    codes: int | None, mask: str, name: str | None, minutes: float | None, sets: dict[str, str],
    resume: bool, threads: int | None, data_root: Path | None, **fields: Any,
) -> None:  # fmt: skip
    """Train one source's multi-scale codebooks, or those of several sources; the result is OUT/codebook.

    After an interruption at any moment, the same command with --resume gives the same codebooks as an
    uninterrupted run. Figures on another split are only recorded: nothing is chosen by them.
    """
    import torch
    from accelerate import PartialState

    from hsrzoo.cli.output import print_table, say
    from hsrzoo.cli.run_folder import run_folder
    from hsrzoo.training.loop import train
    from hsrzoo.utils.provenance import collect
    from hsrzoo.utils.threads import set_threads
    from hsrzoo_mcga.codebook.lookup import CODES_PER_SOURCE
    from hsrzoo_mcga.stage1.init import read_init
    from hsrzoo_mcga.stage1.sources import SourceOptions, make_task, parse_source, save_codebook
    from hsrzoo_mcga.stage1.task import RECIPE

    if fields["steps"] is not None and minutes is not None:
        raise click.UsageError("--steps and --minutes exclude each other")
    if bool(dataset) == bool(sources):
        raise click.UsageError("Give either --dataset or --source")
    options.forbid(sources and init_path, "--init starts a run of one source: give it as --dataset")
    if sources and (data_options or name or figures_split or split != "train"):
        raise click.UsageError("--source takes these itself: NAME:KEY=VALUE,name=...,split=...,figures=...")
    set_threads(threads)
    named = [parse_source(text) for text in sources]
    if dataset:
        named = [SourceOptions(dataset, data_options, name, split, figures_split)]
    folder = out or Path("runs") / "-".join(["codebook", *(s.dataset for s in named)])
    recipe = options.recipe(RECIPE, fields, sets, folder if resume else None)
    torch.manual_seed(recipe.seed)
    n_codes = codes or CODES_PER_SOURCE * len(named)
    settings = {"scales": scales, "latent": latent, "n_codes": n_codes, "mask": mask}
    init = None
    if init_path:
        given = {key for key in settings if options.given([key.removeprefix("n_")])}
        init = read_init(
            init_path, name or str(dataset), {key: settings[key] for key in settings if key in given}
        )
    task = make_task(named, recipe, data_root, init, **settings)
    for layer in task.record().get("init", {}).get("reinitialised", ()):
        say(f"Initialised anew, for another number of bands: {layer}")
    provenance = collect("cuda" if torch.cuda.is_available() else "cpu")
    notes = {"provenance": provenance}
    with run_folder(folder):
        averaged = train(task, recipe, folder, resume=resume, minutes=minutes, notes=notes)
        if not PartialState().is_main_process:
            return  # under torchrun every process has the same codes: one of them writes
        print_table(save_codebook(folder, task, averaged, provenance), ["source", "figure", "value", "on"])
    say(f"Codebook: {folder / 'codebook'}")
